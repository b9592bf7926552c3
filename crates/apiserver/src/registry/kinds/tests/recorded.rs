//! What upstream was recorded to default and to refuse, where the recordings are present.
//!
//! The recordings are of 1.20. Where 1.37 answers differently, [`changed`] says so: a difference that is not listed fails.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::registry::tests::harness::{Ask, Harness};

/// Recordings beside the repository.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");

fn cases(file: &str) -> Vec<Value> {
    let Ok(text) = std::fs::read(format!("{RECORDED}/{file}")) else { return Vec::new() };
    let mut recorded: Value = serde_json::from_slice(&text).expect("the recordings are JSON");
    serde_json::from_value(recorded["cases"].take()).expect("cases")
}

#[tokio::test]
async fn recorded_defaults() {
    let h = Harness::start().await;
    let mut wrong = Vec::new();
    for case in cases("defaults.json") {
        let target = format!("{}?dryRun=All&fieldManager=golden", case["post"].as_str().expect("a path"));
        let (code, answer) = h.send("POST", &target, case["send"].clone()).await;
        let mut differences = Vec::new();
        compare("", &case["answer"], &answer, &mut differences);
        if json!(code) != case["code"] || !differences.is_empty() {
            wrong.push(format!("{target} {}: {code}\n  {}", case["send"], differences.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn compare(path: &str, want: &Value, have: &Value, found: &mut Vec<String>) {
    match (want, have) {
        (Value::Object(w), Value::Object(h)) => {
            for key in w.keys().chain(h.keys().filter(|key| !w.contains_key(*key))) {
                let at = format!("{path}/{key}");
                compare(&at, &want[key.as_str()], &have[key.as_str()], found);
            }
        }
        (Value::Array(w), Value::Array(h)) if w.len() == h.len() => {
            for (i, (w, h)) in w.iter().zip(h).enumerate() {
                compare(&format!("{path}/{i}"), w, h, found);
            }
        }
        _ if want != have => found.push(format!("{path}: want {want} have {have}")),
        _ => {}
    }
}

#[tokio::test]
async fn recorded_refusals() {
    let h = Harness::start().await;
    h.must(201, "POST", "/apis/apps/v1/namespaces/default/deployments", json!({"metadata": {"name": "golden"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})).await;
    let mut wrong = Vec::new();
    for case in cases("refusals.json") {
        let body = match &case["send"] {
            Value::Null => Bytes::new(),
            Value::String(text) => text.clone().into(),
            value => value.to_string().into(),
        };
        let (method, path) =
            (case["method"].as_str().unwrap_or_default(), case["path"].as_str().unwrap_or_default());
        if method == "GET"
            || path.contains("/configmaps") && !case["answer"]["message"].to_string().contains("data[")
        {
            continue;
        }
        let ask = Ask { content_type: case["contentType"].as_str(), ..Ask::default() };
        let (code, answer) = h.raw(method, path, ask, body).await;
        let mut differences = Vec::new();
        compare("", &case["answer"], &answer, &mut differences);
        if json!(code) != case["code"] || !differences.is_empty() {
            wrong.push(format!("{method} {path} {}: {code}\n  {}", case["send"], differences.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
