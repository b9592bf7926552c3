//! Conversion between the versions of one resource. Nearly all are the same but for `apiVersion`; the others are here.

use machinery::meta;
use serde_json::{Map, Value, json};

/// The object in another version (`api_version`, `kind`).
pub fn convert(mut object: Value, api_version: &str, kind: &str) -> Value {
    match (meta::api_version(&object), api_version) {
        ("v1", "events.k8s.io/v1") => rename(&mut object, EVENT_FIELDS, false),
        ("events.k8s.io/v1", "v1") => rename(&mut object, EVENT_FIELDS, true),
        ("resource.k8s.io/v1beta1", _) => devices_from_beta(&mut object, kind),
        (_, "resource.k8s.io/v1beta1") => devices_to_beta(&mut object, kind),
        ("autoscaling/v2", "autoscaling/v1") => hpa_to_v1(&mut object),
        ("autoscaling/v1", "autoscaling/v2") => hpa_to_v2(&mut object),
        _ => {}
    }
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), api_version.into());
        map.insert("kind".into(), kind.into());
    }
    object
}

/// Names of an Event's fields in the core group and in `events.k8s.io`.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(object: &mut Value, names: &[(&str, &str)], back: bool) {
    let Some(map) = object.as_object_mut() else { return };
    for (left, right) in names {
        let (from, to) = if back { (right, left) } else { (left, right) };
        if let Some(value) = map.remove(*from) {
            map.insert((*to).to_owned(), value);
        }
    }
}

/// What one request for devices has; v1beta1 has it beside the name.
const EXACT: [&str; 7] =
    ["deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity"];

/// v1beta1 has a device's properties in `basic` (upstream: `pkg/apis/resource/v1beta1/conversion.go`).
fn devices_from_beta(object: &mut Value, kind: &str) {
    for request in requests(object, kind) {
        let exact: Map<String, Value> =
            EXACT.iter().filter_map(|field| Some(((*field).to_owned(), request.remove(*field)?))).collect();
        if !exact.is_empty() {
            request.insert("exactly".into(), exact.into());
        }
    }
    for device in devices(object, kind) {
        if let Some(Value::Object(basic)) = device.remove("basic") {
            device.extend(basic);
        }
    }
}

fn devices_to_beta(object: &mut Value, kind: &str) {
    for request in requests(object, kind) {
        if let Some(Value::Object(exact)) = request.remove("exactly") {
            request.extend(exact);
        }
    }
    for device in devices(object, kind) {
        let name = device.remove("name");
        let basic = std::mem::take(device);
        device.extend(name.map(|name| ("name".to_owned(), name)));
        device.insert("basic".into(), basic.into());
    }
}

fn requests<'a>(object: &'a mut Value, kind: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let pointer = match kind {
        "ResourceClaim" => "/spec/devices/requests",
        "ResourceClaimTemplate" => "/spec/spec/devices/requests",
        _ => "/-",
    };
    items(object, pointer)
}

fn devices<'a>(object: &'a mut Value, kind: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    items(object, if kind == "ResourceSlice" { "/spec/devices" } else { "/-" })
}

fn items<'a>(object: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = object.pointer_mut(pointer).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// v1 knows one CPU target; what else there is travels in annotations (upstream: `pkg/apis/autoscaling/v1/conversion.go`).
fn hpa_to_v1(object: &mut Value) {
    let mut kept = Vec::new();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = take_list(spec, "metrics");
        let (cpu, others): (Vec<_>, Vec<_>) = metrics.into_iter().partition(is_cpu_utilization);
        if let Some(target) = cpu.first().and_then(|m| m.pointer("/resource/target/averageUtilization")) {
            spec.insert("targetCPUUtilizationPercentage".into(), target.clone());
        }
        let others: Vec<_> = cpu.into_iter().skip(1).chain(others).collect();
        kept.extend((!others.is_empty()).then(|| (METRICS, Value::from(others))));
        kept.extend(spec.remove("behavior").map(|behavior| (BEHAVIOR, behavior)));
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        let (cpu, others): (Vec<_>, Vec<_>) =
            take_list(status, "currentMetrics").into_iter().partition(is_current_cpu_utilization);
        if let Some(current) = cpu.first().and_then(|m| m.pointer("/resource/current/averageUtilization")) {
            status.insert("currentCPUUtilizationPercentage".into(), current.clone());
        }
        kept.extend((!others.is_empty()).then(|| (CURRENT_METRICS, Value::from(others))));
        kept.extend(status.remove("conditions").map(|conditions| (CONDITIONS, conditions)));
        for required in ["currentReplicas", "desiredReplicas"] {
            status.entry(required).or_insert_with(|| json!(0));
        }
    }
    for (key, value) in kept {
        meta::set_annotation(object, key, &value.to_string());
    }
}

fn hpa_to_v2(object: &mut Value) {
    let mut take = |key: &str| -> Option<Value> {
        let annotations = object.pointer_mut("/metadata/annotations")?.as_object_mut()?;
        serde_json::from_str(annotations.remove(key)?.as_str()?).ok()
    };
    let (metrics, behavior) = (take(METRICS), take(BEHAVIOR));
    let (current, conditions) = (take(CURRENT_METRICS), take(CONDITIONS));
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let target = spec.remove("targetCPUUtilizationPercentage");
        let cpu = target.filter(|t| !t.is_null()).map(
            |t| json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": t}}}),
        );
        put_list(spec, "metrics", cpu, metrics);
        insert(spec, "behavior", behavior);
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        let current_cpu = status.remove("currentCPUUtilizationPercentage").map(
            |c| json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": c}}}),
        );
        put_list(status, "currentMetrics", current_cpu, current);
        insert(status, "conditions", conditions);
    }
    if object.pointer("/metadata/annotations").and_then(Value::as_object).is_some_and(Map::is_empty) {
        meta::remove(object, "annotations");
    }
}

fn is_cpu_utilization(metric: &Value) -> bool {
    metric.pointer("/resource/name").and_then(Value::as_str) == Some("cpu")
        && metric.pointer("/resource/target/averageUtilization").is_some()
}

fn is_current_cpu_utilization(metric: &Value) -> bool {
    metric.pointer("/resource/name").and_then(Value::as_str) == Some("cpu")
        && metric.pointer("/resource/current/averageUtilization").is_some()
}

fn take_list(map: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match map.remove(key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn put_list(map: &mut Map<String, Value>, key: &str, first: Option<Value>, rest: Option<Value>) {
    let mut list: Vec<Value> = first.into_iter().collect();
    if let Some(Value::Array(rest)) = rest {
        list.extend(rest);
    }
    insert(map, key, (!list.is_empty()).then(|| Value::from(list)));
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_change_names() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "p"}, "message": "m", "count": 2});
        let new = convert(core.clone(), "events.k8s.io/v1", "Event");
        assert_eq!(
            new,
            json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {"name": "p"}, "note": "m", "deprecatedCount": 2})
        );
        assert_eq!(convert(new, "v1", "Event"), core);
    }

    #[test]
    fn devices_survive_the_round_trip() {
        let v1 =
            |kind: &str, spec: Value| json!({"apiVersion": "resource.k8s.io/v1", "kind": kind, "spec": spec});
        let exact = json!({"name": "a", "exactly": {"deviceClassName": "c", "count": 2}});
        let claim =
            json!({"devices": {"requests": [exact, {"name": "b", "firstAvailable": [{"name": "x"}]}]}});
        let slice = json!({"devices": [{"name": "d", "attributes": {"a": {"int": 1}}}]});
        for (object, pointer, wanted) in [
            (v1("ResourceClaim", claim.clone()), "/spec/devices/requests/0/count", json!(2)),
            (
                v1("ResourceClaimTemplate", json!({"spec": claim})),
                "/spec/spec/devices/requests/0/count",
                json!(2),
            ),
            (v1("ResourceSlice", slice), "/spec/devices/0/basic/attributes/a/int", json!(1)),
        ] {
            let kind = object["kind"].as_str().unwrap_or_default();
            let beta = convert(object.clone(), "resource.k8s.io/v1beta1", kind);
            assert_eq!(beta.pointer(pointer), Some(&wanted), "{beta}");
            assert_eq!(convert(beta, "resource.k8s.io/v1", kind), object);
        }
    }

    #[test]
    fn autoscalers_survive_the_round_trip() {
        let v2 = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "behavior": {"scaleUp": {}}, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}},
            ]},
        });
        let v1 = convert(v2.clone(), "autoscaling/v1", "HorizontalPodAutoscaler");
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(convert(v1, "autoscaling/v2", "HorizontalPodAutoscaler"), v2);
    }
}
