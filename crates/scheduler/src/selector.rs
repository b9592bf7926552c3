//! Node selectors: the label language with numbers and fields.

use api::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};

/// Whether any term selects the node.
pub(crate) fn selects(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| term_selects(term, node))
}

/// Whether every requirement of the term holds; a term without requirements selects nothing.
pub(crate) fn term_selects(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let field = |key: &str| node.metadata.name.as_ref().filter(|_| key == "metadata.name");
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| holds(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| holds(requirement, field(&requirement.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or(&[]);
    let compare = |test: fn(&i64, &i64) -> bool| {
        let left = value.and_then(|value| value.parse::<i64>().ok());
        let right = values.first().and_then(|value| value.parse::<i64>().ok());
        left.zip(right).is_some_and(|(left, right)| test(&left, &right))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => !value.is_some_and(|value| values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::json;

    #[test]
    fn terms_are_alternatives_of_requirements() {
        let node =
            Node::from_value(json!({"metadata": {"name": "n1", "labels": {"disk": "ssd", "cores": "8"}}}))
                .unwrap();
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let cases = [
            (json!([expression("disk", "In", &["ssd", "nvme"])]), true),
            (json!([expression("disk", "NotIn", &["ssd"])]), false),
            (json!([expression("cores", "Gt", &["4"])]), true),
            (json!([expression("cores", "Lt", &["4"])]), false),
            (json!([expression("disk", "Gt", &["4"])]), false),
            (json!([expression("gpu", "DoesNotExist", &[])]), true),
            (json!([expression("gpu", "Exists", &[]), expression("disk", "Exists", &[])]), true),
            (json!([{}]), false),
            (json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]), true),
            (json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]), false),
        ];
        for (terms, want) in cases {
            let selector: NodeSelector = serde_json::from_value(json!({"nodeSelectorTerms": terms})).unwrap();
            assert_eq!(selects(&selector, &node), want, "{terms}");
        }
    }
}
