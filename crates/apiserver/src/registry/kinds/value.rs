//! Short ways to read and write JSON documents in strategies. None panics, whatever the document is.

use serde_json::{Map, Value};

/// A string field, or "".
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// An integer field.
pub(crate) fn int(object: &Value, field: &str) -> Option<i64> {
    object.get(field).and_then(Value::as_i64)
}

/// A boolean field, or false.
pub(crate) fn flag(object: &Value, field: &str) -> bool {
    object.get(field).and_then(Value::as_bool).unwrap_or_default()
}

/// A list field, or none.
pub(crate) fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A map field, if it is there and not empty.
pub(crate) fn map<'a>(object: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    object.get(field).and_then(Value::as_object).filter(|map| !map.is_empty())
}

/// Whether a field has a value other than null.
pub(crate) fn has(object: &Value, field: &str) -> bool {
    object.get(field).is_some_and(|value| !value.is_null())
}

/// The fields of a list of strings.
pub(crate) fn strings<'a>(object: &'a Value, field: &str) -> Vec<&'a str> {
    list(object, field).iter().filter_map(Value::as_str).collect()
}

/// Sets a field. A document that is no map stays as it is.
pub(crate) fn put(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value.into());
    }
}

/// Sets a field that has no value yet.
pub(crate) fn fill(object: &mut Value, field: &str, value: impl Into<Value>) {
    if !has(object, field) {
        put(object, field, value);
    }
}

/// Sets a field to what it is in another document, or removes it.
pub(crate) fn take(object: &mut Value, other: &Value, field: &str) {
    let Some(object) = object.as_object_mut() else { return };
    match other.get(field) {
        Some(value) => object.insert(field.to_owned(), value.clone()),
        None => object.remove(field),
    };
}

/// A map below, made when it is missing. `None` when there is something else.
pub(crate) fn below<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    fill(object, field, Value::Object(Map::new()));
    object.get_mut(field).filter(|value| value.is_object())
}

/// The items of a list, to change them.
pub(crate) fn each<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Whether a condition is true.
pub(crate) fn is_condition_true(object: &Value, kind: &str) -> bool {
    list(&object["status"], "conditions")
        .iter()
        .any(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
}
