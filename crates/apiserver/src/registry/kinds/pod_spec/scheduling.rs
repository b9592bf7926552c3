//! Refusals of what steers scheduling: affinity, spreading, tolerations, gates.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::{Map, Value, json};

use super::super::check;
use super::super::value::{each, has, int, list, put, strings, text};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const POD_AFFINITIES: [&str; 2] = ["podAffinity", "podAntiAffinity"];

/// Names of gates that hold a pod back, each once.
pub(super) fn gates(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (name, at) = (text(gate, "name"), path.child("schedulingGates").index(i));
        errors.extend(check::named(&at, name, names::qualified_name(name)));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at, name));
        }
    }
    errors
}

/// How pods are spread.
pub(super) fn spreading(spec: &Value, path: &Path) -> Errors {
    const WHEN: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];
    let mut errors = Errors::new();
    let constraints = list(spec, "topologySpreadConstraints");
    for (i, constraint) in constraints.iter().enumerate() {
        let at = path.child("topologySpreadConstraints").index(i);
        let positive = |field: &str| {
            int(constraint, field)
                .filter(|number| *number <= 0)
                .map(|number| FieldError::invalid(&at.child(field), number, "must be greater than zero"))
        };
        if has(constraint, "maxSkew") {
            errors.extend(positive("maxSkew"));
        } else {
            errors.push(FieldError::invalid(&at.child("maxSkew"), 0, "must be greater than zero"));
        }
        let (key, when) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(FieldError::required(&at.child("topologyKey"), "can not be empty"));
        }
        if !WHEN.contains(&when) {
            errors.push(FieldError::not_supported(&at.child("whenUnsatisfiable"), when, &WHEN));
        }
        let same =
            |other: &&Value| text(other, "topologyKey") == key && text(other, "whenUnsatisfiable") == when;
        if constraints.iter().skip(i + 1).any(|other| same(&other)) {
            let at = at.child("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(&at, format!("{{{key}, {when}}}")));
        }
        errors.extend(positive("minDomains"));
        if let Some(domains) = int(constraint, "minDomains").filter(|_| when != "DoNotSchedule") {
            let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
            errors.push(FieldError::invalid(&at.child("minDomains"), domains, detail));
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"].into_iter().filter(|f| has(constraint, f)) {
            let policy = text(constraint, field);
            if !matches!(policy, "Honor" | "Ignore") {
                errors.push(FieldError::not_supported(&at.child(field), policy, &["Honor", "Ignore"]));
            }
        }
        errors.extend(label_keys(constraint, &at));
        errors.extend(check::selector(&constraint["labelSelector"], &at.child("labelSelector")));
    }
    errors
}

/// Keys whose values are taken from the pod's own labels.
fn label_keys(term: &Value, path: &Path) -> Errors {
    let (same, other) = (strings(term, "matchLabelKeys"), strings(term, "mismatchLabelKeys"));
    if same.is_empty() && other.is_empty() {
        return Errors::new();
    }
    let mut errors = Errors::new();
    for (field, keys) in [("matchLabelKeys", &same), ("mismatchLabelKeys", &other)] {
        let at = path.child(field);
        if !keys.is_empty() && !has(term, "labelSelector") {
            errors.push(FieldError::forbidden(&at, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (i, key) in keys.iter().enumerate() {
            errors.extend(check::named(&at.index(i), key, names::qualified_name(key)));
        }
    }
    // What was taken from the labels stands in the selector already; more than once says that it stood there before.
    let selector = &term["labelSelector"];
    let mut chosen: BTreeSet<&str> = match selector["matchLabels"].as_object() {
        Some(labels) => labels.keys().map(String::as_str).collect(),
        None => BTreeSet::new(),
    };
    for expression in list(selector, "matchExpressions") {
        let key = text(expression, "key");
        let taken = same.iter().rposition(|known| *known == key);
        if !chosen.insert(key)
            && let Some(i) = taken
        {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(&path.index(i), key, detail));
        }
    }
    for (i, key) in same.iter().enumerate().filter(|(_, key)| other.contains(key)) {
        let at = path.child("matchLabelKeys").index(i);
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(&at, *key, detail));
    }
    errors
}

/// What taints a pod bears with.
pub(in super::super) fn tolerations(spec: &Value, path: &Path) -> Errors {
    let all = list(spec, "tolerations").iter().enumerate();
    all.flat_map(|(i, toleration)| tolerate(toleration, &path.child("tolerations").index(i))).collect()
}

fn tolerate(toleration: &Value, path: &Path) -> Errors {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let mut errors = Errors::new();
    let (key, operator, value) =
        (text(toleration, "key"), text(toleration, "operator"), text(toleration, "value"));
    let at = path.child("operator");
    if !key.is_empty() {
        errors.extend(check::named(&path.child("key"), key, names::qualified_name(key)));
    }
    if key.is_empty() && operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(&at, operator, detail));
    }
    let effect = text(toleration, "effect");
    if has(toleration, "tolerationSeconds") && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(&path.child("effect"), effect, detail));
    }
    match operator {
        "" | "Equal" => {
            let reasons = names::label_value(value);
            if !reasons.is_empty() {
                errors.push(FieldError::invalid(&at, value, reasons.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            errors.push(FieldError::invalid(&at, value, "value must be empty when `operator` is 'Exists'"));
        }
        "Exists" => {}
        // Comparing operators are known, and not switched on.
        "Gt" | "Lt" => {
            errors.push(FieldError::not_supported(&at, operator, &["Equal", "Exists", "Lt", "Gt"]));
        }
        other => errors.push(FieldError::not_supported(&at, other, &["Equal", "Exists"])),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(&path.child("effect"), effect, &EFFECTS));
    }
    errors
}

/// Which nodes and which neighbours a pod wants.
pub(super) fn affinity(spec: &Value, path: &Path) -> Errors {
    let (affinity, path) = (&spec["affinity"], path.child("affinity"));
    if !affinity.is_object() {
        return Errors::new();
    }
    let (nodes, at) = (&affinity["nodeAffinity"], path.child("nodeAffinity"));
    let mut errors = Errors::new();
    if has(nodes, REQUIRED) {
        errors.extend(node_selector(&nodes[REQUIRED], &at.child(REQUIRED)));
    }
    for (i, term) in list(nodes, PREFERRED).iter().enumerate() {
        let at = at.child(PREFERRED).index(i);
        errors.extend(weight(term, &at));
        errors.extend(node_term(&term["preference"], false, &at.child("preference")));
    }
    for kind in POD_AFFINITIES {
        for (i, term) in list(&affinity[kind], REQUIRED).iter().enumerate() {
            errors.extend(pod_term(term, &path.child(kind).child(REQUIRED).index(i)));
        }
        for (i, term) in list(&affinity[kind], PREFERRED).iter().enumerate() {
            let at = path.child(kind).child(PREFERRED).index(i);
            errors.extend(weight(term, &at));
            errors.extend(pod_term(&term["podAffinityTerm"], &at.child("podAffinityTerm")));
        }
    }
    errors
}

fn weight(term: &Value, path: &Path) -> Option<FieldError> {
    let weight = int(term, "weight").unwrap_or_default();
    let fits = (1..=100).contains(&weight);
    (!fits).then(|| FieldError::invalid(&path.child("weight"), weight, "must be in the range 1-100"))
}

/// Terms of which a node fulfils at least one.
pub(in super::super) fn node_selector(selector: &Value, path: &Path) -> Errors {
    let (terms, at) = (list(selector, "nodeSelectorTerms"), path.child("nodeSelectorTerms"));
    if terms.is_empty() {
        return vec![FieldError::required(&at, "must have at least one node selector term")];
    }
    terms.iter().enumerate().flat_map(|(i, term)| node_term(term, true, &at.index(i))).collect()
}

/// `strict`: values have to be such that a label can have them.
fn node_term(term: &Value, strict: bool, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, expression) in list(term, "matchExpressions").iter().enumerate() {
        errors.extend(node_expression(expression, strict, &path.child("matchExpressions").index(i)));
    }
    for (i, field) in list(term, "matchFields").iter().enumerate() {
        errors.extend(node_field(field, &path.child("matchFields").index(i)));
    }
    errors
}

fn node_expression(expression: &Value, strict: bool, path: &Path) -> Errors {
    let (operator, values, key) =
        (text(expression, "operator"), list(expression, "values"), text(expression, "key"));
    let mut errors = check::values_of_operator(operator, values, path);
    match operator {
        "Gt" | "Lt" if values.len() != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(&path.child("values"), detail));
        }
        "Gt" | "Lt" | "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let at = path.child("operator");
            errors.push(FieldError::invalid(&at, other, "not a valid selector operator"));
        }
    }
    errors.extend(check::named(&path.child("key"), key, names::qualified_name(key)));
    for (i, value) in values.iter().filter_map(Value::as_str).enumerate().filter(|_| strict) {
        errors.extend(check::named(&path.child("values").index(i), value, names::label_value(value)));
    }
    errors
}

/// The only field of a node to choose it by is its name.
fn node_field(field: &Value, path: &Path) -> Errors {
    let (operator, values, key) = (text(field, "operator"), list(field, "values"), text(field, "key"));
    let mut errors = Errors::new();
    if !matches!(operator, "In" | "NotIn") {
        errors.push(FieldError::invalid(&path.child("operator"), operator, "not a valid selector operator"));
    } else if values.len() != 1 {
        let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.push(FieldError::required(&path.child("values"), detail));
    }
    if key != "metadata.name" {
        errors.push(FieldError::invalid(&path.child("key"), key, "not a valid field selector key"));
        return errors;
    }
    for (i, name) in values.iter().filter_map(Value::as_str).enumerate() {
        errors.extend(check::named(&path.child("values").index(i), name, names::dns1123_subdomain(name)));
    }
    errors
}

fn pod_term(term: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for selector in ["labelSelector", "namespaceSelector"] {
        errors.extend(check::selector(&term[selector], &path.child(selector)));
    }
    for name in strings(term, "namespaces") {
        errors.extend(check::named(&path.child("namespace"), name, names::dns1123_label(name)));
    }
    errors.extend(label_keys(term, path));
    let (key, at) = (text(term, "topologyKey"), path.child("topologyKey"));
    if key.is_empty() {
        errors.push(FieldError::required(&at, "can not be empty"));
    }
    errors.extend(check::named(&at, key, names::qualified_name(key)));
    errors
}

/// Writes what `matchLabelKeys` and `mismatchLabelKeys` mean for this pod into its selectors (upstream
/// `applyMatchLabelKeysAndMismatchLabelKeys`).
pub(in super::super) fn merge_label_keys(pod: &mut Value) {
    let Some(labels) = pod.pointer("/metadata/labels").and_then(Value::as_object).cloned() else { return };
    let Some(spec) = pod.get_mut("spec") else { return };
    for kind in POD_AFFINITIES {
        let Some(affinity) = spec.pointer_mut("/affinity").and_then(|affinity| affinity.get_mut(kind)) else {
            continue;
        };
        each(affinity, REQUIRED).for_each(|term| merge(term, &labels));
        each(affinity, PREFERRED)
            .filter_map(|term| term.get_mut("podAffinityTerm"))
            .for_each(|term| merge(term, &labels));
    }
    each(spec, "topologySpreadConstraints").for_each(|constraint| merge(constraint, &labels));
}

fn merge(term: &mut Value, labels: &Map<String, Value>) {
    let mut merged = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in strings(term, field) {
            if let Some(value) = labels.get(key) {
                merged.push(json!({ "key": key, "operator": operator, "values": [value] }));
            }
        }
    }
    let Some(selector) = term.get_mut("labelSelector").filter(|_| !merged.is_empty()) else { return };
    match selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
        Some(expressions) => expressions.extend(merged),
        None => put(selector, "matchExpressions", merged),
    }
}
