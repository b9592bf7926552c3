//! Namespaces, and what bounds and fills in what is in them.

use serde_json::{Value, json};

use super::super::harness::{Harness, config_map};
use super::{changed, includes, items, name, text, version};

const NAMESPACES: &str = "/api/v1/namespaces";
const FINALIZER: &str = "example.com/test";

async fn namespace(h: &Harness) -> (Value, String) {
    let made = h.must(201, "POST", NAMESPACES, json!({"metadata": {"generateName": "test-"}})).await;
    let path = format!("{NAMESPACES}/{}", name(&made));
    (made, path)
}

#[tokio::test]
async fn namespaces_are_patched_and_updated() {
    let h = Harness::start().await;
    let (made, path) = namespace(&h).await;
    let label = json!({"metadata": {"labels": {"patched": "value"}}});
    let (code, patched) = h.patch("strategic-merge-patch+json", &path, label.clone()).await;
    assert_eq!(code, 200, "{patched}");
    assert!(version(&patched) > version(&made));
    let read = h.get(&path).await;
    assert!(includes(&read, &label) && read == patched, "{read}");

    let label = json!({"metadata": {"labels": {"updated": "value"}}});
    let updated = h.must(200, "PUT", &path, changed(&read, &label)).await;
    assert!(includes(&updated, &label), "{updated}");
    assert_eq!(h.get(&path).await, updated);
}

#[tokio::test]
async fn a_finalizer_of_a_namespace_comes_and_goes() {
    let h = Harness::start().await;
    let (made, path) = namespace(&h).await;
    let own = made["spec"]["finalizers"].as_array().cloned().expect("its own finalizer");
    let with = [own.as_slice(), &[FINALIZER.into()]].concat();
    for finalizers in [with, own] {
        let mut sent = h.get(&path).await;
        sent["spec"]["finalizers"] = finalizers.into();
        let done = h.must(200, "PUT", &format!("{path}/finalize"), sent.clone()).await;
        assert_eq!(done["spec"]["finalizers"], sent["spec"]["finalizers"]);
        assert_eq!(h.get(&path).await, done);
    }
}

#[tokio::test]
async fn the_status_of_a_namespace_is_patched_and_updated() {
    let h = Harness::start().await;
    let (_, path) = namespace(&h).await;
    let status = format!("{path}/status");
    assert_eq!(text(&h.get(&status).await, "/status/phase"), "Active");
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": kind});
    let patch = json!({"metadata": {"annotations": {"patched": "yes"}}, "status": {"conditions": [condition("Patch")]}});
    let (code, patched) = h.patch("merge-patch+json", &status, patch.clone()).await;
    assert_eq!(code, 200, "{patched}");
    assert!(includes(&patched, &patch), "{patched}");
    let both =
        json!({"status": {"conditions": [condition("Patch"), condition("Update")], "phase": "Active"}});
    let updated = h.must(200, "PUT", &status, changed(&h.get(&status).await, &both)).await;
    assert!(includes(&updated, &both), "{updated}");
    assert_eq!(h.get(&path).await, updated);
}

/// What a pod asks for and how much it may have: processor, memory and disk.
fn amounts(values: [&str; 3]) -> Value {
    let names = ["cpu", "memory", "ephemeral-storage"];
    let asked = names.into_iter().zip(values).filter(|(_, value)| !value.is_empty());
    asked.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

fn asking(name: &str, requests: [&str; 3], limits: [&str; 3]) -> Value {
    let resources = json!({"requests": amounts(requests), "limits": amounts(limits)});
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

const LIMITS: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";
const NOTHING: [&str; 3] = [""; 3];

/// Sends a pod that asks for too little or too much, or what was so once.
async fn try_pod(h: &Harness, code: u16, name: &str, requests: [&str; 3]) {
    h.registry.fresh().await.expect("the cache follows");
    h.must(code, "POST", PODS, asking(name, requests, NOTHING)).await;
}

/// A pod that leaves something open gets it from the limits.
async fn is_filled_in(h: &Harness, pod: Value, requests: [&str; 3], limits: [&str; 3]) {
    let path = format!("{PODS}/{}", name(&pod));
    h.must(201, "POST", PODS, pod).await;
    let resources = json!({"requests": amounts(requests), "limits": amounts(limits)});
    assert_eq!(h.get(&path).await["spec"]["containers"][0]["resources"], resources, "{path}");
}

#[tokio::test]
async fn limits_fill_in_and_bound_what_pods_ask_for() {
    let (little, much) = (["10m", "50Mi", "50Gi"], ["600m", "600Mi", "600Gi"]);
    let (default, limit) = (["100m", "200Mi", "200Gi"], ["500m", "500Mi", "500Gi"]);
    let h = Harness::start().await;
    let limits = json!({"type": "Container", "min": amounts(["50m", "100Mi", "100Gi"]),
        "max": amounts(limit), "default": amounts(limit), "defaultRequest": amounts(default)});
    let sent = json!({"metadata": {"name": "l"}, "spec": {"limits": [limits]}});
    let mut events = h.watch(&format!("{LIMITS}?watch=1")).await;
    let mut made = h.must(201, "POST", LIMITS, sent.clone()).await;
    assert!(includes(&made, &sent), "{made}");
    assert_eq!(events.brief().await, ("ADDED".to_owned(), "l".to_owned()));

    h.registry.fresh().await.expect("the cache follows");
    is_filled_in(&h, asking("none", NOTHING, NOTHING), default, limit).await;
    let some = asking("some", ["", "150Mi", "150Gi"], ["300m", "", ""]);
    is_filled_in(&h, some, ["300m", "150Mi", "150Gi"], ["300m", "500Mi", "500Gi"]).await;
    try_pod(&h, 403, "little", little).await;
    // More than the limit that was filled in.
    try_pod(&h, 422, "much", much).await;

    let lower = amounts(["9m", "49Mi", "49Gi"]);
    made["spec"]["limits"][0]["min"] = lower.clone();
    h.must(200, "PUT", &format!("{LIMITS}/l"), made).await;
    assert_eq!(h.get(&format!("{LIMITS}/l")).await["spec"]["limits"][0]["min"], lower);
    try_pod(&h, 201, "little", little).await;
    try_pod(&h, 422, "much", much).await;

    h.must(200, "DELETE", &format!("{LIMITS}/l"), json!({"gracePeriodSeconds": 30})).await;
    assert!(items(&h.get(LIMITS).await).is_empty());
    try_pod(&h, 201, "much", much).await;
}

/// Limits and the status that repeats them are written apart; a watch sees each.
#[tokio::test]
async fn the_status_of_a_quota_is_patched_and_updated() {
    const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
    let h = Harness::start().await;
    let hard = |cpu: &str, memory: &str| json!({"hard": {"cpu": cpu, "memory": memory}});
    let first = hard("500m", "500Mi");
    let sent = json!({"metadata": {"name": "q", "labels": {"test": "q"}}, "spec": first});
    let made = h.must(201, "POST", QUOTAS, sent).await;
    assert_eq!(made["spec"], first);
    let mut events =
        h.watch(&format!("{QUOTAS}?watch=1&labelSelector=test%3Dq&resourceVersion={}", version(&made))).await;
    let (path, status) = (format!("{QUOTAS}/q"), format!("{QUOTAS}/q/status"));
    let updated = h.must(200, "PUT", &status, changed(&made, &json!({ "status": first }))).await;
    assert_eq!((&updated["status"]["hard"], &updated["spec"]), (&first["hard"], &first));
    let second = hard("1", "1Gi");
    let (_, respecified) = h.patch("strategic-merge-patch+json", &path, json!({ "spec": second })).await;
    assert_eq!((&respecified["spec"], &respecified["status"]["hard"]), (&second, &first["hard"]));
    let (_, patched) = h.patch("strategic-merge-patch+json", &status, json!({ "status": second })).await;
    assert_eq!((&patched["spec"], &patched["status"]["hard"]), (&second, &second["hard"]));
    assert_eq!(h.get(&status).await, patched);
    let third = hard("2", "2Gi");
    let (_, repatched) = h.patch("strategic-merge-patch+json", &status, json!({ "status": third })).await;
    assert_eq!((&repatched["spec"], &repatched["status"]["hard"]), (&second, &third["hard"]));
    for object in [updated, respecified, patched, repatched] {
        assert_eq!(events.next().await, Some(json!({"type": "MODIFIED", "object": object})));
    }
}

#[tokio::test]
async fn keys_of_maps_and_secrets_are_not_empty() {
    let h = Harness::start().await;
    for (path, value) in [("configmaps", "value"), ("secrets", "dmFsdWU=")] {
        let path = format!("/api/v1/namespaces/default/{path}");
        let refused = h.must(422, "POST", &path, config_body("empty", &json!({"": value}))).await;
        assert_eq!(refused["details"]["causes"][0]["field"], "data[]", "{refused}");
        h.must(404, "GET", &format!("{path}/empty"), Value::Null).await;
    }
}

fn config_body(name: &str, data: &Value) -> Value {
    let mut body = config_map(name, data.clone());
    for field in ["apiVersion", "kind"] {
        body.as_object_mut().expect("an object").remove(field);
    }
    body
}

#[tokio::test]
async fn immutable_maps_and_secrets_stay_as_they_are() {
    let h = Harness::start().await;
    for path in ["configmaps", "secrets"] {
        let path = format!("/api/v1/namespaces/default/{path}");
        let made = h.must(201, "POST", &path, config_body("m", &json!({"one": "dmFsdWU="}))).await;
        let path = format!("{path}/m");
        let more = h.must(200, "PUT", &path, changed(&made, &json!({"data": {"two": "dmFsdWU="}}))).await;
        let fixed = h.must(200, "PUT", &path, changed(&more, &json!({"immutable": true}))).await;
        assert_eq!(fixed["immutable"], true);
        for change in [json!({"data": {"three": "dmFsdWU="}}), json!({"immutable": false})] {
            let refused = h.must(422, "PUT", &path, changed(&fixed, &change)).await;
            assert_eq!(refused["reason"], "Invalid");
            assert_eq!(h.get(&path).await, fixed);
        }
        let label = json!({"metadata": {"labels": {"l": "x"}}});
        let labelled = h.must(200, "PUT", &path, changed(&fixed, &label)).await;
        assert!(includes(&labelled, &label), "{labelled}");
        h.must(200, "DELETE", &path, Value::Null).await;
        h.must(404, "GET", &path, Value::Null).await;
    }
}
