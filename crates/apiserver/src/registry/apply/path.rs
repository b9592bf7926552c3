//! Paths of fields as messages show them, in upstream's order: `.spec.containers[name="c"].image`.

use std::cmp::Ordering;

use machinery::text::go_quote;
use serde_json::{Map, Value};

use super::set::Set;

/// The paths of all members: those of one level before those below them.
pub fn all(set: &Set) -> Vec<String> {
    let mut paths = Vec::new();
    collect(set, "", &mut paths);
    paths
}

fn collect(set: &Set, at: &str, paths: &mut Vec<String>) {
    let mut elements: Vec<(Element, &Set)> =
        set.below.iter().map(|(e, set)| (Element::read(e), set)).collect();
    elements.sort_by(|(a, _), (b, _)| a.order(b));
    paths.extend(
        elements.iter().filter(|(_, set)| set.own).map(|(element, _)| format!("{at}{}", element.show())),
    );
    for (element, set) in elements.iter().filter(|(_, set)| !set.below.is_empty()) {
        collect(set, &format!("{at}{}", element.show()), paths);
    }
}

/// How an element of a path is shown.
pub fn show(element: &str) -> String {
    Element::read(element).show()
}

/// A path element that is taken apart; the variants are in upstream's order.
enum Element<'a> {
    Field(&'a str),
    Key(Map<String, Value>),
    Value(Value),
    Index(i64),
}

impl<'a> Element<'a> {
    fn read(element: &'a str) -> Self {
        let (kind, rest) = element.split_once(':').unwrap_or(("f", element));
        match kind {
            "k" => Self::Key(serde_json::from_str(rest).unwrap_or_default()),
            "v" => Self::Value(serde_json::from_str(rest).unwrap_or_default()),
            "i" => Self::Index(rest.parse().unwrap_or_default()),
            _ => Self::Field(rest),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => {
                let pairs = a.iter().zip(b).map(|((j, v), (k, w))| j.cmp(k).then_with(|| compare(v, w)));
                pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
            }
            (Self::Value(a), Self::Value(b)) => compare(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Key(keys) => {
                let pairs: Vec<String> =
                    keys.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
                format!("[{}]", pairs.join(","))
            }
            Self::Value(value) => format!("[={}]", text(value)),
            Self::Index(index) => format!("[{index}]"),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), go_quote)
}

/// Numbers before texts before flags.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        _ => 3,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}
