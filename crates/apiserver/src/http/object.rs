//! Objects in request bodies, in any of the forms that are taken.

use machinery::codec::protobuf::{self, Envelope};
use machinery::decode::{self, DecodeError, Decoded, Media};
use machinery::meta;
use machinery::schema::{Schema, TypeId};
use machinery::status::Status;
use serde_json::{Value, json};

use super::media_type::essence;

/// Media types of bodies that are objects of built-in kinds.
const ACCEPTED: [&str; 3] = ["application/json", "application/yaml", protobuf::MEDIA_TYPE];

/// Why a body is no object.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// A media type that is not taken.
    Media(Status),
    /// Version and kind could not be read; upstream's words, without those about the whole.
    Unrecognized(String),
    /// The object is of this version and kind, but cannot be read.
    Broken { api_version: String, kind: String, why: String },
}

/// Reads the body of a request; none as `content_type` means JSON. `ty` is the type that is expected: a custom kind, which
/// has none, has no protobuf form.
///
/// # Errors
/// See [`BodyError`].
pub(crate) fn read_object(
    content_type: Option<&str>,
    body: &[u8],
    ty: Option<TypeId>,
) -> Result<Decoded, BodyError> {
    let header = content_type.filter(|header| !header.is_empty()).unwrap_or(ACCEPTED[0]);
    let essence = essence(header);
    let decoded = match (essence.as_deref(), ty) {
        (Some("application/json"), _) => decode::object(body, Media::Json).map_err(unparsed),
        // The conversion of YAML to JSON comes before version and kind are looked for.
        (Some("application/yaml"), _) => {
            decode::object(body, Media::Yaml).map_err(|error| BodyError::Unrecognized(error.to_string()))
        }
        (Some(protobuf::MEDIA_TYPE), Some(ty)) => return read_protobuf(body, ty),
        (_, Some(_)) => return Err(BodyError::Media(Status::unsupported_media_type(&ACCEPTED))),
        (_, None) => return Err(BodyError::Media(Status::unsupported_media_type(&ACCEPTED[..2]))),
    }?;
    check_names(&decoded.value)?;
    Ok(decoded)
}

fn unparsed(error: impl std::fmt::Display) -> BodyError {
    BodyError::Unrecognized(format!("couldn't get version/kind; json parse error: {error}"))
}

/// Whether version and kind can be read.
fn check_names(object: &Value) -> Result<(), BodyError> {
    if let Some(why) = decode::wrong_top_level(object) {
        return Err(unparsed(why));
    }
    if let Some(why) = decode::unreadable_name(object) {
        return Err(unparsed(why));
    }
    let api_version = meta::api_version(object);
    if api_version.matches('/').count() > 1 {
        return Err(BodyError::Unrecognized(format!("unexpected GroupVersion string: {api_version}")));
    }
    Ok(())
}

fn read_protobuf(body: &[u8], expected: TypeId) -> Result<Decoded, BodyError> {
    if body.is_empty() {
        return Err(BodyError::Unrecognized("empty data".to_owned()));
    }
    if body.len() > decode::SIZE_MAX {
        let limit = DecodeError::TooLarge(decode::SIZE_MAX);
        return Err(BodyError::Unrecognized(limit.to_string()));
    }
    let envelope = Envelope::open(body).map_err(|error| BodyError::Unrecognized(error.to_string()))?;
    // A client may leave out version and kind, as in JSON; a kind that does not exist is refused by what compares kinds.
    let ty = if envelope.kind.is_empty() { Some(expected) } else { envelope.type_id() };
    let value = match ty {
        Some(ty) => envelope.decode_as(ty).map_err(|error| BodyError::Broken {
            api_version: envelope.api_version.clone(),
            kind: envelope.kind.clone(),
            why: error.to_string(),
        })?,
        None => json!({ "apiVersion": envelope.api_version, "kind": envelope.kind }),
    };
    Ok(Decoded::plain(value))
}

/// The type of `DeleteOptions`, which every group has as its own.
pub(crate) fn delete_options() -> Option<TypeId> {
    Schema::builtin().kind("", "v1", "DeleteOptions")
}
