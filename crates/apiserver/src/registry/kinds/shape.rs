//! Validation as data: a table of `path  rule rule …` lines, as upstream's declarative validation has them on its types
//! (apimachinery `pkg/api/validate`).
//!
//! `spec.templates[].name  required label` checks `name` in each element of `spec.templates`. Errors come in the order of
//! the document: a field's own, then those below it, element by element. What is below a field is looked at when the field
//! is there; `struct` has it looked at always, as a field that is no pointer upstream.

use std::collections::HashSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::value::{has, list};
use super::{check, conditions};

/// A compiled table.
pub(super) struct Shape(Node);

#[derive(Default)]
struct Node {
    field: &'static str,
    rules: Vec<Rule>,
    /// Whether the rules below are those of each element.
    each: bool,
    below: Vec<Node>,
}

enum Rule {
    Required,
    Struct,
    Format(fn(&str) -> Vec<String>),
    Check(fn(&Value, &Path) -> Errors),
    OneOf(Vec<&'static str>),
    Min(i64),
    Max(i64),
    MaxItems(usize),
    MaxBytes(usize),
    MaxCharacters(usize),
    /// No two elements agree in these fields, or at all when there are none.
    Unique(Vec<&'static str>),
    /// Exactly one of these fields is there.
    Union(Vec<&'static str>),
    Immutable,
    NoSet,
    NoUnset,
    NoModify,
    /// Elements, told apart by the fields of `unique`, neither come nor go.
    Fixed,
}

/// What a rule name without an argument stands for.
fn simple(word: &str) -> Option<Rule> {
    Some(match word {
        "required" => Rule::Required,
        "struct" => Rule::Struct,
        "immutable" => Rule::Immutable,
        "no-set" => Rule::NoSet,
        "no-unset" => Rule::NoUnset,
        "no-modify" => Rule::NoModify,
        "fixed" => Rule::Fixed,
        "unique" => Rule::Unique(Vec::new()),
        "label" => Rule::Format(names::dns1123_label),
        "subdomain" => Rule::Format(names::dns1123_subdomain),
        "caseless" => Rule::Format(|name| names::dns1123_subdomain(&name.to_lowercase())),
        "segment" => Rule::Format(names::path_segment),
        "label-key" => Rule::Format(names::qualified_name),
        "label-value" => Rule::Format(names::label_value),
        "prefixed-key" => Rule::Format(prefixed_key),
        "uuid" => Rule::Format(uuid),
        "selector" => Rule::Check(check::selector),
        "domain-path" => {
            Rule::Check(|value, path| check::domain_prefixed_path(value.as_str().unwrap_or_default(), path))
        }
        "csi-driver" => Rule::Check(|value, path| csi_driver(value.as_str().unwrap_or_default(), path)),
        "signer" => Rule::Check(|value, path| super::signers::name(value.as_str().unwrap_or_default(), path)),
        "conditions" => Rule::Check(conditions::validate),
        _ => return None,
    })
}

fn prefixed_key(key: &str) -> Vec<String> {
    let errors = names::qualified_name(key);
    if errors.is_empty() && !key.contains('/') {
        return vec!["must include a prefix (e.g. 'example.com/key')".to_owned()];
    }
    errors
}

/// The name of a driver of storage or devices.
pub(super) fn csi_driver(name: &str, path: &Path) -> Errors {
    const MAX: usize = 63;
    let mut errors = Errors::new();
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    if name.len() > MAX {
        errors.push(FieldError::too_long(path, MAX));
    }
    errors.extend(check::named(path, name, names::dns1123_subdomain(&name.to_lowercase())));
    errors
}

pub(super) fn uuid(text: &str) -> Vec<String> {
    let fits = text.len() == 36
        && text.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    if fits { Vec::new() } else { vec!["must be a lowercase UUID in 8-4-4-4-12 format".to_owned()] }
}

impl Rule {
    fn parse(word: &'static str) -> Option<Self> {
        let Some((name, argument)) = word.split_once('=') else { return simple(word) };
        let parts = || argument.split('|').collect();
        Some(match name {
            "min" => Self::Min(argument.parse().ok()?),
            "max" => Self::Max(argument.parse().ok()?),
            "items" => Self::MaxItems(argument.parse().ok()?),
            "bytes" => Self::MaxBytes(argument.parse().ok()?),
            "characters" => Self::MaxCharacters(argument.parse().ok()?),
            "one-of" => Self::OneOf(parts()),
            "unique" => Self::Unique(parts()),
            "union" => Self::Union(parts()),
            _ => return None,
        })
    }
}

impl Shape {
    /// Compiles a table. Empty lines and `#` comments are skipped.
    ///
    /// # Panics
    /// On a malformed line: tables are constants of this program, and a test compiles each.
    #[expect(clippy::panic, reason = "tables are constants of this program")]
    pub(super) fn new(table: &'static str) -> Self {
        let mut root = Node { rules: vec![Rule::Struct], ..Node::default() };
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let node = root.at(words.next().unwrap_or_default());
            for word in words {
                let rule = Rule::parse(word).unwrap_or_else(|| panic!("not a rule: {word} in {line}"));
                node.rules.push(rule);
            }
        }
        Self(root)
    }

    /// What is wrong with the document.
    pub(super) fn check(&self, object: &Value) -> Errors {
        self.check_at(object, &Path::root())
    }

    /// The same for a part of a document.
    pub(super) fn check_at(&self, part: &Value, path: &Path) -> Errors {
        let mut errors = Errors::new();
        self.0.walk(part, None, path, &mut errors);
        errors
    }

    /// What is wrong with how the document changed.
    pub(super) fn changes(&self, object: &Value, old: &Value) -> Errors {
        let mut errors = Errors::new();
        self.0.walk(object, Some(old), &Path::root(), &mut errors);
        errors
    }
}

impl Node {
    /// The node at a path, made when it is missing.
    fn at(&mut self, path: &'static str) -> &mut Node {
        path.split('.').fold(self, |node, segment| match segment.strip_suffix("[]") {
            Some(name) => {
                let list = node.child(name);
                list.each = true;
                list
            }
            None => node.child(segment),
        })
    }

    fn child(&mut self, field: &'static str) -> &mut Node {
        let found = self.below.iter().position(|node| node.field == field);
        let index = found.unwrap_or(self.below.len());
        if found.is_none() {
            self.below.push(Node { field, ..Node::default() });
        }
        &mut self.below[index]
    }

    /// Without an old value the document is looked at, with one its change alone.
    fn walk(&self, value: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
        let mut inside = !value.is_null();
        for rule in &self.rules {
            match (rule, old) {
                (Rule::Struct, _) => inside = true,
                (Rule::Required, None) if is_empty(value) => {
                    errors.push(FieldError::required(path, ""));
                    return;
                }
                (Rule::MaxItems(max), _) if length(value) > *max => {
                    errors.extend(old.is_none().then(|| FieldError::too_many(path, length(value), *max)));
                    return;
                }
                (Rule::Union(_), None) if !inside => {}
                (rule, None) => errors.extend(look(rule, value, path)),
                (rule, Some(old)) => errors.extend(self.change(rule, value, old, path)),
            }
        }
        if !inside {
            return;
        }
        if !self.each {
            return self.walk_below(value, old, path, errors);
        }
        for (i, item) in value.as_array().into_iter().flatten().enumerate() {
            match old.map(|old| self.counterpart(item, old)) {
                // A new element has not changed.
                Some(None) => {}
                Some(before) => self.walk_below(item, before, &path.index(i), errors),
                None => self.walk_below(item, None, &path.index(i), errors),
            }
        }
    }

    fn walk_below(&self, value: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
        for node in &self.below {
            let next = value.get(node.field).unwrap_or(&Value::Null);
            let old = old.map(|old| old.get(node.field).unwrap_or(&Value::Null));
            node.walk(next, old, &path.child(node.field), errors);
        }
    }

    fn change(&self, rule: &Rule, value: &Value, old: &Value, path: &Path) -> Errors {
        let (was, is) = (!old.is_null(), !value.is_null());
        let detail = match rule {
            Rule::Immutable if value != old => "field is immutable",
            Rule::NoSet if is && !was => "field cannot be set once created",
            Rule::NoUnset if was && !is => "field cannot be cleared once set",
            Rule::NoModify if was && is && value != old => "field cannot be modified once set",
            Rule::Fixed => return self.moved(value, old, path),
            _ => return Errors::new(),
        };
        vec![FieldError::invalid(path, Value::Null, detail)]
    }

    fn moved(&self, value: &Value, old: &Value, path: &Path) -> Errors {
        let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut errors = Errors::new();
        for (i, item) in items(value).iter().enumerate() {
            if self.counterpart(item, old).is_none() {
                errors.push(FieldError::forbidden(&path.index(i), "item may not be added"));
            }
        }
        for item in items(old) {
            if self.counterpart(&item, value).is_none() {
                errors.push(FieldError::forbidden(path, "item may not be removed"));
            }
        }
        errors
    }

    /// The element of the list that stands for the same thing.
    fn counterpart<'v>(&self, item: &Value, list: &'v Value) -> Option<&'v Value> {
        let keys = self.rules.iter().find_map(|rule| match rule {
            Rule::Unique(keys) if !keys.is_empty() => Some(keys),
            _ => None,
        })?;
        list.as_array()?.iter().find(|other| keys.iter().all(|key| other.get(key) == item.get(key)))
    }
}

/// What one rule says of one value.
fn look(rule: &Rule, value: &Value, path: &Path) -> Errors {
    let there = !is_empty(value);
    match rule {
        Rule::Format(format) if there => {
            value.as_str().map(|text| check::named(path, text, format(text))).unwrap_or_default()
        }
        Rule::Check(check) if there => check(value, path),
        Rule::OneOf(allowed) if there && !value.as_str().is_some_and(|text| allowed.contains(&text)) => {
            vec![FieldError::not_supported(path, value.clone(), allowed)]
        }
        Rule::Min(min) => {
            bound(value, path, |n| n < *min, || format!("must be greater than or equal to {min}"))
        }
        Rule::Max(max) => bound(value, path, |n| n > *max, || format!("must be less than or equal to {max}")),
        Rule::MaxBytes(max) if value.as_str().is_some_and(|text| text.len() > *max) => {
            vec![FieldError::too_long(path, *max)]
        }
        Rule::MaxCharacters(max) if value.as_str().is_some_and(|text| text.chars().count() > *max) => {
            vec![FieldError::too_long_characters(path, *max)]
        }
        Rule::Unique(keys) => repeated(value, keys, path),
        Rule::Union(fields) => union(value, fields, path),
        _ => Errors::new(),
    }
}

/// Whether the value is what an unset field of its type holds.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) | Value::Bool(_) => false,
    }
}

fn length(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    }
}

fn bound(value: &Value, path: &Path, outside: impl Fn(i64) -> bool, detail: impl Fn() -> String) -> Errors {
    match value.as_i64().filter(|n| outside(*n)) {
        Some(n) => vec![FieldError::invalid(path, n, detail())],
        None => Errors::new(),
    }
}

fn repeated(value: &Value, keys: &[&str], path: &Path) -> Errors {
    let mut seen = HashSet::new();
    let mut errors = Errors::new();
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        let mark = if keys.is_empty() {
            item.to_string()
        } else {
            keys.iter().map(|key| format!("{},", item.get(key).unwrap_or(&Value::Null))).collect()
        };
        if !seen.insert(mark) {
            errors.push(FieldError::duplicate(&path.index(i), item.clone()));
        }
    }
    errors
}

fn union(value: &Value, fields: &[&str], path: &Path) -> Errors {
    let quoted =
        |fields: &[&str]| fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
    let present =
        |field: &&str| has(value, field) && !(value[field].is_array() && list(value, field).is_empty());
    let set: Vec<&str> = fields.iter().copied().filter(present).collect();
    match set.len() {
        0 => vec![FieldError::invalid(path, "", format!("must specify one of: {}", quoted(fields)))],
        1 => Errors::new(),
        _ => {
            let detail = format!("must specify exactly one of: {}", quoted(fields));
            vec![FieldError::invalid(path, format!("{{{}}}", quoted(&set)), detail)]
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &str = r"
        spec                    union=a|b
        spec.items              items=2 unique=name fixed
        spec.items[].name       required label
        spec.items[].count      min=1 immutable
        spec.mode               one-of=On|Off no-set
        spec.policy             struct union=x|y
    ";

    fn said(object: &Value, old: Option<&Value>) -> Vec<String> {
        let shape = Shape::new(TABLE);
        let errors = old.map_or_else(|| shape.check(object), |old| shape.changes(object, old));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn errors_come_in_the_order_of_the_document() {
        let good = json!({"spec": {"a": 1, "items": [{"name": "x", "count": 2}], "policy": {"x": {}}}});
        assert_eq!(said(&good, None), Vec::<String>::new());
        let bad = json!({"spec": {"a": 1, "b": 1, "mode": "Odd", "items": [{"count": -1}, {"name": "X"}]}});
        assert_eq!(
            said(&bad, None)[..4],
            [
                "spec: Invalid value: \"{`a`, `b`}\": must specify exactly one of: `a`, `b`",
                "spec.items[0].name: Required value",
                "spec.items[0].count: Invalid value: -1: must be greater than or equal to 1",
                "spec.items[1].name: Invalid value: \"X\": a lowercase RFC 1123 label must consist of lower case alphanumeric \
                 characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                 validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ]
        );
        assert_eq!(
            said(&bad, None)[4..],
            [
                "spec.mode: Unsupported value: \"Odd\": supported values: \"On\", \"Off\"",
                "spec.policy: Invalid value: \"\": must specify one of: `x`, `y`",
            ]
        );
    }

    #[test]
    fn changes_are_refused() {
        let item = |name: &str, count: i64| json!({"name": name, "count": count});
        let of = |items: Value| json!({"spec": {"a": 1, "items": items, "policy": {"x": 1}}});
        let old = of(json!([item("x", 1), item("y", 1)]));
        for (new, wanted) in [
            (of(json!([item("y", 1), item("x", 1)])), vec![]),
            (
                of(json!([item("x", 2), item("y", 1)])),
                vec!["spec.items[0].count: Invalid value: null: field is immutable"],
            ),
            (
                of(json!([item("x", 1), item("z", 1)])),
                vec![
                    "spec.items[1]: Forbidden: item may not be added",
                    "spec.items: Forbidden: item may not be removed",
                ],
            ),
            (
                json!({"spec": {"a": 1, "items": [item("x", 1), item("y", 1)], "policy": {"x": 1}, "mode": "On"}}),
                vec!["spec.mode: Invalid value: null: field cannot be set once created"],
            ),
        ] {
            assert_eq!(said(&new, Some(&old)), wanted);
        }
    }
}
