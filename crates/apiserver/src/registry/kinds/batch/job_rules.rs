//! Refusals of Jobs (upstream `pkg/apis/batch/validation`).

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::names;
use machinery::selector::LabelSelector;
use serde_json::{Value, json};

use super::super::check;
use super::super::pod_spec;
use super::super::value::{flag, has, int, text};
use super::job::{NAME_LABELS, UID_LABELS};
use super::job_policies;

const MODES: [&str; 2] = ["NonIndexed", "Indexed"];
/// Longest name of what manages a Job.
const MANAGER_MAX: usize = 63;
/// What may run at once, fail, or complete before narrower limits hold.
const INDEXES_MAX: i64 = 100_000;
/// What may run at once or fail in a Job with more completions than that.
const INDEXES_MAX_OF_MANY: i64 = 10_000;

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
        let manager = text(spec, "managedBy");
        errors.extend(check::domain_prefixed_path(manager, &at));
        if manager.len() > MANAGER_MAX {
            errors.push(FieldError::too_long(&at, MANAGER_MAX));
        }
    }
    errors.extend(completion_mode(spec, path));
    errors.extend(job_policies::validate(spec, path));
    errors.extend(pod_spec::validate_template(&spec["template"], &path.child("template")));
    errors.extend(restart_policy(spec, path));
    errors
}

fn completion_mode(spec: &Value, path: &Path) -> Errors {
    let mode = text(spec, "completionMode");
    match mode {
        "Indexed" => indexed(spec, path),
        _ if mode == "NonIndexed" || !has(spec, "completionMode") => {
            ["backoffLimitPerIndex", "maxFailedIndexes"]
                .into_iter()
                .filter_map(|field| {
                    let at = path.child(field);
                    int(spec, field)
                        .map(|value| FieldError::invalid(&at, value, "requires indexed completion mode"))
                })
                .collect()
        }
        _ => vec![FieldError::not_supported(&path.child("completionMode"), mode, &MODES)],
    }
}

/// How large an indexed Job may be: its status lists which indexes completed and which failed.
fn indexed(spec: &Value, path: &Path) -> Errors {
    let (completions, failed) = (int(spec, "completions"), int(spec, "maxFailedIndexes"));
    let at_most = |field: &str, max: i64, when: &str| {
        let error = |value| {
            FieldError::invalid(
                &path.child(field),
                value,
                format!("must be less than or equal to {max}{when}"),
            )
        };
        int(spec, field).filter(|value| *value > max).map(error)
    };
    let mut errors = Errors::new();
    if completions.is_none() {
        errors.push(FieldError::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    errors.extend(at_most("parallelism", INDEXES_MAX, " when completion mode is Indexed"));
    if let Some(failed) = failed.filter(|failed| completions.is_some_and(|n| *failed > n)) {
        let detail = "must be less than or equal to completions";
        errors.push(FieldError::invalid(&path.child("maxFailedIndexes"), failed, detail));
    }
    errors.extend(at_most("maxFailedIndexes", INDEXES_MAX, ""));
    if completions.is_some_and(|n| n > INDEXES_MAX) && has(spec, "backoffLimitPerIndex") {
        let when = format!(" when completions are above {INDEXES_MAX} and used with backoff limit per index");
        if failed.is_none() {
            let detail = format!("must be specified when completions is above {INDEXES_MAX}");
            errors.push(FieldError::required(&path.child("maxFailedIndexes"), detail));
        }
        for field in ["parallelism", "maxFailedIndexes"] {
            errors.extend(at_most(field, INDEXES_MAX_OF_MANY, &when));
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
