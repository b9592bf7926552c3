//! How deployments replace their pods. The tests say which pods run, as a node's agent would.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testkit::eventually;

use super::owners;
use super::place::{PATIENCE, Place, in_a_namespace, is_ending, name, pod};

const HELD: &str = "example.com/held";
const REVISION: &str = "deployment.kubernetes.io/revision";

fn image(version: u8) -> String {
    format!("example.com/none:{version}")
}

/// A deployment of the first image.
fn deployment(replicas: usize, more: Value) -> Value {
    let labels = json!({"app": "d"});
    let mut spec = pod("d")["spec"].take();
    spec["containers"][0]["image"] = image(1).into();
    let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec}}});
    for (field, value) in more.as_object().into_iter().flatten() {
        deployment["spec"][field] = value.clone();
    }
    deployment
}

/// A replica set that was there before its deployment, with pods of another image.
fn older_set(place: &Place<'_>) -> anyhow::Result<()> {
    let mut set = deployment(1, json!({}));
    set["kind"] = "ReplicaSet".into();
    set["metadata"] =
        json!({"name": "older", "labels": {"app": "d"}, "annotations": {REVISION: "3546343826724305832"}});
    set["spec"]["selector"] = json!({"matchLabels": {"app": "d", "older": "yes"}});
    set["spec"]["template"]["metadata"]["labels"]["older"] = "yes".into();
    set["spec"]["template"]["spec"]["containers"][0]["image"] = image(0).into();
    place.create(&set)?;
    run(place, 0, 1)
}

fn pods_of(place: &Place<'_>, version: u8) -> anyhow::Result<Vec<Value>> {
    let mut pods = place.list("pods")?;
    pods.retain(|pod| pod["spec"]["containers"][0]["image"] == image(version));
    Ok(pods)
}

/// Waits until so many pods have the image, and says that they run.
fn run(place: &Place<'_>, version: u8, count: usize) -> anyhow::Result<()> {
    eventually(&format!("{count} pods of image {version}"), PATIENCE, || {
        Ok(pods_of(place, version)?.len() == count)
    })?;
    say_that_they_run(place, &pods_of(place, version)?)
}

fn say_that_they_run(place: &Place<'_>, pods: &[Value]) -> anyhow::Result<()> {
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    for pod in pods.iter().filter(|pod| pod["status"]["phase"] != "Running") {
        place.patch(&format!("pod {} --subresource=status", name(pod)), &ready)?;
    }
    Ok(())
}

/// Says of each pod with the image that it runs, as one comes after the other, until all do.
fn roll(place: &Place<'_>, version: u8, replicas: u64) -> anyhow::Result<()> {
    eventually("a complete update", PATIENCE, || {
        say_that_they_run(place, &pods_of(place, version)?)?;
        is_complete(place, replicas)
    })
}

/// Replicas of the set with this image; none when there is no such set.
fn size(place: &Place<'_>, version: u8) -> anyhow::Result<Option<u64>> {
    let sets = place.list("rs")?;
    let set =
        sets.iter().find(|set| set["spec"]["template"]["spec"]["containers"][0]["image"] == image(version));
    Ok(set.and_then(|set| set["spec"]["replicas"].as_u64()))
}

fn has_sizes(place: &Place<'_>, sizes: &[(u8, Option<u64>)]) -> anyhow::Result<()> {
    eventually(&format!("sets of {sizes:?}"), PATIENCE, || {
        for (version, wanted) in sizes {
            let have = size(place, *version)?;
            ensure!(have == *wanted, "image {version}: {have:?}");
        }
        Ok(true)
    })
}

fn set_image(place: &Place<'_>, version: u8) -> anyhow::Result<()> {
    place.kubectl(&format!("set image deployment/d c={}", image(version))).map(drop)
}

fn is_complete(place: &Place<'_>, replicas: u64) -> anyhow::Result<bool> {
    let deployment = place.get("deployment d")?;
    let (status, metadata) = (&deployment["status"], &deployment["metadata"]);
    let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    Ok(status["observedGeneration"] == metadata["generation"]
        && counts.iter().all(|count| status[count] == replicas))
}

fn complete(place: &Place<'_>, replicas: u64) -> anyhow::Result<()> {
    eventually("a complete deployment", PATIENCE, || is_complete(place, replicas))
}

#[test]
fn recreated_pods_come_when_the_old_ones_are_gone() {
    in_a_namespace(|place| {
        place.create(&deployment(2, json!({"strategy": {"type": "Recreate"}})))?;
        run(place, 1, 2)?;
        complete(place, 2)?;
        let old = pods_of(place, 1)?;
        for pod in &old {
            place.patch(&format!("pod {}", name(pod)), &json!({"metadata": {"finalizers": [HELD]}}))?;
        }
        set_image(place, 2)?;
        eventually("the end of the old ones", PATIENCE, || Ok(pods_of(place, 1)?.iter().all(is_ending)))?;
        for pod in &old {
            ensure!(pods_of(place, 2)?.is_empty(), "old and new at once");
            place.patch(&format!("pod {}", name(pod)), &json!({"metadata": {"finalizers": null}}))?;
        }
        run(place, 2, 2)?;
        complete(place, 2)?;
        has_sizes(place, &[(1, Some(0)), (2, Some(2))])
    });
}

#[test]
fn a_rolling_update_replaces_the_pods_of_an_adopted_set() {
    in_a_namespace(|place| {
        older_set(place)?;
        place.create(&deployment(1, json!({})))?;
        run(place, 1, 1)?;
        complete(place, 1)?;
        has_sizes(place, &[(0, Some(0)), (1, Some(1))])?;
        ensure!(owners(&place.get("rs older")?) == ["d"], "it is adopted");
        let revision = place.get("deployment d")?["metadata"]["annotations"][REVISION].take();
        ensure!(revision == "3546343826724305833", "{revision}");
        eventually("the end of the old one", PATIENCE, || Ok(pods_of(place, 0)?.is_empty()))
    });
}

#[test]
fn old_sets_go_beyond_the_limit_of_history() {
    in_a_namespace(|place| {
        older_set(place)?;
        place.create(&deployment(1, json!({"revisionHistoryLimit": 0})))?;
        run(place, 1, 1)?;
        has_sizes(place, &[(0, None), (1, Some(1))])
    });
}

#[test]
fn an_update_is_overtaken_by_the_next() {
    in_a_namespace(|place| {
        let strategy =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
        place.create(&deployment(1, json!({ "strategy": strategy })))?;
        run(place, 1, 1)?;
        complete(place, 1)?;
        set_image(place, 2)?;
        has_sizes(place, &[(1, Some(1)), (2, Some(1))])?;
        // Its pod never runs.
        set_image(place, 3)?;
        run(place, 3, 1)?;
        complete(place, 1)?;
        has_sizes(place, &[(1, Some(0)), (2, Some(0)), (3, Some(1))])
    });
}

#[test]
fn sets_are_scaled_in_proportion_during_an_update() {
    in_a_namespace(|place| {
        let strategy =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2, "maxSurge": 3}});
        place.create(&deployment(10, json!({ "strategy": strategy })))?;
        run(place, 1, 10)?;
        complete(place, 10)?;
        set_image(place, 2)?;
        has_sizes(place, &[(1, Some(8)), (2, Some(5))])?;
        // The deployment has to know before it is scaled.
        eventually("its status", PATIENCE, || {
            let status = place.get("deployment d")?["status"].take();
            Ok(status["availableReplicas"] == 8 && status["replicas"] == 13)
        })?;
        place.kubectl("scale deployment d --replicas=30")?;
        has_sizes(place, &[(1, Some(20)), (2, Some(13))])
    });
}

#[test]
fn a_deployment_from_its_beginning_to_its_end() {
    in_a_namespace(|place| {
        place.create(&deployment(1, json!({})))?;
        run(place, 1, 1)?;
        complete(place, 1)?;
        let containers = json!([{"name": "c", "image": image(2)}]);
        let patch = json!({"metadata": {"labels": {"mark": "patched"}},
            "spec": {"replicas": 2, "template": {"spec": {"containers": containers}}}});
        place.patch("deployment d", &patch)?;
        roll(place, 2, 2)?;
        ensure!(place.list("deployments -l mark=patched")?.len() == 1, "it has the label");
        place.kubectl("scale deployment d --replicas=1")?;
        complete(place, 1)?;
        let status = place.get("deployment d --subresource=status")?;
        ensure!(status["status"]["readyReplicas"] == 1, "{status}");
        let condition = json!({"status": {"conditions": [{"type": "Patched", "status": "True"}]}});
        let patched = place.kubectl(&format!(
            "patch deployment d --subresource=status --type merge -o json -p {condition}"
        ))?;
        let patched: Value = serde_json::from_str(&patched)?;
        let conditions = patched["status"]["conditions"].as_array().context("conditions")?;
        ensure!(conditions.iter().any(|condition| condition["type"] == "Patched"), "{patched}");
        place.delete("deployment d", "background")?;
        place.is_gone("deployment d")
    });
}
