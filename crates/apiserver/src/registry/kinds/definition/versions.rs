//! Versions of a definition, with what they show and offer beside the objects.

use std::collections::HashSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::internal::compact_list;
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{flag, has, list, text};

const WARNING_MAX: usize = 256;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

fn has_schema(of: &Value) -> bool {
    of["openAPIV3Schema"].is_object()
}

/// Every version has a schema, unless one of the definition before had none.
pub(super) fn schemas(spec: &Value, needed: bool, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if has_schema(&spec["validation"]) {
        return errors;
    }
    for (i, version) in
        list(spec, "versions").iter().enumerate().filter(|(_, one)| !has_schema(&one["schema"]))
    {
        let at = path.child("versions").index(i).child("schema").child("openAPIV3Schema");
        if needed {
            errors.push(FieldError::required(&at, ""));
        } else if flag(version, "served") && !flag(spec, "preserveUnknownFields") {
            errors.push(FieldError::required(&at, "because otherwise all fields are pruned"));
        }
    }
    errors
}

/// The versions, one by one and together.
pub(super) fn validate(spec: &Value, path: &Path) -> Errors {
    let (versions, path) = (list(spec, "versions"), path.child("versions"));
    let (mut seen, mut errors) = (HashSet::new(), Errors::new());
    let mut are_unique = true;
    for (i, version) in versions.iter().enumerate() {
        let (name, at) = (text(version, "name"), path.index(i));
        are_unique &= seen.insert(name);
        let reasons = names::dns1035_label(name);
        if !reasons.is_empty() {
            errors.push(FieldError::invalid(&at.child("name"), name, reasons.join(",")));
        }
        errors.extend(deprecation(version, &at.child("deprecationWarning")));
        errors.extend(offered(version, &at));
    }
    let whole = |detail: &str| {
        let shown = match spec.get("versions") {
            Some(Value::Array(all)) => compact_list("CustomResourceDefinitionVersion", all),
            _ => "null".to_owned(),
        };
        FieldError::invalid(&path, versions, detail).showing(shown)
    };
    if !are_unique {
        errors.push(whole("must contain unique version names"));
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        errors.push(whole("must have exactly one version marked as storage version"));
    }
    if let Some(first) = versions.first().map(|version| text(version, "name")) {
        let reasons = names::dns1035_label(first);
        if !first.is_empty() && !reasons.is_empty() {
            errors.push(FieldError::invalid(&Path::new("spec").child("version"), first, reasons.join(",")));
        }
    }
    errors
}

/// What all versions have in common.
pub(super) fn shared(spec: &Value, path: &Path) -> Errors {
    offered(spec, path)
}

/// Subresources, columns and fields for selectors.
fn offered(of: &Value, path: &Path) -> Errors {
    let mut errors = scale(&of["subresources"]["scale"], &path.child("subresources"));
    for (i, one) in list(of, "additionalPrinterColumns").iter().enumerate() {
        errors.extend(column(one, &path.child("additionalPrinterColumns").index(i)));
    }
    for (i, one) in list(of, "selectableFields").iter().enumerate() {
        errors.extend(check::required(one, "jsonPath", &path.child("selectableFields").index(i)));
    }
    errors
}

fn deprecation(version: &Value, path: &Path) -> Errors {
    if !has(version, "deprecationWarning") {
        return Errors::new();
    }
    let warning = text(version, "deprecationWarning");
    let refuse = |detail: String| FieldError::invalid(path, warning, detail);
    if !flag(version, "deprecated") {
        return vec![refuse("can only be set for deprecated versions".to_owned())];
    }
    let mut errors = Errors::new();
    if warning.len() > WARNING_MAX {
        errors.push(refuse(format!("must be <= {WARNING_MAX} characters long")));
    }
    if warning.is_empty() {
        errors.push(refuse("must not be an empty string".to_owned()));
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let detail = "must only contain printable UTF-8 characters; non-printable character found at index";
        errors.push(refuse(format!("{detail} {at}")));
    }
    errors
}

fn scale(scale: &Value, path: &Path) -> Errors {
    if !scale.is_object() {
        return Errors::new();
    }
    let mut errors = Errors::new();
    for (field, root) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let (place, at) = (text(scale, field), path.child("scale").child(field));
        match simple_path(place, &at) {
            _ if place.is_empty() => errors.push(FieldError::required(&at, "")),
            Some(error) => errors.push(error),
            None if !is_below(place, root) => {
                errors.push(FieldError::invalid(&at, place, format!("should be a json path under {root}")));
            }
            None => {}
        }
    }
    let (place, at) = (text(scale, "labelSelectorPath"), path.child("scale").child("labelSelectorPath"));
    match simple_path(place, &at) {
        _ if place.is_empty() => {}
        Some(error) => errors.push(error),
        None if !is_below(place, ".spec") && !is_below(place, ".status") => {
            errors.push(FieldError::invalid(
                &at,
                place,
                "should be a json path under either .spec or .status",
            ));
        }
        None => {}
    }
    errors
}

fn is_below(place: &str, root: &str) -> bool {
    place.strip_prefix(root).is_some_and(|rest| rest.starts_with('.'))
}

fn simple_path(place: &str, path: &Path) -> Option<FieldError> {
    (!place.starts_with('.'))
        .then(|| FieldError::invalid(path, place, "must be a simple json path starting with ."))
}

fn column(column: &Value, path: &Path) -> Errors {
    let mut errors: Errors = check::required(column, "name", path).into_iter().collect();
    let (ty, format) = (text(column, "type"), text(column, "format"));
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    match ty {
        "" => errors.push(FieldError::required(&path.child("type"), types)),
        ty if !COLUMN_TYPES.contains(&ty) => errors.push(FieldError::invalid(&path.child("type"), ty, types)),
        _ => {}
    }
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(FieldError::invalid(&path.child("format"), format, detail));
    }
    let (place, at) = (text(column, "jsonPath"), path.child("JSONPath"));
    errors.extend(match place {
        "" => Some(FieldError::required(&at, "")),
        place => simple_path(place, &at),
    });
    errors
}
