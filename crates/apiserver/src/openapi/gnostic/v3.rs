//! OpenAPI 3.0.

use serde_json::{Map, Value};

use super::message::{Message, any, flag, text};

pub(super) fn path_item(item: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    let methods =
        [("get", 4), ("put", 5), ("post", 6), ("delete", 7), ("options", 8), ("head", 9), ("patch", 10)];
    for (method, field) in methods {
        if let Some(operation) = item.get(method).and_then(Value::as_object) {
            message.message(field, &self::operation(operation));
        }
    }
    parameters(&mut message, 13, item.get("parameters"));
    message.extensions(14, item);
    message
}

fn operation(operation: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    message.texts(1, operation.get("tags"));
    message.text(3, text(operation, "description"));
    message.text(5, text(operation, "operationId"));
    parameters(&mut message, 6, operation.get("parameters"));
    if let Some(body) = operation.get("requestBody").and_then(Value::as_object) {
        let mut request = Message::default();
        request.message(2, &media_types(body.get("content")));
        request.flag(3, flag(body, "required"));
        message.message(7, &either(1, &request));
    }
    if let Some(responses) = operation.get("responses").and_then(Value::as_object) {
        message.message(8, &self::responses(responses));
    }
    message.extensions(13, operation);
    message
}

/// A message of one field, as `oneof` of a thing and a reference to one.
fn either(field: u32, inner: &Message) -> Message {
    let mut outer = Message::default();
    outer.message(field, inner);
    outer
}

fn responses(responses: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    for (code, response) in responses {
        let Some(response) = response.as_object() else { continue };
        let mut body = Message::default();
        body.text(1, text(response, "description"));
        if response.contains_key("content") {
            body.message(3, &media_types(response.get("content")));
        }
        message.named(2, code, &either(1, &body));
    }
    message
}

fn media_types(content: Option<&Value>) -> Message {
    let mut message = Message::default();
    for (media, value) in content.and_then(Value::as_object).into_iter().flatten() {
        let mut media_type = Message::default();
        if let Some(schema) = value.get("schema").and_then(Value::as_object) {
            media_type.message(1, &schema_or_reference(schema));
        }
        message.named(1, media, &media_type);
    }
    message
}

fn parameters(message: &mut Message, field: u32, list: Option<&Value>) {
    for parameter in list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let mut inner = Message::default();
        inner.text(1, text(parameter, "name"));
        inner.text(2, text(parameter, "in"));
        inner.text(3, text(parameter, "description"));
        inner.flag(4, flag(parameter, "required"));
        if let Some(schema) = parameter.get("schema").and_then(Value::as_object) {
            inner.message(10, &schema_or_reference(schema));
        }
        message.message(field, &either(1, &inner));
    }
}

pub(super) fn schema_or_reference(value: &Map<String, Value>) -> Message {
    let reference = text(value, "$ref");
    if reference.is_empty() {
        return either(1, &schema(value));
    }
    let mut message = Message::default();
    message.text(1, reference);
    either(2, &message)
}

fn schemas(message: &mut Message, field: u32, list: Option<&Value>) {
    for schema in list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        message.message(field, &schema_or_reference(schema));
    }
}

fn schema(schema: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    message.flag(20, flag(schema, "uniqueItems"));
    message.texts(23, schema.get("required"));
    for value in schema.get("enum").and_then(Value::as_array).into_iter().flatten() {
        message.message(24, &any(value));
    }
    message.text(25, text(schema, "type"));
    schemas(&mut message, 26, schema.get("allOf"));
    schemas(&mut message, 27, schema.get("oneOf"));
    if let Some(items) = schema.get("items").and_then(Value::as_object) {
        message.message(30, &either(1, &schema_or_reference(items)));
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let mut all = Message::default();
        for (name, property) in properties {
            if let Some(property) = property.as_object() {
                all.named(1, name, &schema_or_reference(property));
            }
        }
        message.message(31, &all);
    }
    if let Some(values) = schema.get("additionalProperties").and_then(Value::as_object) {
        message.message(32, &either(1, &schema_or_reference(values)));
    }
    if let Some(default) = default(schema.get("default")) {
        message.message(33, &default);
    }
    message.text(34, text(schema, "description"));
    message.text(35, text(schema, "format"));
    message.extensions(36, schema);
    message
}

/// Only scalars: the form has no other defaults.
fn default(value: Option<&Value>) -> Option<Message> {
    let mut message = Message::default();
    match value? {
        Value::Number(number) => message.double(1, number.as_f64()?),
        Value::Bool(value) => message.bool(2, *value),
        Value::String(text) => message.bytes(3, text.as_bytes()),
        _ => return None,
    }
    Some(message)
}

/// The ways to authenticate.
pub(super) fn security(schemes: &Value) -> Message {
    let mut message = Message::default();
    for (name, scheme) in schemes.as_object().into_iter().flatten() {
        let Some(scheme) = scheme.as_object() else { continue };
        let mut inner = Message::default();
        for (field, part) in [(1, "type"), (2, "description"), (3, "name"), (4, "in")] {
            inner.text(field, text(scheme, part));
        }
        message.named(1, name, &either(1, &inner));
    }
    message
}
