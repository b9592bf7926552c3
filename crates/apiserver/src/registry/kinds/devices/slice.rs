//! ResourceSlices: the devices that a driver offers.

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::age;
use super::super::check;
use super::super::plain::Plain;
use super::super::pod_spec::node_selector;
use super::super::shape::csi_driver;
use super::super::value::{each, flag, has, int, list, map, strings, text};
use super::{attribute, binding_conditions, capacity, date_taints, distinct, every, pool, taint};

const DEVICES_MAX: usize = 128;
/// With taints or counters, which make slices larger.
const ADVANCED_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const TAINTS_MAX: usize = 16;
const ATTRIBUTES_MAX: usize = 32;
const VALUES_MAX: usize = 48;
const TEXT_MAX: usize = 64;
const PLACES: &str =
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
const DEVICE_PLACES: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
                             `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

pub(super) fn plain(base: Plain) -> Plain {
    Plain {
        defaults: "spec = {}\nspec.pool = {}\nspec.pool.generation = 0",
        complete: |object| {
            if let Some(spec) = object.get_mut("spec") {
                each(spec, "devices").for_each(date_taints);
            }
        },
        validate_create: |slice| spec(slice, None),
        validate_update: |slice, old| spec(slice, Some(old)),
        row: Some(row),
        selectable: &["spec.nodeName", "spec.driver"],
        ..base
    }
}

fn fixed(slice: &Value, old: &Value) -> Errors {
    ["/spec/pool/name", "/spec/driver", "/spec/nodeName"]
        .into_iter()
        .filter_map(|pointer| {
            let path = Path::new(pointer.trim_start_matches('/').replace('/', "."));
            check::immutable(slice, old, pointer, &path)
        })
        .collect()
}

fn spec(slice: &Value, old: Option<&Value>) -> Errors {
    let (spec, path) = (&slice["spec"], &Path::new("spec"));
    let mut errors = csi_driver(text(spec, "driver"), &path.child("driver"));
    errors.extend(the_pool(&spec["pool"], &path.child("pool")));
    errors.extend(old.into_iter().flat_map(|old| fixed(slice, old)));
    errors.extend(place(spec, path));
    let (devices, counters) = (list(spec, "devices"), list(spec, "sharedCounters"));
    if !devices.is_empty() && !counters.is_empty() {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(path, "", detail));
    }
    let most = if devices.iter().any(is_advanced) { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
    let (each_placed, at) = (flag(spec, "perDeviceNodeSelection"), path.child("devices"));
    let before = old.map_or(&[][..], |old| list(&old["spec"], "devices"));
    errors.extend(every(devices, most, &at, |item, at| {
        let before = before.iter().find(|before| before["name"] == item["name"]);
        device(item, before, each_placed, at)
    }));
    errors.extend(distinct(devices.iter().map(|device| text(device, "name")), &at));
    let at = path.child("sharedCounters");
    errors.extend(every(counters, COUNTER_SETS_MAX, &at, |set, at| counter_set(set, "name", at)));
    errors.extend(distinct(counters.iter().map(|set| text(set, "name")), &at));
    errors
}

/// Attributes with several values.
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// Of devices that say this much, fewer fit into one slice.
fn is_advanced(device: &Value) -> bool {
    let lists = |attribute: &Value| LISTS.into_iter().any(|field| has(attribute, field));
    ["taints", "consumesCounters"].into_iter().any(|field| !list(device, field).is_empty())
        || map(device, "attributes").into_iter().flatten().any(|(_, attribute)| lists(attribute))
}

fn the_pool(spec: &Value, path: &Path) -> Errors {
    let mut errors = pool(text(spec, "name"), &path.child("name"));
    let count = int(spec, "resourceSliceCount").unwrap_or_default();
    if count <= 0 {
        errors.push(FieldError::invalid(
            &path.child("resourceSliceCount"),
            count,
            "must be greater than zero",
        ));
    }
    if let Some(generation) = int(spec, "generation").filter(|generation| *generation < 0) {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&path.child("generation"), generation, detail));
    }
    errors
}

/// Where the devices of a slice are.
fn place(spec: &Value, path: &Path) -> Errors {
    let (mut set, mut errors) = (Vec::new(), Errors::new());
    if has(spec, "nodeName") {
        let (name, at) = (text(spec, "nodeName"), path.child("nodeName"));
        if name.is_empty() {
            errors.push(FieldError::invalid(&at, name, "must be either unset or set to a non-empty string"));
        } else {
            set.push("`nodeName`");
            errors.extend(check::named(&at, name, names::dns1123_subdomain(name)));
        }
    }
    if has(spec, "nodeSelector") {
        set.push("`nodeSelector`");
        errors.extend(node_selector(&spec["nodeSelector"], &path.child("nodeSelector")));
        let terms = &spec["nodeSelector"]["nodeSelectorTerms"];
        if terms.as_array().map_or(0, Vec::len) != 1 {
            let at = path.child("nodeSelector").child("nodeSelectorTerms");
            errors.push(FieldError::invalid(&at, terms.clone(), "must have exactly one node selector term"));
        }
    }
    for (field, quoted) in
        [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")]
    {
        errors.extend(true_or_unset(spec, field, quoted, &mut set, path));
    }
    errors.extend(exactly_one(&set, PLACES, ", but multiple fields are set", path));
    errors
}

fn true_or_unset(
    object: &Value,
    field: &str,
    quoted: &'static str,
    set: &mut Vec<&'static str>,
    path: &Path,
) -> Option<FieldError> {
    match object.get(field).and_then(Value::as_bool)? {
        true => set.push(quoted),
        false => {
            let detail = "must be either unset or set to true";
            return Some(FieldError::invalid(&path.child(field), false, detail));
        }
    }
    None
}

fn exactly_one(set: &[&str], detail: &str, and: &str, path: &Path) -> Option<FieldError> {
    match set.len() {
        0 => Some(FieldError::required(path, detail)),
        1 => None,
        _ => Some(FieldError::invalid(path, format!("{{{}}}", set.join(", ")), format!("{detail}{and}"))),
    }
}

fn counter_set(set: &Value, key: &str, path: &Path) -> Errors {
    let (name, at) = (text(set, key), path.child("counters"));
    let mut errors = match name {
        "" => vec![FieldError::required(&path.child(key), "")],
        name => check::named(&path.child(key), name, names::dns1123_label(name)),
    };
    match map(set, "counters") {
        None => errors.push(FieldError::required(&at, "")),
        Some(counters) if counters.len() > COUNTERS_MAX => {
            errors.push(FieldError::too_many(&at, counters.len(), COUNTERS_MAX));
        }
        Some(counters) => {
            for (name, _) in counters {
                errors.extend(check::named(&at.key(name), name, names::dns1123_label(name)));
            }
        }
    }
    errors
}

fn device(device: &Value, before: Option<&Value>, placed: bool, path: &Path) -> Errors {
    let name = text(device, "name");
    let mut errors = check::named(&path.child("name"), name, names::dns1123_label(name));
    let (attributes, capacities) = (map(device, "attributes"), map(device, "capacity"));
    let count = attributes.map_or(0, serde_json::Map::len) + capacities.map_or(0, serde_json::Map::len);
    if count > ATTRIBUTES_MAX {
        let detail =
            format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        errors.push(FieldError::invalid(path, count, detail));
    }
    let values: usize = attributes.into_iter().flatten().map(|(_, value)| values_of(value)).sum();
    if values > VALUES_MAX {
        let detail = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        errors.push(FieldError::invalid(path, values, detail));
    }
    for (name, value) in attributes.into_iter().flatten() {
        let at = path.child("attributes");
        errors.extend(attribute(name, &at));
        errors.extend(attribute_value(value, &at.key(name)));
    }
    errors.extend(capacity_of(device, path));
    // Those that were there before are left as they are.
    if before.is_none_or(|before| before["taints"] != device["taints"]) {
        errors.extend(every(list(device, "taints"), TAINTS_MAX, &path.child("taints"), taint));
    }
    let (consumed, at) = (list(device, "consumesCounters"), path.child("consumesCounters"));
    errors.extend(every(consumed, CONSUMPTIONS_MAX, &at, |set, at| counter_set(set, "counterSet", at)));
    errors.extend(distinct(consumed.iter().map(|set| text(set, "counterSet")), &at));
    errors.extend(device_place(device, placed, path));
    errors.extend(binding_conditions(device, path));
    errors
}

fn capacity_of(device: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let shared = flag(device, "allowMultipleAllocations");
    for (name, value) in map(device, "capacity").into_iter().flatten() {
        errors.extend(attribute(name, &path.child("capacity")));
        let at = path.child("capacity").key(name);
        if shared {
            errors.extend(capacity::policy(value, &at));
        } else if has(value, "requestPolicy") {
            let at = at.child("requestPolicy");
            errors.push(FieldError::forbidden(&at, "allowMultipleAllocations must be true"));
        }
    }
    errors
}

fn device_place(device: &Value, placed: bool, path: &Path) -> Errors {
    let fields = ["nodeName", "nodeSelector", "allNodes"];
    if !placed {
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the \
                      ResourceSlice spec";
        let any = fields.iter().any(|field| has(device, field));
        return any.then(|| FieldError::invalid(path, Value::Null, detail)).into_iter().collect();
    }
    let (mut set, mut errors) = (Vec::new(), Errors::new());
    let (name, at) = (text(device, "nodeName"), path.child("nodeName"));
    if has(device, "nodeName") && name.is_empty() {
        errors.push(FieldError::invalid(&at, name, "must not be empty"));
    } else if !name.is_empty() {
        set.push("`nodeName`");
        errors.extend(check::named(&at, name, names::dns1123_subdomain(name)));
    }
    if has(device, "nodeSelector") {
        set.push("`nodeSelector`");
        errors.extend(node_selector(&device["nodeSelector"], &path.child("nodeSelector")));
    }
    errors.extend(true_or_unset(device, "allNodes", "`allNodes`", &mut set, path));
    errors.extend(exactly_one(&set, DEVICE_PLACES, "", path));
    errors
}

fn values_of(attribute: &Value) -> usize {
    LISTS.into_iter().map(|field| list(attribute, field).len()).sum::<usize>().max(1)
}

fn attribute_value(value: &Value, path: &Path) -> Errors {
    const KINDS: [&str; 8] = ["int", "bool", "string", "version", "ints", "bools", "strings", "versions"];
    let mut errors = Errors::new();
    for field in ["string", "version"].into_iter().filter(|field| has(value, field)) {
        errors.extend(attribute_text(text(value, field), field == "version", &path.child(field)));
    }
    for field in LISTS.into_iter().filter(|field| has(value, field)) {
        let at = path.child(field);
        if list(value, field).is_empty() {
            errors.push(FieldError::invalid(&at, json!([]), "must not be empty if specified"));
        }
        for (i, item) in strings(value, field).into_iter().enumerate() {
            errors.extend(attribute_text(item, field == "versions", &at.index(i)));
        }
    }
    match KINDS.iter().filter(|kind| has(value, kind)).count() {
        0 => errors.push(FieldError::invalid(path, "", "exactly one value must be specified")),
        1 => {}
        _ => errors.push(FieldError::invalid(path, value.clone(), "exactly one value must be specified")),
    }
    errors
}

fn attribute_text(text: &str, is_version: bool, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if is_version && !is_semantic_version(text) {
        let detail = "must be a string compatible with semver.org spec 2.0.0";
        errors.push(FieldError::invalid(path, text, detail));
    }
    if text.len() > TEXT_MAX {
        errors.push(FieldError::too_long(path, TEXT_MAX));
    }
    errors
}

/// `1.2.3`, `1.2.3-alpha.1+build.5`.
pub(in super::super) fn is_semantic_version(text: &str) -> bool {
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
    let identifier = |part: &str| word(part) && (!part.bytes().all(|b| b.is_ascii_digit()) || number(part));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && before.is_none_or(|before| before.split('.').all(identifier))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn row(slice: &Value, now: i64) -> Vec<Value> {
    let spec = &slice["spec"];
    vec![
        json!(meta::name(slice)),
        json!(text(spec, "nodeName")),
        json!(text(spec, "driver")),
        json!(text(&spec["pool"], "name")),
        age(slice, now),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn semantic_versions() {
        for (text, is) in [
            ("1.2.3", true),
            ("0.0.0-alpha.1+b.5", true),
            ("1.2", false),
            ("01.2.3", false),
            ("1.2.3-01", false),
            ("1.2.3-", false),
            ("", false),
        ] {
            assert_eq!(super::is_semantic_version(text), is, "{text}");
        }
    }
}
