//! Autoscalers: what is refused.

use serde_json::{Value, json};

use super::tables::{merge, refused, updates};

const AUTOSCALERS: (&str, &str) = ("autoscaling", "horizontalpodautoscalers");

fn scaler(spec: &Value) -> Value {
    let mut scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
    merge(&mut scaler["spec"], spec);
    scaler
}

#[test]
fn autoscalers_are_refused() {
    let metric = |metric: Value| scaler(&json!({ "metrics": [metric] }));
    let target = json!({"type": "Value", "value": "1"});
    let scaling = |rules: Value| scaler(&json!({"behavior": {"scaleUp": rules}}));
    refused(
        AUTOSCALERS,
        vec![
            (scaler(&json!({})), &[]),
            (
                scaler(&json!({"minReplicas": 0})),
                &[
                    "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
                ],
            ),
            (
                scaler(&json!({"minReplicas": -1})),
                &["spec.minReplicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                scaler(&json!({"minReplicas": 4})),
                &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
            ),
            (
                scaler(&json!({"scaleTargetRef": {"name": "a/b"}})),
                &["spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'"],
            ),
            (
                metric(json!({"type": "X"})),
                &[
                    "spec.metrics[0].type: Unsupported value: \"X\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
                ],
            ),
            (
                metric(json!({"type": "Pods"})),
                &[
                    "spec.metrics[0].pods: Required value: must populate information for the given metric source",
                ],
            ),
            (
                metric(json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": target}})),
                &[
                    "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
                ],
            ),
            (
                metric(
                    json!({"type": "External", "external": {"metric": {}, "target": {"type": "X", "value": "0"}}}),
                ),
                &[
                    "spec.metrics[0].external.metric.name: Required value: must specify a metric name",
                    "spec.metrics[0].external.target.type: Invalid value: \"X\": must be either Utilization, Value, or AverageValue",
                    "spec.metrics[0].external.target.value: Invalid value: \"0\": must be positive",
                ],
            ),
            (
                metric(
                    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}),
                ),
                &[
                    "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
                ],
            ),
            (
                metric(
                    json!({"type": "External", "external": {"metric": {"name": "m"}, "target": target}, "pods": {}}),
                ),
                &["spec.metrics[0].pods: Forbidden: must populate the given metric source only"],
            ),
            (
                scaling(json!({"stabilizationWindowSeconds": 3601})),
                &[
                    "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                ],
            ),
            (
                scaling(json!({"policies": [{"type": "X", "value": 0, "periodSeconds": 1801}]})),
                &[
                    "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"X\": supported values: \"Percent\", \"Pods\"",
                    "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                    "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
                ],
            ),
            (
                scaling(json!({"tolerance": "-1"})),
                &[
                    "spec.behavior.scaleUp.tolerance: Invalid value: \"-1\": must be greater than or equal to 0",
                ],
            ),
        ],
    );
    updates(
        AUTOSCALERS,
        "status",
        vec![(
            scaler(&json!({})),
            json!({"status": {"desiredReplicas": -1}}),
            &["status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0"],
        )],
    );
}
