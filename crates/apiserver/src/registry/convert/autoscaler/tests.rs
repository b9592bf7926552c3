use super::super::convert;
use super::*;

const KIND: &str = "HorizontalPodAutoscaler";

fn v1(object: Value) -> Value {
    convert(object, "autoscaling/v1", KIND)
}

fn v2(object: Value) -> Value {
    convert(object, "autoscaling/v2", KIND)
}

fn scaler(version: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("autoscaling/{version}"), "kind": KIND, "metadata": {"name": "a"}, "spec": spec})
}

fn cpu(percent: i64) -> Value {
    metrics::utilization(percent)
}

fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    meta::annotation(object, key).unwrap_or_default()
}

#[test]
fn metrics_are_written_as_upstream_writes_them() {
    let selector =
        json!({"matchExpressions": [{"key": "k", "operator": "Exists"}], "matchLabels": {"a": "b"}});
    let object = json!({"describedObject": {"apiVersion": "v1", "kind": "Service", "name": "s"},
        "metric": {"name": "hits<1", "selector": selector}, "target": {"type": "Value", "value": "5"}});
    let pods = json!({"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1k"}});
    let external = json!({"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "30"}});
    let memory = json!({"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}});
    let cpu_of =
        json!({"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 60}});
    for (metric, text) in [
        (
            json!({"type": "Object", "object": object}),
            r#"[{"type":"Object","object":{"target":{"kind":"Service","name":"s","apiVersion":"v1"},"metricName":"hits\u003c1","targetValue":"5","selector":{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"k","operator":"Exists"}]}}}]"#,
        ),
        (
            json!({"type": "Pods", "pods": pods}),
            r#"[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"1k"}}]"#,
        ),
        (
            json!({"type": "External", "external": external}),
            r#"[{"type":"External","external":{"metricName":"q","targetAverageValue":"30"}}]"#,
        ),
        (
            json!({"type": "Resource", "resource": memory}),
            r#"[{"type":"Resource","resource":{"name":"memory","targetAverageUtilization":50}}]"#,
        ),
        (
            json!({"type": "ContainerResource", "containerResource": cpu_of}),
            r#"[{"type":"ContainerResource","containerResource":{"name":"cpu","targetAverageUtilization":60,"container":"c"}}]"#,
        ),
    ] {
        let old = scaler("v2", json!({"maxReplicas": 3, "metrics": [metric]}));
        let new = v1(old.clone());
        assert_eq!(annotation(&new, METRICS), text);
        assert_eq!(v2(new), old, "{text}");
    }
}

/// Of several CPU targets one is left, and it comes last.
#[test]
fn the_target_of_cpu_has_a_field() {
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
    let old = scaler("v2", json!({"maxReplicas": 3, "metrics": [cpu(50), memory, cpu(60)]}));
    let new = v1(old);
    assert_eq!(new["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}));
    assert_eq!(v2(new)["spec"]["metrics"], json!([memory, cpu(50)]));
    let none = scaler("v1", json!({"maxReplicas": 3}));
    assert_eq!(v2(none)["spec"]["metrics"], json!([cpu(80)]));
}

#[test]
fn rules_are_written_with_the_names_of_go() {
    let up = json!({"selectPolicy": "Max", "stabilizationWindowSeconds": 0, "tolerance": "100m",
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]});
    let old = scaler("v2", json!({"maxReplicas": 3, "metrics": [cpu(80)], "behavior": {"scaleUp": up}}));
    let new = v1(old.clone());
    assert_eq!(
        annotation(&new, BEHAVIOR),
        r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":"100m"},"ScaleDown":null}"#
    );
    assert_eq!(v2(new), old);
}

#[test]
fn what_was_measured_survives() {
    let measured = |percent: i64| json!({"averageValue": "20m", "averageUtilization": percent});
    let metric =
        |percent| json!({"type": "Resource", "resource": {"name": "cpu", "current": measured(percent)}});
    let condition = json!({"type": "AbleToScale", "status": "True", "reason": "R", "message": "m",
        "lastTransitionTime": "2024-01-01T00:00:00Z", "observedGeneration": 2});
    let mut old = scaler("v2", json!({"maxReplicas": 3, "metrics": [cpu(80)]}));
    old["status"] =
        json!({"desiredReplicas": 2, "currentMetrics": [metric(10), metric(20)], "conditions": [condition]});
    let new = v1(old.clone());
    assert_eq!(
        new["status"],
        json!({"currentReplicas": 0, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 20})
    );
    assert_eq!(
        annotation(&new, CURRENT_METRICS),
        r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":10,"currentAverageValue":"20m"}},{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":20,"currentAverageValue":"20m"}}]"#
    );
    assert_eq!(
        annotation(&new, CONDITIONS),
        r#"[{"type":"AbleToScale","status":"True","lastTransitionTime":"2024-01-01T00:00:00Z","reason":"R","message":"m","observedGeneration":2}]"#
    );
    assert_eq!(v2(new), old);
}

/// An annotation that cannot be read is dropped like any other.
#[test]
fn unreadable_annotations_say_nothing() {
    for text in ["{", "{}", "[1]", r#"[{"type":1}]"#, r#"[{"type":"Pods","pods":{"targetAverageValue":{}}}]"#]
    {
        let mut old = scaler("v1", json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 7}));
        old["metadata"]["annotations"] =
            json!({METRICS: text, BEHAVIOR: text, CONDITIONS: text, "own": "kept"});
        let new = v2(old);
        assert_eq!(new["spec"], json!({"maxReplicas": 3, "metrics": [cpu(7)]}), "{text}");
        assert_eq!(new["metadata"]["annotations"], json!({"own": "kept"}));
    }
}

#[test]
fn stale_annotations_are_replaced() {
    let mut old = scaler("v2", json!({"maxReplicas": 3, "metrics": [cpu(80)]}));
    old["metadata"]["annotations"] = json!({METRICS: "[]", BEHAVIOR: "{}"});
    assert_eq!(meta::annotations(&v1(old)), None);
}
