//! Refusals of horizontal pod autoscalers (upstream `pkg/apis/autoscaling/validation`).

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::super::check;
use super::super::value::{has, int, list, text};
use super::SOURCES;

const WINDOW_MAX: i64 = 3600;
const PERIOD_MAX: i64 = 1800;
/// Fields that say what is measured, in the order upstream looks at them.
const FIELDS: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];

pub(super) fn validate(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors: Errors = check::non_negative(spec, "minReplicas", &path).into_iter().collect();
    let (least, most) = (int(spec, "minReplicas"), int(spec, "maxReplicas").unwrap_or_default());
    let at = path.child("maxReplicas");
    if most < 1 {
        errors.push(FieldError::invalid(&at, most, "must be greater than 0"));
    }
    if least.is_some_and(|least| most < least) {
        errors.push(FieldError::invalid(&at, most, "must be greater than or equal to `minReplicas`"));
    }
    errors.extend(reference(&spec["scaleTargetRef"], &path.child("scaleTargetRef")));
    let (metrics, at) = (list(spec, "metrics"), path.child("metrics"));
    for (i, metric) in metrics.iter().enumerate() {
        errors.extend(one_metric(metric, &at.index(i)));
    }
    let from_outside = |metric: &Value| matches!(text(metric, "type"), "Object" | "External");
    if least == Some(0) && !metrics.iter().any(from_outside) {
        let detail =
            "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(&at, detail));
    }
    for direction in ["scaleUp", "scaleDown"].into_iter().filter(|field| has(&spec["behavior"], field)) {
        errors.extend(scaling(&spec["behavior"][direction], &path.child("behavior").child(direction)));
    }
    errors
}

/// Counts of a status.
pub(super) fn validate_status(object: &Value, _old: &Value) -> Errors {
    let path = Path::new("status");
    let counts = ["currentReplicas", "desiredReplicas"].into_iter();
    counts.filter_map(|field| check::non_negative(&object["status"], field, &path)).collect()
}

fn reference(target: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["kind", "name"] {
        errors.extend(segment(target, field, "", path));
    }
    errors
}

/// A text that can stand in a path; `missing` is said when there is none.
fn segment(object: &Value, field: &str, missing: &str, path: &Path) -> Errors {
    let at = path.child(field);
    match text(object, field) {
        "" => vec![FieldError::required(&at, missing)],
        value => check::named(&at, value, names::path_segment(value)),
    }
}

fn one_metric(metric: &Value, path: &Path) -> Errors {
    let (kind, at) = (text(metric, "type"), path.child("type"));
    let mut errors = Errors::new();
    let expected = SOURCES.iter().find(|(known, _)| *known == kind).map(|(_, field)| *field);
    if kind.is_empty() {
        errors.push(FieldError::required(&at, "must specify a metric source type"));
    }
    if expected.is_none() {
        errors.push(FieldError::not_supported(&at, kind, &SOURCES.map(|(kind, _)| kind)));
    }
    let present = || FIELDS.into_iter().filter(|field| has(metric, field));
    if let Some(first) = present().next() {
        errors.extend(source(first, &metric[first], &path.child(first)));
    }
    if let Some(field) = expected.filter(|field| !has(metric, field)) {
        let detail = "must populate information for the given metric source";
        errors.push(FieldError::required(&path.child(field), detail));
    }
    if present().count() != 1 {
        for field in present().filter(|field| Some(*field) != expected) {
            let detail = "must populate the given metric source only";
            errors.push(FieldError::forbidden(&path.child(field), detail));
        }
    }
    errors
}

fn source(field: &str, source: &Value, path: &Path) -> Errors {
    const EITHER_VALUE: &str = "must set either a target value for metric or a per-pod target";
    const EITHER_USE: &str = "must set either a target raw value or a target utilization";
    let mut errors = Errors::new();
    match field {
        "object" => errors.extend(reference(&source["describedObject"], &path.child("describedObject"))),
        "resource" | "containerResource" if text(source, "name").is_empty() => {
            errors.push(FieldError::required(&path.child("name"), "must specify a resource name"));
        }
        _ => {}
    }
    if field == "containerResource" && text(source, "container").is_empty() {
        errors.push(FieldError::required(&path.child("container"), "must specify a container"));
    }
    if matches!(field, "object" | "external" | "pods") {
        let at = path.child("metric");
        errors.extend(segment(&source["metric"], "name", "must specify a metric name", &at));
    }
    let (aim, at) = (&source["target"], path.child("target"));
    errors.extend(target(aim, &at));
    let both = |one: &str, other: &str| (has(aim, one), has(aim, other));
    match (field, both("value", "averageValue"), both("averageUtilization", "averageValue")) {
        ("object" | "external", (false, false), _) => {
            errors.push(FieldError::required(&at.child("averageValue"), EITHER_VALUE));
        }
        ("external", (true, true), _) => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.push(FieldError::forbidden(&at.child("value"), detail));
        }
        ("pods", (_, average), _) if !average || !is_positive(&aim["averageValue"]) => {
            let detail = "must specify a positive target averageValue";
            errors.push(FieldError::required(&at.child("averageValue"), detail));
        }
        ("resource" | "containerResource", _, (false, false)) => {
            errors.push(FieldError::required(&at.child("averageUtilization"), EITHER_USE));
        }
        ("resource" | "containerResource", _, (true, true)) => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.push(FieldError::forbidden(&at.child("averageValue"), detail));
        }
        _ => {}
    }
    errors
}

fn is_positive(amount: &Value) -> bool {
    Quantity::from_json(amount).is_ok_and(|amount| !amount.is_zero() && !amount.is_negative())
}

fn target(target: &Value, path: &Path) -> Errors {
    let at = path.child("type");
    let mut errors = Errors::new();
    match text(target, "type") {
        "" => errors.push(FieldError::required(&at, "must specify a metric target type")),
        "Utilization" | "Value" | "AverageValue" => {}
        other => {
            let detail = "must be either Utilization, Value, or AverageValue";
            errors.push(FieldError::invalid(&at, other, detail));
        }
    }
    for field in ["value", "averageValue"].into_iter().filter(|field| has(target, field)) {
        if !is_positive(&target[field]) {
            let shown = target[field].clone();
            errors.push(FieldError::invalid(&path.child(field), shown, "must be positive"));
        }
    }
    if let Some(percent) = int(target, "averageUtilization").filter(|percent| *percent < 1) {
        errors.push(FieldError::invalid(
            &path.child("averageUtilization"),
            percent,
            "must be greater than 0",
        ));
    }
    errors
}

/// How fast it may go in one direction.
fn scaling(rules: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if let Some(window) = int(rules, "stabilizationWindowSeconds") {
        let detail = match window {
            window if window < 0 => Some("must be greater than or equal to zero".to_owned()),
            window if window > WINDOW_MAX => Some(format!("must be less than or equal to {WINDOW_MAX}")),
            _ => None,
        };
        let at = path.child("stabilizationWindowSeconds");
        errors.extend(detail.map(|detail| FieldError::invalid(&at, window, detail)));
    }
    errors.extend(check::enumeration(rules, "selectPolicy", &["Disabled", "Max", "Min"], path));
    let (policies, at) = (list(rules, "policies"), path.child("policies"));
    if policies.is_empty() {
        errors.push(FieldError::required(&at, "must specify at least one Policy"));
    }
    for (i, policy) in policies.iter().enumerate() {
        let at = at.index(i);
        let kind = text(policy, "type");
        if !matches!(kind, "Percent" | "Pods") {
            errors.push(FieldError::not_supported(&at.child("type"), kind, &["Percent", "Pods"]));
        }
        for field in ["value", "periodSeconds"] {
            let number = int(policy, field).unwrap_or_default();
            if number <= 0 {
                errors.push(FieldError::invalid(&at.child(field), number, "must be greater than zero"));
            } else if field == "periodSeconds" && number > PERIOD_MAX {
                let detail = format!("must be less than or equal to {PERIOD_MAX}");
                errors.push(FieldError::invalid(&at.child(field), number, detail));
            }
        }
    }
    if has(rules, "tolerance") {
        errors.extend(check::quantity(&rules["tolerance"], &path.child("tolerance")).err());
    }
    errors
}
