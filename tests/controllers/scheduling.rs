//! Which pods get a place on a node. The nodes are objects only.

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::{eventually, until};

use super::place::{PATIENCE, Place, in_a_namespace, pod};

/// A node with one processor, as its agent would have it.
fn node(place: &Place<'_>, name: &str) -> anyhow::Result<()> {
    let amounts = json!({"cpu": "1", "memory": "1Gi", "pods": "10"});
    place.create(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"name": name}},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]}}))
}

fn asking(name: &str, cpu: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
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

#[test]
fn pods_of_a_runtime_class_are_placed_with_its_overhead() {
    in_a_namespace(|place| {
        node(place, "one")?;
        for (name, overhead) in [("light", json!(null)), ("heavy", json!({"cpu": "10m", "memory": "1Mi"}))] {
            let mut class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "runc"});
            if !overhead.is_null() {
                class["overhead"] = json!({"podFixed": overhead});
            }
            place.create(&class)?;
            let mut classy = pod(name);
            classy["spec"]["runtimeClassName"] = name.into();
            place.create(&classy)?;
            placed(place, name)?;
            let read = place.get(&format!("pod {name}"))?;
            ensure!(read["spec"]["overhead"] == overhead, "{read}");
        }
        Ok(())
    });
}
