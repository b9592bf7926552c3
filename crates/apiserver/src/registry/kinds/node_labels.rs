//! Labels of nodes that have gone out of use, and where they are still asked for (upstream `pkg/api/node/util.go`).

use machinery::field::Path;
use machinery::names;
use serde_json::Value;

use super::value::{list, map, strings, text};

const OLD: [(&str, &str); 8] = [
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
];

/// What is to be said of a label that is out of use.
pub(super) fn old(key: &str) -> Option<&'static str> {
    OLD.into_iter().find(|(old, _)| *old == key).map(|(_, what)| what)
}

/// Warnings of a term of a node selector, also of values that no label can have when `values`.
pub(super) fn of_term(term: &Value, values: bool, path: &Path) -> Vec<String> {
    let mut warnings = of_expressions(term, path);
    for (i, expression) in list(term, "matchExpressions").iter().enumerate().filter(|_| values) {
        let at = path.child("matchExpressions").index(i).child("values");
        for (j, value) in strings(expression, "values").into_iter().enumerate() {
            let at = at.index(j);
            let reasons = names::label_value(value).into_iter();
            warnings.extend(reasons.map(|why| format!("{at}: {value} is invalid, {why}")));
        }
    }
    warnings
}

/// Warnings of a label selector for nodes.
fn of_selector(selector: &Value, path: &Path) -> Vec<String> {
    let mut warnings = of_expressions(selector, path);
    let at = path.child("matchLabels");
    let labels = map(selector, "matchLabels").into_iter().flatten();
    warnings.extend(labels.filter_map(|(key, _)| Some(format!("{}: {}", at.child(key), old(key)?))));
    warnings
}

/// Warnings of a storage class.
pub(super) fn of_storage_class(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, topology) in list(object, "allowedTopologies").iter().enumerate() {
        let path = Path::new("allowedTopologies").index(i).child("matchLabelExpressions");
        for (j, expression) in list(topology, "matchLabelExpressions").iter().enumerate() {
            let said = old(text(expression, "key"));
            warnings.extend(said.map(|what| format!("{}: {what}", path.index(j).child("key"))));
        }
    }
    warnings
}

/// Warnings of the capacity of a storage.
pub(super) fn of_storage_capacity(object: &Value) -> Vec<String> {
    of_selector(&object["nodeTopology"], &Path::new("nodeTopology"))
}

fn of_expressions(object: &Value, path: &Path) -> Vec<String> {
    let warning = |(i, expression): (usize, &Value)| {
        let key = text(expression, "key");
        let at = path.child("matchExpressions").index(i).child("key");
        Some(format!("{at}: {key} is {}", old(key)?))
    };
    list(object, "matchExpressions").iter().enumerate().filter_map(warning).collect()
}
