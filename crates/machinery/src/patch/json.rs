//! JSON patch (RFC 6902), with the habits of the library that upstream uses: negative indices count from the end, and a
//! test for null succeeds where there is nothing.

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
    list.iter().map(|o| o.as_object().ok_or_else(|| mistyped(o, "Operation"))).collect()
}

/// What Go calls a JSON value in messages about types.
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
    let path = pointer(operation, "path")?;
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match operation.get("op").and_then(Value::as_str).unwrap_or_default() {
        "add" => add(document, path, value()),
        "remove" => remove(document, path).map(drop),
        "replace" => replace(document, path, value()),
        "test" => test(document, path, &value()),
        "move" => {
            let from = pointer(operation, "from")?;
            if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return Err(refuse("a value cannot be moved into itself"));
            }
            let value = remove(document, from)?;
            add(document, path, value)
        }
        "copy" => {
            let from = pointer(operation, "from")?;
            let value = find(document, from).cloned().ok_or_else(|| missing(from))?;
            *copied += value.to_string().len();
            if *copied > COPIED_BYTES_MAX {
                return Err(refuse("the copies of the patch are too large"));
            }
            add(document, path, value)
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

/// Position in a list of `length` items.
fn index(token: &str, length: usize) -> Option<usize> {
    if let Some(from_end) = token.strip_prefix('-').and_then(|n| n.parse::<usize>().ok()) {
        return length.checked_sub(from_end);
    }
    let digits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
    token.parse().ok().filter(|_| digits)
}

fn find<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    tokens(path)?.into_iter().try_fold(document, |at, token| match at {
        Value::Object(map) => map.get(&token),
        Value::Array(list) => list.get(index(&token, list.len())?),
        _ => None,
    })
}

fn find_mut<'a>(document: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(document, |at, token| match at {
        Value::Object(map) => map.get_mut(token),
        Value::Array(list) => {
            let i = index(token, list.len())?;
            list.get_mut(i)
        }
        _ => None,
    })
}

fn tokens(path: &str) -> Option<Vec<String>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    Some(path.strip_prefix('/')?.split('/').map(unescape).collect())
}

/// The container that the path points into, and the last part of the path; `None` for the whole document.
fn parent<'a>(document: &'a mut Value, path: &str) -> Result<Option<(&'a mut Value, String)>, PatchError> {
    let mut tokens = tokens(path).ok_or_else(|| missing(path))?;
    let Some(last) = tokens.pop() else { return Ok(None) };
    let container = find_mut(document, &tokens).ok_or_else(|| missing(path))?;
    Ok(Some((container, last)))
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    match parent(document, path)? {
        None => *document = value,
        Some((Value::Object(map), key)) => {
            map.insert(key, value);
        }
        Some((Value::Array(list), key)) => {
            let length = list.len();
            // Counted from the end, a new item comes after the one meant.
            let at = match key.as_str() {
                "-" => Some(length),
                key if key.starts_with('-') => index(key, length + 1),
                key => index(key, length),
            };
            list.insert(at.filter(|i| *i <= length).ok_or_else(|| missing(path))?, value);
        }
        Some(_) => return Err(missing(path)),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, PatchError> {
    let removed = match parent(document, path)? {
        None => Some(document.take()),
        Some((Value::Object(map), key)) => map.remove(&key),
        Some((Value::Array(list), key)) => {
            index(&key, list.len()).filter(|i| *i < list.len()).map(|i| list.remove(i))
        }
        Some(_) => None,
    };
    removed.ok_or_else(|| missing(path))
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    let tokens = tokens(path).ok_or_else(|| missing(path))?;
    *find_mut(document, &tokens).ok_or_else(|| missing(path))? = value;
    Ok(())
}

fn test(document: &Value, path: &str, value: &Value) -> Result<(), PatchError> {
    if find(document, path).unwrap_or(&Value::Null) == value {
        Ok(())
    } else {
        Err(refuse(format!("testing value {path} failed")))
    }
}
