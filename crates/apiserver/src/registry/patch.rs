//! PATCH: JSON patch, merge patch, strategic merge patch.

use machinery::decode::{self, DecodeError, Media};
use machinery::field::{FieldError, Path};
use machinery::patch::{self, kind_of};
use machinery::schema::Schema;
use machinery::status::Status;
use machinery::text::{go_print, go_quote};
use serde_json::{Map, Value};

use super::body::{self, Body, Expected};
use super::call::Call;
use super::options::{FieldValidation, WriteOptions};
use super::seam::Answer;
use super::update::Change;

/// A body of this size at most, as upstream limits JSON patches and everything else.
const PATCH_MAX: usize = 3 << 20;
/// How custom resources can be patched: strategic merges need the types of Go.
const CUSTOM_TYPES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

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
    /// Why it is no patch of its kind; said only when there is an object that it could be applied to.
    wrong: Option<Status>,
}

impl Call<'_> {
    /// Patches an object, or one of its subresources.
    pub async fn patch(&self, body: &[u8]) -> Result<Answer, Status> {
        if self.is_apply() {
            return self.apply(body).await;
        }
        let options = WriteOptions::parse_patch(&self.request.query, false)?;
        let patch = self.read_patch(body, options.field_validation)?;
        let mut warnings = Vec::new();
        let mut seen = Vec::new();
        let changed = {
            let mut produce = |old: &Value| {
                let served = self.handle.serve(old.clone());
                let patched = patch.apply(&served, &self.expected(), options.field_validation)?;
                seen = patched.warnings;
                self.check_name(&patched.object)?;
                let mut object = patched.object;
                self.check_namespace(&mut object)?;
                Ok(self.handle.unserve(object))
            };
            let change = Change { options: &options, produce: &mut produce };
            self.change_object(self.name(), change, &mut warnings).await
        };
        match changed {
            Ok(written) => {
                seen.append(&mut warnings);
                self.answer_written(200, written, seen)
            }
            Err(status) => Err(status.with_warnings(seen)),
        }
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
    pub(super) fn read_patch(&self, body: &[u8], validation: FieldValidation) -> Result<Patch, Status> {
        let kind = match self.patch_type() {
            "application/json-patch+json" => Kind::Json,
            "application/merge-patch+json" => Kind::Merge,
            "application/strategic-merge-patch+json" if self.handle.type_id.is_some() => Kind::Strategic,
            _ if self.handle.type_id.is_none() => return Err(Status::unsupported_media_type(CUSTOM_TYPES)),
            _ => return Err(unsupported()),
        };
        if body.len() > PATCH_MAX {
            return Err(Status::request_too_large(format!("limit is {PATCH_MAX}")));
        }
        Patch::read(kind, body, validation != FieldValidation::Ignore)
    }
}

/// How upstream's router refuses a content type before any handler runs.
fn unsupported() -> Status {
    let mut status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
    status.details = Some(machinery::status::Details::default());
    status
}

impl Patch {
    /// Reads a patch; `strict` is upstream's reading of it when it looks for unknown and repeated fields.
    fn read(kind: Kind, body: &[u8], strict: bool) -> Result<Self, Status> {
        let decoded = decode::object(body, Media::Json).map_err(|error| match error {
            DecodeError::Syntax(_) => Status::bad_request("invalid JSON patch"),
            error => Status::bad_request(error.to_string()),
        })?;
        let mut patch = Self { kind, value: decoded.value, duplicates: decoded.duplicates, wrong: None };
        patch.wrong = patch.look_over(body, strict).err().map(|why| match kind {
            Kind::Json | Kind::Merge if strict => Status::bad_request(format!("error decoding patch: {why}")),
            _ => Status::bad_request(why),
        });
        Ok(patch)
    }

    fn look_over(&mut self, body: &[u8], strict: bool) -> Result<(), String> {
        match (self.kind, &self.value) {
            (Kind::Json, Value::Null) => self.value = Value::Array(Vec::new()),
            (Kind::Strategic, Value::Null) => self.value = Value::Object(Map::new()),
            (Kind::Json, operations) if strict => {
                let unknown = unknown_in_operations(operations)?;
                if !unknown.is_empty() {
                    self.duplicates = decode::in_order(body, &unknown);
                }
                self.duplicates.iter_mut().for_each(|text| text.insert_str(0, "json patch "));
            }
            (Kind::Json, _) | (Kind::Merge, Value::Null) | (_, Value::Object(_)) => {}
            (Kind::Merge, _) if !strict => {}
            (_, other) => {
                let what = kind_of(other);
                return Err(format!(
                    "json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
                ));
            }
        }
        Ok(())
    }

    /// The object with the patch applied, checked against the schema.
    pub fn apply(
        &self,
        object: &Value,
        expected: &Expected<'_>,
        validation: FieldValidation,
    ) -> Result<Body, Status> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let mut patched = self.patched(object, expected)?;
        let unfit = |why: &str| self.unfit(object, expected, why);
        let mut warnings = self.duplicates.clone();
        warnings.extend(self.check_kind(&mut patched, *expected).map_err(|why| unfit(&why))?);
        if let Some(id) = expected.type_id {
            let dropped = decode::check(&mut patched, id).map_err(|error| unfit(&self.complaint(&error)))?;
            warnings.extend(dropped);
        }
        match validation {
            FieldValidation::Strict if !warnings.is_empty() => {
                Err(unfit(&format!("strict decoding error: {}", warnings.join(", "))))
            }
            FieldValidation::Ignore => Ok(Body { object: patched, warnings: Vec::new() }),
            _ => Ok(body::Body { object: patched, warnings }),
        }
    }

    /// What the patch makes of an object, before anything is checked.
    fn patched(&self, object: &Value, expected: &Expected<'_>) -> Result<Value, Status> {
        let patched = match self.kind {
            Kind::Json => patch::json(object, &self.value),
            Kind::Merge => patch::merge(object, &self.value),
            Kind::Strategic => match expected.type_id {
                Some(id) => patch::strategic(object, &self.value, id),
                None => return Err(unsupported()),
            },
        };
        patched.map_err(|error| error.to_status())
    }

    /// What the object is cannot be patched: a strategic merge does not even look at it. Returns fields that there are not.
    fn check_kind(&self, patched: &mut Value, expected: Expected<'_>) -> Result<Vec<String>, String> {
        let builtin = self.kind != Kind::Strategic && expected.type_id.is_some();
        let unreadable = if builtin { decode::unreadable_name(patched) } else { None };
        if let Some(why) = decode::wrong_top_level(patched).or(unreadable) {
            return Err(format!("couldn't get version/kind; json parse error: {why}"));
        }
        if builtin && let Some(why) = body::other_kind(patched, expected) {
            return Err(why);
        }
        let Some(map) = patched.as_object_mut() else { return Ok(Vec::new()) };
        let versioned = map.get("apiVersion").and_then(Value::as_str).is_some_and(|have| !have.is_empty());
        let unknown = if builtin && !versioned { without_version(map) } else { Vec::new() };
        map.insert("apiVersion".into(), expected.api_version().into());
        map.insert("kind".into(), expected.kind.into());
        Ok(unknown)
    }

    /// What is wrong with a value: after a strategic merge upstream's own converter reads the object.
    fn complaint(&self, error: &decode::DecodeError) -> String {
        let message = error.to_string();
        if self.kind == Kind::Strategic { converter_words(message) } else { message }
    }

    /// 422: what the patch makes of the object is no such object.
    fn unfit(&self, object: &Value, expected: &Expected<'_>, why: &str) -> Status {
        let shown = match self.kind {
            Kind::Strategic => go_print(&self.value),
            _ => self.patched(object, expected).unwrap_or_default().to_string(),
        };
        let error = FieldError::invalid(&Path::new("patch"), shown, why);
        Status::invalid("", "", "", vec![error])
    }
}

/// Upstream reads an object without a version as one of its internal types, whose fields have other names.
fn without_version(object: &mut Map<String, Value>) -> Vec<String> {
    let is_field = |key: &&String| !matches!(key.as_str(), "apiVersion" | "kind");
    let unknown = object.keys().filter(is_field).map(|key| format!("unknown field {}", go_quote(key)));
    let unknown = unknown.collect();
    object.clear();
    unknown
}

/// The fields of a JSON patch's operations that there are not, or why it is none.
fn unknown_in_operations(patch: &Value) -> Result<Vec<String>, String> {
    let mistyped =
        |value: &Value, place: &str| format!("json: cannot unmarshal {} into Go {place}", kind_of(value));
    let operations =
        patch.as_array().ok_or_else(|| mistyped(patch, "value of type []handlers.jsonPatchOp"))?;
    let mut unknown = Vec::new();
    for (index, operation) in operations.iter().enumerate().filter(|(_, operation)| !operation.is_null()) {
        let fields =
            operation.as_object().ok_or_else(|| mistyped(operation, "value of type handlers.jsonPatchOp"))?;
        for (key, value) in fields {
            match key.as_str() {
                "op" | "path" | "from" if !value.is_string() && !value.is_null() => {
                    return Err(mistyped(value, &format!("struct field jsonPatchOp.{key} of type string")));
                }
                "op" | "path" | "from" | "value" => {}
                _ => unknown.push(format!("unknown field {}", go_quote(&format!("[{index}].{key}")))),
            }
        }
    }
    Ok(unknown)
}

/// A complaint of Go's JSON decoder in the words of apimachinery's `FromUnstructured`.
pub(super) fn converter_words(message: String) -> String {
    if message.starts_with("illegal base64") {
        return format!("error decoding from json: {message}");
    }
    converter_complaint(&message).unwrap_or(message)
}

/// `None` where the words are the same.
fn converter_complaint(message: &str) -> Option<String> {
    let (what, wanted) = message.strip_prefix("json: cannot unmarshal ")?.split_once(" into Go ")?;
    let wanted = wanted.rsplit_once("of type ")?.1;
    let have = match what.split(' ').next()? {
        "number" if what.contains('.') => "float64",
        "number" => "int64",
        "array" => "slice",
        "object" => "map",
        other => other,
    };
    Some(match wanted {
        "int32" | "int64" if have == "int64" => return None,
        "int32" | "int64" if have == "float64" => format!("cannot convert {have} to {wanted}"),
        "string" if have == "int64" => format!("cannot convert {have} to {wanted}"),
        "int32" | "int64" | "float64" | "bool" | "string" => format!("unrecognized type: {wanted}"),
        "v1.ResourceList" => format!("cannot restore map from {have}"),
        "v1.Time" | "v1.MicroTime" | "resource.Quantity" | "intstr.IntOrString" | "interface {}" => {
            return None;
        }
        _ if wanted.starts_with("map[") => format!("cannot restore map from {have}"),
        _ if wanted.starts_with("[]") => format!("cannot restore slice from {have}"),
        _ if is_struct(wanted) => format!("cannot restore struct from: {have}"),
        _ if have == "int64" => format!("cannot convert {have} to {wanted}"),
        _ => "unrecognized type: string".to_owned(),
    })
}

/// Whether Go's name is that of a struct; other types with a name are text.
fn is_struct(go_type: &str) -> bool {
    let named = |name: &str| name.strip_suffix(go_type).is_some_and(|rest| rest.ends_with('.'));
    Schema::builtin().iter().any(|(_, ty)| named(ty.name))
}
