//! Events, in both shapes they are served in.

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::since;
use super::super::check;
use super::super::plain::Plain;
use super::super::value::{fill, int, text};
use crate::registry::admission::AdmissionContext;
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
        validate,
        admit: strict,
        row: Some(row),
        selectable: FIELDS,
        dependents: Dependents::Ignored,
        ..Plain::new(generic)
    }
}

/// Go writes who reports an event even when nobody is named.
fn shown(event: &mut Value) {
    fill(event, "source", json!({}));
    fill(event, "reportingComponent", "");
    fill(event, "reportingInstance", "");
}

/// Rules for events of both groups. One without `eventTime` is of the older kind, about which there are few.
fn validate(event: &Value) -> Errors {
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
        errors.extend(named(event));
    }
    errors
}

/// Who reports what was done, and why, in few words.
fn named(event: &Value) -> Errors {
    const TEXT_MAX: usize = 128;
    const MESSAGE_MAX: usize = 1024;
    let (reporter, path) = (text(event, "reportingComponent"), Path::new("reportingController"));
    let mut errors = Errors::new();
    if reporter.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    errors.extend(check::named(&path, reporter, names::qualified_name(reporter)));
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

/// What holds for writes through `events.k8s.io`, all rules together.
fn strict(context: &AdmissionContext<'_>, event: &Value, old: Option<&Value>) -> Errors {
    if context.handle.group.is_empty() {
        return Errors::new();
    }
    let mut errors = validate(event);
    match old {
        None => errors.extend(strict_create(event)),
        Some(old) => {
            if event["series"] != old["series"] {
                errors.extend(series(event));
            }
            errors.extend(FIXED.iter().filter_map(|(field, called)| {
                check::immutable(event, old, &format!("/{field}"), &Path::new(*called))
            }));
        }
    }
    errors
}

/// Fields that do not change, and what upstream calls them.
const FIXED: [(&str, &str); 13] = [
    ("involvedObject", "involvedObject"),
    ("reason", "reason"),
    ("message", "message"),
    ("source", "source"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

fn strict_create(event: &Value) -> Errors {
    let refuse = |field: &str, detail: String| FieldError::invalid(&Path::new(field), "", detail);
    let mut errors = series(event);
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
    let series = &event["series"];
    let seen = time(either(event, ["lastTimestamp", "deprecatedLastTimestamp"]));
    let last = match (text(series, "lastObservedTime"), seen.as_str()) {
        ("", "") => first.clone(),
        ("", time) | (time, _) => since(time, now),
    };
    let count = int(series, "count").or(either(event, ["count", "deprecatedCount"]).as_i64());
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
        json!(count.filter(|count| *count > 0).unwrap_or(1).to_string()),
        json!(meta::name(event)),
    ]
}

/// Who reported it, and from where.
fn source(event: &Value) -> String {
    let source = either(event, ["source", "deprecatedSource"]);
    let mut parts = [text(source, "component"), text(source, "host")];
    if parts[0].is_empty() {
        let reporter = |field| event.get(field).and_then(Value::as_str).unwrap_or_default();
        parts[0] = match reporter("reportingComponent") {
            "" => reporter("reportingController"),
            component => component,
        };
    }
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}
