//! Bytes to objects, as strictly as upstream: JSON and YAML into documents, documents against the schema.
//!
//! Reading is in two steps, because what a document is decides what it is checked against: [`object`] reads it and notes
//! repeated fields, [`check`] compares it with the type of its kind. Messages are those of Go's and Kubernetes' own
//! decoders (sigs.k8s.io/json, sigs.k8s.io/yaml).

mod check;
mod go_names;
mod json;
mod mistakes;
mod repair;
mod scanner;
mod times;
mod yaml;
mod yaml_words;

use serde_json::Value;
use thiserror::Error;

use crate::text::go_quote;

pub use check::{check, check_source};

/// Largest document, in bytes (apiserver `MaxRequestBodyBytes`).
pub const SIZE_MAX: usize = 3 * 1024 * 1024;
/// Deepest nesting. Upstream permits 10,000; everything here that walks documents does so on the stack.
pub const DEPTH_MAX: usize = 200;
/// Most that the aliases of a YAML document may grow it to, in nodes and bytes of text.
pub const YAML_WEIGHT_MAX: usize = 8 * 1024 * 1024;
/// Most repeated or unknown fields that are reported (sigs.k8s.io/json).
pub(crate) const STRICT_ERRORS_MAX: usize = 100;

/// What the bytes are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// JSON.
    Json,
    /// YAML, of which the first document counts.
    Yaml,
}

/// Bounds of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In bytes.
    pub size: usize,
    /// Of nesting.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: SIZE_MAX, depth: DEPTH_MAX }
    }
}

/// A document and what was odd about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The document; of repeated fields the last one counts. It may be any JSON, see [`wrong_top_level`].
    pub value: Value,
    /// Repeated fields, each as `duplicate field "spec.x"`; in YAML as `line 2: key "x" already set in map`.
    pub duplicates: Vec<String>,
    /// What the bytes were written in.
    pub media: Media,
}

impl Decoded {
    /// A document that repeats nothing.
    pub fn plain(value: Value) -> Self {
        Self { value, duplicates: Vec::new(), media: Media::Json }
    }

    /// The repeated fields as a strict reader refuses them: those of YAML are one error.
    pub fn strict_errors(&self) -> Vec<String> {
        match self.media {
            Media::Yaml if !self.duplicates.is_empty() => {
                vec![format!("yaml: unmarshal errors:\n  {}", self.duplicates.join("\n  "))]
            }
            _ => self.duplicates.clone(),
        }
    }
}

/// Why bytes are no object. The message is upstream's and belongs in a 400 answer, [`DecodeError::TooLarge`] in a 413.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The text is not well-formed.
    #[error("{0}")]
    Syntax(String),
    /// A value has the wrong type.
    #[error("{0}")]
    Type(String),
    /// The document is nested too deeply, or its aliases make it too large.
    #[error("{0}")]
    Limit(String),
    /// The document has too many bytes.
    #[error("limit is {0}")]
    TooLarge(usize),
}

/// Reads one document within the usual [`Limits`].
///
/// # Errors
/// See [`DecodeError`].
pub fn object(bytes: &[u8], media: Media) -> Result<Decoded, DecodeError> {
    object_within(bytes, media, Limits::default())
}

/// Reads one document within the given bounds.
///
/// # Errors
/// See [`DecodeError`].
pub fn object_within(bytes: &[u8], media: Media, limits: Limits) -> Result<Decoded, DecodeError> {
    if bytes.len() > limits.size {
        return Err(DecodeError::TooLarge(limits.size));
    }
    match media {
        Media::Json => json::decode(bytes, limits.depth),
        Media::Yaml => yaml::decode(bytes, limits.depth),
    }
}

/// The repeated and unknown fields of a JSON document in the order in which they stand there; `unknown` as [`check`] returns
/// them, which is the order of their names. What is repeated in an unknown field is not told.
pub fn in_order(bytes: &[u8], unknown: &[String]) -> Vec<String> {
    json::in_order(bytes, unknown)
}

/// What upstream says about a document that is no object, when it looks for its version and kind.
pub fn wrong_top_level(value: &Value) -> Option<String> {
    if value.is_object() || value.is_null() {
        return None;
    }
    let kind = crate::patch::kind_of(value);
    Some(format!(
        r#"json: cannot unmarshal {kind} into Go value of type struct {{ APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }}"#
    ))
}

/// What upstream says about an object whose version or kind is no text.
pub fn unreadable_name(object: &Value) -> Option<String> {
    let wrong = |field: &'static str| {
        let value = object.get(field).filter(|value| !value.is_string() && !value.is_null())?;
        let what = crate::patch::kind_of(value);
        Some(format!("json: cannot unmarshal {what} into Go struct field .{field} of type string"))
    };
    ["apiVersion", "kind"].into_iter().find_map(wrong)
}

/// Where a value is, while it is being read: a list on the stack, printed only when there is something to report.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Top,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl Place<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Top => {}
            Self::Field(parent, name) => {
                parent.write(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Self::Item(parent, index) => {
                parent.write(out);
                out.push_str(&format!("[{index}]"));
            }
        }
    }

    fn path(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// Repeated or unknown fields: each once, and not endlessly many.
#[derive(Debug, Default)]
struct Strict(Vec<String>);

impl Strict {
    fn report(&mut self, what: &str, place: &Place<'_>) {
        if self.0.len() < STRICT_ERRORS_MAX {
            let message = format!("{what} {}", go_quote(&place.path()));
            if !self.0.contains(&message) {
                self.0.push(message);
            }
        }
    }
}

#[cfg(test)]
mod tests;
