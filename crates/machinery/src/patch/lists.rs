//! Lists in strategic merge patches: who is the same item, and in which order items end up.
//!
//! Order is upstream's best effort: first the order that the patch asks for, then that of the list as it was
//! (apimachinery `pkg/util/strategicpatch`, `normalizeElementOrder`).

use serde_json::{Map, Value};

use super::PatchError;
use crate::text::go_print;

/// What identifies an item: the value of a field, or the item itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    /// The field; `None` for lists of plain values.
    pub key: Option<&'a str>,
}

impl Identity<'_> {
    /// The value that items are compared by.
    pub fn of<'v>(&self, item: &'v Value) -> Result<&'v Value, PatchError> {
        match (self.key, item.as_object()) {
            (Some(key), Some(map)) => map.get(key).ok_or_else(|| no_merge_key(map, key)),
            (Some(_), None) => Err(expected_map(item)),
            (None, Some(map)) => Err(no_merge_key(map, "")),
            (None, None) => Ok(item),
        }
    }

    fn position(&self, list: &[Value], id: &Value) -> Option<usize> {
        list.iter().position(|item| match self.key {
            None => item == id,
            Some(key) => item.get(key) == Some(id),
        })
    }

    /// Where the list has an item of this identity.
    pub fn find(&self, list: &[Value], id: &Value) -> Option<usize> {
        self.position(list, id)
    }
}

pub(super) fn no_merge_key(map: &Map<String, Value>, key: &str) -> PatchError {
    let map = go_print(&Value::Object(map.clone()));
    PatchError::Internal(format!("map: {map} does not contain declared merge key: {key}"))
}

pub(super) fn expected_map(value: &Value) -> PatchError {
    PatchError::Internal(format!("expected a map[string]interface {{}}, but received a {}", go_type(value)))
}

pub(super) fn expected_list(value: &Value) -> PatchError {
    PatchError::Internal(format!("expected a []interface {{}}, but received a {}", go_type(value)))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Whether the items are maps; refuses mixed ones, and lists of lists.
pub(super) fn items_are_maps(lists: &[&[Value]]) -> Result<bool, PatchError> {
    let mut first: Option<&Value> = None;
    for item in lists.iter().copied().flatten() {
        match first {
            None if item.is_array() => {
                return Err(PatchError::Unprocessable("lists of lists are not supported".to_owned()));
            }
            None => first = Some(item),
            Some(one) if go_type(one) == go_type(item) => {}
            Some(_) => {
                let lists: Vec<String> = lists.iter().map(|l| go_print(&Value::Array(l.to_vec()))).collect();
                let message = format!("list element types are not identical: [{}]", lists.join(" "));
                return Err(PatchError::Internal(message));
            }
        }
    }
    Ok(first.is_some_and(Value::is_object))
}

/// Brings a merged list into order. `asked` is the order that the patch wants, `before` the list as it was.
pub(super) fn order(
    merged: Vec<Value>,
    asked: &[Value],
    before: &[Value],
    identity: Identity<'_>,
) -> Result<Vec<Value>, PatchError> {
    let (mut patched, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        let id = identity.of(&item)?;
        let at_asked = identity.find(asked, id);
        let at_before = identity.find(before, id);
        match at_asked {
            Some(at) => patched.push((at, at_before, item)),
            None => others.push((at_before.unwrap_or(usize::MAX), item)),
        }
    }
    patched.sort_by_key(|(at, _, _)| *at);
    others.sort_by_key(|(at, _)| *at);
    Ok(interleave(patched, others))
}

/// Puts each item that the patch does not mention before the first mentioned one that used to come after it.
fn interleave(patched: Vec<(usize, Option<usize>, Value)>, others: Vec<(usize, Value)>) -> Vec<Value> {
    let mut out = Vec::with_capacity(patched.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, before, item) in patched {
        while let Some((_, other)) =
            others.next_if(|(at, _)| *at != usize::MAX && before.is_some_and(|b| *at < b))
        {
            out.push(other);
        }
        out.push(item);
    }
    out.extend(others.map(|(_, item)| item));
    out
}
