//! Objects in Kubernetes' protobuf form (apimachinery `runtime/serializer/protobuf`).
//!
//! An object on the wire is the prefix `k8s\0` and a `runtime.Unknown` that names version and kind and holds the message
//! of the object itself. Messages are read and written by the table of [`crate::schema`]; their values are those that the
//! JSON form has, so that both forms go the same ways afterwards.
//!
//! # Guarantees
//! - Encoding gives the bytes of upstream's generated marshallers: fields by number, maps by key, single fields that are no
//!   pointers always there ([`crate::schema::Presence`] tells which).
//! - Decoding leaves out of the object what upstream's JSON leaves out. It never panics, nests no deeper than
//!   [`crate::decode::DEPTH_MAX`], and skips fields that it does not know.
//!
//! # Deliberately absent
//! Fields without a number in the schema are left out: `runningInUserNamespace` of nodes, and `compatibilityGroups` and
//! `derivedAttributes` of `resource.k8s.io`.

mod decode;
mod encode;
mod plan;
mod reader;
mod writer;

use serde_json::Value;
use thiserror::Error;

use crate::meta;
use crate::schema::{Schema, TypeId};

/// `Content-Type` of objects.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// `Content-Type` of watches: frames as [`watch_frame`] makes them.
pub const WATCH_MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// What every object on the wire begins with.
const PREFIX: [u8; 4] = *b"k8s\0";

/// Why bytes are no object; worded as upstream's generated code words it where it has words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes are not of this form at all.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    /// Nothing follows the prefix.
    #[error("empty body")]
    Empty,
    /// The bytes end within a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A number has too many bytes.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field number of zero or less.
    #[error("proto: illegal tag {0} (wire type {1})")]
    Tag(u64, u8),
    /// A wire type that does not exist.
    #[error("proto: illegal wireType {0}")]
    IllegalWireType(u8),
    /// A group ends that did not begin.
    #[error("proto: unexpected end of group")]
    EndOfGroup,
    /// A field has a value of another type.
    #[error("proto: wrong wireType = {wire_type} for field {field}")]
    WireType {
        /// As sent.
        wire_type: u8,
        /// JSON name of the field.
        field: &'static str,
    },
    /// A value cannot be what it has to be.
    #[error("proto: field {field}: {why}")]
    Value {
        /// JSON name of the field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Messages are nested too deeply.
    #[error("exceeded max depth")]
    Depth,
    /// A kind that has no protobuf form.
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    Kind {
        /// As sent.
        api_version: String,
        /// As sent.
        kind: String,
    },
}

/// Why an object was not written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A kind that has no protobuf form.
    #[error("{kind} of {api_version} has no protobuf form")]
    Kind {
        /// Of the object.
        api_version: String,
        /// Of the object.
        kind: String,
    },
    /// A value is not of the type that its field has.
    #[error("field {0} has a value of another type")]
    Value(&'static str),
    /// The object is nested too deeply.
    #[error("exceeded max depth")]
    Depth,
}

/// The outside of an object: `runtime.Unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope<'a> {
    /// `apiVersion`; may be empty.
    pub api_version: String,
    /// `kind`; may be empty.
    pub kind: String,
    /// The message of the object.
    pub raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads the outside of an object.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match bytes.strip_prefix(&PREFIX) {
            None => Err(DecodeError::Prefix),
            Some([]) => Err(DecodeError::Empty),
            Some(inside) => decode::envelope(inside),
        }
    }

    /// The type of the kind, if it has one.
    pub fn type_id(&self) -> Option<TypeId> {
        kind_of(&self.api_version, &self.kind).and_then(plan::Root::type_id)
    }

    /// The object, as a message of the given type; with the version and kind that the envelope names.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode_as(&self, ty: TypeId) -> Result<Value, DecodeError> {
        let mut object = decode::message(self.raw, plan::of(ty), 0)?;
        for (key, value) in [("apiVersion", &self.api_version), ("kind", &self.kind)] {
            if !value.is_empty() {
                object.insert(key.to_owned(), value.as_str().into());
            }
        }
        Ok(Value::Object(object))
    }
}

/// Reads an object of the kind that it names itself.
///
/// # Errors
/// See [`DecodeError`]; a kind that is not built in is one.
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    decode::object(bytes, 0)
}

/// Writes an object of the kind that it names itself.
///
/// # Errors
/// See [`EncodeError`]; a kind that is not built in is one.
pub fn encode(object: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut out = writer::Writer::default();
    encode::envelope(&mut out, object)?;
    Ok(out.finish())
}

/// Writes one event of a watch: four bytes of length, then a `WatchEvent`.
///
/// # Errors
/// See [`EncodeError`].
pub fn watch_frame(event_type: &str, object: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut out = writer::Writer::default();
    out.nested(2, |out| out.nested(1, |out| encode::envelope(out, object)))?;
    out.text(1, event_type);
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    out.raw(&length.to_be_bytes());
    Ok(out.finish())
}

/// Whether objects of this kind can be written.
pub fn knows(api_version: &str, kind: &str) -> bool {
    kind_of(api_version, kind).is_some()
}

/// The message of a kind: from the schema, or one of those that views of objects have, or of what only a store holds.
fn kind_of(api_version: &str, kind: &str) -> Option<plan::Root> {
    let (group, version) = meta::split_api_version(api_version);
    if let Some(id) = Schema::builtin().kind(group, version, kind) {
        return Some(plan::Root::Type(id));
    }
    match (group, version, kind) {
        ("", "v1", "RangeAllocation") => Some(plan::Root::RangeAllocation),
        ("meta.k8s.io", "v1" | "v1beta1", "PartialObjectMetadata") => Some(plan::Root::Metadata),
        ("meta.k8s.io", "v1" | "v1beta1", "PartialObjectMetadataList") => Some(plan::Root::MetadataList),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
