//! Strategic merge patch: a merge patch that knows which lists are merged, and by which key.
//!
//! Directives, all of which `kubectl apply` and `kubectl edit` send:
//! - `$patch: replace | delete | merge` in an object, or as an item of a list;
//! - `$retainKeys: […]` clears all other fields of an object;
//! - `$deleteFromPrimitiveList/<field>: […]` removes values from a list;
//! - `$setElementOrder/<field>: […]` says how a merged list is ordered.
//!
//! Rules and messages are apimachinery's `pkg/util/strategicpatch`.

use serde_json::{Map, Value};

use super::PatchError;
use super::lists::{Identity, expected_list, expected_map, items_are_maps, no_merge_key, order};
use crate::schema::{Field, FieldType, Schema, TypeId};
use crate::text::{go_print, go_text};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch to an object of the given type.
///
/// # Errors
/// In upstream's words, see [`PatchError`].
pub fn strategic(original: &Value, patch: &Value, ty: TypeId) -> Result<Value, PatchError> {
    let Some(patch) = patch.as_object() else {
        return Err(PatchError::Malformed("invalid JSON document".to_owned()));
    };
    let original = original.as_object().cloned().unwrap_or_default();
    merge_map(original, patch.clone(), Node::Struct(ty)).map(Value::Object)
}

/// What is known about the place in the object.
#[derive(Debug, Clone, Copy)]
enum Node {
    /// A struct of the API.
    Struct(TypeId),
    /// A map, free-form JSON, or a field that the type does not have: merged without strategies.
    Free,
}

impl Node {
    fn field(self, name: &str) -> Option<&'static Field> {
        match self {
            Self::Struct(ty) => Schema::builtin().ty(ty).field(name),
            Self::Free => None,
        }
    }

    /// The node of what a field holds: the struct itself, or the items of its list.
    fn below(field: Option<&'static Field>) -> Self {
        let ty = match field.map(|f| f.ty) {
            Some(FieldType::Array(item)) => Some(*item),
            other => other,
        };
        match ty {
            Some(FieldType::Ref(ty)) => Self::Struct(*ty),
            _ => Self::Free,
        }
    }
}

fn bad_retain_keys() -> PatchError {
    PatchError::Malformed("invalid patch format of retainKeys".to_owned())
}

fn bad_order() -> PatchError {
    PatchError::Malformed("invalid patch format of setElementOrder list".to_owned())
}

fn bad_patch_type(directive: &Value, map: &Map<String, Value>) -> PatchError {
    let map = go_print(&Value::Object(map.clone()));
    PatchError::Internal(format!("unknown patch type: {} in map: {map}", go_text(directive)))
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    node: Node,
) -> Result<Map<String, Value>, PatchError> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(bad_patch_type(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_orders(&mut original, &mut patch, node)?;
    for (key, change) in patch {
        match key.strip_prefix(DELETE_FROM) {
            Some(list) => delete_from_list(&mut original, list, &change)?,
            None if key.starts_with("$deleteFromPrimitiveList") => {
                return Err(PatchError::Malformed("invalid patch format of primitive list".to_owned()));
            }
            None => merge_field(&mut original, key, change, node)?,
        }
    }
    Ok(original)
}

/// Carries out `$retainKeys`.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keys = directive.as_array().ok_or_else(bad_retain_keys)?;
    let listed = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    let stray = patch.iter().any(|(key, value)| {
        !(value.is_null() || key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER) || listed(key))
    });
    if stray {
        return Err(bad_retain_keys());
    }
    original.retain(|key, _| listed(key));
    Ok(())
}

/// Carries out every `$setElementOrder` together with the lists that they are about.
fn set_orders(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    node: Node,
) -> Result<(), PatchError> {
    let directives: Vec<String> =
        patch.keys().filter(|k| k.starts_with("$setElementOrder")).cloned().collect();
    for directive in directives {
        let asked = patch.remove(&directive).unwrap_or_default();
        let asked = asked.as_array().ok_or_else(|| expected_list(&asked))?;
        let key = directive.strip_prefix(SET_ORDER).ok_or_else(bad_order)?;
        let field = node.field(key);
        if let (Node::Struct(ty), None) = (node, field) {
            let name = Schema::builtin().ty(ty).short_name();
            let message = format!("unable to find api field in struct {name} for the json field \"{key}\"");
            return Err(PatchError::Internal(message));
        }
        set_order(original, patch, key, asked, field)?;
    }
    Ok(())
}

fn take_list(value: Option<Value>) -> Result<Option<Vec<Value>>, PatchError> {
    match value {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(expected_list(&other)),
    }
}

fn set_order(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    key: &str,
    asked: &[Value],
    field: Option<&'static Field>,
) -> Result<(), PatchError> {
    let identity = Identity { key: field.and_then(Field::patch_merge_key) };
    let before = take_list(original.get(key).cloned())?;
    let change = take_list(patch.remove(key))?;
    if let Some(change) = &change {
        check_order(change, asked, identity)?;
    }
    let nothing = |list: &Option<Vec<Value>>| list.as_ref().is_none_or(Vec::is_empty);
    let empty = nothing(&before) && nothing(&change);
    let merged = match (before.clone(), change) {
        (None, None) => return Ok(()),
        _ if empty => {
            return Err(PatchError::Internal("no elements in any of the given slices".to_owned()));
        }
        (Some(before), None) => before,
        (None, Some(change)) => {
            added(Value::Array(change)).and_then(|v| v.as_array().cloned()).unwrap_or_default()
        }
        (Some(before), Some(change)) => merge_list(before, change, field)?,
    };
    let before = before.unwrap_or_default();
    if identity.key.is_none() {
        before.iter().try_for_each(|item| identity.of(item).map(drop))?;
    }
    let ordered = order(merged, asked, &before, identity)?;
    original.insert(key.to_owned(), Value::Array(ordered));
    Ok(())
}

/// The items of a patch have to stand in the order that they ask for. Directives may stand anywhere but at the end.
fn check_order(change: &[Value], asked: &[Value], identity: Identity<'_>) -> Result<(), PatchError> {
    if asked.is_empty() || change.is_empty() {
        return Ok(());
    }
    let deletes = |item: &Value| item.get(PATCH).is_some_and(|directive| directive == "delete");
    let mut items = change.iter().filter(|item| !deletes(item)).peekable();
    for wanted in asked {
        while items.next_if(|item| item.get(PATCH).is_some()).is_some() {}
        let Some(item) = items.peek() else { return Ok(()) };
        if identity.of(item)? == identity.of(wanted)? {
            items.next();
        }
    }
    if items.peek().is_none() {
        return Ok(());
    }
    let (change, asked) = (Value::Array(change.to_vec()), Value::Array(asked.to_vec()));
    Err(PatchError::Internal(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        go_print(&change),
        go_print(&asked)
    )))
}

fn delete_from_list(original: &mut Map<String, Value>, key: &str, change: &Value) -> Result<(), PatchError> {
    if change.is_null() {
        original.remove(key);
        return Ok(());
    }
    let Some(current) = original.get_mut(key) else { return Ok(()) };
    let (Some(list), Some(gone)) = (current.as_array_mut(), change.as_array()) else { return Ok(()) };
    items_are_maps(&[list, gone])?;
    list.retain(|item| !gone.contains(item));
    Ok(())
}

fn merge_field(
    original: &mut Map<String, Value>,
    key: String,
    change: Value,
    node: Node,
) -> Result<(), PatchError> {
    if change.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let field = node.field(&key);
    let merged = match (original.remove(&key), change) {
        (Some(Value::Object(before)), Value::Object(change)) => {
            Some(Value::Object(merge_struct(before, change, field)?))
        }
        (Some(Value::Array(before)), Value::Array(change)) => {
            Some(Value::Array(merge_list(before, change, field)?))
        }
        (_, change) => added(change),
    };
    if let Some(merged) = merged {
        original.insert(key, merged);
    }
    Ok(())
}

fn merge_struct(
    before: Map<String, Value>,
    change: Map<String, Value>,
    field: Option<&'static Field>,
) -> Result<Map<String, Value>, PatchError> {
    if field.is_some_and(|f| f.patch().replace) {
        return Ok(change);
    }
    merge_map(before, change, Node::below(field))
}

fn merge_list(
    before: Vec<Value>,
    change: Vec<Value>,
    field: Option<&'static Field>,
) -> Result<Vec<Value>, PatchError> {
    if !field.is_some_and(|f| f.patch().merge) {
        return Ok(change);
    }
    let identity = Identity { key: field.and_then(Field::patch_merge_key) };
    if !items_are_maps(&[&before, &change])? {
        let merged = without_repetitions(before.iter().chain(&change).cloned());
        return order(merged, &change, &before, Identity { key: None });
    }
    let Some(key) = identity.key else {
        return Err(PatchError::Internal("cannot merge lists without merge key for slice".to_owned()));
    };
    let (before, change) = item_directives(before, change, key)?;
    let merged = merge_items(before.clone(), &change, identity, Node::below(field))?;
    order(merged, &change, &before, identity)
}

fn without_repetitions(items: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for item in items {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}

/// Carries out items like `{"$patch": "delete", "name": "x"}`; returns the list and the plain items of the patch.
fn item_directives(
    mut before: Vec<Value>,
    change: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut plain, mut replace) = (Vec::new(), false);
    for item in change {
        let Some(map) = item.as_object() else { return Err(expected_map(&item)) };
        match map.get(PATCH).map(|d| (d.as_str(), d)) {
            None => plain.push(item),
            Some((Some("delete"), _)) => {
                let id = map.get(key).ok_or_else(|| no_merge_key(map, key))?;
                before.retain(|have| have.get(key) != Some(id));
            }
            Some((Some("replace"), _)) => replace = true,
            Some((Some("merge"), _)) => {
                let message = "merging lists cannot yet be specified in the patch";
                return Err(PatchError::Internal(message.to_owned()));
            }
            Some((_, directive)) => return Err(bad_patch_type(directive, map)),
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (before, plain) })
}

fn merge_items(
    mut list: Vec<Value>,
    change: &[Value],
    identity: Identity<'_>,
    node: Node,
) -> Result<Vec<Value>, PatchError> {
    for item in change {
        let id = identity.of(item)?;
        match identity.find(&list, id).and_then(|at| list.get_mut(at)) {
            Some(slot) => {
                if let (Value::Object(before), Value::Object(item)) = (slot.take(), item) {
                    *slot = Value::Object(merge_map(before, item.clone(), node)?);
                }
            }
            None => list.push(item.clone()),
        }
    }
    Ok(list)
}

/// What the patch adds where nothing was: without nulls and without objects that have `$patch`. Other directives are fields like any
/// other there, which the kind does not have.
fn added(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            let fields = map.into_iter().filter(|(_, value)| !value.is_null());
            Some(Value::Object(fields.filter_map(|(key, value)| Some((key, added(value)?))).collect()))
        }
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(added).collect())),
        other => Some(other),
    }
}
