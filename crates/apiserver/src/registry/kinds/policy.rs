//! `policy`: disruption budgets.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::cells::{age, count};
use super::plain::Plain;
use super::value::has;
use super::{check, conditions};
use crate::registry::strategy::Generic;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    (plural == "poddisruptionbudgets").then(|| Plain {
        status: r#"{"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0}"#,
        validate,
        validate_status,
        row: Some(row),
        ..Plain::new(generic)
    })
}

fn validate(object: &Value) -> Errors {
    const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        let error = FieldError::invalid(&path, spec.clone(), detail);
        errors.push(error.as_struct("PodDisruptionBudgetSpec"));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        errors.extend(check::int_or_percent(&spec[field], &path.child(field)));
        errors.extend(check::not_more_than_all(&spec[field], &path.child(field)));
    }
    errors.extend(check::selector(&spec["selector"], &path.child("selector")));
    errors.extend(check::known(spec, "unhealthyPodEvictionPolicy", &POLICIES, &path));
    errors
}

fn validate_status(object: &Value, _old: &Value) -> Errors {
    let (status, path) = (&object["status"], Path::new("status"));
    let mut errors = conditions::validate(&status["conditions"], &path.child("conditions"));
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        errors.extend(check::non_negative(status, field, &path));
    }
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let shown = |field: &str| match &object["spec"][field] {
        Value::Null => json!("N/A"),
        Value::String(text) => json!(text),
        other => json!(other.to_string()),
    };
    vec![
        json!(meta::name(object)),
        shown("minAvailable"),
        shown("maxUnavailable"),
        count(&object["status"], "disruptionsAllowed"),
        age(object, now),
    ]
}
