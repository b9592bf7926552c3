//! Refusals of templates that pods are made from.

use machinery::field::{Errors, FieldError, Path};
use serde_json::Value;

use super::super::check;
use super::super::value::{list, map};
use super::{annotations, validate as pod};

/// A template whose pods could be made.
pub(in super::super) fn validate(template: &Value, path: &Path) -> Errors {
    let mut errors = metadata(template, path);
    let at = path.child("spec");
    errors.extend(pod::validate_spec(&template["spec"], None, &at));
    errors.extend(annotations::match_fields(template, &at));
    if !list(&template["spec"], "ephemeralContainers").is_empty() {
        let at = at.child("ephemeralContainers");
        errors.push(FieldError::forbidden(&at, "ephemeral containers not allowed in pod template"));
    }
    errors
}

/// Labels and annotations. Upstream leaves `metadata` out of their paths.
pub(in super::super) fn metadata(template: &Value, path: &Path) -> Errors {
    let (metadata, at) = (&template["metadata"], path.child("annotations"));
    let mut errors = check::labels(map(metadata, "labels"), &path.child("labels"));
    errors.extend(check::annotations(map(metadata, "annotations"), &at));
    errors.extend(annotations::validate(template, &at));
    errors
}
