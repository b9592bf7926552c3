//! JSON patch (RFC 6902), with the habits of the library that upstream uses (evanphx/json-patch, version 4): negative indices count
//! from the end, what is before the first slash of a path does not matter, and a field that is not there is null: it can be tested,
//! copied and replaced as such.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::PatchError;

/// Most operations of one patch (apiserver `maxJSONPatchOperations`).
pub const OPERATIONS_MAX: usize = 10_000;
/// Most bytes that `copy` operations of one patch may add up to (the largest request).
pub const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies a JSON patch.
///
/// # Errors
/// [`PatchError::Malformed`] for what is no JSON patch, [`PatchError::Unprocessable`] for one that does not fit the
/// object, [`PatchError::TooLarge`] for one with too many operations.
pub fn json(original: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = operations(patch)?;
    let mut document = original.clone();
    let mut copied = 0;
    for operation in operations {
        apply(&mut document, operation, &mut copied)?;
    }
    Ok(document)
}

/// An operation that is null has nothing.
static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

fn operations(patch: &Value) -> Result<Vec<&Map<String, Value>>, PatchError> {
    let mistyped = |value: &Value, ty: &str| {
        let message =
            format!("json: cannot unmarshal {} into Go value of type jsonpatch.{ty}", kind_of(value));
        PatchError::Malformed(message)
    };
    let list = patch.as_array().ok_or_else(|| mistyped(patch, "Patch"))?;
    if list.len() > OPERATIONS_MAX {
        let message =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", list.len());
        return Err(PatchError::TooLarge(message));
    }
    list.iter().map(|value| fields(value).ok_or_else(|| mistyped(value, "Operation"))).collect()
}

fn fields(operation: &Value) -> Option<&Map<String, Value>> {
    if operation.is_null() { Some(&NOTHING) } else { operation.as_object() }
}

/// What Go calls a JSON value of this type, in messages.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn refuse(message: impl Into<String>) -> PatchError {
    PatchError::Unprocessable(message.into())
}

fn pointer<'a>(operation: &'a Map<String, Value>, key: &str) -> Result<&'a str, PatchError> {
    let path = operation.get(key).and_then(Value::as_str);
    path.ok_or_else(|| refuse(format!("operation has no {key}")))
}

fn apply(document: &mut Value, operation: &Map<String, Value>, copied: &mut usize) -> Result<(), PatchError> {
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match operation.get("op").and_then(Value::as_str).unwrap_or_default() {
        "add" => add(document, pointer(operation, "path")?, value()),
        "remove" => remove(document, pointer(operation, "path")?).map(drop),
        "replace" => replace(document, pointer(operation, "path")?, value()),
        "test" => test(document, pointer(operation, "path")?, &value()),
        "move" => {
            let value = remove(document, pointer(operation, "from")?)?;
            add(document, pointer(operation, "path")?, value)
        }
        "copy" => {
            let from = pointer(operation, "from")?;
            let value = get(document, from)?.clone();
            *copied += if value.is_null() { 0 } else { value.to_string().len() };
            if *copied > COPIED_BYTES_MAX {
                return Err(refuse("the copies of the patch are too large"));
            }
            add(document, pointer(operation, "path")?, value)
        }
        other => Err(refuse(format!("unexpected kind of operation: {other}"))),
    }
}

fn missing(path: &str) -> PatchError {
    refuse(format!("nothing is at {path}"))
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// Position in a list of `length` items; counted from the end when negative.
fn index(token: &str, length: usize) -> Option<usize> {
    let at: isize = token.parse().ok()?;
    if at < 0 { length.checked_sub(at.unsigned_abs()) } else { Some(at.unsigned_abs()) }
}

fn below<'a>(container: &'a mut Value, token: &str) -> Option<&'a mut Value> {
    match container {
        Value::Object(map) => map.get_mut(token),
        Value::Array(list) => {
            let at = index(token, list.len())?;
            list.get_mut(at)
        }
        _ => None,
    }
}

/// The container that the path points into, and the last part of the path. The whole document is in none.
fn parent<'a>(document: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), PatchError> {
    let mut tokens: Vec<String> = path.split('/').skip(1).map(unescape).collect();
    let last = tokens.pop().ok_or_else(|| missing(path))?;
    let found = tokens.iter().try_fold(document, |at, token| below(at, token));
    let container = found.filter(|found| found.is_object() || found.is_array());
    Ok((container.ok_or_else(|| missing(path))?, last))
}

/// The value at a path. A field that is not there is null, but an item has to be there.
fn get<'a>(document: &'a mut Value, path: &str) -> Result<&'a Value, PatchError> {
    let (container, last) = parent(document, path)?;
    match &*container {
        Value::Object(map) => Ok(map.get(&last).unwrap_or(&Value::Null)),
        Value::Array(list) => {
            index(&last, list.len()).and_then(|at| list.get(at)).ok_or_else(|| missing(path))
        }
        _ => Err(missing(path)),
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    match parent(document, path)? {
        (Value::Object(map), key) => {
            map.insert(key, value);
        }
        (Value::Array(list), key) => {
            let length = list.len();
            // Counted from the end, a new item comes after the one meant.
            let at = if key == "-" { Some(length) } else { index(&key, length + 1) };
            list.insert(at.filter(|at| *at <= length).ok_or_else(|| missing(path))?, value);
        }
        _ => return Err(missing(path)),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, PatchError> {
    let removed = match parent(document, path)? {
        (Value::Object(map), key) => map.remove(&key),
        (Value::Array(list), key) => {
            index(&key, list.len()).filter(|at| *at < list.len()).map(|at| list.remove(at))
        }
        _ => None,
    };
    removed.ok_or_else(|| missing(path))
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err(refuse("a document can only be replaced by an object or a list"));
        }
        *document = value;
        return Ok(());
    }
    match parent(document, path)? {
        (Value::Object(map), key) => {
            map.insert(key, value);
        }
        (list, key) => *below(list, &key).ok_or_else(|| missing(path))? = value,
    }
    Ok(())
}

fn test(document: &mut Value, path: &str, value: &Value) -> Result<(), PatchError> {
    let have = if path.is_empty() { &*document } else { get(document, path)? };
    if have == value { Ok(()) } else { Err(refuse(format!("testing value {path} failed"))) }
}
