//! Limit ranges and resource quotas.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Map, Value, json};

use super::super::cells::age;
use super::super::check;
use super::super::plain::Plain;
use super::super::value::{below, each, fill, has, list, map, strings, text};
use crate::registry::strategy::Generic;

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Resources of a quota that are counted.
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const MEASURED: [&str; 10] = [
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
];

pub(super) fn limit_range(generic: Generic) -> Plain {
    Plain {
        complete: limit_defaults,
        validate: limits,
        row: Some(|object, _| vec![json!(meta::name(object)), json!(meta::creation_timestamp(object))]),
        ..Plain::new(generic)
    }
}

pub(super) fn resource_quota(generic: Generic) -> Plain {
    Plain { validate: quota, immutable: &["/spec/scopes"], row: Some(quota_row), ..Plain::new(generic) }
}

/// What has a limit and no default request requests its default.
fn limit_defaults(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    for limit in each(spec, "limits").filter(|limit| text(limit, "type") == "Container") {
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let Some(amounts) = map(limit, from).cloned() else { continue };
            let Some(target) = below(limit, to) else { continue };
            amounts.into_iter().for_each(|(name, amount)| fill(target, &name, amount));
        }
    }
}

fn limits(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, limit) in list(&object["spec"], "limits").iter().enumerate() {
        let path = Path::new("spec").child("limits").index(i);
        let kind = text(limit, "type");
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        let all = ["max", "min", "default", "defaultRequest"];
        for field in all {
            for (name, amount) in map(limit, field).into_iter().flatten() {
                errors.extend(check::quantity(amount, &path.child(field).key(name)).err());
            }
        }
        if kind == "Pod" {
            for field in ["default", "defaultRequest"].into_iter().filter(|f| map(limit, f).is_some()) {
                let detail = "may not be specified when `type` is 'Pod'";
                errors.push(FieldError::forbidden(&path.child(field), detail));
            }
        }
        let named: BTreeSet<&String> =
            all.into_iter().filter_map(|field| map(limit, field)).flat_map(Map::keys).collect();
        named.into_iter().for_each(|name| errors.extend(order(limit, name, &path)));
        if kind == "PersistentVolumeClaim" && !has(&limit["min"], "storage") && !has(&limit["max"], "storage")
        {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(FieldError::required(&path, detail));
        }
    }
    errors
}

/// Minimum, default request, default and maximum are in this order.
fn order(limit: &Value, name: &str, path: &Path) -> Errors {
    // The lesser, the greater, which of both is wrong, and what they are called.
    const PAIRS: [(&str, &str, &str, &str, &str); 6] = [
        ("min", "max", "min", "min", "max"),
        ("min", "defaultRequest", "defaultRequest", "min", "default request"),
        ("defaultRequest", "max", "defaultRequest", "default request", "max"),
        ("defaultRequest", "default", "defaultRequest", "default request", "default limit"),
        ("min", "default", "default", "min", "default"),
        ("default", "max", "default", "default", "max"),
    ];
    let amount = |field: &str| check::quantity(limit.get(field)?.get(name)?, path).ok();
    let wrong = |(low, high, at, low_name, high_name): (&str, &str, &str, &str, &str)| {
        let (less, more) = (amount(low)?, amount(high)?);
        let detail = format!("{low_name} value {less} is greater than {high_name} value {more}");
        let shown = amount(at)?.to_string();
        (less > more).then(|| FieldError::invalid(&path.child(at).key(name), shown, detail))
    };
    PAIRS.into_iter().filter_map(wrong).collect()
}

fn quota(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    for (name, amount) in map(spec, "hard").into_iter().flatten() {
        let at = path.child("hard").key(name);
        errors.extend(quota_name(name, &at));
        match check::quantity(amount, &at) {
            Err(error) => errors.push(error),
            Ok(value) if is_counted(name) && value.millis() % 1000 != 0 => {
                errors.push(FieldError::invalid(&at, amount.clone(), "must be an integer"));
            }
            Ok(_) => {}
        }
    }
    let scopes = strings(spec, "scopes");
    if scopes.iter().any(|scope| !SCOPES.contains(scope)) {
        errors.push(FieldError::invalid(&path.child("scopes"), spec["scopes"].clone(), "unsupported scope"));
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            let detail = "conflicting scopes";
            errors.push(FieldError::invalid(&path.child("scopes"), spec["scopes"].clone(), detail));
        }
    }
    errors
}

fn is_counted(name: &str) -> bool {
    COUNTED.contains(&name) || name.starts_with("count/")
}

fn quota_name(name: &str, path: &Path) -> Errors {
    let mut errors = check::named(path, name, names::qualified_name(name));
    let known = is_counted(name)
        || MEASURED.contains(&name)
        || ["hugepages-", "requests.hugepages-", "limits.hugepages-"].iter().any(|p| name.starts_with(p))
        || name.contains('/');
    if errors.is_empty() && !known {
        errors.push(FieldError::invalid(path, name, "must be a standard resource type or fully qualified"));
        errors.push(FieldError::invalid(path, name, "must be a standard resource for quota"));
    }
    errors
}

fn quota_row(object: &Value, now: i64) -> Vec<Value> {
    let (hard, used) = (&object["status"]["hard"], &object["status"]["used"]);
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, amount) in hard.as_object().into_iter().flatten() {
        let used = match text(used, name) {
            "" => "0",
            used => used,
        };
        let entry = format!("{name}: {used}/{}", amount.as_str().unwrap_or_default());
        if name.starts_with("limits") { limits.push(entry) } else { requests.push(entry) }
    }
    vec![json!(meta::name(object)), json!(requests.join(", ")), json!(limits.join(", ")), age(object, now)]
}
