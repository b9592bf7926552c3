use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::*;

fn selects(selector: &LabelSelector, labels: &[(&str, &str)]) -> bool {
    selector.matches(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v))
}

#[test]
fn label_selectors() {
    for (text, labels, want) in [
        ("", &[][..], true),
        ("x=y", &[("x", "y")], true),
        ("x==y", &[("x", "z")], false),
        ("x!=y", &[], true),
        ("x in (a,b)", &[("x", "b")], true),
        ("x notin (a,b)", &[("x", "b")], false),
        ("x notin (a,b)", &[], true),
        ("x", &[("x", "")], true),
        ("!x", &[("x", "")], false),
        ("x in ()", &[("x", "")], true),
        ("x in (a,,b)", &[("x", "")], true),
        ("x=", &[("x", "")], true),
        ("x>1,x<10", &[("x", "5")], true),
        ("x>1", &[("x", "one")], false),
        ("in in (in,notin)", &[("in", "notin")], true),
        (" x = y , !z ", &[("x", "y")], true),
        ("example.com/x in (y)", &[("example.com/x", "y")], true),
    ] {
        let selector = LabelSelector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selects(&selector, labels), want, "{text}");
        let again = LabelSelector::parse(&selector.to_string()).unwrap();
        assert_eq!(again.to_string(), selector.to_string());
    }
}

#[test]
fn label_selectors_refused_in_upstreams_words() {
    for (text, want) in [
        ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap_err().to_string(), want, "{text}");
    }
    let bad_key = LabelSelector::parse("a_/b=c").unwrap_err().to_string();
    assert!(bad_key.starts_with("unable to parse requirement: <nil>: Invalid value: \"a_/b\": prefix part a lowercase RFC 1123 subdomain"), "{bad_key}");
    let bad_value = LabelSelector::parse("a=-b").unwrap_err().to_string();
    assert!(
        bad_value.starts_with(
            "unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must be"
        ),
        "{bad_value}"
    );
}

#[test]
fn label_selector_objects() {
    let selector = LabelSelector::from_object(&json!({
        "matchLabels": {"a": "b"},
        "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}, {"key": "f", "operator": "DoesNotExist"}],
    }))
    .unwrap();
    assert!(selects(&selector, &[("a", "b"), ("c", "e")]));
    assert!(!selects(&selector, &[("a", "b"), ("c", "e"), ("f", "")]));
    assert!(LabelSelector::from_object(&json!({})).unwrap().is_empty());
    assert!(!selects(&LabelSelector::from_object(&json!(null)).unwrap(), &[]));
    let error = LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "Has"}]}));
    assert_eq!(error.unwrap_err().to_string(), "\"Has\" is not a valid label selector operator");
}

/// Random selectors against a second reading of the rules.
#[test]
fn label_selectors_agree_with_an_oracle() {
    let mut rng = StdRng::seed_from_u64(3);
    let (keys, values) = (["a", "b", "c"], ["", "x", "y", "z"]);
    for _ in 0..3_000 {
        let labels: BTreeMap<&str, &str> = keys
            .iter()
            .map(|k| (*k, rng.random_range(0..values.len() + 3)))
            .filter_map(|(k, at)| Some((k, *values.get(at)?)))
            .collect();
        let mut parts = Vec::new();
        let mut want = true;
        for _ in 0..rng.random_range(0..4) {
            let key = keys[rng.random_range(0..keys.len())];
            let (one, two) = (values[rng.random_range(0..4)], values[rng.random_range(1..4)]);
            let have = labels.get(key).copied();
            let (text, holds) = match rng.random_range(0..6) {
                0 => (format!("{key}={one}"), have == Some(one)),
                1 => (format!("{key}!={one}"), have != Some(one)),
                2 => (format!("{key} in ({one},{two})"), have == Some(one) || have == Some(two)),
                3 => (format!("{key} notin ({one},{two})"), have != Some(one) && have != Some(two)),
                4 => (key.to_owned(), have.is_some()),
                _ => (format!("!{key}"), have.is_none()),
            };
            parts.push(text);
            want &= holds;
        }
        let text = parts.join(",");
        let selector = LabelSelector::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selector.matches(|k| labels.get(k).copied()), want, "{text} on {labels:?}");
    }
}

#[test]
fn field_selectors() {
    let selector = FieldSelector::parse("metadata.name=x,status.phase!=Running").unwrap();
    let fields = [("metadata.name", "x"), ("status.phase", "Pending")];
    assert!(selector.matches(|f| fields.iter().find(|(k, _)| *k == f).map(|(_, v)| *v)));
    assert_eq!(selector.exact("metadata.name"), Some("x"));
    assert_eq!(selector.exact("status.phase"), None);
    assert_eq!(selector.to_string(), "metadata.name=x,status.phase!=Running");
    assert!(FieldSelector::parse("").unwrap().is_empty());
    let escaped = FieldSelector::parse(r"a=b\,c\=d\\").unwrap();
    assert_eq!(escaped.terms()[0].value, r"b,c=d\");
    assert_eq!(escaped.to_string(), r"a=b\,c\=d\\");
    for (text, want) in [
        ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
        (r"a=b\x", r"invalid field selector: invalid escape sequence: \x"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), want, "{text}");
    }
}
