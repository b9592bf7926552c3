//! Which pods get a place on a node, and which make others lose theirs. The nodes are objects only.

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::{eventually, until};

use super::place::{PATIENCE, Place, in_a_namespace, is_ending, pod};

const HELD: &str = "example.com/held";

/// A node with one processor, as its agent would have it.
fn node(place: &Place<'_>, name: &str) -> anyhow::Result<()> {
    let amounts = json!({"cpu": "1", "memory": "1Gi", "pods": "10"});
    place.create(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"name": name}},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]}}))
}

fn asking(name: &str, cpu: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
    pod
}

/// Waits until the pod has a node.
fn placed(place: &Place<'_>, name: &str) -> anyhow::Result<String> {
    until(&format!("a node for {name}"), PATIENCE, || {
        let pod = place.get(&format!("pod {name}"))?;
        ensure!(pod["spec"]["nodeName"].is_string(), "{}", pod["status"]);
        Ok(pod["spec"]["nodeName"].as_str().map(str::to_owned))
    })
}

fn condition(pod: &Value, kind: &str) -> Value {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

/// Waits until the scheduler has said why it found no node.
fn refused(place: &Place<'_>, name: &str, why: &str) -> anyhow::Result<()> {
    eventually(&format!("no node for {name}"), PATIENCE, || {
        let pod = place.get(&format!("pod {name}"))?;
        let said = condition(&pod, "PodScheduled");
        ensure!(said["reason"] == "Unschedulable" && pod["spec"]["nodeName"].is_null(), "{pod}");
        Ok(said["message"].as_str().is_some_and(|message| message.contains(why)))
    })
}

#[test]
fn pods_get_no_more_than_nodes_have() {
    in_a_namespace(|place| {
        node(place, "one")?;
        place.create(&asking("most", "700m"))?;
        placed(place, "most")?;
        place.create(&asking("more", "500m"))?;
        refused(place, "more", "Insufficient cpu")?;
        place.create(&asking("rest", "300m"))?;
        placed(place, "rest").map(drop)
    });
}

#[test]
fn selectors_of_nodes_are_respected() {
    in_a_namespace(|place| {
        node(place, "one")?;
        node(place, "two")?;
        for (name, wanted) in [("stray", "none"), ("home", "two")] {
            let mut selecting = pod(name);
            selecting["spec"]["nodeSelector"] = json!({"name": wanted});
            place.create(&selecting)?;
        }
        ensure!(placed(place, "home")? == "two", "the label decides");
        refused(place, "stray", "node(s) didn't match Pod's node affinity/selector")
    });
}

#[test]
fn ports_of_every_address_of_a_host_are_taken_once() {
    in_a_namespace(|place| {
        node(place, "one")?;
        for (name, address) in [("first", "0.0.0.0"), ("second", "127.0.0.1")] {
            let mut serving = pod(name);
            serving["spec"]["containers"][0]["ports"] =
                json!([{"containerPort": 5555, "hostPort": 54322, "protocol": "TCP", "hostIP": address}]);
            place.create(&serving)?;
            if name == "first" {
                placed(place, name)?;
            }
        }
        refused(place, "second", "node(s) didn't have free ports for the requested pod ports")
    });
}

/// A pod that has the whole node, and whose end waits for whoever holds it.
fn low(place: &Place<'_>) -> anyhow::Result<()> {
    node(place, "one")?;
    for (name, value) in [("low", 1), ("high", 1000)] {
        place.kubectl(&format!("create priorityclass {name} --value={value}"))?;
    }
    let mut low = asking("low", "1");
    low["spec"]["priorityClassName"] = "low".into();
    low["metadata"]["finalizers"] = json!([HELD]);
    place.create(&low)?;
    placed(place, "low").map(drop)
}

/// The pod of low priority is told why it ends; once it is gone, the other one has its place.
fn gives_way(place: &Place<'_>, class: &str) -> anyhow::Result<()> {
    let mut other = asking("other", "1");
    other["spec"]["priorityClassName"] = class.into();
    place.create(&other)?;
    eventually("the end of the other", PATIENCE, || {
        let low = place.get("pod low")?;
        let said = condition(&low, "DisruptionTarget");
        Ok(is_ending(&low) && said["status"] == "True" && said["reason"] == "PreemptionByScheduler")
    })?;
    // What a node's agent and the holder do in the end.
    place.patch("pod low", &json!({"metadata": {"finalizers": null}}))?;
    place.kubectl("delete pod low --force --grace-period=0 --ignore-not-found")?;
    ensure!(placed(place, "other")? == "one", "the place is taken");
    Ok(())
}

#[test]
fn pods_of_low_priority_give_way() {
    in_a_namespace(|place| {
        low(place)?;
        gives_way(place, "high")
    });
}

#[test]
fn pods_of_low_priority_give_way_to_critical_ones() {
    in_a_namespace(|place| {
        low(place)?;
        gives_way(place, "system-cluster-critical")
    });
}
