//! `networking.k8s.io`: ingresses, their classes, network policies.

mod ingress;
mod policy;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::{age, or_none};
use super::plain::Plain;
use super::value::{fill, has, strings, text};
use super::{addresses, check};
use crate::registry::strategy::Generic;

const CLASS: &str = "
spec                      struct
spec.controller           required bytes=250 domain-path
spec.parameters.apiGroup  subdomain
spec.parameters.kind      required segment
spec.parameters.name      required segment
spec.parameters.scope     required one-of=Cluster|Namespace
";

const ADDRESS: &str = "
spec                     struct
spec.parentRef           required
spec.parentRef.group     subdomain
spec.parentRef.resource  required segment
spec.parentRef.name      required segment
spec.parentRef.namespace segment
";

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "ingresses" => ingress::plain(generic),
        "networkpolicies" => policy::plain(generic),
        "ingressclasses" => Plain {
            complete: class_defaults,
            checks: CLASS,
            validate: class_parameters,
            immutable: &["/spec/controller"],
            row: Some(class_row),
            ..base
        },
        "ipaddresses" => Plain {
            names: Some(address_names),
            checks: ADDRESS,
            immutable: &["/spec/parentRef"],
            row: Some(address_row),
            ..base
        },
        "servicecidrs" => {
            Plain { validate_create: ranges, validate_update: ranges_update, row: Some(ranges_row), ..base }
        }
        _ => return None,
    })
}

fn class_defaults(object: &mut Value) {
    if let Some(parameters) = object.pointer_mut("/spec/parameters") {
        fill(parameters, "scope", "Cluster");
    }
}

/// Parameters of a class are of the cluster or of a namespace, and named accordingly.
fn class_parameters(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let parameters = &object["spec"]["parameters"];
    let path = Path::new("spec").child("parameters").child("namespace");
    let namespace = text(parameters, "namespace");
    match (text(parameters, "scope"), has(parameters, "namespace")) {
        ("Namespace", false) => {
            errors.push(FieldError::required(&path, "`parameters.scope` is set to 'Namespace'"));
        }
        ("Namespace", true) => {
            errors.extend(check::named(&path, namespace, names::dns1123_label(namespace)));
        }
        ("Cluster", true) => {
            errors.push(FieldError::forbidden(&path, "`parameters.scope` is set to 'Cluster'"));
        }
        _ => {}
    }
    errors
}

/// An address is called what it is.
fn address_names(name: &str) -> Vec<String> {
    addresses::canonical_ip(name, &Path::root())
        .map(|error| error.body().splitn(3, ": ").nth(2).unwrap_or_default().to_owned())
        .into_iter()
        .collect()
}

fn ranges(object: &Value) -> Errors {
    let (cidrs, path) = (strings(&object["spec"], "cidrs"), Path::new("spec").child("cidrs"));
    if cidrs.is_empty() {
        return vec![FieldError::required(&path, "at least one CIDR required")];
    }
    if cidrs.len() > 2 {
        return vec![FieldError::invalid(&path, object["spec"].clone(), "may only hold up to 2 values")];
    }
    let mut errors: Errors = cidrs
        .iter()
        .enumerate()
        .filter_map(|(i, cidr)| addresses::canonical_range(cidr, &path.index(i)))
        .collect();
    let families: Vec<bool> =
        cidrs.iter().filter_map(|cidr| Some(addresses::range(cidr, &path).ok()?.is_v4())).collect();
    if families == [true, true] || families == [false, false] {
        let detail =
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid(&path, object["spec"]["cidrs"].clone(), detail));
    }
    errors
}

/// Ranges stay, but a second one may come.
fn ranges_update(object: &Value, old: &Value) -> Errors {
    let path = Path::new("spec").child("cidrs");
    let (new, was) = (strings(&object["spec"], "cidrs"), strings(&old["spec"], "cidrs"));
    let fixed = |at: &Path, value: Value| FieldError::invalid(at, value, "field is immutable");
    let changed =
        |(i, (new, was)): (usize, (&&str, &&str))| (new != was).then(|| fixed(&path.index(i), json!(new)));
    let mut errors: Errors = new.iter().zip(&was).enumerate().filter_map(changed).collect();
    match (was.len(), new.len()) {
        (was, new) if was == new => {}
        (1, 2) => errors.extend(ranges(object)),
        _ => errors = vec![fixed(&path, object["spec"]["cidrs"].clone())],
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
