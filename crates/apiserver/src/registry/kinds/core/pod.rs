//! Pods: their end is graceful, their node is a selectable field.

use machinery::field::Errors;
use machinery::meta;
use serde_json::{Value, json};

use super::super::pod_spec;
use super::super::value::{list, put, take};
use super::{pod_columns, pod_resize, pod_rules, pod_status};
use crate::registry::strategy::{Strategy, keep_metadata};

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
        if let Some(spec) = object.get_mut("spec") {
            pod_spec::drop_disabled(spec, None);
        }
        let mut status = json!({ "phase": "Pending", "qosClass": pod_spec::qos_class(&object["spec"]) });
        if !list(&object["spec"], "schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": null,
                "lastTransitionTime": machinery::time::rfc3339(jiff::Timestamp::now()),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
        put(object, "status", status);
        pod_spec::merge_label_keys(object);
        pod_spec::sync_app_armor(object);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        put(object, "status", old.get("status").cloned().unwrap_or_default());
        if let Some(spec) = object.get_mut("spec") {
            pod_spec::drop_disabled(spec, old.get("spec"));
        }
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        let owners = old["metadata"].get("ownerReferences").cloned().unwrap_or_default();
        meta::set(object, "ownerReferences", owners);
        let end = old["metadata"].get("deletionTimestamp").cloned().unwrap_or_default();
        meta::set(object, "deletionTimestamp", end);
        pod_status::prepare(object, old);
    }

    fn changes_generation(&self, object: &Value, old: &Value) -> bool {
        object.get("spec") != old.get("spec")
    }

    fn validate(&self, object: &Value) -> Errors {
        pod_spec::validate_pod(object)
    }

    fn validate_create(&self, object: &Value) -> Errors {
        pod_rules::validate_create(object)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        pod_rules::validate_update(object, old)
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> Errors {
        pod_status::validate(object, old)
    }

    fn validate_subresource_update(&self, subresource: &str, object: &Value, old: &Value) -> Errors {
        match subresource {
            "ephemeralcontainers" => pod_rules::validate_ephemeral(object, old),
            "resize" => pod_resize::validate(object, old),
            _ => Errors::new(),
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        pod_spec::pod_warnings(object)
    }

    /// What is there was warned of when it came.
    fn update_warnings(&self, subresource: &str, object: &Value, old: &Value) -> Vec<String> {
        if subresource == "status" { pod_status::warnings(object, old) } else { Vec::new() }
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(pod_columns::row(object, now))
    }

    fn row_conditions(&self, object: &Value) -> Option<Value> {
        pod_columns::conditions(object)
    }

    fn prepare_for_subresource_update(
        &self,
        subresource: &str,
        object: &mut Value,
        wanted: &Value,
        old: &Value,
    ) {
        keep_metadata(object, old);
        match subresource {
            "ephemeralcontainers" => {
                if let Some(spec) = object.get_mut("spec") {
                    take(spec, &wanted["spec"], "ephemeralContainers");
                }
            }
            "resize" => pod_resize::prepare(object, wanted),
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
        Some(asked.or(own).unwrap_or_default())
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
            ("status.podIP", text("/status/podIPs/0/ip")),
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
