//! What upstream's conformance tests require of the API server alone; `docs/conformance.md` says which test shows what.

mod chunks;
mod life;
mod namespaces;
mod operations;
mod pods;
mod requests;
mod services;
mod watches;

use serde_json::Value;

/// Whether a document has all that is wanted, which may be less than it has; null wants nothing there.
fn includes(have: &Value, want: &Value) -> bool {
    match want {
        Value::Null => have.is_null(),
        Value::Object(fields) => fields.iter().all(|(key, want)| includes(&have[key.as_str()], want)),
        Value::Array(items) => have.as_array().is_some_and(|have| {
            have.len() == items.len() && have.iter().zip(items).all(|(have, want)| includes(have, want))
        }),
        _ => have == want,
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The version of an object or a list, which is a positive number.
fn version(object: &Value) -> u64 {
    let version = text(object, "/metadata/resourceVersion").parse().expect("versions are numbers");
    assert!(version > 0, "{object}");
    version
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().expect("items")
}

/// What an update sends: what there is, with some of it changed.
fn changed(object: &Value, change: &Value) -> Value {
    machinery::patch::merge(object, change).expect("a merge patch")
}
