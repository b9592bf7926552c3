//! `scheduling.k8s.io`: priority classes.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::cells::{age, count};
use super::check;
use super::plain::Plain;
use super::value::{flag, int, text};
use crate::registry::strategy::Generic;

/// Highest priority that users may give.
const USER_MAX: i64 = 1_000_000_000;
/// Classes of the system, and their priorities.
const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    (plural == "priorityclasses").then(|| Plain {
        defaults: "preemptionPolicy = \"PreemptLowerPriority\"",
        validate,
        validate_update,
        row: Some(row),
        ..Plain::new(generic)
    })
}

fn validate(object: &Value) -> Errors {
    let (name, value) = (meta::name(object), int(object, "value").unwrap_or_default());
    let mut errors = Errors::new();
    if name.starts_with("system-") {
        if !SYSTEM.contains(&(name, value)) || flag(object, "globalDefault") {
            let detail =
                "priority class names with 'system-' prefix are reserved for system use only. error: ";
            let why = if SYSTEM.iter().any(|(known, _)| *known == name) {
                format!("value of {name} PriorityClass must be {}", system_value(name))
            } else {
                format!("{name} is not a known system priority class")
            };
            let path = Path::new("metadata").child("name");
            errors.push(FieldError::forbidden(&path, format!("{detail}{why}")));
        }
    } else if value > USER_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        errors.push(FieldError::forbidden(&Path::new("value"), detail));
    }
    let policies = ["Never", "PreemptLowerPriority"];
    errors.extend(check::enumeration(object, "preemptionPolicy", &policies, &Path::root()));
    errors
}

fn system_value(name: &str) -> i64 {
    SYSTEM.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
}

fn validate_update(object: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    if int(object, "value").unwrap_or_default() != int(old, "value").unwrap_or_default() {
        errors.push(FieldError::forbidden(&Path::new("value"), "may not be changed in an update."));
    }
    errors.extend(check::immutable(object, old, "/preemptionPolicy", &Path::new("preemptionPolicy")));
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    vec![
        json!(meta::name(object)),
        count(object, "value"),
        json!(flag(object, "globalDefault")),
        age(object, now),
        json!(text(object, "preemptionPolicy")),
    ]
}
