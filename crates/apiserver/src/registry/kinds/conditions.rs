//! Conditions of the common form (apimachinery `pkg/apis/meta/v1/validation`).

use std::collections::HashSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::check;
use super::value::{int, text};

const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;
const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
                      characters or '_,:', and must end with an alphanumeric character or '_'";
const REASON_FORM: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
const REASON_EXAMPLES: [&str; 5] = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];

/// What is wrong with a list of conditions.
pub(super) fn validate(conditions: &Value, path: &Path) -> Errors {
    let mut seen = HashSet::new();
    let mut errors = Errors::new();
    for (i, condition) in conditions.as_array().into_iter().flatten().enumerate() {
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.index(i), kind));
        }
        errors.extend(one(condition, &path.index(i)));
    }
    errors
}

fn one(condition: &Value, path: &Path) -> Errors {
    let (kind, reason) = (text(condition, "type"), text(condition, "reason"));
    let mut errors = match kind {
        "" => vec![FieldError::required(&path.child("type"), "is required")],
        kind => check::named(&path.child("type"), kind, names::qualified_name(kind)),
    };
    errors.extend(check::one_of(condition, "status", &STATUSES, path));
    if let Some(generation) = int(condition, "observedGeneration").filter(|generation| *generation < 0) {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&path.child("observedGeneration"), generation, detail));
    }
    errors.extend(check::required(condition, "lastTransitionTime", path));
    let at = path.child("reason");
    if reason.is_empty() {
        errors.push(FieldError::required(&at, ""));
    } else if !is_reason(reason) {
        let detail = names::regex_error(REASON, REASON_FORM, &REASON_EXAMPLES);
        errors.push(FieldError::invalid(&at, reason, detail));
    }
    if reason.len() > REASON_MAX {
        errors.push(FieldError::too_long(&at, REASON_MAX));
    }
    if text(condition, "message").len() > MESSAGE_MAX {
        errors.push(FieldError::too_long(&path.child("message"), MESSAGE_MAX));
    }
    errors
}

fn is_reason(reason: &str) -> bool {
    reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_,:".contains(&byte))
}
