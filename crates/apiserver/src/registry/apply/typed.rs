//! Whether an applied configuration fits the schema, in the words of structured-merge-diff (`typed/validate.go`).

use std::collections::HashSet;

use machinery::schema::{Field, FieldType, Schema, TypeId};
use machinery::text::{go_print, go_quote};
use serde_json::{Map, Value};

use super::path;
use super::shape::{Keys, Shape};

/// All that does not fit, as one message; `None` when everything does.
pub fn complaint(config: &Value, type_id: TypeId) -> Option<String> {
    let mut complaints = Complaints::default();
    complaints.structure(config, type_id, "");
    match complaints.0.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("errors:\n  {}", many.join("\n  "))),
    }
}

#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    fn add(&mut self, at: &str, why: impl std::fmt::Display) {
        self.0.push(if at.is_empty() { why.to_string() } else { format!("{at}: {why}") });
    }

    fn structure(&mut self, value: &Value, type_id: TypeId, at: &str) {
        let Some(map) = self.map(value, at) else { return };
        for (name, value) in map {
            let at = format!("{at}.{name}");
            match Schema::builtin().ty(type_id).field(name) {
                Some(field) => self.field(value, field, &at),
                None => {
                    self.add(&at, "field not declared in schema");
                    return;
                }
            }
        }
    }

    fn field(&mut self, value: &Value, field: &'static Field, at: &str) {
        match field.ty {
            FieldType::Array(item) => self.list(value, item, Shape::of_field(field), at),
            ty => self.value(value, ty, at),
        }
    }

    fn value(&mut self, value: &Value, ty: &'static FieldType, at: &str) {
        if value.is_null() {
            return;
        }
        match ty {
            FieldType::Any => {}
            FieldType::Ref(id) => self.structure(value, *id, at),
            FieldType::Array(item) => self.list(value, item, Shape::Leaf, at),
            FieldType::Map(item) => {
                for (name, value) in self.map(value, at).into_iter().flatten() {
                    self.value(value, item, &format!("{at}.{name}"));
                }
            }
            FieldType::String | FieldType::Bytes if !value.is_string() => {
                let shown = format!("&value.valueUnstructured{{Value:{}}}", go_syntax(value));
                self.add(at, format!("expected string, got {shown}"));
            }
            FieldType::Bool if !value.is_boolean() => {
                self.add(at, format!("expected boolean, got {}", boxed(value)));
            }
            FieldType::Int32 | FieldType::Int64 | FieldType::Double if !value.is_number() => {
                self.add(at, format!("expected numeric (int or float), got {}", go_type(value)));
            }
            FieldType::String | FieldType::Bytes | FieldType::Bool => {}
            FieldType::Int32 | FieldType::Int64 | FieldType::Double => {}
            FieldType::Time | FieldType::MicroTime | FieldType::IntOrString | FieldType::Quantity => {
                self.untyped(value, at);
            }
        }
    }

    fn untyped(&mut self, value: &Value, at: &str) {
        if value.is_object() || value.is_array() {
            self.add(at, format!("expected any scalar, got {}", boxed(value)));
        }
    }

    fn map<'v>(&mut self, value: &'v Value, at: &str) -> Option<&'v Map<String, Value>> {
        if !value.is_object() && !value.is_null() {
            self.add(at, format!("expected map, got {}", boxed(value)));
        }
        value.as_object()
    }

    fn list(&mut self, value: &Value, item: &'static FieldType, shape: Shape, at: &str) {
        let Some(list) = value.as_array() else {
            if !value.is_null() {
                self.add(at, format!("expected list, got {}", boxed(value)));
            }
            return;
        };
        let mut seen = HashSet::new();
        for (index, value) in list.iter().enumerate() {
            let element = if shape.is_list() {
                if let Some(why) = unidentified(value, shape) {
                    self.add(at, format!("element {index}: {why}"));
                    return;
                }
                path::show(&shape.element(value).unwrap_or_default())
            } else {
                format!("[{index}]")
            };
            if !seen.insert(element.clone()) {
                self.add(at, format!("duplicate entries for key {element}"));
            }
            self.value(value, item, &format!("{at}{element}"));
        }
    }
}

/// Why an item cannot be told from others.
fn unidentified(item: &Value, shape: Shape) -> Option<String> {
    match (shape, item) {
        (Shape::Keyed { .. }, Value::Null) => {
            Some("associative list with keys may not have a null element".to_owned())
        }
        (Shape::Keyed { .. }, item) if !item.is_object() => {
            Some("associative list with keys may not have non-map elements".to_owned())
        }
        (Shape::Keyed { keys, .. }, item) if shape.element(item).is_none() => Some(format!(
            "associative list with keys has an element that omits all key fields {} (and doesn't have default values for any key fields)",
            quoted(keys)
        )),
        (Shape::Set, Value::Object(_)) => {
            Some("associative list without keys has an element that's a map type".to_owned())
        }
        (Shape::Set, Value::Array(_)) => {
            Some("not supported: associative list with lists as elements".to_owned())
        }
        (Shape::Set, Value::Null) => {
            Some("associative list without keys has an element that's an explicit null".to_owned())
        }
        _ => None,
    }
}

fn quoted(keys: Keys) -> String {
    format!("[{}]", keys.iter().map(go_quote).collect::<Vec<_>>().join(" "))
}

/// A value in the box that the library holds it in, in Go's `%v` form.
fn boxed(value: &Value) -> String {
    format!("&{{{}}}", go_print(value))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value in Go's `%#v` form.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => go_quote(text),
        Value::Array(list) => {
            format!("[]interface {{}}{{{}}}", list.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{}:{}", go_quote(key), go_syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        scalar => scalar.to_string(),
    }
}
