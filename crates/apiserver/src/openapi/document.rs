//! Whole documents. They are written entry by entry, so that no document exists as a tree of values.

use descriptions::{Descriptions, Index};
use machinery::resources::Resources;
use machinery::schema::Schema;
use serde_json::{Value, json};

use super::gnostic::{self, DocumentWriter};
use super::operations::{Path, Paths};
use super::render::{self, Shared};
use super::types::{Definitions, Dialect};

/// What a document of OpenAPI 3 is about; the key is the path in the index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// `api`, `apis`
    Root(&'static str),
    /// A group.
    Group(&'static str),
    /// A group and version.
    Version(&'static str, &'static str),
    /// One of the documents that stand alone.
    Alone(&'static str),
}

/// Documents that belong to no group: path, operation, tag and description.
const ALONE: [(&str, &str, &str, &str); 3] = [
    (
        ".well-known/openid-configuration",
        "getServiceAccountIssuerOpenIDConfiguration",
        "WellKnown",
        "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
    ),
    (
        "openid/v1/jwks",
        "getServiceAccountIssuerOpenIDKeyset",
        "openid",
        "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
    ),
    ("version", "getCodeVersion", "version", "get the version information for this server"),
];

impl Part {
    /// Every part, in order of the index.
    pub fn all() -> Vec<Part> {
        let mut parts = vec![Part::Root("api"), Part::Root("apis")];
        for (group, versions) in Resources::builtin().groups() {
            if !group.is_empty() {
                parts.push(Part::Group(group));
            }
            parts.extend(versions.iter().map(|version| Part::Version(group, version)));
        }
        parts.extend(ALONE.map(|(path, ..)| Part::Alone(path)));
        parts.sort_by_key(Part::path);
        parts
    }

    /// The key in the index, which is the document's path below `/openapi/v3/`.
    pub fn path(&self) -> String {
        match self {
            Part::Root(path) | Part::Alone(path) => (*path).to_owned(),
            Part::Group(group) => format!("apis/{group}"),
            Part::Version("", version) => format!("api/{version}"),
            Part::Version(group, version) => format!("apis/{group}/{version}"),
        }
    }

    fn add(&self, paths: &mut Paths<'_>) {
        match self {
            Part::Root(path) => paths.group(&format!("/{path}/"), ""),
            Part::Group(group) => paths.group(&format!("/apis/{group}/"), group),
            Part::Version(group, version) => {
                paths.group_version(group, version);
                let resources = Resources::builtin().iter();
                resources
                    .filter(|r| r.group == *group && r.version == *version)
                    .for_each(|resource| paths.resource(resource));
            }
            Part::Alone(path) => {
                for (path, id, tag, text) in ALONE.iter().filter(|(known, ..)| known == path) {
                    let answer = Schema::builtin().by_name("io.k8s.apimachinery.pkg.version.Info");
                    paths.document(
                        &format!("/{path}/"),
                        id,
                        text,
                        tag,
                        answer.filter(|_| *path == "version"),
                    );
                }
            }
        }
    }
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "1.37"})
}

fn security() -> Value {
    json!({"BearerToken": {
        "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"}})
}

/// Descriptions are left out rather than the document.
fn unpack() -> Descriptions {
    Descriptions::unpack().unwrap_or_else(|error| {
        tracing::error!(%error, "the table of descriptions is damaged");
        Descriptions::none()
    })
}

/// The paths of parts, in order, and the definitions they need.
fn collect<'a>(dialect: Dialect, parts: &[Part], described: &'a Index<'a>) -> (Vec<Path>, Definitions<'a>) {
    let mut paths = Paths::new(described);
    parts.iter().for_each(|part| part.add(&mut paths));
    let mut paths = paths.paths;
    paths.sort_by(|a, b| a.path.cmp(&b.path));
    let mut definitions = Definitions::new(dialect, described);
    paths.iter().flat_map(render::types).for_each(|ty| definitions.add(ty));
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
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(self.key(key), value);
    }

    fn paths(&mut self, paths: &[Path], dialect: Dialect, shared: &Shared) {
        let mut object = ObjectWriter::begin(self.key("paths"));
        for path in paths {
            object.entry(&path.path, &render::path(path, dialect, shared));
        }
        object.end();
    }

    fn definitions(&mut self, key: &str, definitions: &Definitions<'_>) {
        let mut schemas = ObjectWriter::begin(self.key(key));
        definitions.each(|name, definition| schemas.entry(name, definition));
        schemas.end();
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

/// The document of one part.
pub(super) fn v3_json(part: &Part) -> Vec<u8> {
    let unpacked = unpack();
    let described = unpacked.index();
    let (paths, definitions) = collect(Dialect::V3, std::slice::from_ref(part), &described);
    let mut out = Vec::with_capacity(1 << 20);
    let mut document = ObjectWriter::begin(&mut out);
    document.entry("openapi", &"3.0.0".into());
    document.entry("info", &info());
    document.paths(&paths, Dialect::V3, &Shared::default());
    let mut components = ObjectWriter::begin(document.key("components"));
    components.definitions("schemas", &definitions);
    components.entry("securitySchemes", &security());
    components.end();
    document.end();
    out
}

/// The document of one part, in the protobuf form of OpenAPI 3.
pub(super) fn v3_protobuf(part: &Part) -> Vec<u8> {
    let unpacked = unpack();
    let described = unpacked.index();
    let (paths, definitions) = collect(Dialect::V3, std::slice::from_ref(part), &described);
    let mut writer = DocumentWriter::new(gnostic::Form::V3, &info());
    for path in &paths {
        writer.path(&path.path, &render::path(path, Dialect::V3, &Shared::default()));
    }
    definitions.each(|name, definition| writer.definition(name, definition));
    writer.finish(&security())
}

/// Everything, as Swagger 2.0.
pub(super) fn v2_json() -> Vec<u8> {
    let unpacked = unpack();
    let described = unpacked.index();
    let (paths, definitions) = collect(Dialect::V2, &Part::all(), &described);
    let shared = Shared::of(&paths);
    let mut out = Vec::with_capacity(4 << 20);
    let mut document = ObjectWriter::begin(&mut out);
    document.entry("swagger", &"2.0".into());
    document.entry("info", &info());
    document.paths(&paths, Dialect::V2, &shared);
    document.definitions("definitions", &definitions);
    let mut parameters = ObjectWriter::begin(document.key("parameters"));
    shared.each(|name, parameter| parameters.entry(name, parameter));
    parameters.end();
    document.entry("securityDefinitions", &security());
    document.entry("security", &json!([{"BearerToken": []}]));
    document.end();
    out
}

/// Everything, in the protobuf form of Swagger 2.0.
pub(super) fn v2_protobuf() -> Vec<u8> {
    let unpacked = unpack();
    let described = unpacked.index();
    let (paths, definitions) = collect(Dialect::V2, &Part::all(), &described);
    let shared = Shared::of(&paths);
    let mut writer = DocumentWriter::new(gnostic::Form::V2, &info());
    for path in &paths {
        writer.path(&path.path, &render::path(path, Dialect::V2, &shared));
    }
    definitions.each(|name, definition| writer.definition(name, definition));
    shared.each(|name, parameter| writer.parameter(name, parameter));
    writer.finish(&security())
}
