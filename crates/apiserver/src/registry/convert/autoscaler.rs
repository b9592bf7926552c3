//! Autoscalers between `autoscaling/v1`, which knows one CPU target, and `autoscaling/v2`: what else there is travels in
//! annotations of v1 (upstream: `pkg/apis/autoscaling/v1/conversion.go`). v2 never shows these annotations.

use machinery::decode;
use machinery::meta;
use machinery::schema::Schema;
use serde_json::{Map, Value, json};

use super::metrics;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Takes away the annotations in which v1 carries the fields of v2.
pub(in crate::registry) fn drop_annotations(object: &mut Value) {
    let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") else { return };
    let before = annotations.len();
    for key in [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR] {
        annotations.remove(key);
    }
    if annotations.is_empty() && before > 0 {
        meta::remove(object, "annotations");
    }
}

/// A CPU target has a field of its own, a measured CPU a field and, for the raw value, its place in the annotation.
pub(super) fn to_v1(object: &mut Value) {
    drop_annotations(object);
    let mut kept = Vec::new();
    if let Some(spec) = map(object, "spec") {
        let all = take_list(spec, "metrics");
        let percent = |metric: &'_ Value| metrics::cpu_percent(metric, "target").cloned();
        if let Some(target) = all.iter().find_map(percent) {
            spec.insert("targetCPUUtilizationPercentage".into(), target);
        }
        let others: Vec<Value> = all.into_iter().filter(|metric| percent(metric).is_none()).collect();
        kept.push((METRICS, some(&others).map(|list| metrics::print(list, &metrics::SPECS))));
        kept.push((BEHAVIOR, spec.remove("behavior").map(|rules| metrics::print_behavior(&rules))));
    }
    if let Some(status) = map(object, "status") {
        let all = take_list(status, "currentMetrics");
        if let Some(current) = all.iter().rev().find_map(|metric| metrics::cpu_percent(metric, "current")) {
            status.insert("currentCPUUtilizationPercentage".into(), current.clone());
        }
        kept.push((CURRENT_METRICS, some(&all).map(|list| metrics::print(list, &metrics::STATUSES))));
        let conditions = take_list(status, "conditions");
        kept.push((CONDITIONS, some(&conditions).map(metrics::print_conditions)));
        for required in ["currentReplicas", "desiredReplicas"] {
            status.entry(required).or_insert_with(|| json!(0));
        }
    }
    for (key, text) in kept {
        if let Some(text) = text {
            meta::set_annotation(object, key, &text);
        }
    }
}

/// The metrics of the annotation come first. An annotation that does not say what it should is as good as none.
pub(super) fn to_v2(object: &mut Value) {
    let read = |key: &str| serde_json::from_str::<Value>(meta::annotation(object, key)?).ok();
    let others = read(METRICS)
        .and_then(|text| metrics::read(&text, &metrics::SPECS))
        .and_then(|list| checked("/spec/metrics", list.into()));
    let behavior = read(BEHAVIOR)
        .and_then(|text| metrics::read_behavior(&text))
        .and_then(|rules| checked("/spec/behavior", rules));
    let current = read(CURRENT_METRICS)
        .and_then(|text| metrics::read(&text, &metrics::STATUSES))
        .and_then(|list| checked("/status/currentMetrics", list.into()));
    let conditions = read(CONDITIONS).and_then(|list| checked("/status/conditions", list));
    drop_annotations(object);
    if let Some(spec) = map(object, "spec") {
        let mut all = match others {
            Some(Value::Array(others)) => others,
            _ => Vec::new(),
        };
        all.extend(present(spec.remove("targetCPUUtilizationPercentage")).map(metrics::utilization));
        if all.is_empty() {
            all.push(metrics::default_metric());
        }
        spec.insert("metrics".into(), all.into());
        spec.extend(behavior.map(|behavior| ("behavior".to_owned(), behavior)));
    }
    if let Some(status) = map(object, "status") {
        let cpu = present(status.remove("currentCPUUtilizationPercentage")).map(metrics::current_utilization);
        let current = current.or_else(|| cpu.map(|cpu| json!([cpu])));
        status.insert("currentMetrics".into(), current.unwrap_or_default());
        status.extend(conditions.map(|conditions| ("conditions".to_owned(), conditions)));
        if status.get("currentReplicas") == Some(&json!(0)) {
            status.remove("currentReplicas");
        }
    }
}

/// A part of an autoscaler brought into the form of v2; `None` when it has other types.
fn checked(pointer: &str, value: Value) -> Option<Value> {
    let id = Schema::builtin().kind("autoscaling", "v2", "HorizontalPodAutoscaler")?;
    let (part, field) = pointer.strip_prefix('/')?.split_once('/')?;
    let mut object = json!({ part: { field: value } });
    decode::check(&mut object, id).ok()?;
    object.pointer_mut(pointer).map(Value::take)
}

fn map<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(field).and_then(Value::as_object_mut)
}

fn present(value: Option<Value>) -> Option<Value> {
    value.filter(|value| !value.is_null())
}

/// A list that has elements.
fn some(list: &[Value]) -> Option<&[Value]> {
    (!list.is_empty()).then_some(list)
}

fn take_list(map: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match map.remove(key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
