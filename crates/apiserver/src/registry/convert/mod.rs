//! Conversion between the versions of one resource. Nearly all are the same but for `apiVersion`; the others are here.

pub(super) mod autoscaler;
mod definition;
mod metrics;

use machinery::meta;
use serde_json::{Map, Value};

/// The object in another version (`api_version`, `kind`).
pub fn convert(mut object: Value, api_version: &str, kind: &str) -> Value {
    match (meta::api_version(&object), api_version) {
        ("v1", "events.k8s.io/v1") => {
            rename(&mut object, EVENT_FIELDS, false);
            drop_empty(&mut object, &["reportingController", "reportingInstance"]);
        }
        ("events.k8s.io/v1", "v1") => rename(&mut object, EVENT_FIELDS, true),
        ("resource.k8s.io/v1beta1", _) => devices_from_beta(&mut object, kind),
        (_, "resource.k8s.io/v1beta1") => devices_to_beta(&mut object, kind),
        ("autoscaling/v2", "autoscaling/v1") => autoscaler::to_v1(&mut object),
        ("autoscaling/v1", "autoscaling/v2") => autoscaler::to_v2(&mut object),
        ("apiextensions.k8s.io/v1beta1", "apiextensions.k8s.io/v1") => definition::to_v1(&mut object),
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

/// The newer version leaves these out when nothing is in them.
fn drop_empty(object: &mut Value, fields: &[&str]) {
    if let Some(map) = object.as_object_mut() {
        map.retain(|key, value| value != "" || !fields.contains(&key.as_str()));
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
        if exact.values().any(is_said) {
            request.insert("exactly".into(), exact.into());
        }
    }
    for device in devices(object, kind) {
        if let Some(Value::Object(basic)) = device.remove("basic") {
            device.extend(basic);
        }
    }
}

/// Whether a field says more than its absence.
fn is_said(value: &Value) -> bool {
    !value.is_null() && *value != 0 && value != ""
}

fn devices_to_beta(object: &mut Value, kind: &str) {
    for request in requests(object, kind) {
        if let Some(Value::Object(exact)) = request.remove("exactly") {
            request.extend(exact);
        }
        request.entry("deviceClassName").or_insert_with(|| "".into());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn alternatives_are_no_request_of_their_own() {
        let request = json!({"name": "a", "deviceClassName": "", "firstAvailable": [{"name": "x"}]});
        let beta =
            json!({"apiVersion": "resource.k8s.io/v1beta1", "spec": {"devices": {"requests": [request]}}});
        let claim = convert(beta, "resource.k8s.io/v1", "ResourceClaim");
        assert_eq!(
            claim.pointer("/spec/devices/requests"),
            Some(&json!([{"name": "a", "firstAvailable": [{"name": "x"}]}]))
        );
    }
}
