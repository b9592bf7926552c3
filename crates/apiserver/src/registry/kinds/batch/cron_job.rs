//! CronJobs.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, containers, or_none, selector, since};
use super::super::check;
use super::super::plain::Plain;
use super::super::pod_spec;
use super::super::value::{flag, has, list, text};
use super::super::workload;
use super::{job, job_rules, schedule};
use crate::registry::strategy::Generic;

/// Longest name: Jobs append eleven characters to it.
const NAME_MAX: usize = 52;
const POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: r#"
            spec.concurrencyPolicy = "Allow"
            spec.suspend = false
            spec.successfulJobsHistoryLimit = 3
            spec.failedJobsHistoryLimit = 1
            spec.jobTemplate.spec.podFailurePolicy.rules[].onPodConditions[].status = "True"
        "#,
        complete: defaults,
        validate,
        validate_create,
        validate_update,
        row: Some(row),
        warnings,
        update_warnings,
        ..Plain::new(generic)
    }
}

/// What of a job works but is likely a mistake.
fn warnings(object: &Value) -> Vec<String> {
    let mut warnings = workload::name_warnings(object);
    warnings.extend(template_warnings(object));
    warnings.extend(zone_warning(object));
    warnings
}

fn update_warnings(object: &Value, old: &Value) -> Vec<String> {
    let same = meta::generation(object) == meta::generation(old);
    let mut warnings = if same { Vec::new() } else { template_warnings(object) };
    warnings.extend(zone_warning(object));
    warnings
}

fn template_warnings(object: &Value) -> Vec<String> {
    let path = Path::new("spec").child("jobTemplate").child("spec");
    job::spec_warnings(&object["spec"]["jobTemplate"]["spec"], &path)
}

/// Time zones have a field of their own. The path in the warning is upstream's.
fn zone_warning(object: &Value) -> Option<String> {
    let zoned = text(&object["spec"], "schedule").contains("TZ");
    zoned.then(|| {
        "CRON_TZ or TZ used in spec.spec.schedule is not officially supported, see \
         https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            .to_owned()
    })
}

fn defaults(object: &mut Value) {
    if let Some(spec) = object.pointer_mut("/spec/jobTemplate/spec/template/spec") {
        pod_spec::apply_defaults(spec);
    }
}

fn validate(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    let (when, at) = (text(spec, "schedule"), path.child("schedule"));
    if when.is_empty() {
        errors.push(FieldError::required(&at, ""));
    } else if let Err(why) = schedule::check(when) {
        errors.push(FieldError::invalid(&at, when, why));
    }
    errors.extend(check::non_negative(spec, "startingDeadlineSeconds", &path));
    errors.extend(check::one_of(spec, "concurrencyPolicy", &POLICIES, &path));
    errors.extend(template(&spec["jobTemplate"]["spec"], &path.child("jobTemplate").child("spec")));
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.extend(check::non_negative(spec, field, &path));
    }
    errors
}

fn template(spec: &Value, path: &Path) -> Errors {
    let mut errors = job_rules::validate_spec(spec, path);
    if has(spec, "selector") {
        let detail = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(&path.child("selector"), spec["selector"].clone(), detail));
    }
    if flag(spec, "manualSelector") {
        errors.push(FieldError::not_supported(&path.child("manualSelector"), true, &["nil", "false"]));
    }
    errors
}

fn validate_create(object: &Value) -> Errors {
    let mut errors = zone_in_schedule(object, false);
    errors.extend(time_zone(object));
    let name = meta::name(object);
    if name.len() > NAME_MAX {
        let path = Path::new("metadata").child("name");
        errors.push(FieldError::invalid(&path, name, "must be no more than 52 characters"));
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> Errors {
    let mut errors = zone_in_schedule(object, text(&old["spec"], "schedule").contains("TZ"));
    if object["spec"].get("timeZone") != old["spec"].get("timeZone") {
        errors.extend(time_zone(object));
    }
    errors
}

/// A schedule does not say its time zone, unless it always did.
fn zone_in_schedule(object: &Value, allowed: bool) -> Errors {
    let spec = &object["spec"];
    let (when, path) = (text(spec, "schedule"), Path::new("spec").child("schedule"));
    let detail = match when.contains("TZ") {
        true if !allowed => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        true if has(spec, "timeZone") => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        _ => return Errors::new(),
    };
    vec![FieldError::invalid(&path, when, detail)]
}

fn time_zone(object: &Value) -> Errors {
    let spec = &object["spec"];
    if !has(spec, "timeZone") {
        return Errors::new();
    }
    let (zone, path) = (text(spec, "timeZone"), Path::new("spec").child("timeZone"));
    if zone.is_empty() {
        return vec![FieldError::invalid(&path, zone, "timeZone must be nil or non-empty string")];
    }
    let mut errors = Errors::new();
    if zone.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(FieldError::invalid(&path, zone, detail));
    }
    if !schedule::is_time_zone(zone) {
        errors.push(FieldError::invalid(&path, zone, format!("unknown time zone {zone}")));
    }
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (names, images) = containers(&spec["jobTemplate"]["spec"]["template"]["spec"]);
    let last = text(status, "lastScheduleTime");
    vec![
        json!(meta::name(object)),
        json!(text(spec, "schedule")),
        json!(or_none(text(spec, "timeZone"))),
        json!(if flag(spec, "suspend") { "True" } else { "False" }),
        json!(list(status, "active").len()),
        json!(if last.is_empty() { "<none>".to_owned() } else { since(last, now) }),
        age(object, now),
        names,
        images,
        selector(&spec["jobTemplate"]["spec"]["selector"]),
    ]
}
