//! Field selectors: which fields each kind knows, and what they select.

use serde_json::{Value, json};

use super::harness::{Harness, pod};

/// Resource, fields it knows besides its name, and how it refuses `nothing`.
const KINDS: &[(&str, &[&str], &str)] = &[
    (
        "/api/v1/pods",
        &[
            "metadata.namespace",
            "spec.nodeName",
            "spec.host",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        "field label not supported: nothing",
    ),
    ("/api/v1/nodes", &["spec.unschedulable"], "field label not supported: nothing"),
    ("/api/v1/namespaces", &["status.phase"], "field label not supported: nothing"),
    ("/api/v1/secrets", &["metadata.namespace", "type"], "field label not supported: nothing"),
    (
        "/api/v1/services",
        &["metadata.namespace", "spec.clusterIP", "spec.type"],
        "field label not supported: nothing",
    ),
    (
        "/api/v1/replicationcontrollers",
        &["metadata.namespace", "status.replicas"],
        "field label not supported: nothing",
    ),
    (
        "/api/v1/events",
        &[
            "metadata.namespace",
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "field label not supported: nothing",
    ),
    (
        "/apis/events.k8s.io/v1/events",
        &[
            "metadata.namespace",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        "field label not supported: nothing",
    ),
    (
        "/apis/apps/v1/replicasets",
        &["metadata.namespace"],
        "\"nothing\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    ),
    (
        "/apis/batch/v1/jobs",
        &["metadata.namespace", "status.successful"],
        "field label \"nothing\" not supported for Job",
    ),
    (
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        &["spec.signerName"],
        "field label not supported: nothing",
    ),
    (
        "/api/v1/configmaps",
        &["metadata.namespace"],
        "\"nothing\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    ),
    (
        "/apis/apps/v1/deployments",
        &["metadata.namespace"],
        "\"nothing\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    ),
    (
        "/apis/storage.k8s.io/v1/storageclasses",
        &["metadata.namespace"],
        "\"nothing\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    ),
];

#[tokio::test]
async fn each_kind_knows_its_fields_and_no_others() {
    let h = Harness::start().await;
    let all: Vec<&str> = KINDS.iter().flat_map(|(_, fields, _)| fields.iter().copied()).collect();
    for (resource, fields, refusal) in KINDS {
        let ask = async |field: &str| {
            h.send("GET", &format!("{resource}?fieldSelector={field}%3Dno"), Value::Null).await
        };
        assert_eq!(ask("metadata.name").await.0, 200, "{resource}");
        let (code, refused) = ask("nothing").await;
        assert_eq!((code, refused["message"].as_str()), (400, Some(*refusal)), "{resource}");
        for field in &all {
            let (code, answer) = ask(field).await;
            let want = if fields.contains(field) { 200 } else { 400 };
            assert_eq!(code, want, "{resource} {field}: {answer}");
        }
    }
}

#[tokio::test]
async fn fields_select_what_has_them() {
    let h = Harness::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    for (name, node) in [("a", "n1"), ("b", "n2")] {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = node.into();
        pod["spec"]["restartPolicy"] = if name == "a" { "Never" } else { "Always" }.into();
        h.must(201, "POST", pods, pod).await;
    }
    let event = json!({
        "metadata": {"name": "e"}, "type": "Normal", "reason": "Started",
        "involvedObject": {"kind": "Pod", "name": "a", "namespace": "default", "uid": "u"},
        "source": {"component": "kubelet", "host": "n1"}, "reportingComponent": "k", "reportingInstance": "i",
    });
    h.must(201, "POST", "/api/v1/namespaces/default/events", event).await;
    let mut nameless = json!({
        "metadata": {"name": "f"}, "involvedObject": {"kind": "Pod", "name": "b", "namespace": "default"},
        "reportingComponent": "k", "reportingInstance": "i",
    });
    nameless["type"] = "Warning".into();
    h.must(201, "POST", "/api/v1/namespaces/default/events", nameless).await;
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    for (target, selector, want) in [
        (pods, "spec.nodeName=n1", vec!["a"]),
        (pods, "spec.host=n2", vec!["b"]),
        (pods, "spec.nodeName!=n1", vec!["b"]),
        (pods, "spec.nodeName=n1,spec.restartPolicy=Always", vec![]),
        (pods, "status.phase=Pending", vec!["a", "b"]),
        (pods, "spec.hostNetwork=false", vec!["a", "b"]),
        (pods, "status.podIPs=", vec!["a", "b"]),
        (pods, "metadata.name=b,spec.nodeName=n2", vec!["b"]),
        (pods, "metadata.name!=b", vec!["a"]),
        (pods, "metadata.name=b,metadata.name=a", vec![]),
        ("/api/v1/pods", "metadata.namespace=default,metadata.name=a", vec!["a"]),
        ("/api/v1/pods", "metadata.namespace=other", vec![]),
        ("/api/v1/namespaces", "metadata.name=default", vec!["default"]),
        ("/api/v1/namespaces", "metadata.name=default,status.phase=Terminating", vec![]),
        ("/api/v1/namespaces/default/events", "source=kubelet", vec!["e"]),
        ("/api/v1/namespaces/default/events", "source=k", vec!["f"]),
        ("/api/v1/namespaces/default/events", "involvedObject.uid=u,type=Normal", vec!["e"]),
        (events, "regarding.name=b", vec!["f"]),
        (events, "reportingController=k,type=Warning", vec!["f"]),
    ] {
        let query = selector.replace('=', "%3D").replace('!', "%21").replace(',', "%2C");
        let list = h.get(&format!("{target}?fieldSelector={query}")).await;
        let names: Vec<&str> = list["items"]
            .as_array()
            .expect("items")
            .iter()
            .filter_map(|i| i["metadata"]["name"].as_str())
            .collect();
        assert_eq!(names, want, "{target} {selector}");
    }
    let other = "/api/v1/watch/namespaces/default/pods/a?fieldSelector=metadata.name%3Db";
    let refused = h.answer("GET", other, super::harness::Ask::default(), bytes::Bytes::new()).await;
    let message = refused.err().map(|status| status.message);
    assert_eq!(message.as_deref(), Some("fieldSelector metadata.name doesn't match requested name"));
}
