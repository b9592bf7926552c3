//! Values as Go's types show them in messages about fields.
//!
//! Upstream shows what it holds: the structs of its internal version, whose fields have Go's names and stand in the order of
//! the source, which is that of the protobuf numbers. Types of the `meta` group have no internal version and are shown as JSON.

use serde_json::{Map, Value};

use crate::schema::{Field, FieldType, Presence, Schema, TypeId};
use crate::text::go_json;

/// Types that are shown by their JSON names.
const TAGGED: &str = "io.k8s.apimachinery.pkg.apis.meta.";

/// The text of a struct.
pub fn go_struct(value: &Value, ty: TypeId) -> String {
    let ty = Schema::builtin().ty(ty);
    let Some(map) = value.as_object() else { return go_json(value) };
    let mut fields: Vec<&Field> = ty.fields.iter().collect();
    fields.sort_by_key(|field| field.proto().next().unwrap_or(u32::MAX));
    let tagged = ty.name.starts_with(TAGGED);
    let shown = |field: &&Field| if tagged { by_tag(map, field) } else { Some(by_name(map, field)) };
    let shown: Vec<String> = fields.iter().filter_map(shown).collect();
    format!("{{{}}}", shown.join(","))
}

/// A field with its JSON name, unless it is left out.
fn by_tag(map: &Map<String, Value>, field: &Field) -> Option<String> {
    let set = map.get(field.name()).filter(|value| !value.is_null() && !field.omits(value));
    let value = set.or_else(|| field.unset())?;
    Some(format!("\"{}\":{}", field.name(), text(value, field.ty)))
}

/// A field with its name in Go. What is unset is nothing or the zero value.
fn by_name(map: &Map<String, Value>, field: &Field) -> String {
    let value = match map.get(field.name()).filter(|value| !value.is_null()) {
        Some(value) => text(value, field.ty),
        None if field.presence() == Presence::Pointer => "null".to_owned(),
        None => zero(field.ty),
    };
    format!("\"{}\":{value}", go_name(field.name()))
}

fn text(value: &Value, ty: &FieldType) -> String {
    match (ty, value) {
        (FieldType::Ref(id), value) => go_struct(value, *id),
        (FieldType::Array(item), Value::Array(items)) => {
            let items: Vec<String> = items.iter().map(|value| text(value, item)).collect();
            format!("[{}]", items.join(","))
        }
        _ => go_json(value),
    }
}

fn zero(ty: &FieldType) -> String {
    match ty {
        FieldType::Bool => "false".to_owned(),
        FieldType::Int32 | FieldType::Int64 | FieldType::Double | FieldType::IntOrString => "0".to_owned(),
        FieldType::String => "\"\"".to_owned(),
        FieldType::Quantity => "\"0\"".to_owned(),
        FieldType::Ref(id) => go_struct(&Value::Object(Map::new()), *id),
        _ => "null".to_owned(),
    }
}

/// The name of a field in Go's source.
fn go_name(field: &str) -> String {
    match field {
        "apiVersion" => return "APIVersion".to_owned(),
        "uid" => return "UID".to_owned(),
        _ => {}
    }
    let mut letters = field.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(ty: &str, value: &Value) -> String {
        go_struct(value, Schema::builtin().by_name(ty).expect("a type of the schema"))
    }

    #[test]
    fn structs_have_the_names_and_order_of_the_source() {
        for (ty, value, want) in [
            (
                "io.k8s.api.apps.v1.DaemonSetUpdateStrategy",
                json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}, "type": "x"}),
                r#"{"Type":"x","RollingUpdate":{"MaxUnavailable":"10%","MaxSurge":0}}"#,
            ),
            (
                "io.k8s.api.apps.v1.DeploymentStrategy",
                json!({"type": "x"}),
                r#"{"Type":"x","RollingUpdate":null}"#,
            ),
            (
                "io.k8s.api.core.v1.Taint",
                json!({"key": "k", "effect": "<"}),
                r#"{"Key":"k","Value":"","Effect":"\u003c","TimeAdded":null}"#,
            ),
        ] {
            assert_eq!(shown(ty, &value), want);
        }
    }

    #[test]
    fn selectors_are_json_in_the_order_of_the_source() {
        let value =
            json!({"matchExpressions": [{"values": ["v"], "key": "k"}], "matchLabels": {"b": "1", "a": "2"}});
        let want = r#"{"matchLabels":{"a":"2","b":"1"},"matchExpressions":[{"key":"k","operator":"","values":["v"]}]}"#;
        assert_eq!(shown("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector", &value), want);
        assert_eq!(shown("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector", &json!({})), "{}");
    }
}
