//! `resource.k8s.io`: devices, who claims them, and which of them are to be kept away from.

mod capacity;
mod claim;
mod rows;
mod slice;

use std::collections::HashSet;
use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::age;
use super::plain::Plain;
use super::shape::{Shape, csi_driver};
use super::value::{each, fill, has, list, strings, text};
use super::{check, expressions};
use crate::registry::strategy::Generic;

pub(super) use slice::is_semantic_version;

const POOL_MAX: usize = 253;
const IDENTIFIER_MAX: usize = 32;
const PARAMETERS_MAX: usize = 10 << 10;
const SELECTORS_MAX: usize = 32;
const REQUESTS_MAX: usize = 32;
const CONFIG_MAX: usize = 32;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

static SELECTOR: LazyLock<Shape> = LazyLock::new(|| Shape::new("cel required\ncel.expression bytes=10240"));

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "resourceclaims" => claim::claim(base),
        "resourceclaimtemplates" => claim::template(base),
        "resourceslices" => slice::plain(base),
        "deviceclasses" => Plain { defaults: "spec = {}", validate: class, row: Some(name_row), ..base },
        "devicetaintrules" => Plain {
            status_checks: "status.conditions items=8 conditions",
            complete: |object| object.pointer_mut("/spec/taint").into_iter().for_each(since_now),
            validate: taint_rule,
            row: Some(rows::taint_rule),
            ..base
        },
        "resourcepoolstatusrequests" => Plain {
            checks: "spec struct\nspec.driver required csi-driver",
            immutable: &["/spec"],
            // A status without its required fields would be refused by clients that check.
            prepare: |object| drop(object.as_object_mut().and_then(|object| object.remove("status"))),
            row: Some(rows::pool_status),
            ..base
        },
        _ => return None,
    })
}

fn name_row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), age(object, now)]
}

/// A taint counts from when it was made.
fn since_now(taint: &mut Value) {
    fill(taint, "timeAdded", machinery::time::rfc3339(jiff::Timestamp::now()));
}

fn class(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = selectors(list(spec, "selectors"), &path.child("selectors"));
    errors.extend(every(list(spec, "config"), CONFIG_MAX, &path.child("config"), opaque));
    let name = text(spec, "extendedResourceName");
    if has(spec, "extendedResourceName") {
        errors.extend(extended_resource(name, &path.child("extendedResourceName")));
    }
    errors
}

fn extended_resource(name: &str, path: &Path) -> Errors {
    let refuse = |detail: &str| FieldError::invalid(path, name, detail);
    let mut errors = Errors::new();
    if !name.contains('/') {
        errors.push(refuse("a name must be a domain-prefixed path, such as 'example.com/my-prop'"));
    } else if name.contains("kubernetes.io/") {
        errors.push(refuse("must not have \"kubernetes.io/\" domain"));
    }
    if name.starts_with("requests.") {
        errors.push(refuse("must not have \"requests.\" prefix"));
    }
    errors.extend(check::named(path, name, names::qualified_name(&format!("requests.{name}"))));
    errors
}

fn taint_rule(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let (selector, at) = (&spec["deviceSelector"], path.child("deviceSelector"));
    let mut errors = Errors::new();
    if has(selector, "driver") {
        errors.extend(csi_driver(text(selector, "driver"), &at.child("driver")));
    }
    if has(selector, "pool") {
        errors.extend(pool(text(selector, "pool"), &at.child("pool")));
    }
    if has(selector, "device") {
        let device = text(selector, "device");
        errors.extend(check::named(&at.child("device"), device, names::dns1123_label(device)));
    }
    errors.extend(taint(&spec["taint"], &path.child("taint")));
    errors
}

fn taint(taint: &Value, path: &Path) -> Errors {
    let (key, value) = (text(taint, "key"), text(taint, "value"));
    let mut errors = check::named(&path.child("key"), key, names::qualified_name(key));
    errors.extend(check::named(&path.child("value"), value, names::label_value(value)));
    errors.extend(check::one_of(taint, "effect", &EFFECTS, path));
    errors
}

/// Checks each element, unless there are too many.
fn every(items: &[Value], max: usize, path: &Path, one: impl Fn(&Value, &Path) -> Errors) -> Errors {
    if items.len() > max {
        return vec![FieldError::too_many(path, items.len(), max)];
    }
    items.iter().enumerate().flat_map(|(i, item)| one(item, &path.index(i))).collect()
}

/// Elements that are told apart by a key.
fn distinct<'a>(keys: impl Iterator<Item = &'a str>, path: &Path) -> Errors {
    let mut seen = HashSet::new();
    keys.enumerate()
        .filter(|(_, key)| !seen.insert(*key))
        .map(|(i, key)| FieldError::duplicate(&path.index(i), key))
        .collect()
}

fn selectors(items: &[Value], path: &Path) -> Errors {
    every(items, SELECTORS_MAX, path, |selector, at| {
        let errors = SELECTOR.check_at(selector, at);
        let expression = text(&selector["cel"], "expression");
        if errors.is_empty() {
            return expressions::device_selector(expression, &at.child("cel").child("expression"));
        }
        errors
    })
}

/// Configuration that only a driver understands.
fn opaque(config: &Value, path: &Path) -> Errors {
    let (opaque, at) = (&config["opaque"], path.child("opaque"));
    if opaque.is_null() {
        return vec![FieldError::required(&at, "")];
    }
    let mut errors = csi_driver(text(opaque, "driver"), &at.child("driver"));
    errors.extend(raw(&opaque["parameters"], PARAMETERS_MAX, &at.child("parameters")));
    errors
}

fn raw(value: &Value, max: usize, path: &Path) -> Option<FieldError> {
    match value {
        Value::Null => Some(FieldError::required(path, "")),
        value if value.to_string().len() > max => Some(FieldError::too_long(path, max)),
        Value::Object(_) => None,
        _ => Some(FieldError::invalid(path, "<value omitted>", "must be a valid JSON object")),
    }
}

fn pool(name: &str, path: &Path) -> Errors {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Errors::new();
    if name.len() > POOL_MAX {
        errors.push(FieldError::too_long(path, POOL_MAX));
    }
    for part in name.split('/') {
        errors.extend(check::named(path, part, names::dns1123_subdomain(part)));
    }
    errors
}

/// The name of an attribute: an identifier, behind a domain or not.
fn attribute(name: &str, path: &Path) -> Errors {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [identifier] => c_identifier(identifier, path),
        [domain, identifier] => {
            let mut errors = match *domain {
                "" => vec![FieldError::invalid(path, "", "the domain must not be empty")],
                domain => csi_driver(domain, path),
            };
            errors.extend(match *identifier {
                "" => vec![FieldError::invalid(path, "", "the name must not be empty")],
                identifier => c_identifier(identifier, path),
            });
            errors
        }
        _ => Errors::new(),
    }
}

fn full_attribute(name: &str, path: &Path) -> Errors {
    let mut errors = attribute(name, path);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, detail));
    }
    errors
}

fn c_identifier(name: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if name.len() > IDENTIFIER_MAX {
        errors.push(FieldError::too_long(path, IDENTIFIER_MAX));
    }
    errors.extend(check::named(path, name, names::c_identifier(name)));
    errors
}

/// What a binding of a device waits for, and what ends the waiting.
fn binding_conditions(object: &Value, path: &Path) -> Errors {
    const MAX: usize = 4;
    const FIELDS: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    let [wanted, failed] = FIELDS.map(|field| strings(object, field));
    let [at, failed_at] = FIELDS.map(|field| path.child(field));
    let mut errors = Errors::new();
    for (field, at) in FIELDS.into_iter().zip([&at, &failed_at]) {
        errors.extend(every(list(object, field), MAX, at, |item, at| {
            let key = item.as_str().unwrap_or_default();
            check::named(at, key, names::qualified_name(key))
        }));
    }
    errors.extend(distinct(wanted.iter().copied(), &at));
    errors.extend(distinct(failed.iter().copied(), &failed_at));
    for (i, name) in failed.iter().enumerate().filter(|(_, name)| wanted.contains(name)) {
        let detail = "bindingFailureConditions must not overlap with bindingConditions";
        errors.push(FieldError::invalid(&failed_at.index(i), *name, detail));
    }
    if wanted.is_empty() && !failed.is_empty() {
        let detail = "bindingConditions are required to use bindingFailureConditions";
        errors.push(FieldError::invalid(&at, Value::Null, detail));
    }
    if failed.is_empty() && !wanted.is_empty() {
        let detail = "bindingFailureConditions are required to use bindingConditions";
        errors.push(FieldError::invalid(&failed_at, Value::Null, detail));
    }
    errors
}

/// Taints without a time get one.
fn date_taints(holder: &mut Value) {
    each(holder, "taints").for_each(since_now);
}
