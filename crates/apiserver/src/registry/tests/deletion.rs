//! The ends of objects.

use bytes::Bytes;
use serde_json::{Value, json};

use super::harness::{Ask, Harness, config_map, pod};

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
    let (code, last) = h.patch("merge-patch+json", &path, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!((code, last["metadata"].get("finalizers")), (200, None));
    assert_eq!(last["metadata"]["resourceVersion"], pending["metadata"]["resourceVersion"]);
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

#[tokio::test]
async fn the_last_grace_is_seen_before_the_end() {
    let h = Harness::start().await;
    h.must(201, "POST", PODS, pod("p")).await;
    let mut events = h.watch(&format!("{PODS}?watch=1&resourceVersion=0")).await;
    assert_eq!(events.brief().await, ("ADDED".to_owned(), "p".to_owned()));
    let gone = h.must(200, "DELETE", &format!("{PODS}/p"), Value::Null).await;
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(gone["metadata"]["generation"], 2);
    assert_eq!(events.brief().await.0, "MODIFIED");
    assert_eq!(events.brief().await.0, "DELETED");
}

#[tokio::test]
async fn a_deletion_that_goes_on_is_only_shortened_when_asked() {
    let h = Harness::start().await;
    h.must(201, "POST", PODS, pod("p")).await;
    let path = format!("{PODS}/p");
    let binding = json!({"metadata": {"name": "p"}, "target": {"name": "n"}});
    h.must(201, "POST", &format!("{path}/binding"), binding).await;
    let ending = h.must(200, "DELETE", &path, Value::Null).await;
    h.patch("merge-patch+json", &format!("{path}/status"), json!({"status": {"phase": "Succeeded"}})).await;
    for asked in ["", "?gracePeriodSeconds=30", "?gracePeriodSeconds=40"] {
        let kept = h.must(200, "DELETE", &format!("{path}{asked}"), Value::Null).await;
        assert_eq!(kept["metadata"]["deletionTimestamp"], ending["metadata"]["deletionTimestamp"], "{asked}");
    }
    let shorter = h.must(200, "DELETE", &format!("{path}?gracePeriodSeconds=-1"), Value::Null).await;
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 1);
}

#[tokio::test]
async fn finalizers_of_propagation_follow_the_options() {
    let h = Harness::start().await;
    for (have, asked, want) in [
        (
            json!(["example.com/f"]),
            "?propagationPolicy=Foreground",
            json!(["example.com/f", "foregroundDeletion"]),
        ),
        (json!(["foregroundDeletion", "example.com/f"]), "", json!(["foregroundDeletion", "example.com/f"])),
        (json!(["orphan", "example.com/f"]), "?propagationPolicy=Background", json!(["example.com/f"])),
        (json!(["orphan", "example.com/f"]), "?orphanDependents=false", json!(["example.com/f"])),
        (json!(["example.com/f"]), "?orphanDependents=true", json!(["example.com/f", "orphan"])),
    ] {
        let mut map = config_map("a", json!({}));
        map["metadata"]["finalizers"] = have.clone();
        h.must(201, "POST", MAPS, map).await;
        let path = format!("{MAPS}/a");
        let code = if asked == "?orphanDependents=false" { 202 } else { 200 };
        let pending = h.must(code, "DELETE", &format!("{path}{asked}"), Value::Null).await;
        assert_eq!(pending["metadata"]["finalizers"], want, "{have} {asked}");
        h.patch("merge-patch+json", &path, json!({"metadata": {"finalizers": null}})).await;
        h.must(404, "GET", &path, Value::Null).await;
    }
}

/// Nothing depends on events, and no collector looks at them.
#[tokio::test]
async fn events_go_whatever_the_policy() {
    let h = Harness::start().await;
    let events = "/api/v1/namespaces/default/events";
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default", "name": "p"}});
    h.must(201, "POST", events, event).await;
    let gone = h.must(200, "DELETE", &format!("{events}/e?propagationPolicy=Foreground"), Value::Null).await;
    assert_eq!(gone["kind"], "Status");
    h.must(404, "GET", &format!("{events}/e"), Value::Null).await;
}

#[tokio::test]
async fn bodies_of_deletions_are_checked() {
    let h = Harness::start().await;
    h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    let path = format!("{MAPS}/a");
    for (body, why) in [
        (
            json!({"kind": "Pod", "apiVersion": "v1"}),
            "no kind \"Pod\" is registered for version \"v1\" in scheme \"pkg/apis/meta/internalversion/scheme/register.go:27\"",
        ),
        (json!({"kind": "CreateOptions"}), "decoded object cannot be converted to DeleteOptions"),
        (
            json!({"gracePeriodSeconds": "x"}),
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
    ] {
        assert_eq!(h.must(400, "DELETE", &path, body).await["message"], why);
    }
    h.must(200, "DELETE", &path, json!({"kind": "DeleteOptions", "apiVersion": "apps/v1"})).await;
}

#[tokio::test]
async fn readable_objects_are_not_deleted_unsafely() {
    let h = Harness::start().await;
    h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    let asked = "ignoreStoreReadErrorWithClusterBreakingPotential=true";
    let refused = h.must(409, "DELETE", &format!("{MAPS}/a?{asked}"), Value::Null).await;
    assert!(
        refused["message"].as_str().is_some_and(|message| message
            .ends_with("unsafe deletion is not allowed because the object is decodable from storage")),
        "{refused}"
    );
    h.must(404, "DELETE", &format!("{MAPS}/b?{asked}"), Value::Null).await;
    let refused = h.must(422, "DELETE", &format!("{MAPS}?{asked}"), Value::Null).await;
    assert_eq!(
        refused["details"]["causes"][0]["message"],
        "Invalid value: true: is not allowed with DELETECOLLECTION, try again after removing the option"
    );
}

/// The version in the query of a collection is that of the list, and of each object when no body says otherwise.
#[tokio::test]
async fn a_page_of_a_collection_is_deleted() {
    let h = Harness::start().await;
    for name in ["a", "b", "c"] {
        h.must(201, "POST", MAPS, config_map(name, json!({}))).await;
    }
    let page = h.must(200, "DELETE", &format!("{MAPS}?limit=2"), json!({"dryRun": ["All"]})).await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(2));
    let page = h.must(200, "DELETE", &format!("{MAPS}?limit=2"), Value::Null).await;
    let token = page["metadata"]["continue"].as_str().unwrap_or_default();
    assert_eq!(h.get(MAPS).await["items"][0]["metadata"]["name"], "c");
    let refused = h.must(409, "DELETE", &format!("{MAPS}?resourceVersion=0"), Value::Null).await;
    assert!(
        refused["message"].as_str().is_some_and(|message| message.starts_with(
            "Operation cannot be fulfilled on ConfigMap \"c\": the ResourceVersion in the precondition (0) does not match"
        )),
        "{refused}"
    );
    h.must(200, "DELETE", &format!("{MAPS}?continue={token}"), json!({})).await;
    assert_eq!(h.get(MAPS).await["items"], json!([]));
}

#[tokio::test]
async fn what_was_made_after_a_version_is_not_deleted_with_it() {
    let h = Harness::start().await;
    let first = h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    h.must(201, "POST", MAPS, config_map("b", json!({}))).await;
    let version = first["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let deleted = h.must(200, "DELETE", &format!("{MAPS}?resourceVersion={version}"), Value::Null).await;
    assert_eq!(deleted["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(h.get(MAPS).await["items"][0]["metadata"]["name"], "b");
}

#[tokio::test]
async fn pods_of_jobs_stay_with_a_warning() {
    let h = Harness::start().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let containers = json!([{"name": "c", "image": "i"}]);
    let job = |name: &str| json!({"metadata": {"name": name}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": containers}}}});
    for (options, warned) in [("", true), ("?propagationPolicy=Background", false)] {
        h.must(201, "POST", jobs, job("j")).await;
        let answer = h.answer("DELETE", &format!("{jobs}/j{options}"), Ask::default(), Bytes::new()).await;
        let warnings = answer.map(|answer| answer.warnings).unwrap_or_default();
        assert_eq!(
            warnings.iter().any(|warning| warning.starts_with("child pods are preserved by default")),
            warned,
            "{warnings:?}"
        );
        h.patch("merge-patch+json", &format!("{jobs}/j"), json!({"metadata": {"finalizers": null}})).await;
    }
}
