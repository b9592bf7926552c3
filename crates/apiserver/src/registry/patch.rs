//! PATCH: JSON patch, merge patch, strategic merge patch.

use machinery::decode::{self, Media};
use machinery::field::{FieldError, Path};
use machinery::meta;
use machinery::patch;
use machinery::status::Status;
use serde_json::Value;

use super::body::{self, Body, Expected};
use super::call::Call;
use super::options::{FieldValidation, WriteOptions};
use super::seam::Answer;
use super::update::{Change, PATCH_RETRIES};

/// A body of this size at most, as upstream limits JSON patches and everything else.
const PATCH_MAX: usize = 3 << 20;
/// Operations of one JSON patch (upstream's `maxJSONPatchOperations`).
const OPERATIONS_MAX: usize = 10_000;

/// Which patch a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Merge,
    Strategic,
}

/// A parsed patch.
pub(super) struct Patch {
    pub kind: Kind,
    pub value: Value,
    /// Repeated keys.
    pub duplicates: Vec<String>,
}

impl Call<'_> {
    /// Patches an object, or one of its subresources.
    pub async fn patch(&self, body: &[u8]) -> Result<Answer, Status> {
        if self.is_apply() {
            return self.apply(body).await;
        }
        let patch = self.read_patch(body)?;
        let options = WriteOptions::parse_patch(&self.request.query, false)?;
        let mut warnings = Vec::new();
        let mut seen = Vec::new();
        let written = {
            let mut produce = |old: &Value| {
                let served = self.handle.serve(old.clone());
                let patched = patch.apply(&served, &self.expected(), options.field_validation)?;
                self.check_name(&patched.object)?;
                seen = patched.warnings;
                let mut object = patched.object;
                self.check_namespace(&mut object)?;
                Ok(self.handle.unserve(object))
            };
            let change = Change { options: &options, produce: &mut produce, retries: PATCH_RETRIES };
            self.change_object(self.name(), change, &mut warnings).await?
        };
        seen.append(&mut warnings);
        self.answer_written(200, written, seen)
    }

    pub(super) fn expected(&self) -> Expected<'_> {
        let handle = &self.handle;
        Expected {
            group: &handle.group,
            version: &handle.version,
            kind: &handle.kind,
            type_id: handle.type_id,
        }
    }

    /// Whether a patch is a server-side apply.
    pub(super) fn is_apply(&self) -> bool {
        self.patch_type() == "application/apply-patch+yaml"
    }

    fn patch_type(&self) -> &str {
        let content_type = self.request.content_type.as_deref().unwrap_or_default();
        content_type.split(';').next().unwrap_or_default().trim()
    }

    /// Reads the body as the patch that its content type says it is.
    pub(super) fn read_patch(&self, body: &[u8]) -> Result<Patch, Status> {
        let kind = match self.patch_type() {
            "application/json-patch+json" => Kind::Json,
            "application/merge-patch+json" => Kind::Merge,
            "application/strategic-merge-patch+json" if self.handle.type_id.is_some() => Kind::Strategic,
            _ => return Err(unsupported()),
        };
        if body.len() > PATCH_MAX {
            return Err(Status::request_too_large(format!("limit is {PATCH_MAX}")));
        }
        let decoded = decode::object(body, Media::Json)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
        if kind == Kind::Json && decoded.value.as_array().is_some_and(|list| list.len() > OPERATIONS_MAX) {
            let count = decoded.value.as_array().map_or(0, Vec::len);
            let message =
                format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}");
            return Err(Status::request_too_large(message));
        }
        Ok(Patch { kind, value: decoded.value, duplicates: decoded.duplicates })
    }
}

/// How upstream's router refuses a content type before any handler runs.
fn unsupported() -> Status {
    let mut status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
    status.details = Some(machinery::status::Details::default());
    status
}

impl Patch {
    /// The object with the patch applied, checked against the schema.
    pub fn apply(
        &self,
        object: &Value,
        expected: &Expected<'_>,
        validation: FieldValidation,
    ) -> Result<Body, Status> {
        let patched = match self.kind {
            Kind::Json => patch::json(object, &self.value),
            Kind::Merge => patch::merge(object, &self.value),
            Kind::Strategic => match expected.type_id {
                Some(id) => patch::strategic(object, &self.value, id),
                None => return Err(unsupported()),
            },
        };
        let mut patched = patched.map_err(|error| error.to_status())?;
        let Some(map) = patched.as_object_mut() else {
            return Err(self.unfit(&patched, "json: cannot unmarshal into Go value"));
        };
        // The schema's types are checked, but what the object is cannot be patched.
        let wanted = meta::join_api_version(expected.group, expected.version);
        map.insert("apiVersion".into(), wanted.into());
        map.insert("kind".into(), expected.kind.into());
        let mut warnings = self.duplicates.clone();
        if let Some(id) = expected.type_id {
            let dropped =
                decode::check(&mut patched, id).map_err(|error| self.unfit(&patched, &error.to_string()))?;
            warnings.extend(dropped);
        }
        match validation {
            FieldValidation::Strict if !warnings.is_empty() => {
                Err(self.unfit(&patched, &format!("strict decoding error: {}", warnings.join(", "))))
            }
            FieldValidation::Ignore => Ok(Body { object: patched, warnings: Vec::new() }),
            _ => Ok(body::Body { object: patched, warnings }),
        }
    }

    /// 422: what the patch makes of the object is no such object.
    fn unfit(&self, patched: &Value, why: &str) -> Status {
        let shown = match self.kind {
            Kind::Strategic => &self.value,
            _ => patched,
        };
        let error = FieldError::invalid(&Path::new("patch"), shown.to_string(), why);
        Status::invalid("", "", "", vec![error])
    }
}
