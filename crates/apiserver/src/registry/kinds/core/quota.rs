//! Limit ranges and resource quotas.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::quantity::Quantity;
use machinery::{meta, names};
use serde_json::{Map, Value, json};

use super::super::cells::age;
use super::super::check;
use super::super::plain::Plain;
use super::super::value::{below, each, fill, has, list, map, strings, text};
use super::super::{pod_spec, resources};
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
const ONLY_EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
    ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
    ResourceQuotaScopeCrossNamespacePodAffinity";

pub(super) fn limit_range(generic: Generic) -> Plain {
    Plain {
        complete: limit_defaults,
        prepare: |object| {
            if meta::name(object).is_empty() {
                meta::set_name(object, &crate::flow::new_uuid());
            }
        },
        validate: limits,
        row: Some(|object, _| vec![json!(meta::name(object)), json!(meta::creation_timestamp(object))]),
        ..Plain::new(generic)
    }
}

pub(super) fn resource_quota(generic: Generic) -> Plain {
    Plain {
        complete: |object| {
            for pointer in ["/spec/hard", "/status/hard", "/status/used"] {
                pod_spec::round_up(object.pointer_mut(pointer));
            }
        },
        validate: |object| quota(&object["spec"], &Path::new("spec")),
        validate_update: same_scopes,
        validate_status: |object, _| {
            let (status, path) = (&object["status"], Path::new("status"));
            ["hard", "used"].into_iter().flat_map(|field| amounts(status, field, &path)).collect()
        },
        warnings: quota_warnings,
        update_warnings: |_, _| Vec::new(),
        row: Some(quota_row),
        ..Plain::new(generic)
    }
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
        errors.extend(limit_type(kind, &path.child("type")));
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        let check_name =
            if matches!(kind, "Pod" | "Container") { resources::container_name } else { resources::name };
        let mut named = BTreeSet::new();
        for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            let given = map(limit, field);
            let of_containers = matches!(field, "default" | "defaultRequest");
            if field == "maxLimitRequestRatio" {
                errors.extend(claim_limits(limit, kind, &path));
            }
            if kind == "Pod" && of_containers && given.is_some() {
                let detail = "may not be specified when `type` is 'Pod'";
                errors.push(FieldError::forbidden(&path.child(field), detail));
                continue;
            }
            for (name, _) in given.into_iter().flatten() {
                errors.extend(check_name(name, &path.child(field).key(name)));
                named.insert(name);
            }
        }
        for name in named {
            errors.extend(order(limit, name, &path));
            errors.extend(ratio(limit, name, &path));
        }
    }
    errors
}

fn limit_type(kind: &str, path: &Path) -> Errors {
    const STANDARD: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];
    let errors = check::named(path, kind, names::qualified_name(kind));
    if errors.is_empty() && !kind.contains('/') && !STANDARD.contains(&kind) {
        return vec![FieldError::invalid(path, kind, "must be a standard limit type or fully qualified")];
    }
    errors
}

fn claim_limits(limit: &Value, kind: &str, path: &Path) -> Option<FieldError> {
    let none = !has(&limit["min"], "storage") && !has(&limit["max"], "storage");
    let detail = "either minimum or maximum storage value is required, but neither was provided";
    (kind == "PersistentVolumeClaim" && none).then(|| FieldError::required(&path.child("limits"), detail))
}

/// An amount of a limit. Pods have no defaults.
fn amount_of(limit: &Value, field: &str, name: &str) -> Option<Quantity> {
    let given = text(limit, "type") != "Pod" || !field.starts_with("default");
    Quantity::from_json(limit.get(field).filter(|_| given)?.get(name)?).ok()
}

/// How much more than the request a limit may be, and that there is only one amount where no more may be promised.
fn ratio(limit: &Value, name: &str, path: &Path) -> Errors {
    const FIELD: &str = "maxLimitRequestRatio";
    let amount = |field: &str| amount_of(limit, field, name);
    let at = path.child(FIELD).key(name);
    let mut errors = Errors::new();
    if let Some(ratio) = amount(FIELD) {
        if ratio < Quantity::from_i128(1) {
            errors.push(FieldError::invalid(&at, ratio.to_string(), format!("ratio {ratio} is less than 1")));
        }
        if let (Some(min), Some(max)) = (amount("min"), amount("max")) {
            let most = max.as_f64() / min.as_f64();
            if ratio.as_f64() > most {
                let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
                errors.push(FieldError::invalid(&at, ratio.to_string(), detail));
            }
        }
    }
    if let (Some(default), Some(request)) = (amount("default"), amount("defaultRequest"))
        && !resources::allows_overcommit(name)
        && default != request
    {
        let detail =
            format!("default value {default} must equal to defaultRequest value {request} in {name}");
        errors.push(FieldError::invalid(
            &path.child("defaultRequest").key(name),
            request.to_string(),
            detail,
        ));
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
    let amount = |field: &str| amount_of(limit, field, name);
    let compare = |(low, high, at, low_name, high_name): (&str, &str, &str, &str, &str)| {
        let (less, more) = (amount(low)?, amount(high)?);
        let wrong = less > more;
        let detail = format!("{low_name} value {less} is greater than {high_name} value {more}");
        // Upstream shows the bound when it is about a default.
        let shown = match (at, low) {
            ("default", "default") => more,
            ("default", _) => less,
            _ if at == low => less,
            _ => more,
        };
        wrong.then(|| FieldError::invalid(&path.child(at).key(name), shown.to_string(), detail))
    };
    PAIRS.into_iter().filter_map(compare).collect()
}

fn amounts(holder: &Value, field: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (name, amount) in map(holder, field).into_iter().flatten() {
        let at = path.child(field).key(name);
        errors.extend(resources::quota_name(name, &at));
        errors.extend(resources::amount(name, amount, &at));
    }
    errors
}

fn quota(spec: &Value, path: &Path) -> Errors {
    let mut errors = amounts(spec, "hard", path);
    let (scopes, at) = (strings(spec, "scopes"), path.child("scopes"));
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(&at, spec["scopes"].clone(), detail));
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            refuse("unsupported scope");
        }
        unfit(spec, scope).for_each(|_| refuse("unsupported scope applied to resource"));
    }
    conflicts(&scopes).for_each(|()| refuse("conflicting scopes"));
    errors.extend(scope_selector(spec, &path.child("scopeSelector").child("matchExpressions")));
    errors
}

/// Resources of a quota that pods of a scope do not have.
fn unfit<'a>(spec: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a String> {
    const COMPUTED: [&str; 7] =
        ["cpu", "limits.cpu", "limits.memory", "memory", "pods", "requests.cpu", "requests.memory"];
    let fits = move |name: &str| match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" => COMPUTED.contains(&name),
        "BestEffort" => name == "pods",
        "CrossNamespacePodAffinity" => COMPUTED.contains(&name),
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    };
    let hard = map(spec, "hard").into_iter().flat_map(Map::keys);
    hard.filter(move |name| resources::is_standard_for_quota(name) && !fits(name))
}

/// Pairs of scopes that no pod is in.
fn conflicts(scopes: &[&str]) -> impl Iterator<Item = ()> {
    let pairs = [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];
    pairs.into_iter().filter(|(one, other)| scopes.contains(one) && scopes.contains(other)).map(|_| ())
}

fn scope_selector(spec: &Value, path: &Path) -> Errors {
    let expressions = list(&spec["scopeSelector"], "matchExpressions");
    let mut errors = Errors::new();
    for expression in expressions {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        let (values, at) = (list(expression, "values"), path.child("operator"));
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in unfit(spec, scope) {
            let shown = spec["scopeSelector"].clone();
            errors.push(FieldError::invalid(path, shown, "unsupported scope applied to resource"));
        }
        let valued = matches!(scope, "PriorityClass" | "VolumeAttributesClass") || !SCOPES.contains(&scope);
        if !valued && operator != "Exists" {
            errors.push(FieldError::invalid(&at, operator, ONLY_EXISTS));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail =
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                let shown = expression["values"].clone();
                errors.push(FieldError::invalid(&path.child("values"), shown, detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(&at, other, "not a valid selector operator")),
        }
    }
    let scopes: Vec<&str> = expressions.iter().map(|expression| text(expression, "scopeName")).collect();
    let refuse = |()| FieldError::invalid(path, spec["scopes"].clone(), "conflicting scopes");
    errors.extend(conflicts(&scopes).map(refuse));
    errors
}

/// Scopes never change; their order is of no account.
fn same_scopes(object: &Value, old: &Value) -> Errors {
    let set = |object| strings(object, "scopes").into_iter().collect::<BTreeSet<_>>();
    let (spec, before) = (&object["spec"], &old["spec"]);
    let error = || {
        let path = Path::new("spec").child("scopes");
        FieldError::invalid(&path, spec["scopes"].clone(), "field is immutable")
    };
    (set(spec) != set(before)).then(error).into_iter().collect()
}

/// Requests that may be more than what they are limited to.
fn quota_warnings(object: &Value) -> Vec<String> {
    let hard = &object["spec"]["hard"];
    let amount = |name: &str| Quantity::from_json(hard.get(name)?).ok();
    let compare = |resource: &str| {
        let plain = matches!(resource, "cpu" | "memory").then(|| resource.to_owned());
        let requests = std::iter::once(format!("requests.{resource}")).chain(plain);
        let (name, request) =
            requests.into_iter().find_map(|name| amount(&name).map(|amount| (name, amount)))?;
        let limit = amount(&format!("limits.{resource}"))?;
        (request > limit).then(|| {
            format!("ResourceQuota {name} ({request}) should be less than limits.{resource} ({limit})")
        })
    };
    ["cpu", "memory", "storage", "ephemeral-storage"].into_iter().filter_map(compare).collect()
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
