//! What upstream was recorded to refuse, where the recordings are present; and the same for the cases kept here.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use super::harness::{Ask, Harness, config_map};

/// Recordings beside the repository.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/refusals.json");

/// Cases that belong to the HTTP front, to per-kind validation, or where 1.37 words it differently from the recorded 1.20.
fn is_generic(case: &Value) -> bool {
    let path = case["path"].as_str().unwrap_or_default();
    let message = case["answer"]["message"].as_str().unwrap_or_default();
    let body = case["send"].to_string();
    let ours =
        path.contains("/configmaps") || path.contains("/namespaces/kube-system") || path.contains("nothings");
    let front = matches!(case["code"].as_u64(), Some(401 | 406)) || !case["answer"].is_object();
    ours && !front && !body.contains("characters)")
        && !message.contains("data[")
        && !message.contains("UID in object meta")
        && !message.contains("UID in record")
        && !message.contains("current: ")
        // 1.37 looks for unknown fields first, and with another decoder.
        && !message.contains("jsonpatch.Patch")
        && !message.contains("unrecognized")
        // 1.37 names the whole rule for the prefix or the name that is wrong.
        && !message.contains("a qualified name must")
}

#[tokio::test]
async fn recorded_refusals() {
    if !Path::new(RECORDED).exists() {
        return;
    }
    let text = std::fs::read(RECORDED).expect("the recordings can be read");
    let cases: Value = serde_json::from_slice(&text).expect("the recordings are JSON");
    let cases: Vec<&Value> =
        cases["cases"].as_array().expect("cases").iter().filter(|case| is_generic(case)).collect();
    assert!(cases.len() > 15, "only {} cases", cases.len());
    let h = Harness::start().await;
    h.must(201, "POST", "/api/v1/namespaces/default/configmaps", config_map("golden", json!({}))).await;
    let mut wrong = Vec::new();
    for case in cases {
        let (code, answer) = ask(&h, case).await;
        if json!(code) != case["code"] || without_code(&answer) != without_code(&case["answer"]) {
            wrong.push(format!(
                "{} {}\n  want {}\n  have {answer}",
                case["method"], case["path"], case["answer"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn without_code(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(map) = answer.as_object_mut() {
        map.remove("code");
    }
    answer
}

async fn ask(h: &Harness, case: &Value) -> (u16, Value) {
    let body = match &case["send"] {
        Value::Null => Bytes::new(),
        Value::String(text) => text.clone().into(),
        value => value.to_string().into(),
    };
    let ask = Ask { content_type: case["contentType"].as_str(), ..Ask::default() };
    h.raw(case["method"].as_str().unwrap_or_default(), case["path"].as_str().unwrap_or_default(), ask, body)
        .await
}

/// Method, target, content type, body, code, message.
type Case = (&'static str, &'static str, &'static str, &'static str, u16, &'static str);

const CASES: &[Case] = &[
    ("GET", "/api/v1/namespaces/default/configmaps/absent", "", "", 404, "configmaps \"absent\" not found"),
    (
        "GET",
        "/apis/apps/v1/namespaces/default/deployments/absent",
        "",
        "",
        404,
        "deployments.apps \"absent\" not found",
    ),
    ("GET", "/apis/apps/v9/deployments", "", "", 404, "the server could not find the requested resource"),
    (
        "GET",
        "/api/v1/namespaces/default/configmaps/a/status",
        "",
        "",
        404,
        "the server could not find the requested resource",
    ),
    (
        "POST",
        "/api/v1/configmaps",
        "",
        "{}",
        405,
        "the server does not allow this method on the requested resource",
    ),
    (
        "POST",
        "/api/v1/namespaces/default/configmaps",
        "",
        r#"{"metadata":{"name":"a","resourceVersion":"3"}}"#,
        500,
        "resourceVersion should not be set on objects to be created",
    ),
    (
        "POST",
        "/api/v1/namespaces/default/configmaps",
        "",
        r#"{"kind":"Nothing","apiVersion":"v1","metadata":{"name":"a"}}"#,
        400,
        "Nothing in version \"v1\" cannot be handled as a ConfigMap: no kind \"Nothing\" is registered for version \"v1\" in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"",
    ),
    (
        "POST",
        "/apis/resource.k8s.io/v1/deviceclasses",
        "",
        r#"{"kind":"DeviceClass","apiVersion":"resource.k8s.io/v1beta1","metadata":{"name":"a"}}"#,
        400,
        "the API version in the data (resource.k8s.io/v1beta1) does not match the expected API version (resource.k8s.io/v1)",
    ),
    (
        "POST",
        "/api/v1/namespaces/default/configmaps",
        "application/cbor",
        "k8s",
        415,
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    ),
    (
        "POST",
        "/api/v1/namespaces/default/configmaps",
        "application/vnd.kubernetes.protobuf",
        "k8s",
        400,
        "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] (6b3873)",
    ),
    (
        "GET",
        "/api/v1/namespaces/default/configmaps?fieldSelector=data.x%3D1",
        "",
        "",
        400,
        "\"data.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    ),
    ("GET", "/api/v1/pods?fieldSelector=spec.x%3D1", "", "", 400, "field label not supported: spec.x"),
    (
        "DELETE",
        "/api/v1/namespaces/default/configmaps/a?propagationPolicy=Orphan&orphanDependents=true",
        "",
        "",
        422,
        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
    ),
    (
        "PATCH",
        "/api/v1/namespaces/default/configmaps/a",
        "application/apply-patch+yaml",
        "{}",
        422,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
    ),
];

#[tokio::test]
async fn refusals_kept_here() {
    let h = Harness::start().await;
    for (method, target, content_type, body, code, message) in CASES {
        let ask = Ask { content_type: (!content_type.is_empty()).then_some(*content_type), ..Ask::default() };
        let (have, answer) = h.raw(method, target, ask, Bytes::from_static(body.as_bytes())).await;
        assert_eq!((have, &answer["message"]), (*code, &json!(message)), "{method} {target}");
    }
}
