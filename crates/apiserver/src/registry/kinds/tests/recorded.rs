//! What upstream was recorded to default and to refuse, where the recordings are present.
//!
//! The recordings are of 1.20. Where 1.37 answers differently a table says so; a difference that is not in it fails.

use bytes::Bytes;
use serde_json::{Value, json};

use super::compare;
use crate::registry::tests::harness::{Ask, Harness};

/// Recordings beside the repository.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");

fn cases(file: &str) -> Vec<Value> {
    let Ok(text) = std::fs::read(format!("{RECORDED}/{file}")) else { return Vec::new() };
    let mut recorded: Value = serde_json::from_slice(&text).expect("the recordings are JSON");
    serde_json::from_value(recorded["cases"].take()).expect("cases")
}

/// Resource, a part of the pointer, why.
type Change = (&'static str, &'static str, &'static str);

/// Fields of new objects that 1.37 defaults otherwise than 1.20, or that cannot be the same.
const CHANGED_DEFAULTS: &[Change] = &[
    ("", "/metadata/uid", "the recording leaves it out"),
    ("", "/metadata/creationTimestamp", "the recording leaves it out"),
    ("", "/metadata/managedFields", "compared where field managers are"),
    ("/pods", "/metadata/generation", "pods count generations since 1.33"),
    ("/pods", "/name", "the volume with the token is called kube-api-access-<random> since 1.21"),
    ("/pods", "/secret", "the token is projected since 1.21, there is no Secret for it"),
    ("/pods", "/projected", "the token is projected since 1.21, there is no Secret for it"),
    ("/services", "/spec/clusterIP", "dry runs show an address since 1.24"),
    ("/services", "/spec/ipFamil", "Services have address families since 1.23"),
    ("/services", "/spec/internalTrafficPolicy", "new in 1.21"),
    ("/services", "/spec/allocateLoadBalancerNodePorts", "new in 1.20, on by default since 1.22"),
    ("/services", "/nodePort", "chosen at random"),
    ("/persistentvolumes", "/metadata/finalizers", "protection of volumes in use is not served"),
    ("/persistentvolumeclaims", "/metadata/finalizers", "protection of volumes in use is not served"),
    ("/statefulsets", "/spec/persistentVolumeClaimRetentionPolicy", "new in 1.23"),
    ("/statefulsets", "/status/availableReplicas", "new in 1.22"),
    ("/daemonsets", "/spec/updateStrategy/rollingUpdate/maxSurge", "new in 1.21"),
    ("/jobs", "/metadata/generation", "Jobs count generations since 1.21"),
    ("/jobs", "controller-uid", "the object's own, with a prefix since 1.27"),
    ("/jobs", "job-name", "with a prefix since 1.27"),
    ("/jobs", "/spec/completionMode", "new in 1.21"),
    ("/jobs", "/spec/manualSelector", "defaulted since 1.33"),
    ("/jobs", "/spec/podReplacementPolicy", "new in 1.28"),
    ("/jobs", "/spec/suspend", "new in 1.21"),
    ("/flowcontrol.apiserver.k8s.io/v1beta1", "", "v1beta1 is not served any more"),
];

#[tokio::test]
async fn recorded_defaults() {
    let h = Harness::start().await;
    let mut wrong = Vec::new();
    for case in cases("defaults.json") {
        let path = case["post"].as_str().expect("a path");
        let target = format!("{path}?dryRun=All&fieldManager=golden");
        let (_, answer) = h.send("POST", &target, case["send"].clone()).await;
        let mut found = Vec::new();
        compare("", &case["answer"], &answer, &mut found);
        found.retain(|(pointer, ..)| {
            !CHANGED_DEFAULTS.iter().any(|(of, part, _)| path.contains(of) && pointer.contains(part))
        });
        if !found.is_empty() {
            wrong.push(format!("{target} {}: {found:?}", case["send"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// A recorded refusal that 1.37 words otherwise: what was recorded, what it is now, why.
const CHANGED_WORDS: &[(&str, &str, &str)] = &[
    (
        "v1.Pod.Spec: v1.PodSpec.Containers: []v1.Container: v1.Container.Resources: v1.ResourceRequirements.Limits: \
         unmarshalerDecoder: quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$', error found in #10 byte of ...|pu\": \"abc\"}}}]}}|..., \
         bigger context ...|image\": \"i\", \"resources\": {\"limits\": {\"cpu\": \"abc\"}}}]}}|...",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        "the JSON decoder of 1.23 and later does not say where",
    ),
    (
        "core.Toleration{Key:\"\", Operator:\"Exists\", Value:\"x\", Effect:\"\", TolerationSeconds:(*int64)(nil)}",
        "{\"operator\":\"Exists\",\"value\":\"x\"}",
        "values are printed as JSON",
    ),
    ("to cpu limit", "to cpu limit of 1", "the limit is named since 1.27"),
    ("map[string]string{\"a\":\"b\"}", "{\"a\":\"b\"}", "values are printed as JSON"),
    ("[]networking.IngressRule(nil)", "null", "values are printed as JSON"),
    ("Ingress.extensions", "Ingress.networking.k8s.io", "the group is served alone since 1.22"),
    (
        "[]string{\"10.96.77.77\"}: failed to allocated ip:10.96.77.77 with error:provided IP is already allocated",
        "[\"10.96.77.77\"]: failed to allocate IP 10.96.77.77: the provided network does not match the current range: \
         the provided IP (10.96.77.77) is not in the valid range. The range of valid IPs is 10.43.0.0/16",
        "worded otherwise since 1.27, and this address is outside the range of the test",
    ),
];

#[tokio::test]
async fn recorded_refusals() {
    let h = Harness::start().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let mut deployment = super::workload_with(&json!({}));
    deployment["metadata"]["name"] = json!("golden");
    h.must(201, "POST", deployments, deployment).await;
    let mut wrong = Vec::new();
    for case in cases("refusals.json").iter().filter(|case| is_of_a_kind(case)) {
        let (method, path) = (text(case, "method"), text(case, "path"));
        let ask = Ask { content_type: case["contentType"].as_str(), ..Ask::default() };
        let (code, answer) = h.raw(method, path, ask, Bytes::from(case["send"].to_string())).await;
        let message = CHANGED_WORDS
            .iter()
            .fold(text(&case["answer"], "message").to_owned(), |text, (was, is, _)| text.replace(was, is));
        let fields = |answer: &Value| -> Vec<Value> {
            let causes = answer["details"]["causes"].as_array().cloned().unwrap_or_default();
            causes.iter().map(|cause| json!([cause["field"], cause["reason"]])).collect()
        };
        let same = json!(code) == case["code"]
            && answer["message"] == json!(message)
            && answer["reason"] == case["answer"]["reason"]
            && fields(&answer) == fields(&case["answer"]);
        if !same {
            wrong.push(format!("{method} {path} {}\n  want {message}\n  have {answer}", case["send"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Whether it is the kind that refuses, and not the engine or the HTTP front, which have tests of their own.
fn is_of_a_kind(case: &Value) -> bool {
    let config_map = text(case, "path").contains("/configmaps");
    let message = text(&case["answer"], "message");
    matches!(text(case, "method"), "POST" | "PUT")
        && case["send"].is_object()
        && (!config_map || message.contains("data["))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
