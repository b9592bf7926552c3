//! Evictions, with and without disruption budgets.

use serde_json::{Value, json};

use super::harness::{Harness, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

fn eviction(name: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}})
}

async fn evict(h: &Harness, code: u16, body: Value) -> Value {
    h.must(code, "POST", &format!("{PODS}/p/eviction"), body).await
}

/// A pod that runs on a node, ready or not.
async fn running(h: &Harness, name: &str, ready: bool) {
    let mut body = pod(name);
    body["metadata"]["labels"] = json!({"a": "b"});
    h.must(201, "POST", PODS, body).await;
    let binding = json!({"metadata": {"name": name}, "target": {"name": "n"}});
    h.must(201, "POST", &format!("{PODS}/{name}/binding"), binding).await;
    let ready = if ready { "True" } else { "False" };
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
    patch_status(h, &format!("{PODS}/{name}"), &status).await;
}

async fn patch_status(h: &Harness, path: &str, status: &Value) {
    let body = json!({ "status": status });
    let (code, answer) = h.patch("merge-patch+json", &format!("{path}/status"), body).await;
    assert_eq!(code, 200, "{answer}");
}

async fn budget(h: &Harness, name: &str, spec: Value) {
    let mut budget = json!({"metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        budget["spec"][field] = value.clone();
    }
    h.must(201, "POST", BUDGETS, budget).await;
}

fn healthy(allowed: i64, current: i64, desired: i64) -> Value {
    json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": current,
        "desiredHealthy": desired, "expectedPods": 1})
}

#[tokio::test]
async fn evictions_respect_budgets() {
    let h = Harness::start().await;
    running(&h, "p", true).await;
    budget(&h, "b", json!({})).await;
    let early = evict(&h, 429, eviction("p")).await;
    assert_eq!(
        early["details"],
        json!({"retryAfterSeconds": 10, "causes": [{"reason": "DisruptionBudget",
            "message": "The disruption budget b is still being processed by the server."}]})
    );
    patch_status(&h, &format!("{BUDGETS}/b"), &healthy(0, 1, 1)).await;
    let refused = evict(&h, 429, eviction("p")).await;
    assert_eq!(refused["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        refused["details"],
        json!({"causes": [{"reason": "DisruptionBudget",
            "message": "The disruption budget b needs 1 healthy pods and has 1 currently"}]})
    );
    patch_status(&h, &format!("{BUDGETS}/b"), &healthy(1, 1, 1)).await;
    h.must(201, "POST", &format!("{PODS}/p/eviction?dryRun=All"), eviction("p")).await;
    assert_eq!(h.get(&format!("{BUDGETS}/b")).await["status"]["disruptionsAllowed"], 1);
    let done = evict(&h, 201, eviction("p")).await;
    assert_eq!((&done["status"], &done["code"]), (&json!("Success"), &json!(201)));
    let ending = h.get(&format!("{PODS}/p")).await;
    assert!(ending["metadata"]["deletionTimestamp"].is_string());
    let why = &ending["status"]["conditions"][1];
    assert_eq!((&why["type"], &why["status"]), (&json!("DisruptionTarget"), &json!("True")));
    assert_eq!(
        (&why["reason"], &why["message"]),
        (&json!("EvictionByEvictionAPI"), &json!("Eviction API: evicting"))
    );
    assert_eq!(why.get("observedGeneration"), None);
    let budget = h.get(&format!("{BUDGETS}/b")).await;
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert_eq!(budget["status"]["conditions"][0]["reason"], "InsufficientPods");
    assert!(budget["status"]["disruptedPods"]["p"].is_string());
    // One that is ending already costs nothing.
    evict(&h, 201, eviction("p")).await;
}

#[tokio::test]
async fn unready_pods_do_not_count() {
    let h = Harness::start().await;
    for (policy, status, code) in [
        (Value::Null, healthy(0, 1, 1), 201),
        (Value::Null, healthy(0, 0, 1), 429),
        (json!("AlwaysAllow"), healthy(0, 0, 1), 201),
    ] {
        running(&h, "p", false).await;
        budget(&h, "b", json!({ "unhealthyPodEvictionPolicy": policy })).await;
        patch_status(&h, &format!("{BUDGETS}/b"), &status).await;
        evict(&h, code, eviction("p")).await;
        let after = h.get(&format!("{BUDGETS}/b")).await;
        assert_eq!(after["status"].get("disruptedPods"), None, "{policy}");
        h.must(200, "DELETE", &format!("{PODS}/p?gracePeriodSeconds=0"), Value::Null).await;
        h.must(200, "DELETE", &format!("{BUDGETS}/b"), Value::Null).await;
    }
}

#[tokio::test]
async fn two_budgets_are_one_too_many() {
    let h = Harness::start().await;
    running(&h, "p", true).await;
    budget(&h, "a", json!({})).await;
    budget(&h, "b", json!({"selector": {}})).await;
    let refused = evict(&h, 500, eviction("p")).await;
    assert_eq!(
        refused,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 500,
            "message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."})
    );
}

/// Pods that have not begun, or are over, may go whatever a budget says.
#[tokio::test]
async fn pods_that_do_not_run_cost_nothing() {
    let h = Harness::start().await;
    budget(&h, "b", json!({})).await;
    for phase in ["Pending", "Succeeded", "Failed"] {
        running(&h, "p", false).await;
        patch_status(&h, &format!("{PODS}/p"), &json!({ "phase": phase })).await;
        let mut body = eviction("p");
        body["deleteOptions"] = json!({"gracePeriodSeconds": 0});
        evict(&h, 201, body).await;
        h.must(404, "GET", &format!("{PODS}/p"), Value::Null).await;
    }
}

#[tokio::test]
async fn evictions_heed_their_options() {
    let h = Harness::start().await;
    running(&h, "p", true).await;
    let with = |options: Value| {
        let mut body = eviction("p");
        body["deleteOptions"] = options;
        body
    };
    let refused = evict(&h, 409, with(json!({"preconditions": {"uid": "other"}}))).await;
    assert!(
        refused["message"].as_str().is_some_and(|message| message.starts_with(
            "Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (other) does not match"
        )),
        "{refused}"
    );
    let refused = evict(&h, 422, with(json!({"propagationPolicy": "x"}))).await;
    assert_eq!(refused["details"]["kind"], "DeleteOptions");
    let kept = h.get(&format!("{PODS}/p")).await;
    assert_eq!(kept["status"]["conditions"].as_array().map(Vec::len), Some(1), "nothing was begun");
    evict(&h, 201, with(json!({"dryRun": ["All"]}))).await;
    assert_eq!(h.get(&format!("{PODS}/p")).await, kept);
    let version = &kept["metadata"]["resourceVersion"];
    let options = json!({"gracePeriodSeconds": 7, "preconditions": {"resourceVersion": version}});
    evict(&h, 201, with(options)).await;
    assert_eq!(h.get(&format!("{PODS}/p")).await["metadata"]["deletionGracePeriodSeconds"], 7);
}

#[tokio::test]
async fn bodies_of_two_versions_are_understood() {
    let h = Harness::start().await;
    running(&h, "p", true).await;
    for (body, code, why) in [
        (json!({}), 400, "name in URL does not match name in Eviction object"),
        (eviction("q"), 400, "name in URL does not match name in Eviction object"),
        (
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "other"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        assert_eq!(evict(&h, code, body).await["message"], why);
    }
    let mut old = eviction("p");
    old["apiVersion"] = "policy/v1beta1".into();
    evict(&h, 201, old).await;
}

#[tokio::test]
async fn nothing_is_evicted_from_an_ending_namespace() {
    let h = Harness::start().await;
    h.must(201, "POST", "/api/v1/namespaces", json!({"metadata": {"name": "ns"}})).await;
    let account = json!({"metadata": {"name": "default"}});
    h.must(201, "POST", "/api/v1/namespaces/ns/serviceaccounts", account).await;
    h.must(201, "POST", "/api/v1/namespaces/ns/pods", pod("p")).await;
    h.must(200, "DELETE", "/api/v1/namespaces/ns", Value::Null).await;
    let refused = h.must(403, "POST", "/api/v1/namespaces/ns/pods/p/eviction", eviction("p")).await;
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
}

#[tokio::test]
async fn node_agents_evict_their_own_pods() {
    let h = Harness::start().await;
    running(&h, "p", true).await;
    let agent = |name: &str| {
        let user = auth::UserInfo::new(format!("system:node:{name}"), &["system:nodes"]);
        h.as_user(user.authenticated())
    };
    let refused = evict(&agent("m"), 403, eviction("p")).await;
    assert_eq!(
        refused["message"],
        "pods \"p\" is forbidden: node m can only evict pods with spec.nodeName set to itself"
    );
    evict(&agent("n"), 201, eviction("p")).await;
}
