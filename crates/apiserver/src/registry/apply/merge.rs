//! Merging a configuration into an object, and taking out what is no longer applied.

use serde_json::{Map, Value};

use super::fields::{Set, Shape};

/// The object with the configuration laid over it.
pub fn merge(live: &Value, config: &Value, shape: Shape) -> Value {
    if !shape.merges(config) || !shape.merges(live) {
        return config.clone();
    }
    match (live, config) {
        (Value::Object(live), Value::Object(config)) => merge_maps(live, config, shape),
        (Value::Array(live), Value::Array(config)) => merge_lists(live, config, shape),
        _ => config.clone(),
    }
}

fn merge_maps(live: &Map<String, Value>, config: &Map<String, Value>, shape: Shape) -> Value {
    let mut merged = live.clone();
    for (key, wanted) in config {
        if wanted.is_null() {
            merged.remove(key);
            continue;
        }
        let value = match live.get(key) {
            Some(have) => merge(have, wanted, shape.field(key)),
            None => wanted.clone(),
        };
        merged.insert(key.clone(), value);
    }
    Value::Object(merged)
}

/// Items that are there stay in their order, new ones follow in the order of the configuration.
fn merge_lists(live: &[Value], config: &[Value], shape: Shape) -> Value {
    let mut merged = live.to_vec();
    for wanted in config {
        let element = shape.element(wanted);
        let same = merged.iter().position(|have| element.is_some() && shape.element(have) == element);
        match same {
            Some(at) => merged[at] = merge(&merged[at], wanted, shape.item()),
            None => merged.push(wanted.clone()),
        }
    }
    Value::Array(merged)
}

/// Takes out of the object what is in `before`, but neither in `now` nor anybody else's.
pub fn prune(object: &mut Value, before: &Set, now: &Set, others: &Set, shape: Shape) {
    let none = Set::default();
    for (element, before) in &before.below {
        let (now, others) =
            (now.below.get(element).unwrap_or(&none), others.below.get(element).unwrap_or(&none));
        let gone = before.own && now.is_empty() && others.is_empty();
        match (element.split_once(':'), &mut *object) {
            (Some(("f", name)), Value::Object(map)) => {
                if gone {
                    map.remove(name);
                } else if let Some(value) = map.get_mut(name) {
                    prune(value, before, now, others, shape.field(name));
                    let emptied = now.is_empty() && others.is_empty();
                    if emptied
                        && (value.as_object().is_some_and(Map::is_empty)
                            || value.as_array().is_some_and(Vec::is_empty))
                    {
                        map.remove(name);
                    }
                }
            }
            (Some(("k" | "v", _)), Value::Array(list)) => {
                let at = list.iter().position(|item| shape.element(item).as_ref() == Some(element));
                match at {
                    Some(at) if gone => {
                        list.remove(at);
                    }
                    Some(at) => prune(&mut list[at], before, now, others, shape.item()),
                    None => {}
                }
            }
            _ => {}
        }
    }
}

/// The fields of the configuration (`set`) whose value in the object is another, or that it does not have.
pub fn changed(live: &Value, config: &Value, set: &Set, shape: Shape) -> Set {
    let mut changed = Set::default();
    if !shape.merges(config) || !shape.merges(live) {
        return if live == config { changed } else { set.clone() };
    }
    for (element, below) in &set.below {
        let (have, wanted, shape) = match (element.split_once(':'), live, config) {
            (Some(("f", name)), Value::Object(live), Value::Object(config)) => {
                (live.get(name), config.get(name), shape.field(name))
            }
            (_, Value::Array(live), Value::Array(config)) => {
                let find = |list: &'_ [Value]| {
                    list.iter().position(|item| shape.element(item).as_ref() == Some(element))
                };
                (find(live).map(|at| &live[at]), find(config).map(|at| &config[at]), shape.item())
            }
            _ => continue,
        };
        let (Some(have), Some(wanted)) = (have, wanted) else {
            changed.below.insert(element.clone(), below.clone());
            continue;
        };
        let inner = self::changed(have, wanted, below, shape);
        if !inner.is_empty() {
            changed.below.insert(element.clone(), inner);
        }
    }
    changed
}
