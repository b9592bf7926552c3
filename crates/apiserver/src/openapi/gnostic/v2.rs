//! Swagger 2.0.

use serde_json::{Map, Value};

use super::message::{Message, any, flag, text};

pub(super) fn path_item(item: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    for (method, field) in
        [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("options", 6), ("head", 7), ("patch", 8)]
    {
        if let Some(operation) = item.get(method).and_then(Value::as_object) {
            message.message(field, &self::operation(operation));
        }
    }
    parameters(&mut message, 9, item.get("parameters"));
    message.extensions(10, item);
    message
}

fn operation(operation: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    message.texts(1, operation.get("tags"));
    message.text(3, text(operation, "description"));
    message.text(5, text(operation, "operationId"));
    message.texts(6, operation.get("produces"));
    message.texts(7, operation.get("consumes"));
    parameters(&mut message, 8, operation.get("parameters"));
    if let Some(responses) = operation.get("responses").and_then(Value::as_object) {
        message.message(9, &self::responses(responses));
    }
    message.texts(10, operation.get("schemes"));
    message.extensions(13, operation);
    message
}

fn responses(responses: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    for (code, response) in responses {
        let Some(response) = response.as_object() else { continue };
        let mut body = Message::default();
        body.text(1, text(response, "description"));
        if let Some(schema) = response.get("schema").and_then(Value::as_object) {
            let mut item = Message::default();
            item.message(1, &self::schema(schema));
            body.message(2, &item);
        }
        let mut value = Message::default();
        value.message(1, &body);
        message.named(1, code, &value);
    }
    message
}

/// ParametersItem { parameter or reference }
fn parameters(message: &mut Message, field: u32, list: Option<&Value>) {
    for parameter in list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let mut item = Message::default();
        let reference = text(parameter, "$ref");
        if reference.is_empty() {
            item.message(1, &self::parameter(parameter));
        } else {
            let mut message = Message::default();
            message.text(1, reference);
            item.message(2, &message);
        }
        message.message(field, &item);
    }
}

/// Parameter { body or non-body }
pub(super) fn parameter(parameter: &Map<String, Value>) -> Message {
    let mut outer = Message::default();
    if text(parameter, "in") == "body" {
        outer.message(1, &body_parameter(parameter));
    } else {
        let mut non_body = Message::default();
        let (which, message) = plain_parameter(parameter);
        non_body.message(which, &message);
        outer.message(2, &non_body);
    }
    outer
}

/// The ways to authenticate, all of which are keys in headers, and that any of them is required.
pub(super) fn security(document: &mut Message, schemes: &Value) {
    let (mut requirement, mut definitions) = (Message::default(), Message::default());
    for (name, scheme) in schemes.as_object().into_iter().flatten() {
        requirement.named(1, name, &Message::default());
        let Some(scheme) = scheme.as_object() else { continue };
        let mut key = Message::default();
        for (field, part) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
            key.text(field, text(scheme, part));
        }
        let mut item = Message::default();
        item.message(2, &key);
        definitions.named(1, name, &item);
    }
    document.message(12, &requirement);
    document.message(13, &definitions);
}

fn body_parameter(parameter: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    message.text(2, text(parameter, "name"));
    message.text(3, "body");
    message.flag(4, flag(parameter, "required"));
    if let Some(schema) = parameter.get("schema").and_then(Value::as_object) {
        message.message(5, &self::schema(schema));
    }
    message
}

/// A query parameter (3 in NonBodyParameter) or a path parameter (4); the two differ by one field number from `type` on.
fn plain_parameter(parameter: &Map<String, Value>) -> (u32, Message) {
    let query = text(parameter, "in") == "query";
    let shift = u32::from(query);
    let mut message = Message::default();
    message.flag(1, flag(parameter, "required"));
    message.text(2, text(parameter, "in"));
    message.text(3, text(parameter, "description"));
    message.text(4, text(parameter, "name"));
    message.text(5 + shift, text(parameter, "type"));
    message.flag(19 + shift, flag(parameter, "uniqueItems"));
    (if query { 3 } else { 4 }, message)
}

pub(super) fn schema(schema: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    message.text(1, text(schema, "$ref"));
    message.text(2, text(schema, "format"));
    message.text(4, text(schema, "description"));
    if let Some(default) = schema.get("default") {
        message.message(5, &any(default));
    }
    message.texts(19, schema.get("required"));
    for value in schema.get("enum").and_then(Value::as_array).into_iter().flatten() {
        message.message(20, &any(value));
    }
    if let Some(values) = schema.get("additionalProperties").and_then(Value::as_object) {
        let mut item = Message::default();
        item.message(1, &self::schema(values));
        message.message(21, &item);
    }
    let ty = text(schema, "type");
    if !ty.is_empty() {
        let mut item = Message::default();
        item.text(1, ty);
        message.message(22, &item);
    }
    if let Some(items) = schema.get("items").and_then(Value::as_object) {
        let mut item = Message::default();
        item.message(1, &self::schema(items));
        message.message(23, &item);
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let mut all = Message::default();
        for (name, property) in properties {
            if let Some(property) = property.as_object() {
                all.named(1, name, &self::schema(property));
            }
        }
        message.message(25, &all);
    }
    message.extensions(31, schema);
    message
}
