//! Events, in both shapes they are served in.

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::since;
use super::super::check;
use super::super::plain::Plain;
use super::super::value::{fill, has, int, text};
use crate::registry::admission::AdmissionContext;
use crate::registry::event_expiry;
use crate::registry::strategy::{Dependents, Generic};

const FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        complete: shown,
        names: Some(names::path_segment),
        admit: validate,
        row: Some(row),
        selectable: FIELDS,
        dependents: Dependents::Ignored,
        lasts: Some(event_expiry::KEPT),
        ..Plain::new(generic)
    }
}

/// Go writes who reports an event even when nobody is named.
fn shown(event: &mut Value) {
    fill(event, "source", json!({}));
    fill(event, "reportingComponent", "");
    fill(event, "reportingInstance", "");
}

/// All rules, of which more hold for writes through `events.k8s.io`.
fn validate(context: &AdmissionContext<'_>, event: &Value, old: Option<&Value>) -> Errors {
    let is_core = context.handle.group.is_empty();
    let mut errors = both(event, if is_core { "reportingComponent" } else { "reportingController" });
    match old {
        _ if is_core => {}
        None => errors.extend(strict_create(event)),
        Some(old) => errors.extend(strict_update(event, old)),
    }
    errors
}

/// Rules for events of both groups. One without `eventTime` is of the older kind, about which there are few.
fn both(event: &Value, reporter: &str) -> Errors {
    let (about, own) = (text(&event["involvedObject"], "namespace"), meta::namespace(event));
    let is_new = !text(event, "eventTime").is_empty();
    let fits = match about {
        "" if is_new => matches!(own, "default" | "kube-system"),
        "" => matches!(own, "" | "default"),
        about => is_new || about == own,
    };
    let mut errors = Errors::new();
    if !fits {
        let path = Path::new("involvedObject").child("namespace");
        errors.push(FieldError::invalid(&path, about, "does not match event.namespace"));
    }
    if is_new {
        errors.extend(named(event, &Path::new(reporter)));
    }
    errors
}

/// Who reports what was done, and why, in few words.
fn named(event: &Value, path: &Path) -> Errors {
    const TEXT_MAX: usize = 128;
    const MESSAGE_MAX: usize = 1024;
    let reporter = text(event, "reportingComponent");
    let mut errors = Errors::new();
    if reporter.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    errors.extend(check::named(path, reporter, names::qualified_name(reporter)));
    let at_most = |field: &str, max: usize| {
        let detail = format!("can have at most {max} characters");
        (text(event, field).len() > max).then(|| FieldError::invalid(&Path::new(field), "", detail))
    };
    for field in ["reportingInstance", "action", "reason"] {
        errors.extend(check::required(event, field, &Path::root()));
        errors.extend(at_most(field, TEXT_MAX));
    }
    errors.extend(at_most("message", MESSAGE_MAX));
    errors
}

fn strict_update(event: &Value, old: &Value) -> Errors {
    let mut errors = if event["series"] == old["series"] { Errors::new() } else { series(event) };
    // Clients may cut times to microseconds.
    let time =
        |event: &Value| machinery::time::parse(text(event, "eventTime")).map(|time| time.as_microsecond());
    for (field, called) in FIXED {
        if field != "eventTime" || time(event) != time(old) {
            errors.extend(fixed(event, old, field, &Path::new(called)));
        }
    }
    errors
}

/// A field that stays as it was.
fn fixed(event: &Value, old: &Value, field: &str, path: &Path) -> Option<FieldError> {
    let error = check::immutable(event, old, &format!("/{field}"), path)?;
    Some(match field {
        "involvedObject" | "related" => error.as_struct("ObjectReference"),
        "source" => error.as_struct("EventSource"),
        // No text is an empty one.
        field if old[field].is_string() && !has(event, field) => error.with_value(""),
        _ => error,
    })
}

/// Fields that do not change, and what upstream calls them.
const FIXED: [(&str, &str); 14] = [
    ("involvedObject", "involvedObject"),
    ("reason", "reason"),
    ("message", "message"),
    ("source", "source"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
    ("reason", "reason"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

fn strict_create(event: &Value) -> Errors {
    let refuse = |field: &str, detail: String| FieldError::invalid(&Path::new(field), "", detail);
    let mut errors = strict_names(event);
    errors.extend(series(event));
    errors.extend(check::required(event, "eventTime", &Path::root()));
    let kind = text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(refuse("type", format!("has invalid value: {kind}")));
    }
    let source = &event["source"];
    for (field, is_set) in [
        ("firstTimestamp", !text(event, "firstTimestamp").is_empty()),
        ("lastTimestamp", !text(event, "lastTimestamp").is_empty()),
        ("count", int(event, "count").unwrap_or_default() != 0),
        ("source", !text(source, "component").is_empty() || !text(source, "host").is_empty()),
    ] {
        errors.extend(is_set.then(|| refuse(field, "needs to be unset".to_owned())));
    }
    errors
}

/// Names as most kinds have them; that there is one is looked at with the rest of the metadata.
fn strict_names(event: &Value) -> Errors {
    let (path, name, prefix) = (Path::new("metadata"), meta::name(event), meta::generate_name(event));
    let mut errors = Errors::new();
    if !prefix.is_empty() {
        let reasons = names::dns1123_subdomain(&names::mask_trailing_dash(prefix));
        errors.extend(check::named(&path.child("generateName"), prefix, reasons));
    }
    if !name.is_empty() {
        errors.extend(check::named(&path.child("name"), name, names::dns1123_subdomain(name)));
    }
    errors
}

fn series(event: &Value) -> Errors {
    let series = &event["series"];
    if !series.is_object() {
        return Errors::new();
    }
    let mut errors = Errors::new();
    if int(series, "count").unwrap_or_default() < 2 {
        errors.push(FieldError::invalid(&Path::new("series.count"), "", "should be at least 2"));
    }
    errors.extend(check::required(series, "lastObservedTime", &Path::new("series")));
    errors
}

/// The first of these fields that says something: names of the core group, and of `events.k8s.io`.
fn either<'a>(event: &'a Value, fields: [&str; 2]) -> &'a Value {
    let found = fields.into_iter().filter_map(|field| event.get(field)).find(|value| !value.is_null());
    found.unwrap_or(&Value::Null)
}

fn row(event: &Value, now: i64) -> Vec<Value> {
    let time = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let first = match time(either(event, ["firstTimestamp", "deprecatedFirstTimestamp"])) {
        time if time.is_empty() => since(text(event, "eventTime"), now),
        time => since(&time, now),
    };
    let seen = time(either(event, ["lastTimestamp", "deprecatedLastTimestamp"]));
    let mut last = if seen.is_empty() { first.clone() } else { since(&seen, now) };
    let mut count =
        either(event, ["count", "deprecatedCount"]).as_i64().filter(|count| *count != 0).unwrap_or(1);
    if let Some(series) = event.get("series").filter(|series| series.is_object()) {
        last = since(text(series, "lastObservedTime"), now);
        count = int(series, "count").unwrap_or_default();
    }
    let object = either(event, ["involvedObject", "regarding"]);
    let (kind, name) = (text(object, "kind").to_lowercase(), text(object, "name"));
    vec![
        json!(last),
        json!(text(event, "type")),
        json!(text(event, "reason")),
        json!(if name.is_empty() { kind } else { format!("{kind}/{name}") }),
        json!(text(object, "fieldPath")),
        json!(source(event)),
        json!(either(event, ["message", "note"]).as_str().unwrap_or_default().trim()),
        json!(first),
        json!(count),
        json!(meta::name(event)),
    ]
}

/// Who reported it, and from where.
fn source(event: &Value) -> String {
    let source = either(event, ["source", "deprecatedSource"]);
    let or = |given: &str, other: &Value| match given {
        "" => other.as_str().unwrap_or_default().to_owned(),
        given => given.to_owned(),
    };
    let reporter = either(event, ["reportingComponent", "reportingController"]);
    let component = or(text(source, "component"), reporter);
    match or(text(source, "host"), &event["reportingInstance"]) {
        instance if instance.is_empty() => component,
        instance => format!("{component}, {instance}"),
    }
}
