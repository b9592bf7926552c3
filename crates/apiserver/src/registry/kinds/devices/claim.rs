//! ResourceClaims and their templates.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::addresses;
use super::super::cells::age;
use super::super::plain::Plain;
use super::super::pod_spec::node_selector;
use super::super::shape::{Shape, csi_driver, uuid};
use super::super::value::{each, fill, flag, has, int, list, put, strings, text};
use super::super::{check, conditions};
use super::{
    CONFIG_MAX, EFFECTS, PARAMETERS_MAX, REQUESTS_MAX, binding_conditions, distinct, every, full_attribute,
    opaque, pool, raw, selectors,
};
use crate::access::claim_status_refusals;
use crate::registry::admission::AdmissionContext;

const SUBREQUESTS_MAX: usize = 8;
const TOLERATIONS_MAX: usize = 16;
const CONSUMERS_MAX: usize = 256;
const CONDITIONS_MAX: usize = 8;
const NOT_A_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
const ONE_KIND: &str = "exactly one of `exactly` or `firstAvailable` is required";

static CONSUMER: LazyLock<Shape> =
    LazyLock::new(|| Shape::new("resource required\nname required\nuid required"));

pub(super) fn claim(base: Plain) -> Plain {
    Plain {
        defaults: "spec = {}\nspec.devices = {}",
        complete: |object| object.pointer_mut("/spec/devices").into_iter().for_each(defaults),
        // A specification that cannot change is not looked at again.
        checks: "spec immutable",
        validate_create: |object| devices(&object["spec"]["devices"], &Path::new("spec").child("devices")),
        admit: |context, claim, old| match (context.subresource, old) {
            ("", None) => admin_access(context, &claim["spec"]["devices"]),
            ("status", Some(old)) => {
                let mut errors = granted(context, &claim["status"], &old["status"]);
                errors.extend(claim_status_refusals(context, &claim["status"], &old["status"]));
                errors
            }
            _ => Errors::new(),
        },
        prepare_status: forget_deallocated,
        validate_status: status,
        row: Some(row),
        ..base
    }
}

pub(super) fn template(base: Plain) -> Plain {
    Plain {
        defaults: "spec = {}\nspec.metadata = {}\nspec.spec = {}\nspec.spec.devices = {}",
        complete: |object| object.pointer_mut("/spec/spec/devices").into_iter().for_each(defaults),
        admit: |context, template, old| match old {
            None => admin_access(context, &template["spec"]["spec"]["devices"]),
            Some(_) => Errors::new(),
        },
        validate: |object| {
            let path = Path::new("spec");
            let template = &object["spec"];
            let mut errors = check::template_metadata(&template["metadata"], &path.child("metadata"));
            errors.extend(devices(&template["spec"]["devices"], &path.child("spec").child("devices")));
            errors
        },
        immutable: &["/spec"],
        row: Some(super::name_row),
        ..base
    }
}

/// Access to devices that others use is only for namespaces that an administrator chose.
fn admin_access(context: &AdmissionContext<'_>, devices: &Value) -> Errors {
    let path = Path::new("spec").child("devices").child("requests");
    let is_asked = |request: &Value| flag(&request["exactly"], "adminAccess");
    let asked = list(devices, "requests").iter().position(is_asked);
    asked.and_then(|i| chosen(context, &path.index(i))).into_iter().collect()
}

/// The same for what is allocated. What was granted stays.
fn granted(context: &AdmissionContext<'_>, status: &Value, before: &Value) -> Errors {
    let path = Path::new("status").child("allocation").child("devices").child("results");
    let admin = |status: &Value| {
        list(&status["allocation"]["devices"], "results")
            .iter()
            .position(|result| flag(result, "adminAccess"))
    };
    let found = if admin(before).is_some() { None } else { admin(status) };
    found.and_then(|i| chosen(context, &path.index(i))).into_iter().collect()
}

fn chosen(context: &AdmissionContext<'_>, path: &Path) -> Option<FieldError> {
    const LABEL: &str = "resource.kubernetes.io/admin-access";
    let namespace = context.registry.object("", "namespaces", "", context.namespace);
    let is_chosen = namespace.is_some_and(|namespace| namespace.meta.label(LABEL) == Some("true"));
    let detail =
        format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
    (!is_chosen).then(|| FieldError::forbidden(&path.child("adminAccess"), detail))
}

/// What drivers said of devices goes with their allocation.
fn forget_deallocated(claim: &mut Value, old: &Value) {
    let ids = |claim: &Value| -> HashSet<String> {
        list(&claim["status"]["allocation"]["devices"], "results").iter().map(device_id).collect()
    };
    let (now, before) = (ids(claim), ids(old));
    let Some(status) = claim.get_mut("status").and_then(Value::as_object_mut) else { return };
    let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) else { return };
    devices.retain(|device| {
        let id = device_id(device);
        now.contains(&id) || !before.contains(&id)
    });
    if devices.is_empty() {
        status.remove("devices");
    }
}

fn defaults(devices: &mut Value) {
    for request in each(devices, "requests") {
        request.get_mut("exactly").into_iter().for_each(request_defaults);
        each(request, "firstAvailable").for_each(request_defaults);
    }
}

fn request_defaults(request: &mut Value) {
    if !request.is_object() {
        return;
    }
    if text(request, "allocationMode").is_empty() {
        put(request, "allocationMode", "ExactCount");
    }
    if text(request, "allocationMode") == "ExactCount" && int(request, "count").unwrap_or_default() == 0 {
        put(request, "count", 1);
    }
    each(request, "tolerations").for_each(|toleration| fill(toleration, "operator", "Equal"));
}

/// Requests by name, with the names of their alternatives.
type Requests<'a> = HashMap<&'a str, HashSet<&'a str>>;

fn requests_of(devices: &Value) -> Requests<'_> {
    let names = |request| list(request, "firstAvailable").iter().map(|sub| text(sub, "name")).collect();
    list(devices, "requests").iter().map(|request| (text(request, "name"), names(request))).collect()
}

fn devices(devices: &Value, path: &Path) -> Errors {
    let known = requests_of(devices);
    let (requests, at) = (list(devices, "requests"), path.child("requests"));
    let mut errors = every(requests, REQUESTS_MAX, &at, request);
    errors.extend(distinct(requests.iter().map(|request| text(request, "name")), &at));
    errors.extend(every(list(devices, "constraints"), CONFIG_MAX, &path.child("constraints"), |item, at| {
        constraint(item, &known, at)
    }));
    errors.extend(every(list(devices, "config"), CONFIG_MAX, &path.child("config"), |item, at| {
        let mut errors = references(item, &known, &at.child("requests"));
        errors.extend(opaque(item, at));
        errors
    }));
    errors
}

fn request(request: &Value, path: &Path) -> Errors {
    let name = text(request, "name");
    let mut errors = check::named(&path.child("name"), name, names::dns1123_label(name));
    let alternatives = list(request, "firstAvailable");
    match (has(request, "exactly"), alternatives.is_empty()) {
        (false, true) => errors.push(FieldError::required(path, ONE_KIND)),
        (true, false) => {
            let detail = format!("{ONE_KIND}, but multiple fields are set");
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        (true, true) => errors.extend(exact(&request["exactly"], &path.child("exactly"))),
        (false, false) => {
            let at = path.child("firstAvailable");
            errors.extend(every(alternatives, SUBREQUESTS_MAX, &at, |sub, at| {
                let name = text(sub, "name");
                let mut errors = check::named(&at.child("name"), name, names::dns1123_label(name));
                errors.extend(exact(sub, at));
                errors
            }));
            errors.extend(distinct(alternatives.iter().map(|sub| text(sub, "name")), &at));
        }
    }
    errors
}

fn exact(request: &Value, path: &Path) -> Errors {
    let mut errors = match text(request, "deviceClassName") {
        "" => vec![FieldError::required(&path.child("deviceClassName"), "")],
        class => check::named(&path.child("deviceClassName"), class, names::dns1123_subdomain(class)),
    };
    errors.extend(selectors(list(request, "selectors"), &path.child("selectors")));
    let (count, at) = (int(request, "count").unwrap_or_default(), path.child("count"));
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(&at, count, detail));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(&at, count, "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        mode => {
            let at = path.child("allocationMode");
            errors.push(FieldError::not_supported(&at, mode, &["All", "ExactCount"]));
        }
    }
    errors.extend(every(
        list(request, "tolerations"),
        TOLERATIONS_MAX,
        &path.child("tolerations"),
        toleration,
    ));
    errors
}

fn toleration(toleration: &Value, path: &Path) -> Errors {
    let (key, value) = (text(toleration, "key"), text(toleration, "value"));
    let mut errors = Errors::new();
    if !key.is_empty() {
        errors.extend(check::named(&path.child("key"), key, names::qualified_name(key)));
    }
    match text(toleration, "operator") {
        "Exists" if !value.is_empty() => {
            let detail = "must be empty for operator `Exists`";
            errors.push(FieldError::invalid(&path.child("value"), value, detail));
        }
        "Exists" => {}
        "Equal" => errors.extend(check::named(&path.child("value"), value, names::label_value(value))),
        "" => errors.push(FieldError::required(&path.child("operator"), "")),
        other => {
            errors.push(FieldError::not_supported(&path.child("operator"), other, &["Equal", "Exists"]));
        }
    }
    errors.extend(check::enumeration(toleration, "effect", &EFFECTS, path));
    errors
}

fn constraint(constraint: &Value, known: &Requests<'_>, path: &Path) -> Errors {
    let mut errors = references(constraint, known, &path.child("requests"));
    let fields = ["matchAttribute", "distinctAttribute"];
    match fields.into_iter().find(|field| has(constraint, field)) {
        Some(field) => errors.extend(full_attribute(text(constraint, field), &path.child(field))),
        None => errors.push(FieldError::required(
            path,
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        )),
    }
    errors
}

/// Names of requests that something is about.
fn references(object: &Value, known: &Requests<'_>, path: &Path) -> Errors {
    let items = list(object, "requests");
    let mut errors =
        every(items, REQUESTS_MAX, path, |item, at| reference(item.as_str().unwrap_or_default(), known, at));
    errors.extend(distinct(items.iter().filter_map(Value::as_str), path));
    errors
}

fn reference(name: &str, known: &Requests<'_>, path: &Path) -> Errors {
    let refuse = || FieldError::invalid(path, name, NOT_A_REQUEST);
    let segments: Vec<&str> = name.split('/').collect();
    let found = match segments.as_slice() {
        [request] => known.contains_key(request),
        [request, sub] => known.get(request).is_some_and(|subs| subs.contains(sub)),
        _ => return vec![refuse()],
    };
    let mut errors: Errors = segments
        .iter()
        .flat_map(|segment| check::named(path, segment, names::dns1123_label(segment)))
        .collect();
    errors.extend((!found).then(refuse));
    errors
}

/// What a scheduler, drivers and the pods that use it say of a claim.
fn status(claim: &Value, old: &Value) -> Errors {
    let (status, before, path) = (&claim["status"], &old["status"], Path::new("status"));
    let mut errors = consumers(claim, before, &path.child("reservedFor"));
    let allocated: HashSet<String> =
        list(&status["allocation"]["devices"], "results").iter().map(device_id).collect();
    let (reported, at) = (list(status, "devices"), path.child("devices"));
    errors.extend(every(reported, usize::MAX, &at, |device, at| device_status(device, &allocated, at)));
    let ids: Vec<String> = reported.iter().map(device_id).collect();
    errors.extend(distinct(ids.iter().map(String::as_str), &at));
    let at = path.child("allocation");
    match (has(status, "allocation"), has(before, "allocation")) {
        (true, true) if status["allocation"] != before["allocation"] => {
            errors.push(FieldError::invalid(&at, Value::Null, "field cannot be modified once set"));
        }
        (true, false) => {
            errors.extend(allocation(&status["allocation"], &requests_of(&claim["spec"]["devices"]), &at));
        }
        _ => {}
    }
    errors
}

fn consumers(claim: &Value, before: &Value, path: &Path) -> Errors {
    let consumers = list(&claim["status"], "reservedFor");
    let mut errors = every(consumers, CONSUMERS_MAX, path, |item, at| CONSUMER.check_at(item, at));
    errors.extend(distinct(consumers.iter().map(|consumer| text(consumer, "uid")), path));
    let added = || consumers.iter().any(|consumer| !list(before, "reservedFor").contains(consumer));
    if consumers.is_empty() {
        return errors;
    }
    if !has(&claim["status"], "allocation") {
        errors.push(FieldError::forbidden(path, "may not be specified when `allocated` is not set"));
    } else if meta::deletion_timestamp(claim).is_some() && added() {
        let detail =
            "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

/// What tells a device from others.
fn device_id(device: &Value) -> String {
    let id = ["driver", "pool", "device"].map(|field| text(device, field)).join("/");
    match text(device, "shareID") {
        "" => id,
        share => format!("{id}/{share}"),
    }
}

fn device(device: &Value, path: &Path) -> Errors {
    let name = text(device, "device");
    let mut errors = csi_driver(text(device, "driver"), &path.child("driver"));
    errors.extend(pool(text(device, "pool"), &path.child("pool")));
    errors.extend(check::named(&path.child("device"), name, names::dns1123_label(name)));
    errors
}

fn allocation(allocation: &Value, known: &Requests<'_>, path: &Path) -> Errors {
    let (devices, at) = (&allocation["devices"], path.child("devices"));
    let mut errors = every(list(devices, "results"), REQUESTS_MAX, &at.child("results"), |result, at| {
        let mut errors = reference(text(result, "request"), known, &at.child("request"));
        errors.extend(device(result, at));
        errors.extend(binding_conditions(result, at));
        errors.extend(share(result, at));
        errors
    });
    errors.extend(every(list(devices, "config"), 2 * CONFIG_MAX, &at.child("config"), |config, at| {
        let sources = ["FromClaim", "FromClass"];
        let mut errors: Errors = check::one_of(config, "source", &sources, at).into_iter().collect();
        errors.extend(references(config, known, &at.child("requests")));
        errors.extend(opaque(config, at));
        errors
    }));
    if has(allocation, "nodeSelector") {
        errors.extend(node_selector(&allocation["nodeSelector"], &path.child("nodeSelector")));
    }
    errors
}

fn share(device: &Value, path: &Path) -> Errors {
    let id = text(device, "shareID");
    if has(device, "shareID") { check::named(&path.child("shareID"), id, uuid(id)) } else { Errors::new() }
}

fn device_status(status: &Value, allocated: &HashSet<String>, path: &Path) -> Errors {
    let mut errors = device(status, path);
    errors.extend(share(status, path));
    let id = device_id(status);
    if !allocated.contains(&id) {
        errors.push(FieldError::invalid(path, id, "must be an allocated device in the claim"));
    }
    let (items, at) = (list(status, "conditions"), path.child("conditions"));
    if items.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(&at, items.len(), CONDITIONS_MAX));
    }
    errors.extend(conditions::validate(&status["conditions"], &at));
    if has(status, "data") {
        errors.extend(raw(&status["data"], PARAMETERS_MAX, &path.child("data")));
    }
    errors.extend(network(&status["networkData"], &path.child("networkData")));
    errors
}

fn network(data: &Value, path: &Path) -> Errors {
    const ADDRESSES_MAX: usize = 16;
    let mut errors = Errors::new();
    for (field, max) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if text(data, field).len() > max {
            errors.push(FieldError::too_long(&path.child(field), max));
        }
    }
    let at = path.child("ips");
    errors.extend(every(list(data, "ips"), ADDRESSES_MAX, &at, |ip, at| {
        addresses::interface(ip.as_str().unwrap_or_default(), at).into_iter().collect()
    }));
    errors.extend(distinct(strings(data, "ips").into_iter(), &at));
    errors
}

fn row(claim: &Value, now: i64) -> Vec<Value> {
    let deleted = meta::deletion_timestamp(claim).is_some();
    let allocated = has(&claim["status"], "allocation");
    let reserved = allocated && !list(&claim["status"], "reservedFor").is_empty();
    let states = [
        (deleted, "deleted"),
        (!allocated && !deleted, "pending"),
        (allocated, "allocated"),
        (reserved, "reserved"),
    ];
    let state: Vec<&str> = states.into_iter().filter(|(is, _)| *is).map(|(_, state)| state).collect();
    vec![json!(meta::name(claim)), json!(state.join(",")), age(claim, now)]
}
