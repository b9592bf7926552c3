//! Events, in both shapes they are served in.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::since;
use super::super::plain::Plain;
use super::super::value::{int, text};
use crate::registry::strategy::Generic;

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
    Plain { validate, row: Some(row), selectable: FIELDS, ..Plain::new(generic) }
}

/// An event is kept with what it is about; what has no namespace has its events in `default`.
fn validate(event: &Value) -> Errors {
    let about = text(&event["involvedObject"], "namespace");
    let fits = match (about, meta::namespace(event)) {
        ("", own) => matches!(own, "" | "default"),
        (about, own) => about == own,
    };
    let path = Path::new("involvedObject").child("namespace");
    if fits {
        Errors::new()
    } else {
        vec![FieldError::invalid(&path, about, "does not match event.namespace")]
    }
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
