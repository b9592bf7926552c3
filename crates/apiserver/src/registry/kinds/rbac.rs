//! `rbac.authorization.k8s.io`: roles and their bindings.

use machinery::field::{Errors, FieldError, Path};
use machinery::selector::LabelSelector;
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::age;
use super::check;
use super::plain::Plain;
use super::value::{below, each, list, put, text};
use crate::registry::strategy::Generic;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "roles" | "clusterroles" => {
            let checks = "rules[].verbs required";
            Plain { checks, validate: role, row: Some(role_row), ..base }
        }
        "rolebindings" | "clusterrolebindings" => Plain {
            complete: binding_defaults,
            checks: "subjects[].name required\nroleRef struct\nroleRef.name required",
            validate: binding,
            validate_update: binding_update,
            row: Some(binding_row),
            ..base
        },
        _ => return None,
    })
}

fn role(object: &Value) -> Errors {
    let cluster = meta::namespace(object).is_empty();
    let mut errors = Errors::new();
    for (i, rule) in list(object, "rules").iter().enumerate() {
        errors.extend(policy_rule(rule, cluster, &Path::new("rules").index(i)));
    }
    let (aggregation, path) = (&object["aggregationRule"], Path::new("aggregationRule"));
    if aggregation.is_object() {
        let (selectors, at) = (list(aggregation, "clusterRoleSelectors"), path.child("clusterRoleSelectors"));
        if selectors.is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(FieldError::required(&at, detail));
        }
        for (i, selector) in selectors.iter().enumerate() {
            let at = at.index(i);
            errors.extend(check::selector(selector, &at));
            if LabelSelector::from_object(selector).is_err() {
                errors.push(FieldError::invalid(&at, Value::Null, "invalid label selector."));
            }
        }
    }
    errors
}

fn policy_rule(rule: &Value, cluster: bool, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let empty = |field: &str| list(rule, field).is_empty();
    if !empty("nonResourceURLs") {
        let at = path.child("nonResourceURLs");
        let refuse = |detail: &str| FieldError::invalid(&at, rule["nonResourceURLs"].clone(), detail);
        if !cluster {
            errors.push(refuse("namespaced rules cannot apply to non-resource URLs"));
        }
        if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
            errors.push(refuse("rules cannot apply to both regular resources and non-resource URLs"));
        }
        return errors;
    }
    if empty("apiGroups") {
        let detail = "resource rules must supply at least one api group";
        errors.push(FieldError::required(&path.child("apiGroups"), detail));
    }
    if empty("resources") {
        let detail = "resource rules must supply at least one resource";
        errors.push(FieldError::required(&path.child("resources"), detail));
    }
    errors
}

fn role_row(object: &Value, _now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), json!(meta::creation_timestamp(object))]
}

/// Names the group of roles, users and groups, as upstream does.
fn binding_defaults(object: &mut Value) {
    if let Some(role) = below(object, "roleRef").filter(|role| text(role, "apiGroup").is_empty()) {
        put(role, "apiGroup", GROUP);
    }
    for subject in each(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") && text(subject, "apiGroup").is_empty() {
            put(subject, "apiGroup", GROUP);
        }
    }
}

fn binding(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let (role, path) = (&object["roleRef"], Path::new("roleRef"));
    let group = text(role, "apiGroup");
    if group != GROUP {
        errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[GROUP]));
    }
    let cluster = meta::namespace(object).is_empty();
    let kinds: &[&str] = if cluster { &["ClusterRole"] } else { &["Role", "ClusterRole"] };
    if !kinds.contains(&text(role, "kind")) {
        errors.push(FieldError::not_supported(&path.child("kind"), text(role, "kind"), kinds));
    }
    let (name, at) = (text(role, "name"), path.child("name"));
    if !name.is_empty() {
        errors.extend(check::named(&at, name, names::path_segment(name)));
    }
    for (i, one) in list(object, "subjects").iter().enumerate() {
        errors.extend(subject(one, cluster, &Path::new("subjects").index(i)));
    }
    errors
}

fn subject(subject: &Value, cluster: bool, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (name, at) = (text(subject, "name"), path.child("name"));
    let group = |wanted: &str| {
        let group = text(subject, "apiGroup");
        (group != wanted).then(|| FieldError::not_supported(&path.child("apiGroup"), group, &[wanted]))
    };
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.extend(check::named(&at, name, names::dns1123_subdomain(name)));
            }
            errors.extend(group(""));
            errors.extend(check::required(subject, "namespace", path).filter(|_| cluster));
        }
        "User" | "Group" => errors.extend(group(GROUP)),
        kind => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(&path.child("kind"), kind, &kinds));
        }
    }
    errors
}

/// A binding is for one role all its life: who may bind that role was asked when it was made.
fn binding_update(object: &Value, old: &Value) -> Errors {
    let role = &object["roleRef"];
    if *role == old["roleRef"] {
        return Errors::new();
    }
    let shown =
        json!({"APIGroup": text(role, "apiGroup"), "Kind": text(role, "kind"), "Name": text(role, "name")});
    vec![FieldError::invalid(&Path::new("roleRef"), shown, "cannot change roleRef")]
}

fn binding_row(object: &Value, now: i64) -> Vec<Value> {
    let role = &object["roleRef"];
    let of_kind = |kind: &str| -> Vec<String> {
        let subjects = list(object, "subjects").iter().filter(|s| text(s, "kind") == kind);
        subjects
            .map(|s| match kind {
                "ServiceAccount" => format!("{}/{}", text(s, "namespace"), text(s, "name")),
                _ => text(s, "name").to_owned(),
            })
            .collect()
    };
    vec![
        json!(meta::name(object)),
        json!(format!("{}/{}", text(role, "kind"), text(role, "name"))),
        age(object, now),
        json!(of_kind("User").join(", ")),
        json!(of_kind("Group").join(", ")),
        json!(of_kind("ServiceAccount").join(", ")),
    ]
}
