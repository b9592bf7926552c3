//! Objects as upstream's own structs print them in messages: fields have the names that they have in Go, in the order in
//! which they stand there, and those that are not set are there as well.
//!
//! # The table (`tables/internal.txt`)
//! A line `= <name>` begins a struct, the lines after it are its fields:
//!
//! ```text
//! <Go name>[:<JSON name>] <type> [?]
//! + <name>                                the fields of another struct stand here
//! ```
//! Without a JSON name it is the Go name with a small first letter. Types: `s` text, `i` number, `b` bool, `q` Quantity, `t` time,
//! `x` IntOrString, `j` JSON as it is, `#N` the struct N, `[T` list, `{T` map; `*T` is null when unset. `?` leaves out what is zero.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::text::go_json;
use crate::unified;

static TABLE: LazyLock<HashMap<&'static str, Vec<Line>>> =
    LazyLock::new(|| parse(include_str!("../tables/internal.txt")));

/// A line of a struct.
enum Line {
    /// The fields of another one.
    Embedded(&'static str),
    Field(Field),
}

struct Field {
    shown: &'static str,
    /// The name in JSON; empty when it follows from the other.
    json: String,
    ty: &'static str,
    omits_zero: bool,
}

fn parse(table: &'static str) -> HashMap<&'static str, Vec<Line>> {
    let mut structs = HashMap::new();
    for block in table.split("= ").filter(|block| !block.is_empty()) {
        let mut lines = block.lines();
        structs.insert(lines.next().unwrap_or_default(), lines.map(line).collect());
    }
    structs
}

fn line(line: &'static str) -> Line {
    let mut words = line.split(' ');
    let (name, ty) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if name == "+" {
        return Line::Embedded(ty);
    }
    let (shown, json) = match name.split_once(':') {
        Some((shown, json)) => (shown, json.to_owned()),
        None => (name, name[..1].to_lowercase() + &name[1..]),
    };
    Line::Field(Field { shown, json, ty, omits_zero: words.next() == Some("?") })
}

/// The struct in one line, as in messages about a value.
pub fn compact(name: &str, object: &Value) -> String {
    let mut out = Printer { out: String::new(), depth: None };
    out.structure(name, object);
    out.out
}

/// The same as a list of structs.
pub fn compact_list(name: &str, objects: &[Value]) -> String {
    let all: Vec<String> = objects.iter().map(|object| compact(name, object)).collect();
    format!("[{}]", all.join(","))
}

/// What differs between two structs (upstream `diff.Diff`).
pub fn difference(name: &str, old: &Value, new: &Value) -> String {
    let [old, new] = [old, new].map(|object| {
        let mut out = Printer { out: String::new(), depth: Some(0) };
        out.structure(name, object);
        out.out
    });
    unified::difference(&old, &new)
}

struct Printer {
    out: String,
    /// How far the present line is indented; `None`: everything is one line.
    depth: Option<usize>,
}

impl Printer {
    fn structure(&mut self, name: &str, object: &Value) {
        let mut first = true;
        self.fields(name, object, &mut first);
        if first {
            self.out.push('{');
        }
        self.close(first, '}');
    }

    fn fields(&mut self, name: &str, object: &Value, first: &mut bool) {
        for line in TABLE.get(name).into_iter().flatten() {
            let field = match line {
                Line::Embedded(name) => {
                    self.fields(name, object, first);
                    continue;
                }
                Line::Field(field) => field,
            };
            let value = object.get(&field.json).unwrap_or(&Value::Null);
            if field.omits_zero && is_zero(value) {
                continue;
            }
            self.item(first, '{');
            self.name(field.shown);
            self.value(field.ty, value);
        }
    }

    fn value(&mut self, ty: &str, value: &Value) {
        let (kind, rest) = ty.split_at(1);
        match (kind, value) {
            ("*", Value::Null) => self.out.push_str("null"),
            ("*", value) => self.value(rest, value),
            ("#", value) => self.structure(rest, value),
            ("[", Value::Array(items)) => self.list(rest, items),
            ("{", Value::Object(map)) => self.map(rest, map),
            (_, Value::Null) => self.out.push_str(match kind {
                "s" => "\"\"",
                "i" | "x" => "0",
                "q" => "\"0\"",
                "b" => "false",
                _ => "null",
            }),
            (_, value) => self.out.push_str(&go_json(value)),
        }
    }

    fn list(&mut self, ty: &str, items: &[Value]) {
        let mut first = true;
        for item in items {
            self.item(&mut first, '[');
            self.value(ty, item);
        }
        if first {
            self.out.push('[');
        }
        self.close(first, ']');
    }

    fn map(&mut self, ty: &str, map: &serde_json::Map<String, Value>) {
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_unstable();
        let mut first = true;
        for key in keys {
            self.item(&mut first, '{');
            self.name(key);
            self.value(ty, &map[key.as_str()]);
        }
        if first {
            self.out.push('{');
        }
        self.close(first, '}');
    }

    /// Begins an item: the first opens what it is in.
    fn item(&mut self, first: &mut bool, open: char) {
        if std::mem::take(first) {
            self.out.push(open);
            self.depth = self.depth.map(|depth| depth + 1);
        } else {
            self.out.push(',');
        }
        self.break_line();
    }

    fn close(&mut self, empty: bool, close: char) {
        if !empty {
            self.depth = self.depth.map(|depth| depth - 1);
            self.break_line();
        }
        self.out.push(close);
    }

    fn break_line(&mut self) {
        if let Some(depth) = self.depth {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', depth));
        }
    }

    fn name(&mut self, name: &str) {
        self.out.push_str(&go_json(&name.into()));
        self.out.push_str(if self.depth.is_some() { ": " } else { ":" });
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_type_of_the_table_is_there() {
        for (name, lines) in TABLE.iter() {
            for line in lines {
                let named = match line {
                    Line::Embedded(name) => name,
                    Line::Field(field) => match field.ty.split_once('#') {
                        Some((_, name)) => name,
                        None => continue,
                    },
                };
                assert!(TABLE.contains_key(named), "{named} in {name}");
            }
        }
    }

    #[test]
    fn structs_in_one_line() {
        let claim = json!({"name": "<a>", "resourceClaimName": "x"});
        let printed = r#"{"Name":"\u003ca\u003e","ResourceClaimName":"x","ResourceClaimTemplateName":null}"#;
        assert_eq!(compact("PodResourceClaim", &claim), printed);
        let term = json!({"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "k", "namespaceSelector": {}});
        let printed = r#"{"LabelSelector":{"matchLabels":{"a":"b"}},"Namespaces":null,"TopologyKey":"k","NamespaceSelector":{},"MatchLabelKeys":null,"MismatchLabelKeys":null}"#;
        assert_eq!(compact("PodAffinityTerm", &term), printed);
        for (name, value, printed) in [
            (
                "DaemonSetUpdateStrategy",
                json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}, "type": "x"}),
                r#"{"Type":"x","RollingUpdate":{"MaxUnavailable":"10%","MaxSurge":0}}"#,
            ),
            ("DeploymentStrategy", json!({"type": "x"}), r#"{"Type":"x","RollingUpdate":null}"#),
            (
                "Taint",
                json!({"key": "k", "effect": "<"}),
                r#"{"Key":"k","Value":"","Effect":"\u003c","TimeAdded":null}"#,
            ),
            (
                "LabelSelector",
                json!({"matchExpressions": [{"values": ["v"], "key": "k"}], "matchLabels": {"b": "1", "a": "2"}}),
                r#"{"matchLabels":{"a":"2","b":"1"},"matchExpressions":[{"key":"k","operator":"","values":["v"]}]}"#,
            ),
            ("LabelSelector", json!({}), "{}"),
        ] {
            assert_eq!(compact(name, &value), printed);
        }
        assert_eq!(
            compact_list("PodSchedulingGate", &[json!({}), json!({"name": "g"})]),
            r#"[{"Name":""},{"Name":"g"}]"#
        );
    }

    #[test]
    fn a_field_that_changed() {
        let old = json!({"name": "c", "resources": {"limits": {"cpu": "1"}}, "tty": true});
        let new = json!({"name": "c", "resources": {"limits": {"cpu": "1"}}});
        let printed = difference("Container", &old, &new);
        assert!(printed.starts_with("@@ -"), "{printed}");
        assert!(
            printed.ends_with(" \"StdinOnce\": false,\n- \"TTY\": true\n+ \"TTY\": false\n }\n"),
            "{printed}"
        );
    }
}
