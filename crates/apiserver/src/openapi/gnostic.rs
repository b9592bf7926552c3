//! Swagger 2.0 in gnostic's protobuf form (github.com/google/gnostic-models `openapiv2/OpenAPIv2.proto`), as far as the
//! documents written here use it.

use serde_json::{Map, Value};

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn flag(&mut self, field: u32, flag: bool) {
        if flag {
            self.varint(u64::from(field) << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, field: u32, message: &Message) {
        self.bytes(field, &message.0);
    }

    /// A `Named…` message: name = 1, value = 2.
    fn named(&mut self, field: u32, name: &str, value: &Message) {
        let mut named = Message::default();
        named.text(1, name);
        named.message(2, value);
        self.message(field, &named);
    }

    fn texts(&mut self, field: u32, list: Option<&Value>) {
        for text in list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(field, text.as_bytes());
        }
    }

    /// Everything that begins with `x-`, as NamedAny.
    fn extensions(&mut self, field: u32, map: &Map<String, Value>) {
        for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
            self.named(field, name, &any(value));
        }
    }
}

/// gnostic's Any: the value as YAML, of which JSON is a part.
fn any(value: &Value) -> Message {
    let mut message = Message::default();
    message.text(2, &format!("{value}\n"));
    message
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or_default()
}

/// Writes a Document piece by piece.
pub(super) struct DocumentWriter {
    document: Message,
    paths: Message,
    definitions: Message,
}

impl DocumentWriter {
    pub fn new(swagger: &str, info: &Value) -> DocumentWriter {
        let mut document = Message::default();
        document.text(1, swagger);
        let mut message = Message::default();
        if let Some(info) = info.as_object() {
            message.text(1, text(info, "title"));
            message.text(2, text(info, "version"));
        }
        document.message(2, &message);
        DocumentWriter { document, paths: Message::default(), definitions: Message::default() }
    }

    pub fn path(&mut self, path: &str, item: &Value) {
        if let Some(item) = item.as_object() {
            self.paths.named(2, path, &path_item(item));
        }
    }

    pub fn definition(&mut self, name: &str, definition: &Value) {
        if let Some(definition) = definition.as_object() {
            self.definitions.named(1, name, &schema(definition));
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.document.message(8, &self.paths);
        self.document.message(9, &self.definitions);
        self.document.0
    }
}

fn path_item(item: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    for (method, field) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
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

/// ParametersItem { parameter: Parameter { body or non-body } }
fn parameters(message: &mut Message, field: u32, list: Option<&Value>) {
    for parameter in list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let mut outer = Message::default();
        if text(parameter, "in") == "body" {
            outer.message(1, &body_parameter(parameter));
        } else {
            let mut non_body = Message::default();
            let (which, message) = plain_parameter(parameter);
            non_body.message(which, &message);
            outer.message(2, &non_body);
        }
        let mut item = Message::default();
        item.message(1, &outer);
        message.message(field, &item);
    }
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
    message.text(4, text(parameter, "name"));
    message.text(5 + shift, text(parameter, "type"));
    message.flag(19 + shift, flag(parameter, "uniqueItems"));
    (if query { 3 } else { 4 }, message)
}

fn schema(schema: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    message.text(1, text(schema, "$ref"));
    message.text(2, text(schema, "format"));
    message.text(4, text(schema, "description"));
    if let Some(default) = schema.get("default") {
        message.message(5, &any(default));
    }
    message.texts(19, schema.get("required"));
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
