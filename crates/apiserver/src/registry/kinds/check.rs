//! Validation that several kinds share, in upstream's words.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
pub(super) use machinery::names::domain_prefixed_path;
use machinery::quantity::Quantity;
use serde_json::{Map, Value};

use super::value::{has, int, list, map, text};

pub(super) const MAX_INT32: i64 = i32::MAX as i64;

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// One error for each reason a name is refused.
pub(super) fn named(path: &Path, name: &str, reasons: Vec<String>) -> Errors {
    reasons.into_iter().map(|reason| FieldError::invalid(path, name, reason)).collect()
}

/// Keys and values of a label set.
pub(super) fn labels(labels: Option<&Map<String, Value>>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (key, value) in labels.into_iter().flatten() {
        errors.extend(named(path, key, names::qualified_name(key)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(named(path, value, names::label_value(value)));
    }
    errors
}

/// Keys of annotations.
pub(super) fn annotations(annotations: Option<&Map<String, Value>>, path: &Path) -> Errors {
    annotations
        .into_iter()
        .flatten()
        .flat_map(|(key, _)| named(path, key, names::qualified_name(&key.to_lowercase())))
        .collect()
}

/// Metadata that are handed on to what is made from a template: labels and annotations, nothing else.
pub(super) fn template_metadata(metadata: &Value, path: &Path) -> Errors {
    // The others in upstream's order.
    const OTHERS: [(&str, &str); 13] = [
        ("name", "name"),
        ("generateName", "generateName"),
        ("namespace", "namespace"),
        ("selfLink", "selfLink"),
        ("uid", "uID"),
        ("resourceVersion", "resourceVersion"),
        ("generation", "generation"),
        ("creationTimestamp", "creationTimestamp"),
        ("deletionTimestamp", "deletionTimestamp"),
        ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
        ("ownerReferences", "ownerReferences"),
        ("finalizers", "finalizers"),
        ("managedFields", "managedFields"),
    ];
    let mut errors = annotations(map(metadata, "annotations"), &path.child("annotations"));
    errors.extend(labels(map(metadata, "labels"), &path.child("labels")));
    // The grace period is a pointer: 0 is set, too.
    let is_set = |field: &str| match &metadata[field] {
        Value::Number(_) if field == "deletionGracePeriodSeconds" => true,
        value => !is_zero(value),
    };
    let set = OTHERS.into_iter().filter(|(field, _)| is_set(field));
    errors.extend(set.map(|(_, called)| FieldError::forbidden(&path.child(called), "cannot be set")));
    errors
}

/// A count that is not negative.
pub(super) fn non_negative(object: &Value, field: &str, path: &Path) -> Option<FieldError> {
    let value = int(object, field)?;
    (value < 0).then(|| FieldError::invalid(&path.child(field), value, NOT_NEGATIVE))
}

/// A port number.
pub(super) fn port(value: i64, path: &Path) -> Errors {
    names::port_number(value).into_iter().map(|reason| FieldError::invalid(path, value, reason)).collect()
}

/// A port number or a port's name.
pub(super) fn port_or_name(value: &Value, path: &Path) -> Errors {
    match value {
        Value::String(name) => named(path, name, names::port_name(name)),
        other => port(other.as_i64().unwrap_or_default(), path),
    }
}

/// A field that must not change.
pub(super) fn immutable(object: &Value, old: &Value, pointer: &str, path: &Path) -> Option<FieldError> {
    let now = object.pointer(pointer).unwrap_or(&Value::Null);
    (now != old.pointer(pointer).unwrap_or(&Value::Null))
        .then(|| FieldError::invalid(path, now.clone(), "field is immutable"))
}

/// A label selector as it stands in a specification.
pub(super) fn selector(selector: &Value, path: &Path) -> Errors {
    const OPERATORS: [&str; 4] = ["DoesNotExist", "Exists", "In", "NotIn"];
    let mut errors = labels(map(selector, "matchLabels"), &path.child("matchLabels"));
    for (i, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let at = path.child("matchExpressions").index(i);
        let (operator, values) = (text(expression, "operator"), list(expression, "values"));
        errors.extend(values_of_operator(operator, values, &at));
        if !OPERATORS.contains(&operator) {
            let at = at.child("operator");
            errors.push(FieldError::invalid(&at, operator, "not a valid selector operator"));
        }
        let key = text(expression, "key");
        errors.extend(named(&at.child("key"), key, names::qualified_name(key)));
        for (j, value) in values.iter().filter_map(Value::as_str).enumerate() {
            errors.extend(named(&at.child("values").index(j), value, names::label_value(value)));
        }
    }
    errors
}

/// Values where the operator of a requirement needs them, and none where it does not.
pub(super) fn values_of_operator(operator: &str, values: &[Value], path: &Path) -> Errors {
    let at = path.child("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            vec![FieldError::required(&at, "must be specified when `operator` is 'In' or 'NotIn'")]
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            vec![FieldError::forbidden(&at, detail)]
        }
        _ => Errors::new(),
    }
}

/// A workload does not choose all pods.
pub(super) fn not_empty_selector(spec: &Value, kind: &str, path: &Path) -> Option<FieldError> {
    let selector = &spec["selector"];
    let empty = selector.is_object()
        && map(selector, "matchLabels").is_none()
        && list(selector, "matchExpressions").is_empty();
    let detail = format!("empty selector is invalid for {kind}");
    empty.then(|| {
        FieldError::invalid(&path.child("selector"), selector.clone(), detail).as_struct("LabelSelector")
    })
}

/// The pods of a workload must be its own.
pub(super) fn template_matches(spec: &Value, path: &Path) -> Option<FieldError> {
    let chosen = &spec["selector"];
    let labels = spec["template"]["metadata"]["labels"].as_object();
    let matches = match machinery::selector::LabelSelector::from_object(chosen) {
        Ok(selector) => chosen.is_object() && selector.matches_map(labels),
        // Refused as what it is.
        Err(_) => true,
    };
    let at = path.child("template").child("metadata").child("labels");
    let shown = labels.cloned().map_or(Value::Null, Value::Object);
    (!matches).then(|| FieldError::invalid(&at, shown, "`selector` does not match template `labels`"))
}

/// A required enumeration.
pub(super) fn one_of(object: &Value, field: &str, allowed: &[&str], path: &Path) -> Option<FieldError> {
    let at = path.child(field);
    match text(object, field) {
        "" => Some(FieldError::required(&at, "")),
        value if allowed.contains(&value) => None,
        value => Some(FieldError::not_supported(&at, value, allowed)),
    }
}

/// An enumeration that may be left out.
pub(super) fn enumeration(object: &Value, field: &str, allowed: &[&str], path: &Path) -> Option<FieldError> {
    let value = text(object, field);
    (!value.is_empty() && !allowed.contains(&value))
        .then(|| FieldError::not_supported(&path.child(field), value, allowed))
}

/// The same where an empty value is one outside the enumeration, as upstream's pointers to text have it.
pub(super) fn known(object: &Value, field: &str, allowed: &[&str], path: &Path) -> Option<FieldError> {
    let value = text(object, field);
    (has(object, field) && !allowed.contains(&value))
        .then(|| FieldError::not_supported(&path.child(field), value, allowed))
}

/// A required text.
pub(super) fn required(object: &Value, field: &str, path: &Path) -> Option<FieldError> {
    text(object, field).is_empty().then(|| FieldError::required(&path.child(field), ""))
}

/// An amount that must parse and not be negative.
pub(super) fn quantity(value: &Value, path: &Path) -> Result<Quantity, FieldError> {
    match Quantity::from_json(value) {
        Ok(quantity) if quantity.is_negative() => Err(FieldError::invalid(path, value.clone(), NOT_NEGATIVE)),
        Ok(quantity) => Ok(quantity),
        Err(error) => Err(FieldError::invalid(path, value.clone(), error.to_string())),
    }
}

/// Whether a value says no more than a missing one.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) => false,
    }
}

/// A count or a percentage.
pub(super) fn int_or_percent(value: &Value, path: &Path) -> Errors {
    match value {
        Value::String(text) => named(path, text, names::percent(text)),
        Value::Number(number) if number.as_i64().is_some_and(|n| n < 0) => {
            vec![FieldError::invalid(path, value.clone(), NOT_NEGATIVE)]
        }
        _ => Errors::new(),
    }
}

/// The number of a count or of a percentage; what is neither counts as 0.
pub(super) fn number_of(value: &Value) -> i64 {
    let text = value.as_str().map(|text| text.strip_suffix('%').unwrap_or(text));
    text.map_or_else(|| value.as_i64(), |text| text.parse().ok()).unwrap_or_default()
}

/// A percentage of at most 100.
pub(super) fn not_more_than_all(value: &Value, path: &Path) -> Option<FieldError> {
    let percent: u64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    (percent > 100).then(|| FieldError::invalid(path, value.clone(), "must not be greater than 100%"))
}
