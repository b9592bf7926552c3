//! Requests for certificates, events by where they come from, and fields that there are not.

use serde_json::{Value, json};

use super::super::harness::{Ask, Harness};
use super::operations::KINDS;
use super::{changed, includes, items, name, version};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const OURS: &str = "fieldSelector=spec.signerName%3Dexample.com/test";

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "Test", "message": "set by a test"})
}

/// The table's row of a kind.
fn row(kind: &str) -> Value {
    let rows = KINDS.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    rows.into_iter().find(|row| row["kind"] == kind).expect("a row")
}

async fn three_requests(h: &Harness) -> Value {
    let mut made = Value::Null;
    for _ in 0..3 {
        let sent = changed(
            &row("CertificateSigningRequest")["create"],
            &json!({"metadata": {"generateName": "test-"}}),
        );
        made = h.must(201, "POST", REQUESTS, sent).await;
    }
    made
}

#[tokio::test]
async fn signing_requests_are_selected_and_watched() {
    let h = Harness::start().await;
    let made = three_requests(&h).await;
    let path = format!("{REQUESTS}/{}", name(&made));
    let read = h.get(&path).await;
    assert_eq!(
        (&read["metadata"]["uid"], &read["spec"]["expirationSeconds"]),
        (&made["metadata"]["uid"], &json!(3600))
    );
    let list = h.get(&format!("{REQUESTS}?{OURS}")).await;
    assert_eq!(items(&list).len(), 3);
    let named = format!("fieldSelector=metadata.name%3D{}&resourceVersion={}", name(&made), version(&list));
    let mut events = h.watch(&format!("{REQUESTS}?watch=1&{named}")).await;
    let mark = |mark: &str| json!({"metadata": {"annotations": {mark: "true"}}});
    let (_, patched) = h.patch("merge-patch+json", &path, mark("patched")).await;
    assert!(includes(&patched, &mark("patched")) && version(&patched) > version(&read), "{patched}");
    let updated = h.must(200, "PUT", &path, changed(&patched, &mark("updated"))).await;
    assert!(includes(&updated, &mark("updated")), "{updated}");
    for object in [patched, updated] {
        assert_eq!(events.next().await, Some(json!({"type": "MODIFIED", "object": object})));
    }
    h.must(200, "DELETE", &path, Value::Null).await;
    h.must(404, "GET", &path, Value::Null).await;
    assert_eq!(items(&h.get(&format!("{REQUESTS}?{OURS}")).await).len(), 2);
    h.must(200, "DELETE", &format!("{REQUESTS}?{OURS}"), Value::Null).await;
    assert!(items(&h.get(&format!("{REQUESTS}?{OURS}")).await).is_empty());
}

#[tokio::test]
async fn approval_and_status_of_signing_requests_are_written_apart() {
    let h = Harness::start().await;
    let made = three_requests(&h).await;
    let path = format!("{REQUESTS}/{}", name(&made));
    for below in ["approval", "status"] {
        let read = h.get(&format!("{path}/{below}")).await;
        assert_eq!((&read["kind"], &read["metadata"]["uid"]), (&made["kind"], &made["metadata"]["uid"]));
    }
    let approval = format!("{path}/approval");
    let patch = json!({"metadata": {"annotations": {"patchedapproval": "true"}}, "status": {"conditions": [condition("Patch")]}});
    let (code, patched) = h.patch("merge-patch+json", &approval, patch.clone()).await;
    assert!(code == 200 && includes(&patched, &patch), "{patched}");
    let update = json!({"status": {"conditions": [condition("Patch"), condition("Approved")]}});
    let updated = h.must(200, "PUT", &approval, changed(&patched, &update)).await;
    assert!(includes(&updated, &update), "{updated}");

    let status = format!("{path}/status");
    let patch = row("CertificateSigningRequest")["status"]["patch"].clone();
    let (code, patched) = h.patch("merge-patch+json", &status, patch.clone()).await;
    assert!(code == 200 && includes(&patched, &patch) && includes(&patched, &update), "{patched}");
    let update =
        json!({"status": {"conditions": [condition("Patch"), condition("Approved"), condition("Update")]}});
    let updated = h.must(200, "PUT", &status, changed(&patched, &update)).await;
    assert!(includes(&updated, &update), "{updated}");
    assert_eq!(h.get(&path).await, updated);
}

#[tokio::test]
async fn events_are_selected_by_what_reported_them() {
    const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
    let h = Harness::start().await;
    for (name, controller) in [("ours", "test-controller"), ("other", "other-controller")] {
        let sent = json!({"metadata": {"name": name}, "regarding": {"namespace": "default"}, "note": "n", "reason": "r", "action": "Do",
            "type": "Normal", "eventTime": "2017-09-19T13:49:16.000000Z", "reportingController": controller, "reportingInstance": "i"});
        h.must(201, "POST", EVENTS, sent).await;
    }
    for target in [
        format!("{EVENTS}?fieldSelector=reportingController%3Dtest-controller"),
        "/api/v1/namespaces/default/events?fieldSelector=source%3Dtest-controller".to_owned(),
    ] {
        let list = h.get(&target).await;
        let found: Vec<&str> = items(&list).iter().map(name).collect();
        assert_eq!(found, ["ours"], "{target}");
    }
}

#[tokio::test]
async fn unknown_and_repeated_fields_are_refused_when_wanted() {
    let h = Harness::start().await;
    let template =
        r#"{"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}"#;
    let deployment = |metadata: &str, spec: &str| {
        format!(
            r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "d", {metadata} "labels": {{"app": "x"}}}},
                "spec": {{{spec} "selector": {{"matchLabels": {{"app": "x"}}}}, "template": {template}}}}}"#
        )
    };
    for (metadata, spec, message) in [
        (
            "",
            r#""unknownField": "foo", "replicas": 2, "replicas": 3,"#,
            r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#,
        ),
        (r#""unknownMeta": "foo","#, "", r#"strict decoding error: unknown field "metadata.unknownMeta""#),
    ] {
        let target = "/apis/apps/v1/namespaces/default/deployments";
        let body = deployment(metadata, spec);
        let strictly = format!("{target}?fieldValidation=Strict");
        let (code, refused) = h.raw("POST", &strictly, Ask::default(), body.into()).await;
        let said = refused["message"].as_str().unwrap_or_default();
        assert!(code == 400 && said.contains(message), "{refused}");
        h.must(404, "GET", &format!("{target}/d"), Value::Null).await;
    }
}
