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
            spec.jobTemplate.spec.podFailurePolicy.rules[].onPodConditions[].status ?= "True"
        "#,
        complete: defaults,
        prepare: |object| prepare(object, None),
        prepare_update: |object, old| prepare(object, Some(old)),
        validate_create,
        validate_update: |object, old| validate(object, Some(old)),
        row: Some(row),
        warnings,
        update_warnings,
        ..Plain::new(generic)
    }
}

fn defaults(object: &mut Value) {
    if let Some(spec) = object.pointer_mut("/spec/jobTemplate/spec/template/spec") {
        pod_spec::apply_defaults(spec);
    }
}

/// Drops from the template what is not switched on.
fn prepare(object: &mut Value, old: Option<&Value>) {
    const JOB: &str = "/spec/jobTemplate/spec";
    const POD: &str = "/spec/jobTemplate/spec/template/spec";
    job::drop_disabled(object.pointer_mut(JOB), old.and_then(|old| old.pointer(JOB)));
    if let Some(pod) = object.pointer_mut(POD) {
        pod_spec::drop_disabled(pod, old.and_then(|old| old.pointer(POD)));
    }
}

/// All that is wrong with a CronJob that replaces `old`, or with a new one.
fn validate(object: &Value, old: Option<&Value>) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let before = old.map(|old| &old["spec"]);
    let mut errors = when(spec, before, &path.child("schedule"));
    errors.extend(check::non_negative(spec, "startingDeadlineSeconds", &path));
    if before.is_none_or(|before| before.get("timeZone") != spec.get("timeZone")) {
        errors.extend(time_zone(spec, &path.child("timeZone")));
    }
    errors.extend(check::one_of(spec, "concurrencyPolicy", &POLICIES, &path));
    errors.extend(template(&spec["jobTemplate"]["spec"], &path.child("jobTemplate").child("spec")));
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.extend(check::non_negative(spec, field, &path));
    }
    errors
}

fn when(spec: &Value, before: Option<&Value>, path: &Path) -> Errors {
    let when = text(spec, "schedule");
    if when.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Errors::new();
    if let Err(why) = schedule::check(when) {
        errors.push(FieldError::invalid(path, when, why));
    }
    // A schedule does not say its time zone, unless it always did.
    let allowed = before.is_some_and(|before| text(before, "schedule").contains("TZ"));
    let detail = match when.contains("TZ") {
        true if !allowed => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        true if has(spec, "timeZone") => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        _ => return errors,
    };
    errors.push(FieldError::invalid(path, when, detail));
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
    let mut errors = validate(object, None);
    let name = meta::name(object);
    if name.len() > NAME_MAX {
        let path = Path::new("metadata").child("name");
        errors.push(FieldError::invalid(&path, name, "must be no more than 52 characters"));
    }
    errors
}

fn time_zone(spec: &Value, path: &Path) -> Errors {
    if !has(spec, "timeZone") {
        return Errors::new();
    }
    let zone = text(spec, "timeZone");
    if zone.is_empty() {
        return vec![FieldError::invalid(path, zone, "timeZone must be nil or non-empty string")];
    }
    let mut errors = Errors::new();
    if zone.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(FieldError::invalid(path, zone, detail));
    }
    // Upstream's library takes this one name for the zone of the machine.
    if zone != "Local" && !schedule::is_time_zone(zone) {
        errors.push(FieldError::invalid(path, zone, format!("unknown time zone {zone}")));
    }
    errors
}

fn warnings(object: &Value) -> Vec<String> {
    let mut warnings = workload::name_warnings(object);
    warnings.extend(template_warnings(object));
    warnings
}

fn template_warnings(object: &Value) -> Vec<String> {
    let path = Path::new("spec").child("jobTemplate").child("spec");
    job::spec_warnings(&object["spec"]["jobTemplate"]["spec"], &path)
}

fn update_warnings(object: &Value, old: &Value) -> Vec<String> {
    let changed = object["spec"] != old["spec"];
    let mut warnings = if changed { template_warnings(object) } else { Vec::new() };
    if text(&object["spec"], "schedule").contains("TZ") {
        let what = "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead";
        let more = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/";
        warnings.push(format!("{what}, see {more} for more details"));
    }
    warnings
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
