//! Refusals of Jobs (upstream `pkg/apis/batch/validation`).

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::names;
use machinery::selector::LabelSelector;
use serde_json::{Value, json};

use super::super::check;
use super::super::pod_spec;
use super::super::value::{each, flag, has, int, is_condition_true, map, put, text};
use super::job::{NAME_LABELS, UID_LABELS};
use super::job_policies;

const MODES: [&str; 2] = ["NonIndexed", "Indexed"];
const PARALLELISM_MAX: i64 = 100_000;

pub(super) fn validate(job: &Value) -> Errors {
    let (spec, path) = (&job["spec"], Path::new("spec"));
    let mut errors = generated_selector(job);
    errors.extend(validate_spec(spec, &path));
    let at = path.child("selector");
    if has(spec, "selector") {
        errors.extend(check::selector(&spec["selector"], &at));
    } else {
        errors.push(FieldError::required(&at, ""));
    }
    errors.extend(check::template_matches(spec, &path));
    errors.extend(host_name(job));
    errors
}

/// The last pod of an indexed Job has a host name, too.
fn host_name(job: &Value) -> Option<FieldError> {
    let spec = &job["spec"];
    let last = int(spec, "completions").filter(|n| *n > 0 && text(spec, "completionMode") == "Indexed")? - 1;
    let name = meta::name(job);
    let host = format!("{name}-{last}");
    let detail = format!("will not able to create pod with invalid DNS label: {host}");
    (!names::dns1123_label(&host).is_empty())
        .then(|| FieldError::invalid(&Path::new("metadata").child("name"), name, detail))
}

/// What the server adds to template and selector must not be contradicted.
fn generated_selector(job: &Value) -> Errors {
    let spec = &job["spec"];
    if flag(spec, "manualSelector") || !has(spec, "selector") {
        return Errors::new();
    }
    let (uid, name) = (meta::uid(job), meta::name(job));
    let mut errors = Errors::new();
    let labels = &spec["template"]["metadata"]["labels"];
    for (uid_label, name_label) in UID_LABELS.into_iter().zip(NAME_LABELS) {
        errors.extend(has_label(labels, uid_label, uid));
        errors.extend(has_label(labels, name_label, name));
    }
    let expected =
        json!({UID_LABELS[0]: uid, UID_LABELS[1]: uid, NAME_LABELS[0]: name, NAME_LABELS[1]: name});
    let matches = LabelSelector::from_object(&spec["selector"]).map(|s| s.matches_map(expected.as_object()));
    if matches == Ok(false) {
        let at = Path::new("spec").child("selector");
        errors.push(FieldError::invalid(&at, spec["selector"].clone(), "`selector` not auto-generated"));
    }
    errors
}

fn has_label(labels: &Value, key: &str, expected: &str) -> Option<FieldError> {
    let path = Path::new("spec").child("template").child("metadata").child("labels").key(key);
    let detail = format!("must be '{expected}'");
    match labels.get(key).and_then(Value::as_str) {
        None => Some(FieldError::required(&path, detail)),
        Some(value) if value != expected => Some(FieldError::invalid(&path, labels.clone(), detail)),
        Some(_) => None,
    }
}

/// What a Job and the template of a CronJob have in common.
pub(super) fn validate_spec(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        errors.extend(check::non_negative(spec, field, path));
    }
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        let at = path.child("backoffLimitPerIndex");
        errors.push(FieldError::required(&at, "when maxFailedIndexes is specified"));
    }
    if has(spec, "managedBy") {
        let at = path.child("managedBy");
        errors.extend(check::domain_prefixed_path(text(spec, "managedBy"), &at));
    }
    errors.extend(completion_mode(spec, path));
    errors.extend(job_policies::validate(spec, path));
    errors.extend(pod_spec::validate_template(&spec["template"], &path.child("template")));
    errors.extend(restart_policy(spec, path));
    errors
}

fn completion_mode(spec: &Value, path: &Path) -> Errors {
    let mode = text(spec, "completionMode");
    let mut errors = Errors::new();
    if has(spec, "completionMode") && !MODES.contains(&mode) {
        errors.push(FieldError::not_supported(&path.child("completionMode"), mode, &MODES));
    }
    let failed = int(spec, "maxFailedIndexes");
    let completions = int(spec, "completions");
    if mode == "Indexed" {
        if completions.is_none() {
            let at = path.child("completions");
            errors.push(FieldError::required(&at, "when completion mode is Indexed"));
        }
        if let Some(parallelism) = int(spec, "parallelism").filter(|n| *n > PARALLELISM_MAX) {
            let detail =
                format!("must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed");
            errors.push(FieldError::invalid(&path.child("parallelism"), parallelism, detail));
        }
        if let Some(failed) = failed.filter(|failed| completions.is_some_and(|n| *failed > n)) {
            let detail = "must be less than or equal to completions";
            errors.push(FieldError::invalid(&path.child("maxFailedIndexes"), failed, detail));
        }
    } else {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            let value = int(spec, field);
            errors.extend(
                value.map(|v| FieldError::invalid(&path.child(field), v, "requires indexed completion mode")),
            );
        }
    }
    errors
}

fn restart_policy(spec: &Value, path: &Path) -> Option<FieldError> {
    const ALLOWED: [&str; 2] = ["OnFailure", "Never"];
    let at = path.child("template").child("spec").child("restartPolicy");
    match text(&spec["template"]["spec"], "restartPolicy") {
        "" | "Always" => Some(FieldError::required(&at, "valid values: \"OnFailure\", \"Never\"")),
        policy if !ALLOWED.contains(&policy) => Some(FieldError::not_supported(&at, policy, &ALLOWED)),
        policy if policy != "Never" && has(spec, "podFailurePolicy") => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            Some(FieldError::invalid(&at, policy, detail))
        }
        _ => None,
    }
}

pub(super) fn validate_update(job: &Value, old: &Value) -> Errors {
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

/// The template is fixed, but for where the pods of a Job that is suspended and has not started may run.
fn template(job: &Value, old: &Value) -> Option<FieldError> {
    let mut before = old.clone();
    let suspended = flag(&old["spec"], "suspend") && !has(&old["status"], "startTime");
    if suspended && let Some(template) = before.pointer_mut("/spec/template") {
        scheduling_directives(template, &job["spec"]["template"]);
    }
    check::immutable(job, &before, "/spec/template", &Path::new("spec").child("template"))
}

/// Takes from `wanted` what may change.
fn scheduling_directives(template: &mut Value, wanted: &Value) {
    let take = |to: &mut Value, from: &Value, field: &str| match from.get(field) {
        Some(value) => put(to, field, value.clone()),
        None => {
            to.as_object_mut().map(|map| map.remove(field));
        }
    };
    if let Some(metadata) = template.get_mut("metadata") {
        ["labels", "annotations"].iter().for_each(|field| take(metadata, &wanted["metadata"], field));
    }
    let Some(spec) = template.get_mut("spec") else { return };
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        take(spec, &wanted["spec"], field);
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        if spec["affinity"].get(field) != wanted["spec"]["affinity"].get(field) {
            return;
        }
    }
    take(spec, &wanted["spec"], "affinity");
    for list in ["containers", "initContainers"] {
        let given = wanted["spec"][list].as_array().cloned().unwrap_or_default();
        for (container, wanted) in each(spec, list).zip(&given) {
            if container["name"] == wanted["name"] {
                take(container, wanted, "resources");
            }
        }
    }
}

pub(super) fn validate_status(job: &Value, old: &Value) -> Errors {
    let (status, path) = (&job["status"], Path::new("status"));
    let mut errors = Errors::new();
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        errors.extend(check::non_negative(status, field, &path));
    }
    let conditions = path.child("conditions");
    if is_condition_true(job, "Complete") && is_condition_true(job, "Failed") {
        let detail = "cannot set Complete=True and Failed=true conditions";
        errors.push(FieldError::invalid(
            &conditions,
            map(job, "status").map_or(Value::Null, |s| s["conditions"].clone()),
            detail,
        ));
    }
    for kind in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if is_condition_true(old, kind) && !is_condition_true(job, kind) {
            let detail = format!("cannot disable the terminal {kind}=True condition");
            errors.push(FieldError::invalid(&conditions, status["conditions"].clone(), detail));
        }
    }
    for field in ["failed", "succeeded"] {
        let (now, before) =
            (int(status, field).unwrap_or_default(), int(&old["status"], field).unwrap_or_default());
        if now < before {
            errors.push(FieldError::invalid(
                &path.child(field),
                now,
                format!("cannot decrease the {field} counter"),
            ));
        }
    }
    errors
}
