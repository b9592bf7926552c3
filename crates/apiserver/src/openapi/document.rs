//! Whole documents. They are written entry by entry, so that no document exists as a tree of values.

use machinery::resources::{Resource, Resources};
use serde_json::{Value, json};

use super::gnostic;
use super::operations::Operations;
use super::types::{Definitions, Dialect};

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "v1.37.0+knarr"})
}

/// The paths of resources, in order, and the definitions they need.
fn collect(
    dialect: Dialect,
    resources: impl Iterator<Item = &'static Resource>,
) -> (Vec<(String, Value)>, Definitions) {
    let mut definitions = Definitions::new(dialect);
    let mut paths = Vec::new();
    let mut operations = Operations { dialect, definitions: &mut definitions };
    for resource in resources {
        operations.resource(resource, &mut |path, item| paths.push((path, item)));
    }
    paths.sort_by(|a, b| a.0.cmp(&b.0));
    (paths, definitions)
}

/// Writes a JSON object entry by entry.
struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> ObjectWriter<'a> {
    fn begin(out: &'a mut Vec<u8>) -> ObjectWriter<'a> {
        out.push(b'{');
        ObjectWriter { out, first: true }
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.extend_from_slice(Value::from(key).to_string().as_bytes());
        self.out.push(b':');
        self.out
    }

    fn entry(&mut self, key: &str, value: &Value) {
        self.key(key).extend_from_slice(value.to_string().as_bytes());
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

/// The document of one group version.
pub(super) fn v3(group: &str, version: &str) -> Vec<u8> {
    let resources = Resources::builtin().iter().filter(|r| r.group == group && r.version == version);
    let (paths, definitions) = collect(Dialect::V3, resources);
    let mut out = Vec::with_capacity(1 << 20);
    let mut document = ObjectWriter::begin(&mut out);
    document.entry("openapi", &"3.0.0".into());
    document.entry("info", &info());
    write_entries(document.key("paths"), paths.iter().map(|(path, item)| (path.as_str(), item)));
    let mut components = ObjectWriter::begin(document.key("components"));
    let mut schemas = ObjectWriter::begin(components.key("schemas"));
    definitions.each(|name, definition| schemas.entry(name, definition));
    schemas.end();
    components.end();
    document.end();
    out
}

/// Everything, as Swagger 2.0.
pub(super) fn v2_json() -> Vec<u8> {
    let (paths, definitions) = collect(Dialect::V2, Resources::builtin().iter());
    let mut out = Vec::with_capacity(4 << 20);
    let mut document = ObjectWriter::begin(&mut out);
    document.entry("swagger", &"2.0".into());
    document.entry("info", &info());
    write_entries(document.key("paths"), paths.iter().map(|(path, item)| (path.as_str(), item)));
    let mut schemas = ObjectWriter::begin(document.key("definitions"));
    definitions.each(|name, definition| schemas.entry(name, definition));
    schemas.end();
    document.end();
    out
}

/// Everything, in the protobuf form of Swagger 2.0.
pub(super) fn v2_protobuf() -> Vec<u8> {
    let (paths, definitions) = collect(Dialect::V2, Resources::builtin().iter());
    let mut writer = gnostic::DocumentWriter::new("2.0", &info());
    for (path, item) in &paths {
        writer.path(path, item);
    }
    definitions.each(|name, definition| writer.definition(name, definition));
    writer.finish()
}

fn write_entries<'a>(out: &mut Vec<u8>, entries: impl Iterator<Item = (&'a str, &'a Value)>) {
    let mut object = ObjectWriter::begin(out);
    entries.for_each(|(key, value)| object.entry(key, value));
    object.end();
}
