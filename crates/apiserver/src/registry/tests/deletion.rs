//! The ends of objects.

use serde_json::{Value, json};

use super::harness::{Harness, config_map, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn a_plain_deletion_answers_with_a_status() {
    let h = Harness::start().await;
    let created = h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    let status = h.must(200, "DELETE", &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!(
        status,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": "a", "kind": "configmaps", "uid": created["metadata"]["uid"]}})
    );
    h.must(404, "DELETE", &format!("{MAPS}/a"), Value::Null).await;
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let h = Harness::start().await;
    let mut map = config_map("a", json!({}));
    map["metadata"]["finalizers"] = json!(["example.com/f"]);
    h.must(201, "POST", MAPS, map).await;
    let path = format!("{MAPS}/a");
    let pending = h.must(200, "DELETE", &path, Value::Null).await;
    assert!(pending["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(pending["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(h.must(200, "DELETE", &path, Value::Null).await["metadata"], pending["metadata"]);
    let exists = h.must(409, "POST", MAPS, config_map("a", json!({}))).await;
    assert_eq!(exists["message"], "object is being deleted: configmaps \"a\" already exists");
    let (code, refused) = h
        .patch(
            "merge-patch+json",
            &path,
            json!({"metadata": {"finalizers": ["example.com/f", "example.com/g"]}}),
        )
        .await;
    assert_eq!(code, 422, "{refused}");
    assert!(refused["message"].as_str().is_some_and(|m| m.contains(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/g\"}"
    )));
    let (code, _) = h.patch("merge-patch+json", &path, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(code, 200);
    h.must(404, "GET", &path, Value::Null).await;
}

#[tokio::test]
async fn dependents_are_orphaned_or_waited_for() {
    let h = Harness::start().await;
    for (policy, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
        h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
        let path = format!("{MAPS}/a");
        let pending = h
            .must(
                200,
                "DELETE",
                &path,
                json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}),
            )
            .await;
        assert_eq!(pending["metadata"]["finalizers"], json!([finalizer]));
        h.patch("merge-patch+json", &path, json!({"metadata": {"finalizers": []}})).await;
        h.must(404, "GET", &path, Value::Null).await;
    }
}

#[tokio::test]
async fn pods_end_gracefully() {
    let h = Harness::start().await;
    h.must(201, "POST", PODS, pod("unbound")).await;
    let gone = h.must(200, "DELETE", &format!("{PODS}/unbound"), Value::Null).await;
    assert_eq!(gone["kind"], "Pod", "a pod that runs nowhere goes at once");
    h.must(404, "GET", &format!("{PODS}/unbound"), Value::Null).await;

    h.must(201, "POST", PODS, pod("bound")).await;
    let path = format!("{PODS}/bound");
    h.must(
        201,
        "POST",
        &format!("{path}/binding"),
        json!({"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n"}}),
    )
    .await;
    let ending = h.must(200, "DELETE", &path, Value::Null).await;
    assert_eq!(ending["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(
        h.must(200, "DELETE", &path, Value::Null).await["metadata"],
        ending["metadata"],
        "once is enough"
    );
    let shorter = h.must(200, "DELETE", &format!("{path}?gracePeriodSeconds=5"), Value::Null).await;
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(
        shorter["metadata"]["deletionTimestamp"].as_str() < ending["metadata"]["deletionTimestamp"].as_str()
    );
    let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": ending["metadata"]["uid"]}});
    h.must(200, "DELETE", &path, options).await;
    h.must(404, "GET", &path, Value::Null).await;
}

#[tokio::test]
async fn namespaces_end_in_two_steps() {
    let h = Harness::start().await;
    h.must(201, "POST", "/api/v1/namespaces", json!({"metadata": {"name": "ns"}})).await;
    h.must(201, "POST", "/api/v1/namespaces/ns/configmaps", config_map("a", json!({}))).await;
    let ending = h.must(200, "DELETE", "/api/v1/namespaces/ns", Value::Null).await;
    assert_eq!(ending["status"]["phase"], "Terminating");
    assert!(ending["metadata"]["deletionTimestamp"].is_string());
    let refused = h.must(403, "POST", "/api/v1/namespaces/ns/configmaps", config_map("b", json!({}))).await;
    assert_eq!(
        refused["message"],
        "configmaps \"b\" is forbidden: unable to create new content in namespace ns because it is being terminated"
    );
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let list = h.must(200, "DELETE", "/api/v1/namespaces/ns/configmaps", Value::Null).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let mut empty = ending.clone();
    empty["spec"]["finalizers"] = json!([]);
    h.must(200, "PUT", "/api/v1/namespaces/ns/finalize", empty).await;
    h.must(404, "GET", "/api/v1/namespaces/ns", Value::Null).await;
    h.must(404, "POST", "/api/v1/namespaces/ns/configmaps", config_map("b", json!({}))).await;
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let h = Harness::start().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut map = config_map(name, json!({}));
        map["metadata"]["labels"] = json!({ "l": label });
        h.must(201, "POST", MAPS, map).await;
    }
    h.must(200, "DELETE", &format!("{MAPS}?labelSelector=l%3Dx"), Value::Null).await;
    let left = h.get(MAPS).await;
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
}
