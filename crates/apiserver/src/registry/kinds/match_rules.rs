//! What admission policies and webhooks are asked about: operations, resources, conditions
//! (upstream: `pkg/apis/admissionregistration/validation`).

use std::collections::{BTreeSet, HashSet};

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::check;
use super::expressions::{self, Scope, Wanted};
use super::value::{has, list, strings, text};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const CONDITIONS_MAX: usize = 64;

/// A rule of operations and resources.
pub(super) fn rule(rule: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let operations = strings(rule, "operations");
    let at = path.child("operations");
    if operations.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    errors.extend(lonely_star(rule, "operations", "operations", path));
    for (i, operation) in operations.iter().enumerate().filter(|(_, o)| !OPERATIONS.contains(o)) {
        errors.push(FieldError::not_supported(&at.index(i), *operation, &OPERATIONS));
    }
    for (field, others) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        if list(rule, field).is_empty() {
            errors.push(FieldError::required(&path.child(field), ""));
        }
        errors.extend(lonely_star(rule, field, others, path));
    }
    for (i, _) in strings(rule, "apiVersions").iter().enumerate().filter(|(_, version)| version.is_empty()) {
        errors.push(FieldError::required(&path.child("apiVersions").index(i), ""));
    }
    errors.extend(resources(rule, &path.child("resources")));
    errors.extend(check::known(rule, "scope", &SCOPES, path));
    errors
}

/// `*` stands for everything, so that nothing can stand beside it.
pub(super) fn lonely_star(rule: &Value, field: &str, others: &str, path: &Path) -> Option<FieldError> {
    let values = strings(rule, field);
    let detail = format!("if '*' is present, must not specify other {others}");
    (values.len() > 1 && values.contains(&"*"))
        .then(|| FieldError::invalid(&path.child(field), rule[field].clone(), detail))
}

fn resources(rule: &Value, path: &Path) -> Errors {
    let resources = strings(rule, "resources");
    let mut errors = Errors::new();
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    // `x/*` and `*/x` that were there before.
    let (mut all_of, mut of_all) = (HashSet::new(), HashSet::new());
    let mut bare = false;
    for (i, one) in resources.iter().enumerate() {
        let at = path.index(i);
        let Some((resource, sub)) = one.split_once('/') else {
            if one.is_empty() {
                errors.push(FieldError::required(&at, ""));
            } else {
                bare = *one != "*";
            }
            continue;
        };
        let refuse = |star: String| {
            FieldError::invalid(&at, *one, format!("if '{star}' is present, must not specify {one}"))
        };
        errors.extend(all_of.contains(resource).then(|| refuse(format!("{resource}/*"))));
        errors.extend(of_all.contains(sub).then(|| refuse(format!("*/{sub}"))));
        if sub == "*" {
            all_of.insert(resource);
        }
        if resource == "*" {
            of_all.insert(sub);
        }
    }
    let refuse = |detail: &str| FieldError::invalid(path, rule["resources"].clone(), detail);
    if resources.len() > 1 && resources.contains(&"*/*") {
        errors.push(refuse("if '*/*' is present, must not specify other resources"));
    }
    if bare && resources.contains(&"*") {
        errors.push(refuse("if '*' is present, must not specify other resources without subresources"));
    }
    errors
}

/// A rule that may also name objects.
pub(super) fn named_rule(named: &Value, path: &Path) -> Errors {
    let at = path.child("resourceNames");
    let mut seen = BTreeSet::new();
    let mut errors = Errors::new();
    for (i, name) in strings(named, "resourceNames").into_iter().enumerate() {
        errors.extend(check::named(&at.index(i), name, names::path_segment(name)));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at.index(i), name));
        }
    }
    errors.extend(rule(named, path));
    errors
}

/// Expressions that all have to hold.
pub(super) fn conditions(object: &Value, path: &Path) -> Errors {
    let scope = Scope { params: has(object, "paramKind"), variables: None };
    let (conditions, path) = (list(object, "matchConditions"), path.child("matchConditions"));
    let mut errors = Errors::new();
    if conditions.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(&path, conditions.len(), CONDITIONS_MAX));
    }
    let mut seen = BTreeSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let (name, at) = (text(condition, "name"), path.index(i));
        let (expression, within) = (text(condition, "expression").trim(), at.child("expression"));
        if expression.is_empty() {
            errors.push(FieldError::required(&within, ""));
        } else {
            errors.extend(expressions::admission(expression, Wanted::Condition, scope, &within).err());
        }
        let at = at.child("name");
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        errors.extend(check::named(&at, name, names::qualified_name(name)));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at, name));
        }
    }
    errors
}
