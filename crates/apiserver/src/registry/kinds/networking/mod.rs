//! `networking.k8s.io`: ingresses, their classes, network policies.

mod ingress;
mod policy;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::age;
use super::plain::Plain;
use super::value::{fill, has, strings, text};
use super::{addresses, check};
use crate::registry::strategy::Generic;

const CLASS: &str = "
spec.parameters.kind  required
spec.parameters.name  required
";

const ADDRESS: &str = "
spec                     struct
spec.parentRef           required immutable
spec.parentRef.resource  required
spec.parentRef.name      required
";

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "ingresses" => ingress::plain(generic),
        "networkpolicies" => policy::plain(generic),
        "ingressclasses" => Plain {
            complete: class_defaults,
            checks: CLASS,
            validate: class,
            changes_first: true,
            immutable: &["/spec/controller"],
            row: Some(class_row),
            ..base
        },
        "ipaddresses" => Plain {
            names: Some(address_names),
            checks: ADDRESS,
            validate: parent,
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

fn class(object: &Value) -> Errors {
    const CONTROLLER_MAX: usize = 250;
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let (controller, at) = (text(spec, "controller"), path.child("controller"));
    let mut errors = Errors::new();
    if controller.len() > CONTROLLER_MAX {
        errors.push(FieldError::too_long(&at, CONTROLLER_MAX));
    }
    errors.extend(check::domain_prefixed_path(controller, &at));
    if has(spec, "parameters") {
        errors.extend(class_parameters(&spec["parameters"], &path.child("parameters")));
    }
    errors
}

/// Names of what is referred to, which may be missing here.
fn reference(reference: &Value, segments: &[&str], path: &Path) -> Errors {
    let given = segments.iter().filter(|field| !text(reference, field).is_empty());
    given
        .flat_map(|field| {
            let value = text(reference, field);
            check::named(&path.child(field), value, names::path_segment(value))
        })
        .collect()
}

/// Parameters of a class are of the cluster or of a namespace, and named accordingly.
fn class_parameters(parameters: &Value, path: &Path) -> Errors {
    let (group, namespace) = (text(parameters, "apiGroup"), text(parameters, "namespace"));
    let mut errors = Errors::new();
    if has(parameters, "apiGroup") {
        errors.extend(check::named(&path.child("apiGroup"), group, names::dns1123_subdomain(group)));
    }
    errors.extend(reference(parameters, &["kind", "name"], path));
    let at = path.child("namespace");
    match (text(parameters, "scope"), has(parameters, "namespace")) {
        ("Namespace", false) => {
            errors.push(FieldError::required(&at, "`parameters.scope` is set to 'Namespace'"));
        }
        ("Namespace", true) => {
            errors.extend(check::named(&at, namespace, names::dns1123_label(namespace)));
        }
        ("Cluster", true) => {
            errors.push(FieldError::forbidden(&at, "`parameters.scope` is set to 'Cluster'"));
        }
        ("Cluster", false) => {}
        (other, _) => {
            errors.push(FieldError::not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]));
        }
    }
    errors
}

/// What an address belongs to.
fn parent(object: &Value) -> Errors {
    let (parent, path) = (&object["spec"]["parentRef"], Path::new("spec").child("parentRef"));
    let group = text(parent, "group");
    let mut errors = Errors::new();
    if !group.is_empty() {
        errors.extend(check::named(&path.child("group"), group, names::dns1123_subdomain(group)));
    }
    errors.extend(reference(parent, &["resource", "name", "namespace"], &path));
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
        let shown = json!({"CIDRs": cidrs});
        return vec![FieldError::invalid(&path, shown, "may only hold up to 2 values")];
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
    let is_default = meta::annotation(object, DEFAULT_CLASS) == Some("true");
    let name = meta::name(object);
    vec![
        json!(if is_default { format!("{name} (default)") } else { name.to_owned() }),
        json!(text(&object["spec"], "controller")),
        json!(shown),
        age(object, now),
    ]
}

fn address_row(object: &Value, _now: i64) -> Vec<Value> {
    let parent = &object["spec"]["parentRef"];
    let resource =
        machinery::status::qualified(text(parent, "group"), text(parent, "resource")).to_lowercase();
    let parts = [resource.as_str(), text(parent, "namespace")].into_iter().filter(|part| !part.is_empty());
    let path: Vec<&str> = parts.chain([text(parent, "name")]).collect();
    let shown = if parent.is_object() { path.join("/") } else { "<none>".to_owned() };
    vec![json!(meta::name(object)), json!(shown)]
}

fn ranges_row(object: &Value, now: i64) -> Vec<Value> {
    let ranges = strings(&object["spec"], "cidrs").join(",");
    vec![json!(meta::name(object)), json!(ranges), age(object, now)]
}
