//! Merging a configuration into an object, and taking fields out of one (structured-merge-diff `typed.Merge`, `RemoveItems`).

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::set::Set;
use super::shape::Shape;

/// The object with the configuration laid over it. Nulls of the configuration stay, for the decoder to drop.
pub fn merge(live: &Value, config: &Value, shape: Shape) -> Value {
    both(live, config, shape).unwrap_or(Value::Null)
}

fn either(live: Option<&Value>, config: Option<&Value>, shape: Shape) -> Option<Value> {
    match (live, config) {
        (Some(live), Some(config)) => both(live, config, shape),
        (one, None) | (None, one) => one.cloned(),
    }
}

fn both(live: &Value, config: &Value, shape: Shape) -> Option<Value> {
    let nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    let mergeable = |value: &Value| {
        value.is_null() || (value.is_object() && shape.is_map()) || (value.is_array() && shape.is_list())
    };
    let merges = mergeable(live) && mergeable(config) && !(nothing(live) && nothing(config));
    if !merges || matches!(shape, Shape::Leaf) {
        return Some(config.clone());
    }
    if live.is_object() || config.is_object() {
        return merge_maps(live.as_object(), config.as_object(), shape);
    }
    let items = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    merge_lists(&items(live), &items(config), shape)
}

fn merge_maps(
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
    shape: Shape,
) -> Option<Value> {
    let mut merged = live.cloned().unwrap_or_default();
    for (key, wanted) in config.into_iter().flatten() {
        match either(merged.get(key), Some(wanted), shape.field(key)) {
            Some(value) => merged.insert(key.clone(), value),
            None => merged.remove(key),
        };
    }
    (!merged.is_empty()).then_some(Value::Object(merged))
}

/// Items of a list by path element. Those that are there more than once have no value to merge with.
struct Items<'a> {
    elements: Vec<String>,
    values: Vec<&'a Value>,
    found: HashMap<String, Option<&'a Value>>,
}

impl<'a> Items<'a> {
    fn of(list: &'a [Value], shape: Shape) -> Self {
        let mut items = Self { elements: Vec::new(), values: Vec::new(), found: HashMap::new() };
        for value in list {
            let Some(element) = shape.element(value) else { continue };
            items.found.entry(element.clone()).and_modify(|seen| *seen = None).or_insert(Some(value));
            items.elements.push(element);
            items.values.push(value);
        }
        items
    }
}

/// Items of the live list keep their places, those of the configuration come in its order; where both orders disagree, the
/// configuration's wins.
fn merge_lists(live: &[Value], config: &[Value], shape: Shape) -> Option<Value> {
    let (live, config) = (Items::of(live, shape), Items::of(config, shape));
    let mut shared: VecDeque<&String> =
        config.elements.iter().filter(|element| live.found.contains_key(*element)).collect();
    let mut next = shared.pop_front();
    let mut merged: HashSet<&String> = HashSet::new();
    let mut out = Vec::new();
    let join = |element: &String| {
        let live = live.found.get(element).copied().map(|value| value.unwrap_or(&Value::Null));
        either(live, config.found.get(element).copied().flatten(), shape.item())
    };
    let (mut l, mut r) = (0, 0);
    while l < live.elements.len() || r < config.elements.len() {
        if let (Some(have), Some(wanted)) = (live.elements.get(l), config.elements.get(r)) {
            if have == wanted {
                merged.insert(wanted);
                out.extend(join(wanted));
                (l, r) = (l + 1, r + 1);
                next = shared.pop_front();
                continue;
            }
            if config.found.contains_key(have) && next.is_some_and(|next| next != have) {
                l += 1;
                continue;
            }
        }
        if let Some(have) = live.elements.get(l) {
            if !config.found.contains_key(have) {
                out.push(live.values[l].clone());
                l += 1;
                continue;
            }
            if merged.contains(have) {
                l += 1;
            }
        }
        if let Some(wanted) = config.elements.get(r) {
            merged.insert(wanted);
            out.extend(join(wanted));
            r += 1;
            if next == Some(wanted) {
                next = shared.pop_front();
            }
        }
    }
    (!out.is_empty()).then_some(Value::Array(out))
}

/// The value without the members of the set. What becomes empty becomes null.
pub fn remove(value: &Value, gone: &Set, shape: Shape) -> Value {
    match value {
        Value::Object(map) if shape.is_map() => {
            let mut left = Map::new();
            for (key, value) in map {
                match gone.below.get(&format!("f:{key}")) {
                    Some(set) if set.own => {}
                    Some(set) => {
                        left.insert(key.clone(), remove(value, set, shape.field(key)));
                    }
                    None => {
                        left.insert(key.clone(), value.clone());
                    }
                }
            }
            if left.is_empty() { Value::Null } else { Value::Object(left) }
        }
        Value::Array(list) if shape.is_list() => {
            let keep = |item: &Value| {
                let set = shape.element(item).and_then(|element| gone.below.get(&element));
                match set {
                    Some(set) if set.own => None,
                    Some(set) => Some(remove(item, set, shape.item())),
                    None => Some(item.clone()),
                }
            };
            let left: Vec<Value> = list.iter().filter_map(keep).collect();
            if left.is_empty() { Value::Null } else { Value::Array(left) }
        }
        Value::Object(_) | Value::Array(_) => Value::Null,
        scalar => scalar.clone(),
    }
}
