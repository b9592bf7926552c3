//! Label selectors against the plainest reading of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::selector::{FieldSelector, LabelSelector};

/// A condition, with what is needed to write and to judge it.
#[derive(Debug, Clone)]
enum Condition {
    Equals(String, String),
    NotEquals(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
    Greater(String, i64),
    Less(String, i64),
}

impl Condition {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let number = |key: &String| labels.get(key).and_then(|value| value.parse::<i64>().ok());
        match self {
            Condition::Equals(key, value) => labels.get(key) == Some(value),
            Condition::NotEquals(key, value) => labels.get(key) != Some(value),
            Condition::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Condition::NotIn(key, values) => !labels.get(key).is_some_and(|value| values.contains(value)),
            Condition::Exists(key) => labels.contains_key(key),
            Condition::Missing(key) => !labels.contains_key(key),
            Condition::Greater(key, bound) => number(key).is_some_and(|value| value > *bound),
            Condition::Less(key, bound) => number(key).is_some_and(|value| value < *bound),
        }
    }

    fn text(&self, space: &str) -> String {
        match self {
            Condition::Equals(key, value) => format!("{key}{space}={space}{value}"),
            Condition::NotEquals(key, value) => format!("{space}{key}!={value}{space}"),
            Condition::In(key, values) => format!("{key} in{space}({})", values.join(",")),
            Condition::NotIn(key, values) => {
                format!("{key} notin {space}({}{space})", values.join(&format!("{space},")))
            }
            Condition::Exists(key) => format!("{space}{key}"),
            Condition::Missing(key) => format!("!{space}{key}"),
            Condition::Greater(key, bound) => format!("{key}{space}>{bound}"),
            Condition::Less(key, bound) => format!("{key} <{space}{bound}"),
        }
    }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[abc]", Just("example.com/a".to_owned())]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[xyz]", "[0-9]{1,2}", Just(String::new())]
}

fn condition() -> impl Strategy<Value = Condition> {
    let values = || proptest::collection::vec("[xyz0-9]", 1..4);
    prop_oneof![
        (key(), value()).prop_map(|(key, value)| Condition::Equals(key, value)),
        (key(), value()).prop_map(|(key, value)| Condition::NotEquals(key, value)),
        (key(), values()).prop_map(|(key, values)| Condition::In(key, values)),
        (key(), values()).prop_map(|(key, values)| Condition::NotIn(key, values)),
        key().prop_map(Condition::Exists),
        key().prop_map(Condition::Missing),
        (key(), 0..99i64).prop_map(|(key, bound)| Condition::Greater(key, bound)),
        (key(), 0..99i64).prop_map(|(key, bound)| Condition::Less(key, bound)),
    ]
}

proptest! {
    #![proptest_config(super::cases(600))]

    #[test]
    fn selectors_mean_what_they_say(
        conditions in proptest::collection::vec(condition(), 0..4),
        labels in proptest::collection::btree_map(key(), value(), 0..4),
        space in " {0,2}",
    ) {
        let text = conditions.iter().map(|condition| condition.text(&space)).collect::<Vec<_>>().join(",");
        let selector = LabelSelector::parse(&text).expect(&text);
        let expected = conditions.iter().all(|condition| condition.holds(&labels));
        let get = |key: &str| labels.get(key).map(String::as_str);
        prop_assert_eq!(selector.matches(get), expected, "{} of {:?}", text, labels);
        // What it prints is the same selector.
        let printed = LabelSelector::parse(&selector.to_string()).expect("what was printed");
        prop_assert_eq!(printed.matches(get), expected, "{} printed as {}", text, selector);
    }

    #[test]
    fn field_selectors_mean_what_they_say(
        terms in proptest::collection::vec(("[ab]", any::<bool>(), "[xyz=,\\\\]{0,3}"), 0..4),
        fields in proptest::collection::btree_map("[ab]", "[xyz=,\\\\]{0,3}", 0..3),
    ) {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
        let term = |(field, equals, value): &(String, bool, String)| {
            format!("{field}{}{}", if *equals { "=" } else { "!=" }, escaped(value))
        };
        let text = terms.iter().map(term).collect::<Vec<_>>().join(",");
        let selector = FieldSelector::parse(&text).expect(&text);
        let get = |field: &str| Some(fields.get(field).map_or("", String::as_str));
        let expected = terms.iter().all(|(field, equals, value)| (get(field) == Some(value.as_str())) == *equals);
        prop_assert_eq!(selector.matches(get), expected, "{} of {:?}", text, fields);
    }

    #[test]
    fn any_text_is_answered(text in "[ab!=<>(), inot/.]{0,20}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector), "{}", text);
        }
        let _ = FieldSelector::parse(&text);
    }
}
