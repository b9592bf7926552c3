//! Label selectors of typed kinds.

use crate::{LabelSelector, LabelSelectorRequirement, Labels};
use std::fmt::Write as _;

/// Why a selector cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorError {
    /// The operator is none of In, NotIn, Exists and DoesNotExist.
    UnknownOperator(String),
}

impl std::fmt::Display for SelectorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownOperator(operator) => {
                write!(f, "{operator:?} is not a valid label selector operator")
            }
        }
    }
}

impl std::error::Error for SelectorError {}

/// Whether every operator is known.
///
/// # Errors
/// Names the first unknown operator.
pub fn selector_validate(selector: &LabelSelector) -> Result<(), SelectorError> {
    for expression in selector.match_expressions.iter().flatten() {
        if !matches!(expression.operator.as_str(), "In" | "NotIn" | "Exists" | "DoesNotExist") {
            return Err(SelectorError::UnknownOperator(expression.operator.clone()));
        }
    }
    Ok(())
}

/// Whether a selector selects an object with these labels. An empty selector selects everything; one with an unknown
/// operator selects nothing.
#[must_use]
pub fn selector_matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let get = |key: &str| labels.and_then(|labels| labels.get(key));
    selector.match_labels.iter().flatten().all(|(key, value)| get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(|expression| expression_matches(expression, get))
}

fn expression_matches<'a>(
    expression: &LabelSelectorRequirement,
    get: impl Fn(&str) -> Option<&'a String>,
) -> bool {
    let value = get(&expression.key);
    let listed =
        |value: &String| expression.values.as_ref().is_some_and(|values| values.iter().any(|v| v == value));
    match expression.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// Whether a plain map selector (a Service's, a ReplicationController's) selects these labels. An empty one selects nothing.
#[must_use]
pub fn selector_labels(selector: &Labels, labels: Option<&Labels>) -> bool {
    !selector.is_empty()
        && selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// The selector in the text form of the `labelSelector` query parameter and of `status.selector`.
#[must_use]
pub fn selector_query(selector: &LabelSelector) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        parts.push((key.clone(), format!("{key}={value}")));
    }
    for expression in selector.match_expressions.iter().flatten() {
        let key = &expression.key;
        let mut values = expression.values.clone().unwrap_or_default();
        values.sort();
        let values = values.join(",");
        let mut text = String::new();
        let _ = match expression.operator.as_str() {
            "In" => write!(text, "{key} in ({values})"),
            "NotIn" => write!(text, "{key} notin ({values})"),
            "DoesNotExist" => write!(text, "!{key}"),
            _ => write!(text, "{key}"),
        };
        parts.push((key.clone(), text));
    }
    parts.sort();
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn selector(value: Value) -> LabelSelector {
        serde_json::from_value(value).expect("selector")
    }

    #[test]
    fn selectors_match_as_upstream() {
        let labels: Labels = serde_json::from_value(json!({"app": "web", "tier": "front"})).expect("labels");
        let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let cases = [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (json!({"matchLabels": {"app": "web", "x": "y"}}), false),
            (expression("app", "In", json!(["web", "db"])), true),
            (expression("x", "In", json!(["web"])), false),
            (expression("app", "NotIn", json!(["web"])), false),
            (expression("x", "NotIn", json!(["web"])), true),
            (expression("tier", "Exists", json!([])), true),
            (expression("tier", "DoesNotExist", json!([])), false),
            (expression("x", "DoesNotExist", json!([])), true),
            (expression("x", "Sometimes", json!([])), false),
        ];
        for (value, want) in cases {
            assert_eq!(selector_matches(&selector(value.clone()), Some(&labels)), want, "{value}");
        }
    }

    #[test]
    fn query_is_sorted_by_key() {
        let value = json!({
            "matchLabels": {"b": "2", "d": "4"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["y", "x"]},
                {"key": "c", "operator": "DoesNotExist"},
            ]
        });
        assert_eq!(selector_query(&selector(value)), "a in (x,y),b=2,!c,d=4");
    }
}
