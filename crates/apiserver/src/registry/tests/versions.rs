//! Autoscalers, which are served in two versions that differ.

use serde_json::{Value, json};

use super::harness::Harness;

const V1: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const V2: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn scaler(version: &str, spec: &Value) -> Value {
    let mut scaler = json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        scaler["spec"][field] = value.clone();
    }
    scaler
}

fn cpu(percent: i64) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

async fn apply(h: &Harness, path: &str, manager: &str, config: Value) -> (u16, Value) {
    h.patch("apply-patch+yaml", &format!("{path}/a?fieldManager={manager}"), config).await
}

/// Who owns which of the fields below `spec`, and in which version.
fn owners(object: &Value) -> Vec<(String, String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array();
    let of = |entry: &Value| {
        let fields = entry["fieldsV1"]["f:spec"].as_object();
        let fields = fields.into_iter().flatten().map(|(field, _)| field.clone()).collect();
        (text(&entry["manager"]), text(&entry["apiVersion"]), fields)
    };
    entries.into_iter().flatten().map(of).collect()
}

fn owner(manager: &str, version: &str, fields: &[&str]) -> (String, String, Vec<String>) {
    let fields = fields.iter().map(|field| format!("f:{field}")).collect();
    (manager.to_owned(), format!("autoscaling/{version}"), fields)
}

#[tokio::test]
async fn each_version_shows_what_the_other_wrote() {
    let h = Harness::start().await;
    let made = h.must(201, "POST", V1, scaler("v1", &json!({}))).await;
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 80);
    assert_eq!(made["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
    let other = h.get(&format!("{V2}/a")).await;
    assert_eq!(other["spec"]["metrics"], json!([cpu(80)]));
    assert_eq!(other["status"], json!({"currentMetrics": null, "desiredReplicas": 0}));
    let behavior = json!({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}});
    let (code, patched) = h.patch("merge-patch+json", &format!("{V2}/a"), behavior).await;
    assert_eq!(code, 200, "{patched}");
    assert_eq!(patched["metadata"]["generation"], Value::Null, "scalers count no generations");
    let mut old = h.get(&format!("{V1}/a")).await;
    assert!(old["metadata"]["annotations"][BEHAVIOR].is_string());
    old["spec"]["targetCPUUtilizationPercentage"] = 50.into();
    h.must(200, "PUT", &format!("{V1}/a"), old.clone()).await;
    let kept = h.get(&format!("{V2}/a")).await;
    assert_eq!(
        (&kept["spec"]["metrics"], &kept["spec"]["behavior"]),
        (&json!([cpu(50)]), &patched["spec"]["behavior"])
    );
    assert_eq!(kept["metadata"].get("annotations"), None);
    // A client of v1 that drops the annotation drops what it stands for.
    let (code, _) = h
        .patch("merge-patch+json", &format!("{V1}/a"), json!({"metadata": {"annotations": {BEHAVIOR: null}}}))
        .await;
    assert_eq!(code, 200);
    assert_eq!(h.get(&format!("{V2}/a")).await["spec"].get("behavior"), None);
}

#[tokio::test]
async fn a_status_written_in_one_version_is_read_in_the_other() {
    let h = Harness::start().await;
    h.must(201, "POST", V2, scaler("v2", &json!({}))).await;
    let condition =
        json!({"type": "AbleToScale", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z"});
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 9, "averageValue": "5m"}}});
    let status =
        json!({"status": {"desiredReplicas": 2, "conditions": [condition], "currentMetrics": [metric]}});
    let (code, written) = h.patch("merge-patch+json", &format!("{V2}/a/status"), status).await;
    assert_eq!(code, 200, "{written}");
    let mut old = h.get(&format!("{V1}/a")).await;
    assert_eq!(old["status"]["currentCPUUtilizationPercentage"], 9);
    old["status"]["currentReplicas"] = 4.into();
    h.must(200, "PUT", &format!("{V1}/a/status"), old).await;
    let new = h.get(&format!("{V2}/a")).await;
    assert_eq!(new["status"]["conditions"], json!([condition]));
    assert_eq!(
        (&new["status"]["currentMetrics"], &new["status"]["currentReplicas"]),
        (&json!([metric]), &json!(4))
    );
}

#[tokio::test]
async fn owners_keep_the_version_they_write_in() {
    let h = Harness::start().await;
    let mut wanted = scaler("v2", &json!({"metrics": [cpu(70)]}));
    let (code, made) = apply(&h, V2, "new", wanted.clone()).await;
    assert_eq!(code, 201, "{made}");
    // The same number in the other version is no conflict, another one is.
    let old = |percent: i64| {
        json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"targetCPUUtilizationPercentage": percent}})
    };
    let (code, shared) = apply(&h, V1, "old", old(70)).await;
    assert_eq!(code, 200, "{shared}");
    // Nothing changed: the new owner has no time, and comes first.
    let fields = ["maxReplicas", "metrics", "scaleTargetRef"];
    assert_eq!(
        owners(&shared),
        [owner("old", "v1", &["targetCPUUtilizationPercentage"]), owner("new", "v2", &fields)]
    );
    let (code, refused) = apply(&h, V1, "old", old(60)).await;
    assert_eq!(code, 409);
    assert_eq!(refused["message"], "Apply failed with 1 conflict: conflict with \"new\": .spec.metrics");
    let (code, forced) = apply(&h, V1, "old&force=true", old(60)).await;
    assert_eq!(code, 200, "{forced}");
    assert_eq!(
        owners(&forced),
        [
            owner("new", "v2", &["maxReplicas", "scaleTargetRef"]),
            owner("old", "v1", &["targetCPUUtilizationPercentage"])
        ]
    );
    wanted["spec"]["metrics"] = json!([cpu(60)]);
    let (code, both) = apply(&h, V2, "new", wanted).await;
    assert_eq!(code, 200, "{both}");
    // Whoever writes by other means in one version takes from those of the other.
    let body = json!({"spec": {"metrics": [cpu(40)]}});
    let (code, taken) = h.patch("merge-patch+json", &format!("{V2}/a?fieldManager=third"), body).await;
    assert_eq!(code, 200, "{taken}");
    assert_eq!(
        owners(&taken),
        [owner("new", "v2", &["maxReplicas", "scaleTargetRef"]), owner("third", "v2", &["metrics"])]
    );
}
