//! What tables show of policies and their bindings.

use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::age;
use super::super::value::{list, map, strings, text};

pub(super) fn policy_row(object: &Value, rules: &str, now: i64) -> Vec<Value> {
    let kind = &object["spec"]["paramKind"];
    let shown = if kind.is_object() {
        format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind"))
    } else {
        "<unset>".to_owned()
    };
    vec![json!(meta::name(object)), json!(list(&object["spec"], rules).len()), json!(shown), age(object, now)]
}

pub(super) fn binding_row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let parameters = &spec["paramRef"];
    let shown = match (text(parameters, "namespace"), text(parameters, "name")) {
        _ if !parameters.is_object() => "<unset>".to_owned(),
        (_, "") => chosen(&parameters["selector"]),
        ("", name) => format!("*/{name}"),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    vec![json!(meta::name(object)), json!(text(spec, "policyName")), json!(shown), age(object, now)]
}

/// A selector as Go prints it.
fn chosen(selector: &Value) -> String {
    if !selector.is_object() {
        return "<unset>".to_owned();
    }
    let labels = map(selector, "matchLabels").into_iter().flatten();
    let labels: String =
        labels.map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default())).collect();
    let expressions = list(selector, "matchExpressions").iter();
    let expressions: String = expressions
        .map(|e| {
            let values = strings(e, "values").join(" ");
            let (key, operator) = (text(e, "key"), text(e, "operator"));
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
