//! Objects in request bodies, in any of the forms that are taken.

use machinery::codec::protobuf::{self, Envelope};
use machinery::decode::{self, Decoded, Media};
use machinery::schema::{Schema, TypeId};
use machinery::status::Status;
use serde_json::json;

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
    let essence =
        content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let media = match (essence.as_str(), ty) {
        ("" | "application/json" | "*/*", _) => Media::Json,
        ("application/yaml", _) => Media::Yaml,
        (protobuf::MEDIA_TYPE, Some(ty)) => return read_protobuf(body, ty),
        (_, Some(_)) => return Err(BodyError::Media(Status::unsupported_media_type(&ACCEPTED))),
        (_, None) => return Err(BodyError::Media(Status::unsupported_media_type(&ACCEPTED[..2]))),
    };
    decode::object(body, media).map_err(|error| {
        BodyError::Unrecognized(format!("couldn't get version/kind; json parse error: {error}"))
    })
}

fn read_protobuf(body: &[u8], expected: TypeId) -> Result<Decoded, BodyError> {
    if body.len() > decode::SIZE_MAX {
        let limit = decode::DecodeError::TooLarge(decode::SIZE_MAX);
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
    Ok(Decoded { value, duplicates: Vec::new() })
}

/// The type of `DeleteOptions`, which every group has as its own.
pub(crate) fn delete_options() -> Option<TypeId> {
    Schema::builtin().kind("", "v1", "DeleteOptions")
}
