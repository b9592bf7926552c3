//! Refusals of horizontal pod autoscalers (upstream `pkg/apis/autoscaling/validation`).

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::super::value::{has, int, list, text};
use super::super::{check, resources};
use super::SOURCES;

const WINDOW_MAX: i64 = 3600;
const PERIOD_MAX: i64 = 1800;
/// Fields that say what is measured, in the order upstream looks at them.
const FIELDS: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];

/// What of an autoscaler that is there already need not be right.
struct Leave {
    /// That it scales to zero: a feature that is off.
    zero: bool,
    /// Versions of what it scales, when that stays the same.
    target: bool,
    /// Versions of the objects that are measured, when one was wrong before.
    measured: bool,
}

impl Leave {
    fn of(object: &Value, old: Option<&Value>) -> Self {
        let Some(old) = old else { return Self { zero: false, target: false, measured: false } };
        let target =
            |field: &str| old["spec"]["scaleTargetRef"][field] == object["spec"]["scaleTargetRef"][field];
        let wrong = |metric: &Value| {
            let measured = &metric["object"]["describedObject"];
            text(metric, "type") == "Object" && group(text(measured, "apiVersion")).is_err()
        };
        Self {
            zero: int(&old["spec"], "minReplicas") == Some(0),
            target: target("apiVersion") && target("kind"),
            measured: list(&old["spec"], "metrics").iter().any(wrong),
        }
    }
}

/// A new autoscaler, or what becomes of an old one.
pub(super) fn validate(object: &Value, old: Option<&Value>) -> Errors {
    let leave = Leave::of(object, old);
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    let (least, most) = (int(spec, "minReplicas"), int(spec, "maxReplicas").unwrap_or_default());
    if least.is_some_and(|least| most < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(&path.child("maxReplicas"), most, detail));
    }
    let target = &spec["scaleTargetRef"];
    let in_core = text(target, "kind") == "ReplicationController";
    errors.extend(reference(target, &path.child("scaleTargetRef")));
    if !leave.target {
        errors.extend(version(target, in_core, &path.child("scaleTargetRef")));
    }
    let (metrics, at) = (list(spec, "metrics"), path.child("metrics"));
    for (i, metric) in metrics.iter().enumerate() {
        errors.extend(one_metric(metric, &at.index(i), leave.measured));
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
    errors.extend(bounds(spec, i64::from(!leave.zero), &path));
    errors
}

/// Rules that upstream has on the type, and looks at last.
fn bounds(spec: &Value, lowest: i64, path: &Path) -> Errors {
    let below = |field: &str, lowest: i64| {
        let number = int(spec, field).filter(|number| *number < lowest)?;
        let detail = format!("must be greater than or equal to {lowest}");
        Some(FieldError::invalid(&path.child(field), number, detail))
    };
    let most = match int(spec, "maxReplicas").unwrap_or_default() {
        0 => Some(FieldError::required(&path.child("maxReplicas"), "")),
        _ => below("maxReplicas", 1),
    };
    below("minReplicas", lowest).into_iter().chain(most).collect()
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

/// The group of what is referred to; only what is in the core group need not say one.
fn version(target: &Value, in_core: bool, path: &Path) -> Option<FieldError> {
    let given = text(target, "apiVersion");
    let detail = match group(given) {
        Ok("") if !in_core => "apiVersion must specify API group".to_owned(),
        Ok(_) => return None,
        Err(why) => why,
    };
    Some(FieldError::invalid(&path.child("apiVersion"), given, detail))
}

/// The group of an `apiVersion` (apimachinery `ParseGroupVersion`).
fn group(api_version: &str) -> Result<&str, String> {
    match api_version.matches('/').count() {
        0 => Ok(""),
        1 => Ok(api_version.split('/').next().unwrap_or_default()),
        _ => Err(format!("unexpected GroupVersion string: {api_version}")),
    }
}

/// A text that can stand in a path; `missing` is said when there is none.
fn segment(object: &Value, field: &str, missing: &str, path: &Path) -> Errors {
    let at = path.child(field);
    match text(object, field) {
        "" => vec![FieldError::required(&at, missing)],
        value => check::named(&at, value, names::path_segment(value)),
    }
}

fn one_metric(metric: &Value, path: &Path, any_version: bool) -> Errors {
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
        errors.extend(subject(first, &metric[first], any_version, &path.child(first)));
        errors.extend(source(first, &metric[first], &path.child(first)));
    }
    if expected.is_none() {
        errors.push(FieldError::not_supported(&at, kind, &SOURCES.map(|(kind, _)| kind)));
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

/// What is measured.
fn subject(field: &str, source: &Value, any_version: bool, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if field == "object" {
        let (object, at) = (&source["describedObject"], path.child("describedObject"));
        errors.extend(reference(object, &at));
        errors.extend(version(object, true, &at).filter(|_| !any_version));
    }
    if matches!(field, "object" | "external" | "pods") {
        let at = path.child("metric");
        errors.extend(segment(&source["metric"], "name", "must specify a metric name", &at));
        return errors;
    }
    let at = path.child("name");
    match text(source, "name") {
        "" => errors.push(FieldError::required(&at, "must specify a resource name")),
        name if field == "containerResource" => errors.extend(resources::container_name(name, &at)),
        _ => {}
    }
    if field == "containerResource" {
        let at = path.child("container");
        match text(source, "container") {
            "" => errors.push(FieldError::required(&at, "must specify a container")),
            name => errors.extend(check::named(&at, name, names::dns1123_label(name))),
        }
    }
    errors
}

/// What is aimed at, and that it suits what is measured.
fn source(field: &str, source: &Value, path: &Path) -> Errors {
    let (aim, at) = (&source["target"], path.child("target"));
    let mut errors = target(aim, &at);
    let missing = |field: &str, detail: &str| FieldError::required(&at.child(field), detail);
    let surplus = |field: &str, detail: &str| FieldError::forbidden(&at.child(field), detail);
    let (value, average, percent) =
        (has(aim, "value"), has(aim, "averageValue"), has(aim, "averageUtilization"));
    errors.extend(match field {
        "object" if !value && !average => {
            Some(missing("averageValue", "must set either a target value or averageValue"))
        }
        "external" if !value && !average => {
            Some(missing("averageValue", "must set either a target value for metric or a per-pod target"))
        }
        "external" if value && average => {
            Some(surplus("value", "may not set both a target value for metric and a per-pod target"))
        }
        "pods" if !average => Some(missing("averageValue", "must specify a positive target averageValue")),
        "resource" | "containerResource" if !percent && !average => {
            Some(missing("averageUtilization", "must set either a target raw value or a target utilization"))
        }
        "resource" | "containerResource" if percent && average => {
            Some(surplus("averageValue", "may not set both a target raw value and a target utilization"))
        }
        _ => None,
    });
    errors
}

fn is_positive(amount: &Value) -> bool {
    Quantity::from_json(amount).is_ok_and(|amount| !amount.is_zero() && !amount.is_negative())
}

fn target(target: &Value, path: &Path) -> Errors {
    let at = path.child("type");
    let mut errors = Errors::new();
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.push(FieldError::required(&at, "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(&at, kind, detail));
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
    errors.extend(check::known(rules, "selectPolicy", &["Disabled", "Max", "Min"], path));
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
