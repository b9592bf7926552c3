//! Tables of cases, driven through strategies alone.

use serde_json::Value;

use crate::registry::kinds::strategy;
use machinery::field::Errors;

/// Group and plural.
pub(super) type Resource = (&'static str, &'static str);

/// What an object is refused for, each as it stands in the message.
fn lines(errors: &Errors) -> Vec<String> {
    errors.iter().map(|error| format!("{}: {}", error.field(), error.body())).collect()
}

/// A new object as it is stored.
pub(super) fn made((group, plural): Resource, mut object: Value) -> Value {
    let strategy = strategy(group, plural);
    strategy.default(&mut object);
    strategy.prepare_for_create(&mut object);
    object
}

/// New objects and what each is refused for.
pub(super) fn refused(resource: Resource, cases: Vec<(Value, &[&str])>) {
    let strategy = strategy(resource.0, resource.1);
    for (object, expected) in cases {
        let made = made(resource, object.clone());
        let mut errors = strategy.validate(&made);
        errors.extend(strategy.validate_create(&made));
        assert_eq!(lines(&errors), expected, "{object}");
    }
}

/// `patch` merged into an object.
pub(super) fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(serde_json::Map::new());
    }
    let Some(object) = object.as_object_mut() else { return };
    for (field, value) in fields {
        if value.is_null() {
            object.remove(field);
        } else {
            merge(object.entry(field.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Objects, what is merged into each, through which subresource, and how each refusal begins.
pub(super) fn updates(resource: Resource, subresource: &str, cases: Vec<(Value, Value, &[&str])>) {
    let strategy = strategy(resource.0, resource.1);
    for (old, patch, expected) in cases {
        let old = made_with_status(resource, &old);
        let mut wanted = old.clone();
        merge(&mut wanted, &patch);
        strategy.default(&mut wanted);
        let errors = match subresource {
            "" => {
                let mut new = wanted;
                strategy.prepare_for_update(&mut new, &old);
                strategy.validate_changed(&new, &old)
            }
            "status" => {
                strategy.prepare_for_status_update(&mut wanted, &old);
                strategy.validate_status_update(&wanted, &old)
            }
            other => {
                let mut new = old.clone();
                strategy.prepare_for_subresource_update(other, &mut new, &wanted, &old);
                strategy.validate_subresource_update(other, &new, &old)
            }
        };
        let lines = lines(&errors);
        let same = lines.len() == expected.len() && lines.iter().zip(expected).all(|(l, e)| l.starts_with(e));
        assert!(same, "{old} with {patch}: {lines:#?} is not {expected:#?}");
    }
}

/// A stored object that has the status given.
fn made_with_status(resource: Resource, object: &Value) -> Value {
    let mut old = made(resource, object.clone());
    if let Some(status) = object.get("status") {
        merge(&mut old["status"], status);
    }
    old
}

/// New objects and their warnings.
pub(super) fn warned(resource: Resource, cases: Vec<(Value, &[&str])>) {
    let strategy = strategy(resource.0, resource.1);
    for (object, expected) in cases {
        assert_eq!(strategy.warnings(&made(resource, object.clone())), expected, "{object}");
    }
}
