//! Autoscalers: what is refused.

use serde_json::{Value, json};

use super::tables::{made, merge, refused, updates};
use crate::registry::convert::convert;
use crate::registry::kinds::strategy;

const AUTOSCALERS: (&str, &str) = ("autoscaling", "horizontalpodautoscalers");

fn scaler(spec: &Value) -> Value {
    let mut scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    merge(&mut scaler["spec"], spec);
    scaler
}

#[test]
fn bounds_and_targets_are_refused() {
    refused(
        AUTOSCALERS,
        vec![
            (scaler(&json!({})), &[]),
            (
                scaler(&json!({"minReplicas": 0})),
                &[
                    "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
                    "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                ],
            ),
            (
                scaler(&json!({"minReplicas": -1})),
                &["spec.minReplicas: Invalid value: -1: must be greater than or equal to 1"],
            ),
            (
                scaler(&json!({"minReplicas": 4})),
                &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
            ),
            (
                scaler(&json!({"maxReplicas": null})),
                &[
                    "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
                    "spec.maxReplicas: Required value",
                ],
            ),
            (
                scaler(&json!({"maxReplicas": -2, "minReplicas": -2})),
                &[
                    "spec.minReplicas: Invalid value: -2: must be greater than or equal to 1",
                    "spec.maxReplicas: Invalid value: -2: must be greater than or equal to 1",
                ],
            ),
            (
                scaler(&json!({"scaleTargetRef": {"apiVersion": "v1"}})),
                &["spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group"],
            ),
            (
                scaler(&json!({"scaleTargetRef": {"apiVersion": "a/b/c"}})),
                &[
                    "spec.scaleTargetRef.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                ],
            ),
            (scaler(&json!({"scaleTargetRef": {"apiVersion": null, "kind": "ReplicationController"}})), &[]),
            (
                scaler(&json!({"scaleTargetRef": {"name": "a/b"}})),
                &["spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'"],
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

#[test]
fn metrics_are_refused() {
    let metric = |metric: Value| scaler(&json!({ "metrics": [metric] }));
    let target = json!({"type": "Value", "value": "1"});
    refused(
        AUTOSCALERS,
        vec![
            (
                metric(json!({"type": "X"})),
                &[
                    "spec.metrics[0].type: Unsupported value: \"X\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
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
                    json!({"type": "Object", "object": {"metric": {"name": "m"}, "target": {"type": "Value"},
                    "describedObject": {"kind": "S", "name": "s", "apiVersion": "a/b/c"}}}),
                ),
                &[
                    "spec.metrics[0].object.describedObject.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                    "spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue",
                ],
            ),
            (
                metric(
                    json!({"type": "ContainerResource", "containerResource": {"name": "x", "container": "A",
                    "target": {"type": "AverageValue", "averageValue": "1"}}}),
                ),
                &[
                    "spec.metrics[0].containerResource.name: Invalid value: \"x\": must be a standard resource type or fully qualified",
                    "spec.metrics[0].containerResource.name: Invalid value: \"x\": must be a standard resource for containers",
                    "spec.metrics[0].containerResource.container: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
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
        ],
    );
}

#[test]
fn scaling_rules_are_refused() {
    let scaling = |rules: Value| scaler(&json!({"behavior": {"scaleUp": rules}}));
    refused(
        AUTOSCALERS,
        vec![
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
}

#[test]
fn what_was_wrong_before_may_stay() {
    let odd = json!({"kind": "S", "name": "s", "apiVersion": "a/b/c"});
    let metric = json!({"type": "Object", "object": {"metric": {"name": "m"}, "describedObject": odd,
        "target": {"type": "Value", "value": "1"}}});
    let old = scaler(&json!({"minReplicas": 0, "scaleTargetRef": {"apiVersion": "v1"}, "metrics": [metric]}));
    let grouped = "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group";
    updates(
        AUTOSCALERS,
        "",
        vec![
            (old.clone(), json!({"spec": {"maxReplicas": 5}}), &[]),
            (old.clone(), json!({"spec": {"scaleTargetRef": {"kind": "ReplicaSet"}}}), &[grouped]),
            (
                old,
                json!({"spec": {"minReplicas": -1}}),
                &["spec.minReplicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
        ],
    );
}

#[test]
fn annotations_of_v1_do_not_reach_v2() {
    let mut sent = scaler(&json!({}));
    sent["metadata"]["annotations"] = json!({"autoscaling.alpha.kubernetes.io/metrics": "[]", "own": "kept"});
    let kept = made(AUTOSCALERS, sent);
    assert_eq!(kept["metadata"]["annotations"], json!({"own": "kept"}));
    assert_eq!(kept["status"], json!({"currentMetrics": null, "desiredReplicas": 0}));
}

#[test]
fn rows_are_the_same_in_both_versions() {
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
    let mut v2 = scaler(&json!({"minReplicas": 1, "metrics": [memory, cpu]}));
    v2["apiVersion"] = "autoscaling/v2".into();
    let v1 = convert(v2.clone(), "autoscaling/v1", "HorizontalPodAutoscaler");
    let strategy = strategy(AUTOSCALERS.0, AUTOSCALERS.1);
    let row = strategy.table_row(&v2, 0).unwrap_or_default();
    assert_eq!(row[2], "memory: <unknown>/1Gi, cpu: <unknown>/80%");
    assert_eq!(strategy.table_row(&v1, 0), Some(row));
}
