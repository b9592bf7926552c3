//! JSON merge patch (RFC 7396).

use serde_json::{Map, Value};

use super::PatchError;

/// Applies a merge patch: null removes, objects are merged, everything else replaces.
///
/// # Errors
/// When the patch is neither object nor array.
pub fn merge(original: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() && !patch.is_array() {
        return Err(PatchError::Malformed("Invalid JSON Patch".to_owned()));
    }
    let mut patched = original.clone();
    merge_into(&mut patched, patch);
    Ok(patched)
}

fn merge_into(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge_into(fields.entry(key.as_str()).or_insert(Value::Null), change);
        }
    }
}
