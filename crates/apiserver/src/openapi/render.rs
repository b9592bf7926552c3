//! Operations in the words of a dialect.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use machinery::schema::{Gvk, Schema, TypeId};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::operations::{Body, Operation, Path};
use super::parameters::Parameter;
use super::types::Dialect;

/// Bytes of the hash in the names of shared parameters.
const HASH_BYTES: usize = 6;

/// Parameters that several operations of a Swagger document share, by what they are; their names.
#[derive(Default)]
pub(super) struct Shared(BTreeMap<String, String>);

impl Shared {
    /// Finds out which parameters occur more than once.
    pub fn of(paths: &[Path]) -> Shared {
        let mut seen = BTreeSet::new();
        let mut shared = BTreeMap::new();
        let all = paths.iter().flat_map(|path| {
            path.parameters.iter().chain(path.operations.iter().flat_map(|operation| &operation.parameters))
        });
        for parameter in all.filter(|parameter| parameter.is_shareable()) {
            let text = parameter.render(Dialect::V2).to_string();
            if !seen.insert(text.clone()) {
                let hash = || URL_SAFE_NO_PAD.encode(&Sha256::digest(text.as_bytes())[..HASH_BYTES]);
                shared.entry(text.clone()).or_insert_with(|| format!("{}-{}", parameter.name, hash()));
            }
        }
        Shared(shared)
    }

    /// Calls `write` with each parameter in order of their names.
    pub fn each(&self, mut write: impl FnMut(&str, &Value)) {
        let by_name: BTreeMap<&String, &String> = self.0.iter().map(|(text, name)| (name, text)).collect();
        for (name, text) in by_name {
            if let Ok(value) = serde_json::from_str(text) {
                write(name, &value);
            }
        }
    }

    fn parameter(&self, parameter: &Parameter, dialect: Dialect) -> Value {
        let value = parameter.render(dialect);
        match self.0.get(&value.to_string()) {
            Some(name) if dialect == Dialect::V2 => json!({"$ref": format!("#/parameters/{name}")}),
            _ => value,
        }
    }
}

/// The types that the operations of a path name.
pub(super) fn types(path: &Path) -> impl Iterator<Item = TypeId> {
    path.operations.iter().flat_map(|o| o.answer.into_iter().chain(o.body.map(|body| body.ty)))
}

/// A path with its operations.
pub(super) fn path(path: &Path, dialect: Dialect, shared: &Shared) -> Value {
    let mut item: Map<String, Value> = path
        .operations
        .iter()
        .map(|operation| (operation.method.to_owned(), self::operation(operation, dialect, shared)))
        .collect();
    if !path.parameters.is_empty() {
        let parameters: Vec<Value> = path.parameters.iter().map(|p| shared.parameter(p, dialect)).collect();
        item.insert("parameters".into(), parameters.into());
    }
    item.into()
}

fn gvk(gvk: &Gvk) -> Value {
    json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind})
}

fn operation(operation: &Operation, dialect: Dialect, shared: &Shared) -> Value {
    let mut value = json!({
        "description": operation.description,
        "operationId": operation.id,
        "tags": [operation.tag],
    });
    if let Some((action, kind)) = &operation.action {
        value["x-kubernetes-action"] = (*action).into();
        value["x-kubernetes-group-version-kind"] = gvk(kind);
    }
    let mut parameters: Vec<Value> =
        operation.parameters.iter().map(|parameter| shared.parameter(parameter, dialect)).collect();
    match dialect {
        Dialect::V2 => {
            if let Some(body) = operation.body {
                parameters.insert(0, body_parameter(body, dialect));
            }
            let consumes =
                if operation.consumes.is_empty() { operation.produces } else { operation.consumes };
            value["consumes"] = json!(consumes);
            value["produces"] = json!(operation.produces);
            value["schemes"] = json!(["https"]);
        }
        Dialect::V3 => {
            if let Some(body) = operation.body {
                let schema = reference(body.ty, dialect);
                value["requestBody"] = json!({"content": content(operation.consumes, &schema)});
                if body.required {
                    value["requestBody"]["required"] = true.into();
                }
            }
        }
    }
    value["responses"] = responses(operation, dialect);
    if !parameters.is_empty() {
        value["parameters"] = parameters.into();
    }
    value
}

fn reference(ty: TypeId, dialect: Dialect) -> Value {
    dialect.reference(Schema::builtin().ty(ty).name)
}

fn body_parameter(body: Body, dialect: Dialect) -> Value {
    let mut parameter = json!({"name": "body", "in": "body", "schema": reference(body.ty, dialect)});
    if body.required {
        parameter["required"] = true.into();
    }
    parameter
}

fn content(media: &[&str], schema: &Value) -> Value {
    media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
}

fn responses(operation: &Operation, dialect: Dialect) -> Value {
    let schema = operation.answer.map_or_else(|| json!({"type": "string"}), |ty| reference(ty, dialect));
    let answer = match dialect {
        Dialect::V2 => ("schema", schema),
        Dialect::V3 => ("content", content(operation.produces, &schema)),
    };
    let mut all = Map::new();
    for (code, description) in operation.codes {
        all.insert(code.to_string(), json!({"description": description, answer.0: answer.1}));
    }
    all.insert("401".into(), json!({"description": "Unauthorized"}));
    all.into()
}
