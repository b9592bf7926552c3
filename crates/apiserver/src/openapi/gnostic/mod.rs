//! OpenAPI documents in gnostic's protobuf forms (github.com/google/gnostic-models `openapiv2/OpenAPIv2.proto`,
//! `openapiv3/OpenAPIv3.proto`), as far as the documents written here use them.

mod message;
mod v2;
mod v3;

use serde_json::Value;

use message::Message;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    V2,
    V3,
}

/// Writes a Document piece by piece.
pub(super) struct DocumentWriter {
    form: Form,
    document: Message,
    paths: Message,
    definitions: Message,
    parameters: Message,
}

impl DocumentWriter {
    pub fn new(form: Form, info: &Value) -> DocumentWriter {
        let mut document = Message::default();
        let mut message = Message::default();
        message.text(1, message::text_of(info, "title"));
        match form {
            Form::V2 => {
                document.text(1, "2.0");
                message.text(2, message::text_of(info, "version"));
            }
            Form::V3 => {
                document.text(1, "3.0.0");
                message.text(6, message::text_of(info, "version"));
            }
        }
        document.message(2, &message);
        let (paths, definitions, parameters) = Default::default();
        DocumentWriter { form, document, paths, definitions, parameters }
    }

    pub fn path(&mut self, path: &str, item: &Value) {
        if let Some(item) = item.as_object() {
            match self.form {
                Form::V2 => self.paths.named(2, path, &v2::path_item(item)),
                Form::V3 => self.paths.named(1, path, &v3::path_item(item)),
            }
        }
    }

    pub fn definition(&mut self, name: &str, definition: &Value) {
        if let Some(definition) = definition.as_object() {
            match self.form {
                Form::V2 => self.definitions.named(1, name, &v2::schema(definition)),
                Form::V3 => self.definitions.named(1, name, &v3::schema_or_reference(definition)),
            }
        }
    }

    /// A parameter that others refer to, of Swagger 2.0.
    pub fn parameter(&mut self, name: &str, parameter: &Value) {
        if let Some(parameter) = parameter.as_object() {
            self.parameters.named(1, name, &v2::parameter(parameter));
        }
    }

    /// The whole document. `security` holds the ways to authenticate, by name.
    pub fn finish(mut self, security: &Value) -> Vec<u8> {
        match self.form {
            Form::V2 => {
                self.document.message(8, &self.paths);
                self.document.message(9, &self.definitions);
                self.document.message(10, &self.parameters);
                v2::security(&mut self.document, security);
            }
            Form::V3 => {
                self.document.message(4, &self.paths);
                let mut components = Message::default();
                components.message(1, &self.definitions);
                components.message(7, &v3::security(security));
                self.document.message(5, &components);
            }
        }
        self.document.finish()
    }
}
