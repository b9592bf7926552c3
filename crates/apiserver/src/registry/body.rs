//! Request bodies to objects: media type, version and kind, types and fields.

use machinery::decode::{self, Decoded, Media};
use machinery::meta;
use machinery::resources::Resources;
use machinery::schema::TypeId;
use machinery::status::Status;
use machinery::text::go_quote;
use serde_json::Value;

use super::call::Call;
use super::options::FieldValidation;
use crate::http::{BodyError, read_object};

/// What a body has to be.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub type_id: Option<TypeId>,
}

impl Expected<'_> {
    pub(super) fn api_version(&self) -> String {
        meta::join_api_version(self.group, self.version)
    }
}

/// A decoded body.
pub(crate) struct Body {
    pub object: Value,
    /// For the client, about fields that were dropped.
    pub warnings: Vec<String>,
}

impl Call<'_> {
    /// Decodes the body as an object of this resource.
    pub fn decode(&self, body: &[u8], validation: FieldValidation) -> Result<Body, Status> {
        let handle = &self.handle;
        let expected = Expected {
            group: &handle.group,
            version: &handle.version,
            kind: &handle.kind,
            type_id: handle.type_id,
        };
        self.decode_as(body, expected, validation)
    }

    /// Decodes the body as an object of another kind, as subresources take.
    pub fn decode_as(
        &self,
        body: &[u8],
        expected: Expected<'_>,
        validation: FieldValidation,
    ) -> Result<Body, Status> {
        read(self.request.content_type.as_deref(), body, expected, validation)
    }
}

impl Call<'_> {
    /// Decodes the body as the same kind in one of several versions; one that says none is in the first.
    pub fn decode_either(
        &self,
        body: &[u8],
        versions: &[Expected<'_>; 2],
        validation: FieldValidation,
    ) -> Result<Body, Status> {
        let content_type = self.request.content_type.as_deref();
        let decoded = decode_body(content_type, body, versions[0])?;
        let api_version = meta::api_version(&decoded.value);
        let said = versions.iter().find(|version| version.api_version() == api_version);
        let expected = *said.unwrap_or(&versions[0]);
        check(body, decoded, expected, validation)
    }
}

/// Decodes a body as an object of a kind.
///
/// # Errors
/// 400 or 415, in upstream's words.
pub(crate) fn read(
    content_type: Option<&str>,
    body: &[u8],
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Body, Status> {
    check(body, decode_body(content_type, body, expected)?, expected, validation)
}

fn decode_body(content_type: Option<&str>, body: &[u8], expected: Expected<'_>) -> Result<Decoded, Status> {
    read_object(content_type, body, expected.type_id).map_err(|error| unreadable(error, body, expected.kind))
}

/// Checks version, kind, types and fields of a decoded body.
fn check(
    body: &[u8],
    decoded: Decoded,
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Body, Status> {
    let mut strict = decoded.strict_errors();
    let Decoded { value: mut object, duplicates: mut warnings, media } = decoded;
    if object.is_null() {
        object = Value::Object(serde_json::Map::new());
    }
    check_kind(&mut object, expected)?;
    let mut dropped = Vec::new();
    if let Some(id) = expected.type_id {
        let checked = match media {
            Media::Json => decode::check_source(&mut object, id, body),
            // Its fields are sorted on the way to JSON.
            Media::Yaml => decode::check(&mut object, id),
        };
        dropped = checked.map_err(|error| not_handled(expected, &object, error))?;
    }
    if media == Media::Json && validation != FieldValidation::Ignore && warnings.len() + dropped.len() > 1 {
        warnings = decode::in_order(body, &dropped);
        strict.clone_from(&warnings);
    } else {
        strict.extend_from_slice(&dropped);
        warnings.append(&mut dropped);
    }
    match validation {
        FieldValidation::Strict if !strict.is_empty() => {
            Err(not_handled(expected, &object, format!("strict decoding error: {}", strict.join(", "))))
        }
        FieldValidation::Ignore => Ok(Body { object, warnings: Vec::new() }),
        _ => Ok(Body { object, warnings }),
    }
}

fn not_handled(expected: Expected<'_>, object: &Value, why: impl std::fmt::Display) -> Status {
    let (_, version) = meta::split_api_version(meta::api_version(object));
    let kind = meta::kind(object);
    Status::bad_request(format!(
        "{kind} in version {} cannot be handled as a {}: {why}",
        go_quote(version),
        expected.kind
    ))
}

/// Fills in a missing version and kind, and refuses wrong ones.
fn check_kind(object: &mut Value, expected: Expected<'_>) -> Result<(), Status> {
    let wanted = expected.api_version();
    let Some(map) = object.as_object_mut() else { return Ok(()) };
    for (key, value) in [("apiVersion", wanted.as_str()), ("kind", expected.kind)] {
        if map.get(key).is_none_or(|have| have.is_null() || have == "") {
            map.insert(key.to_owned(), value.into());
        }
    }
    let api_version = meta::api_version(object);
    match other_kind(object, expected) {
        Some(why) => Err(not_handled(expected, object, why)),
        None if api_version == wanted => Ok(()),
        None => Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        ))),
    }
}

/// Why an object of the version and kind that it names is none of the expected kind, in any version.
pub(super) fn other_kind(object: &Value, expected: Expected<'_>) -> Option<String> {
    let wanted = expected.api_version();
    let or = |given, otherwise| if str::is_empty(given) { otherwise } else { given };
    let api_version = or(meta::api_version(object), wanted.as_str());
    let kind = or(meta::kind(object), expected.kind);
    if (api_version, kind) == (wanted.as_str(), expected.kind) {
        return None;
    }
    let (group, version) = meta::split_api_version(api_version);
    if Resources::builtin().by_kind(group, version, kind).is_none() {
        return Some(format!(
            "no kind {} is registered for version {} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            go_quote(kind),
            go_quote(api_version)
        ));
    }
    if kind == expected.kind {
        return None;
    }
    let package =
        if expected.group.is_empty() { "core" } else { expected.group.split('.').next().unwrap_or_default() };
    Some(format!("converting ({version}.{kind}) to ({package}.{}): unknown conversion", expected.kind))
}

/// The refusal of a body that is no object.
fn unreadable(error: BodyError, body: &[u8], wanted: &str) -> Status {
    Status::bad_request(match error {
        BodyError::Media(status) => return status,
        BodyError::Unrecognized(why) => {
            let summary = summary(body);
            format!("the object provided is unrecognized (must be of type {wanted}): {why} ({summary})")
        }
        BodyError::Broken { api_version, kind, why } => {
            let version = go_quote(meta::split_api_version(&api_version).1);
            format!("{kind} in version {version} cannot be handled as a {wanted}: {why}")
        }
    })
}

/// The beginning of a body, for messages (apiserver `summarizeData`).
fn summary(body: &[u8]) -> String {
    const MAX: usize = 30;
    let head = &body[..body.len().min(MAX)];
    let dots = if body.len() > MAX { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{dots}", String::from_utf8_lossy(head)),
        Some(_) => {
            let hex: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{dots}")
        }
    }
}
