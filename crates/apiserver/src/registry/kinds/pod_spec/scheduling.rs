//! Refusals of what steers scheduling: affinity, spreading, tolerations, gates.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{has, int, list, text};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const WHEN_UNSATISFIABLE: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];
const NODE_OPERATORS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

pub(super) fn validate(spec: &Value, path: &Path) -> Errors {
    let mut errors = affinity(&spec["affinity"], &path.child("affinity"));
    errors.extend(gates(spec, path));
    errors.extend(spreading(spec, path));
    for (i, toleration) in list(spec, "tolerations").iter().enumerate() {
        errors.extend(tolerate(toleration, &path.child("tolerations").index(i)));
    }
    errors
}

fn gates(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["readinessGates", "schedulingGates"] {
        let key = if field == "readinessGates" { "conditionType" } else { "name" };
        for (i, gate) in list(spec, field).iter().enumerate() {
            let (name, at) = (text(gate, key), path.child(field).index(i).child(key));
            errors.extend(check::named(&at, name, names::qualified_name(name)));
        }
    }
    errors
}

fn spreading(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let at = path.child("topologySpreadConstraints").index(i);
        if let Some(skew) = int(constraint, "maxSkew").or(Some(0)).filter(|skew| *skew <= 0) {
            errors.push(FieldError::invalid(&at.child("maxSkew"), skew, "must be greater than zero"));
        }
        if text(constraint, "topologyKey").is_empty() {
            errors.push(FieldError::required(&at.child("topologyKey"), "can not be empty"));
        }
        let when = text(constraint, "whenUnsatisfiable");
        if !WHEN_UNSATISFIABLE.contains(&when) {
            errors.push(FieldError::not_supported(&at.child("whenUnsatisfiable"), when, &WHEN_UNSATISFIABLE));
        }
        errors.extend(check::selector(&constraint["labelSelector"], &at.child("labelSelector")));
    }
    errors
}

fn tolerate(toleration: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (key, operator, value) =
        (text(toleration, "key"), text(toleration, "operator"), text(toleration, "value"));
    if !key.is_empty() {
        errors.extend(check::named(&path.child("key"), key, names::qualified_name(key)));
    }
    if key.is_empty() && operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(&path.child("operator"), operator, detail));
    }
    if has(toleration, "tolerationSeconds") && text(toleration, "effect") != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(&path.child("effect"), text(toleration, "effect"), detail));
    }
    match operator {
        "" | "Equal" => {
            errors.extend(check::named(&path.child("operator"), value, names::label_value(value)))
        }
        "Exists" if !value.is_empty() => {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::invalid(&path.child("operator"), toleration.clone(), detail));
        }
        "Exists" | "Gt" | "Lt" => {}
        other => errors.push(FieldError::not_supported(&path.child("operator"), other, &["Equal", "Exists"])),
    }
    let effect = text(toleration, "effect");
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(&path.child("effect"), effect, &EFFECTS));
    }
    errors
}

fn affinity(affinity: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let node = path.child("nodeAffinity");
    if let Some(required) = affinity.pointer("/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution") {
        let at = node.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
        let terms = list(required, "nodeSelectorTerms");
        if terms.is_empty() {
            errors.push(FieldError::required(&at, "must have at least one node selector term"));
        }
        for (i, term) in terms.iter().enumerate() {
            errors.extend(node_term(term, &at.index(i)));
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let field = "requiredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in list(&affinity[kind], field).iter().enumerate() {
            errors.extend(pod_term(term, &path.child(kind).child(field).index(i)));
        }
    }
    errors
}

fn node_term(term: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, expression) in list(term, "matchExpressions").iter().enumerate() {
        let at = path.child("matchExpressions").index(i);
        let (operator, values) = (text(expression, "operator"), list(expression, "values"));
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(FieldError::required(
                    &at.child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.push(FieldError::forbidden(
                    &at.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                errors.push(FieldError::required(
                    &at.child("values"),
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                ));
            }
            operator if !NODE_OPERATORS.contains(&operator) => {
                errors.push(FieldError::invalid(
                    &at.child("operator"),
                    operator,
                    "not a valid selector operator",
                ));
            }
            _ => {}
        }
        let key = text(expression, "key");
        errors.extend(check::named(&at.child("key"), key, names::qualified_name(key)));
    }
    errors
}

fn pod_term(term: &Value, path: &Path) -> Errors {
    let mut errors = check::selector(&term["labelSelector"], &path.child("labelSelector"));
    let (key, at) = (text(term, "topologyKey"), path.child("topologyKey"));
    if key.is_empty() {
        errors.push(FieldError::required(&at, "can not be empty"));
    }
    errors.extend(check::named(
        &at,
        key,
        if key.is_empty() { Vec::new() } else { names::qualified_name(key) },
    ));
    errors
}
