//! From which nodes a volume can be reached: that never changes, but labels may get the names that they have today.

use machinery::field::{FieldError, Path};
use machinery::text::go_json;
use serde_json::Value;

use super::super::value::{each, put, text};

const TERMS: &str = "nodeSelectorTerms";
const REQUIREMENTS: [&str; 2] = ["matchExpressions", "matchFields"];

/// Today's name of a label; upstream takes none for a name, too.
fn name_of_today(label: &str) -> &'static str {
    match label {
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
        _ => "",
    }
}

/// The refusal of another affinity than the volume has.
pub(super) fn fixed(affinity: &Value, old: &Value) -> Option<FieldError> {
    let detail = "field is immutable, except for updating from beta label to GA";
    let refuse = || {
        let detail = format!("{}: {detail}", shown(affinity));
        FieldError::invalid(&Path::new("nodeAffinity"), Value::Null, detail).without_value()
    };
    (renamed(old, affinity) != *affinity).then(refuse)
}

/// The old affinity, with the labels that have got their names of today.
fn renamed(old: &Value, new: &Value) -> Value {
    let mut renamed = old.clone();
    for (i, term) in each(&mut renamed["required"], TERMS).enumerate() {
        for field in REQUIREMENTS {
            for (j, requirement) in each(term, field).enumerate() {
                let now = text(&new["required"][TERMS][i][field][j], "key");
                if name_of_today(text(requirement, "key")) == now {
                    put(requirement, "key", now);
                }
            }
        }
    }
    renamed
}

/// An affinity as Go shows it.
fn shown(affinity: &Value) -> String {
    match affinity.get("required") {
        _ if affinity.is_null() => "null".to_owned(),
        None | Some(Value::Null) => r#"{"Required":null}"#.to_owned(),
        Some(required) => {
            format!(r#"{{"Required":{{"NodeSelectorTerms":{}}}}}"#, shown_list(&required[TERMS], shown_term))
        }
    }
}

fn shown_list(list: &Value, shown: fn(&Value) -> String) -> String {
    list.as_array().map_or_else(
        || "null".to_owned(),
        |items| format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
    )
}

fn shown_term(term: &Value) -> String {
    let [expressions, fields] = REQUIREMENTS.map(|field| shown_list(&term[field], shown_requirement));
    format!(r#"{{"MatchExpressions":{expressions},"MatchFields":{fields}}}"#)
}

fn shown_requirement(requirement: &Value) -> String {
    let [key, operator] = ["key", "operator"].map(|field| go_json(&text(requirement, field).into()));
    format!(r#"{{"Key":{key},"Operator":{operator},"Values":{}}}"#, go_json(&requirement["values"]))
}
