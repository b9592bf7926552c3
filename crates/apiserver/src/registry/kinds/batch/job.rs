//! Jobs: defaults, the selector that is made for them, and their row.

use machinery::field::Path;
use machinery::meta;
use serde_json::{Map, Value, json};

use super::super::cells::{age, containers, duration, selector};
use super::super::plain::Plain;
use super::super::pod_spec;
use super::super::value::{below, fill, flag, has, int, is_condition_true, map, put, text};
use super::super::workload;
use super::{job_rules, job_status, job_update};
use crate::registry::strategy::{Dependents, Generic};

const PODS_STAY: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them \
     or set propagationPolicy=Orphan to suppress this warning";

/// More than so many indexes are likely too many to tell which are done.
const COMPLETIONS_MANY: i64 = 100_000;
const PARALLELISM_MANY: i64 = 10_000;

/// Labels by which the pods of a Job are known: of old, and with a prefix.
pub(super) const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
pub(super) const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: r#"
            spec.completionMode = "NonIndexed"
            spec.suspend = false
            spec.manualSelector = false
            spec.podFailurePolicy.rules[].onPodConditions[].status ?= "True"
        "#,
        complete: defaults,
        prepare: |job| {
            drop_disabled(job.get_mut("spec"), None);
            own_selector(job);
            workload::prepare(job);
        },
        prepare_update: |job, old| {
            drop_disabled(job.get_mut("spec"), old.get("spec"));
            workload::prepare_update(job, old);
        },
        validate: job_rules::validate,
        validate_update: job_update::validate,
        validate_status: job_status::validate,
        row: Some(row),
        selectable: &["status.successful"],
        dependents: Dependents::Orphaned,
        delete_warning: PODS_STAY,
        warnings: |object| {
            let mut warnings = workload::name_warnings(object);
            warnings.extend(spec_warnings(&object["spec"], &Path::new("spec")));
            warnings
        },
        update_warnings: |object, old| {
            let same = meta::generation(object) == meta::generation(old);
            if same { Vec::new() } else { spec_warnings(&object["spec"], &Path::new("spec")) }
        },
        ..Plain::new(generic)
    }
}

/// How a job's pods are placed together is not switched on; it stays where it was said before.
pub(super) fn drop_disabled(spec: Option<&mut Value>, old: Option<&Value>) {
    const SCHEDULING: &str = "scheduling";
    if !old.is_some_and(|old| has(old, SCHEDULING))
        && let Some(spec) = spec.and_then(Value::as_object_mut)
    {
        spec.remove(SCHEDULING);
    }
}

/// What of a job works but is likely a mistake (upstream `pkg/api/job/warnings.go`).
pub(super) fn spec_warnings(spec: &Value, path: &Path) -> Vec<String> {
    const MANY: &str = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
                        Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
    let count = |field: &str| int(spec, field).unwrap_or_default();
    let indexed = text(spec, "completionMode") == "Indexed";
    let many = indexed && count("completions") > COMPLETIONS_MANY && count("parallelism") > PARALLELISM_MANY;
    let mut warnings: Vec<String> = many.then(|| format!("{path}: {MANY}")).into_iter().collect();
    warnings.extend(pod_spec::template_warnings(&spec["template"], &path.child("template")));
    warnings
}

fn defaults(job: &mut Value) {
    if let Some(spec) = job.get_mut("spec").filter(|spec| spec.is_object()) {
        if !has(spec, "completions") && !has(spec, "parallelism") {
            put(spec, "completions", 1);
        }
        fill(spec, "parallelism", 1);
        let backoff = if has(spec, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
        fill(spec, "backoffLimit", backoff);
        let replaced = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        fill(spec, "podReplacementPolicy", replaced);
        if let Some(pod) = spec.pointer_mut("/template/spec") {
            pod_spec::apply_defaults(pod);
        }
    }
    labels_of_template(job);
}

/// A Job without labels has those of its pods.
fn labels_of_template(job: &mut Value) {
    let Some(labels) = map(&job["spec"]["template"]["metadata"], "labels").cloned() else { return };
    if meta::labels(job).is_none_or(Map::is_empty) {
        meta::set(job, "labels", Value::Object(labels));
    }
}

/// A Job's pods carry its UID, and its selector asks for it (upstream `generateSelector`). A Job that has its labels from its
/// pods has these labels as well: for upstream both are one map.
fn own_selector(job: &mut Value) {
    let shared =
        meta::labels(job).is_some_and(|own| map(&job["spec"]["template"]["metadata"], "labels") == Some(own));
    let (uid, name) = (meta::uid(job).to_owned(), meta::name(job).to_owned());
    let Some(spec) = job.get_mut("spec").filter(|spec| !flag(spec, "manualSelector")) else { return };
    let labels = below(spec, "template")
        .and_then(|template| below(template, "metadata"))
        .and_then(|metadata| below(metadata, "labels"));
    if let Some(labels) = labels {
        NAME_LABELS.iter().for_each(|label| fill(labels, label, name.as_str()));
        UID_LABELS.iter().for_each(|label| fill(labels, label, uid.as_str()));
    }
    if let Some(wanted) = below(spec, "selector").and_then(|selector| below(selector, "matchLabels")) {
        fill(wanted, UID_LABELS[1], uid.as_str());
    }
    if shared {
        meta::remove(job, "labels");
    }
    labels_of_template(job);
}

fn row(job: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&job["spec"], &job["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    let succeeded = int(status, "succeeded").unwrap_or_default();
    let completions = match (int(spec, "completions"), int(spec, "parallelism").unwrap_or_default()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let seconds = |field: &str| machinery::time::parse(text(status, field)).map(|t| t.as_second());
    let took = seconds("startTime")
        .map_or(String::new(), |start| duration(seconds("completionTime").unwrap_or(now) - start));
    vec![
        json!(meta::name(job)),
        json!(state(job)),
        json!(completions),
        json!(took),
        age(job, now),
        names,
        images,
        selector(&spec["selector"]),
    ]
}

/// What the Status column says.
fn state(job: &Value) -> &'static str {
    let ended = ["Complete", "Failed"].into_iter().find(|kind| is_condition_true(job, kind));
    if let Some(ended) = ended {
        return ended;
    }
    if meta::deletion_timestamp(job).is_some() {
        return "Terminating";
    }
    let ending = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
    ending.into_iter().find(|kind| is_condition_true(job, kind)).unwrap_or("Running")
}
