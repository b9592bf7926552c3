//! What an update of a Job may change.

use machinery::field::{Errors, FieldError, Path};
use serde_json::Value;

use super::super::check;
use super::super::value::{each, flag, has, int, is_condition_true, put, text};

pub(super) fn validate(job: &Value, old: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = Errors::new();
    errors.extend(completions(job, old));
    errors.extend(check::immutable(job, old, "/spec/selector", &path.child("selector")));
    errors.extend(template(job, old));
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        errors.extend(check::immutable(job, old, &format!("/spec/{field}"), &path.child(field)));
    }
    errors
}

/// Indexed Jobs may be scaled by changing completions and parallelism together.
fn completions(job: &Value, old: &Value) -> Option<FieldError> {
    let path = Path::new("spec").child("completions");
    let spec = &job["spec"];
    if text(spec, "completionMode") != "Indexed" {
        return check::immutable(job, old, "/spec/completions", &path);
    }
    let wanted = int(spec, "completions")?;
    let detail = "can only be modified in tandem with spec.parallelism";
    (int(&old["spec"], "completions") != Some(wanted) && int(spec, "parallelism") != Some(wanted))
        .then(|| FieldError::invalid(&path, wanted, detail))
}

/// Whether the template of a Job may change: it is suspended, and none of its pods runs.
fn is_idle(job: &Value) -> bool {
    let status = &job["status"];
    let at_rest = !has(status, "startTime") || is_condition_true(job, "Suspended");
    flag(&job["spec"], "suspend") && at_rest && int(status, "active").unwrap_or_default() == 0
}

/// The template is fixed, but for where the pods of a Job that is idle may run and what they may use.
fn template(job: &Value, old: &Value) -> Option<FieldError> {
    let path = Path::new("spec").child("template");
    if !is_idle(old) {
        return check::immutable(job, old, "/spec/template", &path);
    }
    let mut before = old.clone();
    if let Some(pod) = before.pointer_mut("/spec/template/spec") {
        take_mutable(pod, &job["spec"]["template"]["spec"]);
    }
    check::immutable(job, &before, "/spec/template/spec", &path.child("spec"))
}

/// Takes from `wanted` what may change.
fn take_mutable(pod: &mut Value, wanted: &Value) {
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        take(pod, wanted, field);
    }
    let fixed = ["podAffinity", "podAntiAffinity"];
    if fixed.iter().all(|field| pod["affinity"].get(field) == wanted["affinity"].get(field)) {
        take(pod, wanted, "affinity");
    }
    for list in ["containers", "initContainers"] {
        let given = wanted[list].as_array().cloned().unwrap_or_default();
        for (container, wanted) in each(pod, list).zip(&given) {
            if container["name"] == wanted["name"] {
                take(container, wanted, "resources");
            }
        }
    }
}

fn take(to: &mut Value, from: &Value, field: &str) {
    match from.get(field) {
        Some(value) => put(to, field, value.clone()),
        None => {
            to.as_object_mut().map(|map| map.remove(field));
        }
    }
}
