//! Paths into objects and the errors found there (apimachinery `pkg/util/validation/field`).

use std::fmt;

use serde_json::Value;

use crate::internal;
use crate::text::{go_json, go_quote};

/// Where in an object: `spec.containers[0].ports[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(String);

impl Path {
    /// A path that starts at a field of the object.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The empty path; its children are top-level fields. An error at it is printed as upstream prints a nil path.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The path to a field without a name, as upstream prints it: of errors that are about no field.
    pub fn nameless() -> Self {
        Self::new("[]")
    }

    /// A field below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { self.with(".", name, "") }
    }

    /// An item of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with("[", &index.to_string(), "]")
    }

    /// An entry of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with("[", key, "]")
    }

    /// Paths are made wherever something is looked at, so this allocates once and formats nothing.
    fn with(&self, open: &str, step: &str, close: &str) -> Self {
        let mut path = String::with_capacity(self.0.len() + open.len() + step.len() + close.len());
        path.push_str(&self.0);
        path.push_str(open);
        path.push_str(step);
        path.push_str(close);
        Self(path)
    }

    /// The printed form; empty at the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What kind of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// A thing referred to is not there.
    NotFound,
    /// A value has to be given.
    Required,
    /// A value that has to be unique is there twice.
    Duplicate,
    /// A malformed value.
    Invalid,
    /// A value outside its enumeration.
    NotSupported,
    /// A well-formed value that is not permitted here.
    Forbidden,
    /// A string with too many bytes.
    TooLong,
    /// A list with too many items.
    TooMany,
    /// A list with too few items.
    TooFew,
    /// A string that is too short.
    TooShort,
    /// A value of the wrong type.
    TypeInvalid,
    /// The server's own failure.
    Internal,
}

impl ErrorType {
    /// The `reason` of a Status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::TooShort => "FieldValueTooShort",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::TooShort => "Too short",
            Self::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::TooShort | Self::Internal)
    }
}

/// One mistake in one field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    kind: ErrorType,
    field: String,
    value: Option<Value>,
    /// How the value is shown, when not as the document has it.
    shown: Option<String>,
    detail: String,
}

/// All mistakes found, in upstream's order.
pub type Errors = Vec<FieldError>;

impl FieldError {
    fn new(kind: ErrorType, path: &Path, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), value, shown: None, detail: detail.into() }
    }

    /// A malformed value.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, Some(value.into()), detail)
    }

    /// A missing value.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Required, path, None, detail)
    }

    /// A value outside its enumeration; the supported ones are listed in the order given.
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|v| go_quote(v)).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(ErrorType::NotSupported, path, Some(value.into()), detail)
    }

    /// A value that is there twice.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::Duplicate, path, Some(value.into()), "")
    }

    /// A value that is not permitted here.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, path, None, detail)
    }

    /// More than `max` bytes.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(ErrorType::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    /// More than `max` characters.
    pub fn too_long_characters(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "character" } else { "characters" };
        Self::new(ErrorType::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    /// Fewer than `min` characters.
    pub fn too_short(path: &Path, min: usize) -> Self {
        let unit = if min == 1 { "character" } else { "characters" };
        Self::new(ErrorType::TooShort, path, None, format!("must be at least {min} {unit}"))
    }

    /// `actual` items where `max` are permitted.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(ErrorType::TooMany, path, Some(actual.into()), format!("must have at most {max} {unit}"))
    }

    /// `actual` items where `min` are needed.
    pub fn too_few(path: &Path, actual: usize, min: usize) -> Self {
        let unit = if min == 1 { "item" } else { "items" };
        Self::new(ErrorType::TooFew, path, Some(actual.into()), format!("must have at least {min} {unit}"))
    }

    /// A reference to something that is not there.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::NotFound, path, Some(value.into()), "")
    }

    /// A value of the wrong type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::TypeInvalid, path, Some(value.into()), detail)
    }

    /// The server failed while looking at this field.
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Internal, path, None, detail)
    }

    /// The same with a sentence that says more.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The same with another value in its sentence.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Value>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// The same with the value shown as this struct of upstream's ([`internal`]).
    #[must_use]
    pub fn as_struct(self, name: &str) -> Self {
        let shown = self.value.as_ref().map(|value| internal::compact(name, value));
        Self { shown, ..self }
    }

    /// The same without the value in its sentence (upstream's `field.OmitValueType`).
    #[must_use]
    pub fn without_value(mut self) -> Self {
        self.value = None;
        self
    }

    /// The same with the value printed in another way than as its JSON.
    #[must_use]
    pub fn showing(self, value: impl Into<String>) -> Self {
        Self { shown: Some(value.into()), ..self }
    }

    /// What kind of mistake.
    pub fn kind(&self) -> ErrorType {
        self.kind
    }

    /// The `reason` of the Status cause.
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }

    /// The path.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The sentence without the path: `Invalid value: "x": must be …`.
    pub fn body(&self) -> String {
        let mut body = self.kind.title().to_owned();
        if let Some(value) = self.value.as_ref().filter(|_| self.kind.shows_value()) {
            body.push_str(": ");
            body.push_str(&match (&self.shown, value) {
                (Some(shown), _) => shown.clone(),
                (None, Value::String(text)) => go_quote(text),
                (None, other) => go_json(other),
            });
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

/// Several errors in one sentence, repeated ones once: bare when there is one, else in brackets.
pub fn aggregate<T: fmt::Display>(errors: &[T]) -> String {
    let mut seen: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    if seen.len() == 1 { seen.remove(0) } else { format!("[{}]", seen.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_print_as_upstream() {
        let path = Path::new("spec").child("containers").index(0).child("ports").key("http");
        assert_eq!(path.to_string(), "spec.containers[0].ports[http]");
        assert_eq!(Path::root().child("spec").to_string(), "spec");
        assert_eq!(Path::root().to_string(), "<nil>");
    }

    #[test]
    fn bodies() {
        let p = Path::new("spec").child("x");
        for (error, want) in [
            (FieldError::required(&p, ""), "spec.x: Required value"),
            (
                FieldError::required(&p, "name or generateName is required"),
                "spec.x: Required value: name or generateName is required",
            ),
            (
                FieldError::invalid(&p, -1, "must be greater than or equal to 0"),
                "spec.x: Invalid value: -1: must be greater than or equal to 0",
            ),
            (FieldError::invalid(&p, json!({"a": "b"}), "no"), r#"spec.x: Invalid value: {"a":"b"}: no"#),
            (
                FieldError::not_supported(&p, "Sometimes", &["Always", "Never"]),
                r#"spec.x: Unsupported value: "Sometimes": supported values: "Always", "Never""#,
            ),
            (FieldError::not_found(&p, "no"), r#"spec.x: Not found: "no""#),
            (FieldError::duplicate(&p, "a"), r#"spec.x: Duplicate value: "a""#),
            (FieldError::too_long(&p, 262_144), "spec.x: Too long: may not be more than 262144 bytes"),
            (FieldError::too_many(&p, 3, 1), "spec.x: Too many: 3: must have at most 1 item"),
            (
                FieldError::forbidden(&p, "this namespace may not be deleted"),
                "spec.x: Forbidden: this namespace may not be deleted",
            ),
            (FieldError::internal(&p, "no"), "spec.x: Internal error: no"),
        ] {
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn aggregates_drop_repetitions() {
        let p = Path::new("a");
        let one = FieldError::required(&p, "");
        let two = FieldError::invalid(&p, "v", "bad");
        assert_eq!(aggregate(&[one.clone(), one.clone()]), "a: Required value");
        assert_eq!(aggregate(&[one, two]), r#"[a: Required value, a: Invalid value: "v": bad]"#);
    }
}
