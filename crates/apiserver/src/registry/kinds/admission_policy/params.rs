//! Parameters of policies: their kind, and which ones a binding means.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{has, text};

pub(super) fn param_kind(kind: &Value, path: &Path) -> Errors {
    let (version, at) = (text(kind, "apiVersion"), path.child("apiVersion"));
    let refuse = |at: &Path, value: &str, detail: String| FieldError::invalid(at, value, detail);
    let mut errors = Errors::new();
    let parts: Vec<&str> = version.split('/').collect();
    match parts.as_slice() {
        _ if version.is_empty() => errors.push(FieldError::required(&at, "")),
        [_] | [_, _] => {
            let (group, name) = version.split_once('/').unwrap_or(("", version));
            let reasons = if group.is_empty() { Vec::new() } else { names::dns1123_subdomain(group) };
            if !reasons.is_empty() {
                errors.push(refuse(&at, group, reasons.join(",")));
            }
            if name.is_empty() {
                errors.push(refuse(&at, version, "version must be specified".to_owned()));
            } else if let reasons = names::dns1035_label(name)
                && !reasons.is_empty()
            {
                errors.push(refuse(&at, name, reasons.join(",")));
            }
        }
        _ => errors.push(refuse(&at, version, format!("unexpected GroupVersion string: {version}"))),
    }
    let (name, at) = (text(kind, "kind"), path.child("kind"));
    let reasons = names::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.push(FieldError::required(&at, ""));
    } else if !reasons.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", reasons.join(","));
        errors.push(refuse(&at, name, detail));
    }
    errors
}

pub(super) fn param_ref(reference: &Value, path: &Path) -> Errors {
    const BOTH: &str = "name and selector are mutually exclusive";
    let (name, chosen) = (text(reference, "name"), has(reference, "selector"));
    let mut errors = Errors::new();
    if !name.is_empty() {
        errors.extend(check::named(&path.child("name"), name, names::path_segment(name)));
        if chosen {
            errors.push(FieldError::forbidden(&path.child("name"), BOTH));
        }
    }
    if chosen {
        errors.extend(check::selector(&reference["selector"], &path.child("selector")));
        if !name.is_empty() {
            errors.push(FieldError::forbidden(&path.child("selector"), BOTH));
        }
    }
    if name.is_empty() && !chosen {
        errors.push(FieldError::required(path, "one of name or selector must be specified"));
    }
    errors.extend(check::one_of(reference, "parameterNotFoundAction", &["Deny", "Allow"], path));
    errors
}
