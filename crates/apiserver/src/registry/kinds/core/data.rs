//! `ConfigMaps` and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::decode::{self, Media};
use machinery::field::{Errors, FieldError, Path};
use machinery::patch::kind_of;
use machinery::{meta, names};
use serde_json::{Map, Value, json};

use super::super::cells::age;
use super::super::check;
use super::super::plain::Plain;
use super::super::value::{below, flag, has, map, put, text};
use super::tls_secret;
use crate::registry::strategy::Generic;

/// Bytes that all values together may have.
const BYTES_MAX: usize = 1024 * 1024;
const FIXED: &str = "field is immutable when `immutable` is set";

pub(super) fn config_map(generic: Generic) -> Plain {
    Plain {
        validate: validate_config_map,
        changes_first: true,
        validate_update: |object, old| fixed(object, old, &["data", "binaryData"]),
        row: Some(config_map_row),
        ..Plain::new(generic)
    }
}

pub(super) fn secret(generic: Generic) -> Plain {
    Plain {
        defaults: "type = \"Opaque\"",
        complete: string_data,
        validate: validate_secret,
        changes_first: true,
        immutable: &["/type"],
        validate_update: |object, old| fixed(object, old, &["data"]),
        row: Some(secret_row),
        warnings: tls_secret::warnings,
        update_warnings: |object, _| tls_secret::warnings(object),
        selectable: &["type"],
        ..Plain::new(generic)
    }
}

/// What was once made immutable stays so, with its data.
fn fixed(object: &Value, old: &Value, fields: &[&str]) -> Errors {
    if !flag(old, "immutable") {
        return Errors::new();
    }
    let mut errors = Errors::new();
    if !flag(object, "immutable") {
        errors.push(FieldError::forbidden(&Path::new("immutable"), FIXED));
    }
    for field in fields.iter().filter(|field| map(object, field) != map(old, field)) {
        errors.push(FieldError::forbidden(&Path::new(*field), FIXED));
    }
    errors
}

fn values<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    map(object, field).into_iter().flatten().filter_map(|(_, value)| value.as_str())
}

/// Bytes of what is sent in base64.
fn decoded(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(text.len() / 4)
}

fn key(path: &Path, key: &str) -> Errors {
    check::named(&path.key(key), key, names::config_map_key(key))
}

fn validate_config_map(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let (text, binary) = (map(object, "data"), map(object, "binaryData"));
    let path = Path::new("data");
    for (name, _) in text.into_iter().flatten() {
        errors.extend(key(&path, name));
        if binary.is_some_and(|binary| binary.contains_key(name)) {
            let detail = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(&path.key(name), name.as_str(), detail));
        }
    }
    for (name, _) in binary.into_iter().flatten() {
        errors.extend(key(&Path::new("binaryData"), name));
    }
    let size: usize = values(object, "data").map(str::len).sum();
    if size + values(object, "binaryData").map(decoded).sum::<usize>() > BYTES_MAX {
        errors.push(FieldError::too_long(&Path::new("[]"), BYTES_MAX));
    }
    errors
}

fn config_map_row(object: &Value, now: i64) -> Vec<Value> {
    let count: usize = ["data", "binaryData"].into_iter().filter_map(|f| map(object, f)).map(Map::len).sum();
    vec![json!(meta::name(object)), json!(count), age(object, now)]
}

/// `stringData` is for writing only: it is merged into `data`.
fn string_data(object: &mut Value) {
    let given = object.as_object_mut().and_then(|map| map.remove("stringData"));
    let Some(Value::Object(plain)) = given else { return };
    let Some(data) = below(object, "data") else { return };
    for (key, value) in plain {
        put(data, &key, STANDARD.encode(value.as_str().unwrap_or_default()));
    }
}

fn validate_secret(object: &Value) -> Errors {
    let path = Path::new("data");
    let mut errors: Errors =
        map(object, "data").into_iter().flatten().flat_map(|(name, _)| key(&path, name)).collect();
    if values(object, "data").map(decoded).sum::<usize>() > BYTES_MAX {
        errors.push(FieldError::too_long(&path, BYTES_MAX));
    }
    errors.extend(by_type(object, &path));
    errors
}

/// What a type of Secret has to have.
fn by_type(secret: &Value, path: &Path) -> Errors {
    let data = &secret["data"];
    let missing = |keys: &[&str]| -> Errors {
        keys.iter()
            .filter(|key| !has(data, key))
            .map(|key| FieldError::required(&path.key(key), ""))
            .collect()
    };
    match text(secret, "type") {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            let at = Path::new("metadata").child("annotations").key(ACCOUNT);
            let named = meta::annotation(secret, ACCOUNT).is_some_and(|name| !name.is_empty());
            if named { Errors::new() } else { vec![FieldError::required(&at, "")] }
        }
        "kubernetes.io/dockercfg" => docker(data, ".dockercfg", path),
        "kubernetes.io/dockerconfigjson" => docker(data, ".dockerconfigjson", path),
        "kubernetes.io/basic-auth" if !has(data, "username") && !has(data, "password") => {
            missing(&["username", "password"])
        }
        "kubernetes.io/ssh-auth" if text(data, "ssh-privatekey").is_empty() => {
            vec![FieldError::required(&path.key("ssh-privatekey"), "")]
        }
        "kubernetes.io/tls" => missing(&["tls.crt", "tls.key"]),
        _ => Errors::new(),
    }
}

/// A key that holds a JSON object.
fn docker(data: &Value, key: &str, path: &Path) -> Errors {
    let at = path.key(key);
    if !has(data, key) {
        return vec![FieldError::required(&at, "")];
    }
    let bytes = STANDARD.decode(text(data, key)).unwrap_or_default();
    let why = match decode::object(&bytes, Media::Json) {
        Err(error) => error.to_string(),
        Ok(decoded) if decoded.value.is_object() || decoded.value.is_null() => return Errors::new(),
        Ok(decoded) => {
            let kind = kind_of(&decoded.value);
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        }
    };
    vec![FieldError::invalid(&at, "<secret contents redacted>", why)]
}

fn secret_row(object: &Value, now: i64) -> Vec<Value> {
    let count = map(object, "data").map_or(0, Map::len);
    vec![json!(meta::name(object)), json!(text(object, "type")), json!(count), age(object, now)]
}
