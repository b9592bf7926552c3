//! `networking.k8s.io`: ingresses, their classes, network policies.

mod ingress;
mod policy;

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::cells::{age, or_none};
use super::check;
use super::plain::Plain;
use super::value::{fill, has, strings, text};
use crate::registry::strategy::Generic;

const CONTROLLER_MAX: usize = 250;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "ingresses" => ingress::plain(generic),
        "networkpolicies" => policy::plain(generic),
        "ingressclasses" => Plain {
            complete: class_defaults,
            validate: class,
            immutable: &["/spec/controller"],
            row: Some(class_row),
            ..base
        },
        "ipaddresses" => Plain { row: Some(address_row), ..base },
        "servicecidrs" => Plain { row: Some(ranges_row), ..base },
        _ => return None,
    })
}

fn class_defaults(object: &mut Value) {
    if let Some(parameters) = object.pointer_mut("/spec/parameters") {
        fill(parameters, "scope", "Cluster");
    }
}

fn class(object: &Value) -> Errors {
    const SCOPES: [&str; 2] = ["Cluster", "Namespace"];
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let (controller, at) = (text(spec, "controller"), path.child("controller"));
    let mut errors = Errors::new();
    if controller.len() > CONTROLLER_MAX {
        errors.push(FieldError::too_long(&at, CONTROLLER_MAX));
    }
    errors.extend(check::domain_prefixed_path(controller, &at));
    if !has(spec, "parameters") {
        return errors;
    }
    let (parameters, at) = (&spec["parameters"], path.child("parameters"));
    errors.extend(check::required(parameters, "kind", &at));
    errors.extend(check::required(parameters, "name", &at));
    let namespaced = has(parameters, "namespace");
    let namespace = at.child("namespace");
    match text(parameters, "scope") {
        "" => errors.push(FieldError::required(&at.child("scope"), "")),
        "Cluster" if namespaced => errors.push(FieldError::forbidden(
            &namespace,
            "`parameters.scope` is set to 'Cluster', so `parameters.namespace` may not be set",
        )),
        "Namespace" if !namespaced => {
            errors.push(FieldError::required(&namespace, "`parameters.scope` is set to 'Namespace'"))
        }
        "Cluster" | "Namespace" => {}
        other => errors.push(FieldError::not_supported(&at.child("scope"), other, &SCOPES)),
    }
    errors
}

fn class_row(object: &Value, now: i64) -> Vec<Value> {
    let parameters = &object["spec"]["parameters"];
    let shown = if parameters.is_object() {
        let (group, kind) = (text(parameters, "apiGroup"), text(parameters, "kind"));
        let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        format!("{kind}/{}", text(parameters, "name"))
    } else {
        "<none>".to_owned()
    };
    vec![
        json!(meta::name(object)),
        json!(text(&object["spec"], "controller")),
        json!(shown),
        age(object, now),
    ]
}

fn address_row(object: &Value, _now: i64) -> Vec<Value> {
    let parent = &object["spec"]["parentRef"];
    let parts = ["group", "resource", "namespace", "name"].map(|field| text(parent, field));
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    vec![json!(meta::name(object)), json!(parts.join("/"))]
}

fn ranges_row(object: &Value, now: i64) -> Vec<Value> {
    let ranges = strings(&object["spec"], "cidrs").join(",");
    vec![json!(meta::name(object)), json!(or_none(ranges)), age(object, now)]
}
