//! Names of a definition, and who may take those of the project's groups.

use machinery::field::{Errors, FieldError, Path};
use machinery::names::dns1035_label;
use serde_json::Value;

use super::super::value::{strings, text};

const APPROVAL: &str = "api-approved.kubernetes.io";
const PROPOSAL: &str = "https://github.com/kubernetes/enhancements/pull/1111";

/// Names wanted, or accepted.
pub(super) fn validate(names: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    errors.extend(
        ["plural", "singular"].into_iter().filter_map(|field| label(text(names, field), &path.child(field))),
    );
    errors.extend(
        ["kind", "listKind"].into_iter().filter_map(|field| kind(text(names, field), &path.child(field))),
    );
    errors.extend(labels(names, "shortNames", path));
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), kind, detail));
    }
    errors.extend(labels(names, "categories", path));
    errors
}

fn label(name: &str, path: &Path) -> Option<FieldError> {
    let reasons = dns1035_label(name);
    (!name.is_empty() && !reasons.is_empty()).then(|| FieldError::invalid(path, name, reasons.join(",")))
}

fn kind(name: &str, path: &Path) -> Option<FieldError> {
    let reasons = dns1035_label(&name.to_lowercase());
    let detail = format!("may have mixed case, but should otherwise match: {}", reasons.join(","));
    (!name.is_empty() && !reasons.is_empty()).then(|| FieldError::invalid(path, name, detail))
}

fn labels(names: &Value, field: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, name) in strings(names, field).into_iter().enumerate() {
        let reasons = dns1035_label(name);
        if !reasons.is_empty() {
            errors.push(FieldError::invalid(&path.child(field).index(i), name, reasons.join(",")));
        }
    }
    errors
}

/// Whether an API of the project's groups was approved.
#[derive(PartialEq)]
enum Approval {
    Missing,
    Invalid,
    Given,
    Bypassed,
}

fn approval_of(object: &Value) -> Approval {
    match text(&object["metadata"]["annotations"], APPROVAL) {
        "" => Approval::Missing,
        text if text.starts_with("unapproved") => Approval::Bypassed,
        text if text
            .split_once("://")
            .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()) =>
        {
            Approval::Given
        }
        _ => Approval::Invalid,
    }
}

/// Groups of the project are for APIs that it approved. A change may leave things as they are.
pub(super) fn approval(object: &Value, old: Option<&Value>) -> Option<FieldError> {
    let group = text(&object["spec"], "group");
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    let state = approval_of(object);
    if !protected || old.is_some_and(|old| approval_of(old) == state) {
        return None;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVAL);
    match state {
        Approval::Missing => {
            let detail =
                format!("protected groups must have approval annotation {APPROVAL:?}, see {PROPOSAL}");
            Some(FieldError::required(&path, detail))
        }
        Approval::Invalid => {
            let detail = format!(
                "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason starting with \
                 \"unapproved\", see {PROPOSAL}"
            );
            Some(FieldError::invalid(&path, text(&object["metadata"]["annotations"], APPROVAL), detail))
        }
        Approval::Given | Approval::Bypassed => None,
    }
}
