//! Stored objects in the form the client asked for: as they are, in another version, as metadata only, as a Table.

use bytes::Bytes;
use machinery::field::{FieldError, Path};
use machinery::status::Status;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::handle::ResourceHandle;
use super::table::Table;
use crate::http::{Query, Transform};

/// How objects are turned into answers for one request.
#[derive(Clone)]
pub struct View {
    /// What is wanted instead of the object.
    pub transform: Transform,
    /// What Table rows carry.
    pub include: Include,
}

/// `includeObject` of a Table request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// No object.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl View {
    /// Reads what the request wants.
    ///
    /// # Errors
    /// 400 for an unknown `includeObject`.
    pub fn of(transform: Transform, query: &Query) -> Result<Self, Status> {
        let include = match query.get_set("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(other) if matches!(transform, Transform::Table(_)) => {
                let detail = "must be 'Metadata', 'Object', 'None', or empty";
                let error = FieldError::invalid(&Path::new("includeObject"), other, detail);
                return Err(Status::bad_request(format!("Unable to convert to Table as requested: {error}")));
            }
            Some(_) => Include::Metadata,
        };
        Ok(Self { transform, include })
    }

    /// Whether stored bytes can be sent untouched.
    pub fn is_plain(&self, handle: &ResourceHandle) -> bool {
        self.transform == Transform::None && !handle.converts()
    }

    /// One object, from its stored bytes.
    ///
    /// # Errors
    /// 500 when the stored bytes are not an object; 406 for a view that a single object does not have.
    pub fn object(&self, handle: &ResourceHandle, stored: &Bytes) -> Result<Bytes, Status> {
        if self.is_plain(handle) {
            return Ok(stored.clone());
        }
        self.value(handle, handle.serve(parse(stored)?)).map(|value| to_bytes(&value))
    }

    /// One parsed object of the served version.
    ///
    /// # Errors
    /// 406 for a view that a single object does not have.
    pub fn value(&self, handle: &ResourceHandle, object: Value) -> Result<Value, Status> {
        let Transform::Table(version) = self.transform else {
            return without_table(object, self.transform, || handle.go_type());
        };
        let mut table = Table::new(handle, version, self.include);
        table.resource_version = machinery::meta::resource_version(&object).to_owned();
        table.push(handle, &object);
        Ok(table.into_value())
    }
}

/// One object, or its metadata, where no Table is offered. `go_type` is what upstream's source calls its type.
///
/// # Errors
/// 406 for a view that a single object does not have.
pub(crate) fn without_table(
    object: Value,
    transform: Transform,
    go_type: impl FnOnce() -> String,
) -> Result<Value, Status> {
    match transform {
        Transform::None | Transform::Table(_) => Ok(object),
        Transform::PartialObjectMetadata(version) => Ok(partial(&object, version)),
        Transform::PartialObjectMetadataList(_) => Err(not_acceptable(format!(
            "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
            go_type()
        ))),
    }
}

/// The 406 for a view that does not fit what was asked for.
pub(super) fn not_acceptable(message: String) -> Status {
    Status::new(406, "NotAcceptable", message)
}

/// `PartialObjectMetadata` of an object.
pub fn partial(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

#[derive(Deserialize)]
struct Described<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// Appends the `PartialObjectMetadata` of stored bytes: their metadata as it stands, the rest is not looked at.
///
/// # Errors
/// 500 when they are no object, which a sound store never gives.
pub(super) fn write_partial(out: &mut Vec<u8>, stored: &[u8], version: &str) -> Result<(), Status> {
    let Described { metadata } = serde_json::from_slice(stored).map_err(undecodable)?;
    out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/"#);
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(br#"","metadata":"#);
    out.extend_from_slice(metadata.get().as_bytes());
    out.push(b'}');
    Ok(())
}

fn undecodable(error: serde_json::Error) -> Status {
    Status::internal(format!("decoding a stored object: {error}"))
}

/// Stored bytes as JSON.
///
/// # Errors
/// 500 when they are not JSON, which a sound store never gives.
pub fn parse(stored: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(stored).map_err(undecodable)
}

/// JSON as bytes.
pub fn to_bytes(value: &Value) -> Bytes {
    // A `Value` has string keys only, so that writing it cannot fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}
