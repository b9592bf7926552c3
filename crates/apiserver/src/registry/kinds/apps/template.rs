//! What all workloads with a selector and a pod template share.

use machinery::field::{Errors, FieldError, Path};
use serde_json::{Value, json};

use super::super::check;
use super::super::pod_spec;
use super::super::value::{has, put, text};

/// Defaults of the template's pods.
pub(super) fn default(object: &mut Value) {
    if let Some(spec) = object.pointer_mut("/spec/template/spec") {
        pod_spec::apply_defaults(spec);
    }
}

/// A new object has no status yet.
pub(super) fn clear_status(object: &mut Value, empty: Value) {
    put(object, "status", empty);
}

/// A write to the object itself leaves its status alone.
pub(super) fn keep_status(object: &mut Value, old: &Value) {
    put(object, "status", old.get("status").cloned().unwrap_or_else(|| json!({})));
}

/// What the pods of the workload have to be like. `kind` is upstream's name for the workload in its sentence.
pub(super) fn validate(spec: &Value, kind: &str, path: &Path) -> Errors {
    let template = path.child("template");
    let mut errors = pod_spec::validate_template(&spec["template"], &template);
    let pod = &spec["template"]["spec"];
    let policy = text(pod, "restartPolicy");
    let at = template.child("spec");
    if !matches!(policy, "" | "Always") {
        errors.push(FieldError::not_supported(&at.child("restartPolicy"), policy, &["Always"]));
    }
    if has(pod, "activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&at.child("activeDeadlineSeconds"), detail));
    }
    errors
}

/// A workload's selector decides which pods are its own; it never changes.
pub(super) fn validate_update(object: &Value, old: &Value) -> Errors {
    check::immutable(object, old, "/spec/selector", &Path::new("spec").child("selector"))
        .into_iter()
        .collect()
}

/// Counts in the status are not negative.
pub(super) fn validate_status(object: &Value, fields: &[&str]) -> Errors {
    let path = Path::new("status");
    fields.iter().filter_map(|field| check::non_negative(&object["status"], field, &path)).collect()
}
