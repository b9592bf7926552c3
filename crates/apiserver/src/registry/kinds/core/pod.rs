//! Pods: their end is graceful, their node is a selectable field.

use machinery::field::{Errors, Path};
use serde_json::{Value, json};

use super::super::pod_spec;
use super::super::value::{fill, list, put, text};
use super::{pod_columns, pod_rules};
use crate::registry::strategy::Strategy;

/// The strategy of Pods.
pub struct Pod;

impl Strategy for Pod {
    fn has_generation(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            pod_spec::apply_defaults(spec);
            pod_spec::apply_pod_defaults(spec);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let mut status = json!({ "phase": "Pending", "qosClass": pod_spec::qos_class(&object["spec"]) });
        if !list(&object["spec"], "schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
        put(object, "status", status);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        put(object, "status", old.get("status").cloned().unwrap_or_default());
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        let Some(status) = object.get_mut("status") else { return };
        if let Some(class) = old.pointer("/status/qosClass") {
            fill(status, "qosClass", class.clone());
        }
        let ip = text(status, "podIP").to_owned();
        if !ip.is_empty() && list(status, "podIPs").is_empty() {
            put(status, "podIPs", json!([{ "ip": ip }]));
        }
    }

    fn validate(&self, object: &Value) -> Errors {
        pod_spec::validate(&object["spec"], &Path::new("spec"))
    }

    fn validate_create(&self, object: &Value) -> Errors {
        pod_rules::validate_create(object)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        pod_rules::validate_update(object, old)
    }

    fn validate_subresource_update(&self, subresource: &str, object: &Value, old: &Value) -> Errors {
        pod_rules::validate_subresource(subresource, object, old)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        pod_rules::warnings(object)
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(pod_columns::row(object, now))
    }

    fn prepare_for_subresource_update(
        &self,
        subresource: &str,
        object: &mut Value,
        wanted: &Value,
        _old: &Value,
    ) {
        match subresource {
            "ephemeralcontainers" => {
                if let (Some(containers), Some(spec)) =
                    (wanted.pointer("/spec/ephemeralContainers"), object.get_mut("spec"))
                {
                    put(spec, "ephemeralContainers", containers.clone());
                }
            }
            "resize" => resize(object, wanted),
            _ => {}
        }
    }

    fn grace_period(&self, object: &Value, asked: Option<i64>) -> Option<i64> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        // Nothing of it runs anywhere.
        if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Succeeded" | "Failed") {
            return Some(0);
        }
        let own = object.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
        Some(asked.or(own).unwrap_or(30))
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let host = object.pointer("/spec/hostNetwork").and_then(Value::as_bool).unwrap_or_default();
        vec![
            ("spec.nodeName", text("/spec/nodeName")),
            ("spec.restartPolicy", text("/spec/restartPolicy")),
            ("spec.schedulerName", text("/spec/schedulerName")),
            ("spec.serviceAccountName", text("/spec/serviceAccountName")),
            ("spec.hostNetwork", host.to_string()),
            ("status.phase", text("/status/phase")),
            ("status.podIP", text("/status/podIP")),
            ("status.nominatedNodeName", text("/status/nominatedNodeName")),
        ]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    }
}

/// Takes the resources of containers, by name.
fn resize(object: &mut Value, wanted: &Value) {
    for list in ["containers", "initContainers"] {
        let wanted = wanted.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        let containers = object.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|container| container.is_object()) {
            let same = wanted.into_iter().flatten().find(|w| w.get("name") == container.get("name"));
            for key in ["resources", "resizePolicy"] {
                if let Some(value) = same.and_then(|same| same.get(key)) {
                    put(container, key, value.clone());
                }
            }
        }
    }
}
