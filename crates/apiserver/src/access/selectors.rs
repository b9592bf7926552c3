//! Selectors in access reviews: a question may be about some objects only (upstream: `pkg/apis/authorization/validation`,
//! `pkg/registry/authorization/util`).

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use machinery::selector::{FieldSelector, LabelSelector};
use serde_json::Value;

use super::{text, texts};

const LABELS: &str = "labelSelector";
const FIELDS: &str = "fieldSelector";

/// What is wrong with the selectors of a question about a resource. Operators that are not known are none of it: newer
/// clients may know more of them.
pub(super) fn check(attributes: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in [FIELDS, LABELS] {
        let (selector, at) = (&attributes[field], path.child(field));
        if !selector.is_object() {
            continue;
        }
        errors.extend(one_form(selector, &at));
        for (i, requirement) in requirements(selector).iter().enumerate() {
            errors.extend(one_requirement(requirement, field == LABELS, &at.child("requirements").index(i)));
        }
    }
    errors
}

fn requirements(selector: &Value) -> &[Value] {
    selector["requirements"].as_array().map_or(&[], Vec::as_slice)
}

/// Either as text or as a list.
fn one_form(selector: &Value, path: &Path) -> Option<FieldError> {
    let raw = text(selector, "rawSelector");
    match (raw.is_empty(), requirements(selector).is_empty()) {
        (false, false) => {
            let detail = "may not specified at the same time as requirements";
            Some(FieldError::invalid(&path.child("rawSelector"), raw, detail))
        }
        (true, true) => {
            let detail = format!("when {path} is specified, requirements or rawSelector is required");
            Some(FieldError::required(&path.child("requirements"), detail))
        }
        _ => None,
    }
}

fn one_requirement(requirement: &Value, of_labels: bool, path: &Path) -> Errors {
    let (key, values) = (text(requirement, "key"), texts(requirement, "values"));
    let mut errors = Errors::new();
    if !of_labels && key.is_empty() {
        errors.push(FieldError::required(&path.child("key"), "must be specified"));
    }
    let at = path.child("values");
    match text(requirement, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&at, detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&at, detail));
        }
        _ => {}
    }
    if of_labels {
        let bad = names::qualified_name(key).into_iter();
        errors.extend(bad.map(|why| FieldError::invalid(&path.child("key"), key, why)));
        for (i, value) in values.iter().enumerate() {
            let bad = names::label_value(value).into_iter();
            errors.extend(bad.map(|why| FieldError::invalid(&at.index(i), value.as_str(), why)));
        }
    }
    errors
}

/// Selectors that were answered as if they were not there, or not there in part: that asks for more, never for less.
pub(super) fn ignored(attributes: &Value) -> Vec<String> {
    let how_much =
        [(FIELDS, ignored_fields(&attributes[FIELDS])), (LABELS, ignored_labels(&attributes[LABELS]))];
    how_much
        .into_iter()
        .filter_map(|(field, all)| {
            let partially = if all? { "" } else { "partially " };
            Some(format!("spec.resourceAttributes.{field} {partially}ignored due to parse error"))
        })
        .collect()
}

/// Whether all of a selector is ignored; `None` when nothing is.
fn ignored_fields(selector: &Value) -> Option<bool> {
    if requirements(selector).is_empty() {
        return FieldSelector::parse(text(selector, "rawSelector")).is_err().then_some(true);
    }
    how_many_ignored(selector, |requirement| {
        matches!(text(requirement, "operator"), "In" | "NotIn") && texts(requirement, "values").len() == 1
    })
}

fn ignored_labels(selector: &Value) -> Option<bool> {
    if requirements(selector).is_empty() {
        return LabelSelector::parse(text(selector, "rawSelector")).is_err().then_some(true);
    }
    how_many_ignored(selector, |requirement| {
        matches!(text(requirement, "operator"), "In" | "NotIn" | "Exists" | "DoesNotExist")
    })
}

fn how_many_ignored(selector: &Value, is_known: impl Fn(&Value) -> bool) -> Option<bool> {
    let all = requirements(selector);
    let known = all.iter().filter(|requirement| is_known(requirement)).count();
    (known < all.len()).then_some(known == 0)
}

/// The fields that every object of the question has in common.
pub(super) fn demanded_fields(selector: &Value) -> Vec<(String, String)> {
    let raw = text(selector, "rawSelector");
    if let (false, Ok(selector)) = (raw.is_empty(), FieldSelector::parse(raw)) {
        let terms = selector.terms().iter().filter(|term| term.equal);
        return terms.map(|term| (term.field.clone(), term.value.clone())).collect();
    }
    let demanded = requirements(selector).iter().filter_map(|requirement| {
        match texts(requirement, "values").as_slice() {
            [value] if text(requirement, "operator") == "In" => {
                Some((text(requirement, "key").to_owned(), value.clone()))
            }
            _ => None,
        }
    });
    demanded.collect()
}
