//! What all workloads with a selector and a pod template share.

use machinery::field::{Errors, FieldError, Path};
use machinery::selector::LabelSelector;
use machinery::{meta, names};
use serde_json::Value;

use super::cells;
use super::check;
use super::pod_spec;
use super::rules::Rules;
use super::value::{has, int, text};

/// Defaults of the template's pods, and those of a rolling update when that is how pods are replaced, which the field
/// `strategy` says.
pub(super) fn default(object: &mut Value, strategy: &str, rolling: &Rules) {
    let Some(spec) = object.get_mut("spec") else { return };
    if let Some(strategy) =
        spec.get_mut(strategy).filter(|strategy| text(strategy, "type") == "RollingUpdate")
    {
        rolling.apply(strategy);
    }
    default_pods(spec);
}

/// Defaults of the template's pods.
pub(super) fn default_pods(spec: &mut Value) {
    if let Some(pod) = spec.pointer_mut("/template/spec") {
        pod_spec::apply_defaults(pod);
    }
}

/// Drops from the template what is not switched on.
pub(super) fn prepare(object: &mut Value) {
    if let Some(pod) = object.pointer_mut("/spec/template/spec") {
        pod_spec::drop_disabled(pod, None);
    }
}

/// The same for what changes; what was used before stays.
pub(super) fn prepare_update(object: &mut Value, old: &Value) {
    if let Some(pod) = object.pointer_mut("/spec/template/spec") {
        pod_spec::drop_disabled(pod, old.pointer("/spec/template/spec"));
    }
}

/// A selector, and the template whose pods it chooses. `kind` is upstream's name for the workload in its sentence about empty
/// selectors. When the selector cannot be used, `unusable` says so instead of what `template` finds.
pub(super) fn controlled(
    spec: &Value,
    kind: &str,
    unusable: &str,
    template: impl FnOnce(&Path) -> Errors,
    path: &Path,
) -> Errors {
    let (at, chosen) = (path.child("selector"), &spec["selector"]);
    let mut errors = Errors::new();
    if chosen.is_object() {
        errors.extend(check::selector(chosen, &at));
        errors.extend(check::not_empty_selector(spec, kind, path));
    } else {
        errors.push(FieldError::required(&at, ""));
    }
    if chosen.is_object() && LabelSelector::from_object(chosen).is_err() {
        errors.push(FieldError::invalid(&at, chosen.clone(), unusable).as_struct("LabelSelector"));
    } else {
        errors.extend(check::template_matches(spec, path));
        errors.extend(template(&path.child("template")));
    }
    errors
}

/// A template whose pods run until they are stopped. `kind` is upstream's name for the workload in its sentence.
pub(super) fn validate(spec: &Value, kind: &str, path: &Path) -> Errors {
    let mut errors = pod_spec::validate_template(&spec["template"], &path.child("template"));
    errors.extend(endless(spec, kind, path));
    errors
}

/// Pods of workloads are restarted whatever happens.
pub(super) fn endless(spec: &Value, kind: &str, path: &Path) -> Errors {
    let pod = &spec["template"]["spec"];
    let (policy, at) = (text(pod, "restartPolicy"), path.child("template").child("spec"));
    let mut errors = Errors::new();
    if policy != "Always" {
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
    let changed = check::immutable(object, old, "/spec/selector", &Path::new("spec").child("selector"));
    changed.map(|error| error.as_struct("LabelSelector")).into_iter().collect()
}

/// Counts in a status.
pub(super) struct Counts {
    /// None is negative.
    pub all: &'static [&'static str],
    /// None of these is more than `replicas`.
    pub of_replicas: &'static [&'static str],
    /// How upstream calls the count of pods that are ready, which those that are available are not more than; empty: it
    /// does not look.
    pub ready: &'static str,
}

impl Counts {
    /// What is wrong with a new status.
    pub(super) fn validate(&self, object: &Value, old: &Value) -> Errors {
        const COLLISIONS: &str = "collisionCount";
        let (status, path) = (&object["status"], Path::new("status"));
        let count = |field: &str| int(status, field).unwrap_or_default();
        let mut errors: Errors =
            self.all.iter().filter_map(|field| check::non_negative(status, field, &path)).collect();
        let mut compare = |field: &str, most: &str, shown: &str| {
            if count(field) > count(most) {
                let detail = format!("cannot be greater than {shown}");
                errors.push(FieldError::invalid(&path.child(field), count(field), detail));
            }
        };
        for field in self.of_replicas {
            compare(field, "replicas", "status.replicas");
        }
        if !self.ready.is_empty() {
            compare("availableReplicas", "readyReplicas", self.ready);
        }
        if int(&old["status"], COLLISIONS).is_some_and(|was| count(COLLISIONS) < was) {
            let at = path.child(COLLISIONS);
            errors.push(FieldError::invalid(&at, count(COLLISIONS), "cannot be decremented"));
        }
        errors
    }
}

/// The row of a workload that counts its pods. `chosen` is what its last cell says.
pub(super) fn row(object: &Value, now: i64, chosen: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (names, images) = cells::containers(&spec["template"]["spec"]);
    vec![
        meta::name(object).into(),
        cells::count(spec, "replicas"),
        cells::count(status, "replicas"),
        cells::count(status, "readyReplicas"),
        cells::age(object, now),
        names,
        images,
        chosen,
    ]
}

/// Warnings of a new workload whose pods are named after it.
pub(super) fn warnings(object: &Value) -> Vec<String> {
    let mut warnings = name_warnings(object);
    warnings.extend(template_warnings(object));
    warnings
}

/// Warnings of a workload's template.
pub(super) fn template_warnings(object: &Value) -> Vec<String> {
    pod_spec::template_warnings(&object["spec"]["template"], &Path::new("spec").child("template"))
}

/// The same for one that is changed.
pub(super) fn update_warnings(object: &Value, old: &Value) -> Vec<String> {
    if object.get("spec") == old.get("spec") { Vec::new() } else { template_warnings(object) }
}

/// Names of pods should do for names of hosts.
pub(super) fn name_warnings(object: &Value) -> Vec<String> {
    let reasons = names::dns1123_label(meta::name(object));
    let what = "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended";
    let warning = || format!("metadata.name: {what}: [{}]", reasons.join(" "));
    (!reasons.is_empty()).then(warning).into_iter().collect()
}
