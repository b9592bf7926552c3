//! Persistent volumes and claims to them.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::quantity::Quantity;
use serde_json::{Value, json};

use super::super::cells::{access_modes, age, or_unset};
use super::super::check;
use super::super::plain::Plain;
use super::super::value::{has, list, map, strings, text};
use crate::registry::strategy::Generic;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
/// Fields of a volume that do not say what kind it is.
const NOT_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

pub(super) fn volume(generic: Generic) -> Plain {
    Plain {
        defaults: r#"
            spec.persistentVolumeReclaimPolicy = "Retain"
            spec.volumeMode = "Filesystem"
            spec.hostPath.type = ""
            spec.iscsi.iscsiInterface = "default"
        "#,
        status: r#"{"phase":"Pending"}"#,
        validate: validate_volume,
        validate_update: volume_update,
        row: Some(volume_row),
        ..Plain::new(generic)
    }
}

pub(super) fn claim(generic: Generic) -> Plain {
    Plain {
        defaults: "spec.volumeMode = \"Filesystem\"",
        status: r#"{"phase":"Pending"}"#,
        validate: |object| validate_claim_spec(&object["spec"], &Path::new("spec")),
        validate_update: claim_update,
        row: Some(claim_row),
        ..Plain::new(generic)
    }
}

fn modes(spec: &Value, path: &Path) -> Errors {
    const ALONE: &str = "ReadWriteOncePod";
    let modes = strings(spec, "accessModes");
    let at = path.child("accessModes");
    let mut errors: Errors = modes
        .iter()
        .filter(|mode| !ACCESS_MODES.contains(mode))
        .map(|mode| FieldError::not_supported(&at, *mode, &ACCESS_MODES))
        .collect();
    if modes.contains(&ALONE) && modes.iter().any(|mode| *mode != ALONE && ACCESS_MODES.contains(mode)) {
        errors.push(FieldError::forbidden(&at, "may not use ReadWriteOncePod with other access modes"));
    }
    errors
}

fn positive(amount: &Value, path: &Path) -> Option<FieldError> {
    match check::quantity(amount, path) {
        Err(error) => Some(error),
        Ok(value) if value.is_zero() => {
            Some(FieldError::invalid(path, amount.clone(), "must be greater than zero"))
        }
        Ok(_) => None,
    }
}

/// Names of the fields that say what kind of volume it is.
fn sources(spec: &Value) -> Vec<&str> {
    let fields = spec.as_object().into_iter().flatten();
    fields
        .filter(|(name, value)| !NOT_SOURCES.contains(&name.as_str()) && !value.is_null())
        .map(|(name, _)| name.as_str())
        .collect()
}

fn validate_volume(object: &Value) -> Errors {
    const POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    if list(spec, "accessModes").is_empty() {
        errors.push(FieldError::required(&path.child("accessModes"), ""));
    }
    errors.extend(modes(spec, &path));
    let at = path.child("capacity");
    let capacity = map(spec, "capacity");
    if capacity.is_none() {
        errors.push(FieldError::required(&at, ""));
    }
    if capacity.is_none_or(|all| all.len() > 1 || !all.contains_key("storage")) {
        let shown = spec["capacity"].clone();
        errors.push(FieldError::not_supported(&at, shown, &["storage"]));
    }
    for (name, amount) in capacity.into_iter().flatten() {
        errors.extend(positive(amount, &at.key(name)));
    }
    errors.extend(check::enumeration(spec, "persistentVolumeReclaimPolicy", &POLICIES, &path));
    errors.extend(source(spec, &path));
    errors.extend(check::enumeration(spec, "volumeMode", &VOLUME_MODES, &path));
    errors
}

fn source(spec: &Value, path: &Path) -> Errors {
    let sources = sources(spec);
    let Some((first, others)) = sources.split_first() else {
        return vec![FieldError::required(path, "must specify a volume type")];
    };
    let more =
        |other: &&str| FieldError::forbidden(&path.child(other), "may not specify more than 1 volume type");
    let mut errors: Errors = others.iter().map(more).collect();
    let (volume, at) = (&spec[*first], path.child(first));
    let fields: &[&str] = match *first {
        "hostPath" | "local" => &["path"],
        "nfs" => &["server", "path"],
        "csi" => &["driver", "volumeHandle"],
        _ => &[],
    };
    errors.extend(fields.iter().filter_map(|field| check::required(volume, field, &at)));
    let place = text(volume, "path");
    if matches!(*first, "hostPath" | "local") && place.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(&at.child("path"), place, "must not contain '..'"));
    }
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    if *first == "hostPath"
        && place.trim_end_matches('/').is_empty()
        && !place.is_empty()
        && policy == "Recycle"
    {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
    if *first == "local" && !has(spec, "nodeAffinity") {
        errors.push(FieldError::required(&path.child("nodeAffinity"), "Local volume requires node affinity"));
    }
    errors
}

fn volume_update(object: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let source = |object: &Value| -> Value {
        let spec = &object["spec"];
        sources(spec).into_iter().map(|name| (name.to_owned(), spec[name].clone())).collect()
    };
    let (before, after) = (source(old), source(object));
    if before != after {
        let path = Path::new("spec").child("persistentvolumesource");
        let detail = format!(
            "spec.persistentvolumesource is immutable after creation{}",
            check::difference(&before, &after)
        );
        errors.push(FieldError::forbidden(&path, detail));
    }
    let path = Path::new("spec").child("volumeMode");
    errors.extend(check::immutable(object, old, "/spec/volumeMode", &path));
    if has(&old["spec"], "nodeAffinity") {
        let path = Path::new("spec").child("nodeAffinity");
        errors.extend(check::immutable(object, old, "/spec/nodeAffinity", &path));
    }
    errors
}

fn volume_row(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let claim = &spec["claimRef"];
    let claim = if claim.is_object() {
        format!("{}/{}", text(claim, "namespace"), text(claim, "name"))
    } else {
        String::new()
    };
    vec![
        json!(meta::name(object)),
        json!(text(&spec["capacity"], "storage")),
        json!(access_modes(list(spec, "accessModes"))),
        json!(text(spec, "persistentVolumeReclaimPolicy")),
        json!(phase(object)),
        json!(claim),
        json!(text(spec, "storageClassName")),
        or_unset(spec.get("volumeAttributesClassName")),
        json!(text(status, "reason")),
        age(object, now),
        or_unset(spec.get("volumeMode")),
    ]
}

fn phase(object: &Value) -> &str {
    if meta::deletion_timestamp(object).is_some() { "Terminating" } else { text(&object["status"], "phase") }
}

/// What a claim wants, also one that stands in a template.
pub(in super::super) fn validate_claim_spec(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if list(spec, "accessModes").is_empty() {
        errors.push(FieldError::required(&path.child("accessModes"), "at least 1 access mode is required"));
    }
    errors.extend(check::selector(&spec["selector"], &path.child("selector")));
    errors.extend(modes(spec, path));
    let at = path.child("resources").key("storage");
    match spec.pointer("/resources/requests/storage") {
        None => errors.push(FieldError::required(&at, "")),
        Some(amount) => errors.extend(positive(amount, &at)),
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        let reasons = machinery::names::dns1123_subdomain(class);
        errors.extend(check::named(&path.child("storageClassName"), class, reasons));
    }
    errors.extend(check::enumeration(spec, "volumeMode", &VOLUME_MODES, path));
    errors
}

/// A claim stays what it is; a bound one may grow, an unbound one may be given its volume.
fn claim_update(object: &Value, old: &Value) -> Errors {
    const STORAGE: &str = "/spec/resources/requests/storage";
    let mut before = old["spec"].clone();
    let spec = &object["spec"];
    let mut allow = |field: &str| {
        if let Some(map) = before.as_object_mut() {
            match spec.get(field) {
                Some(value) => map.insert(field.to_owned(), value.clone()),
                None => map.remove(field),
            };
        }
    };
    if text(&old["spec"], "volumeName").is_empty() {
        allow("volumeName");
    }
    if !has(&old["spec"], "storageClassName") {
        allow("storageClassName");
    }
    let mut errors = Errors::new();
    let bound = text(&old["status"], "phase") == "Bound";
    if bound {
        allow("volumeAttributesClassName");
        if let (Some(slot), Some(wanted)) =
            (before.pointer_mut("/resources/requests/storage"), object.pointer(STORAGE))
        {
            *slot = wanted.clone();
        }
        let amount = |object: &Value, pointer: &str| Quantity::from_json(object.pointer(pointer)?).ok();
        let least = amount(old, "/status/capacity/storage").or_else(|| amount(old, STORAGE));
        if let (Some(wanted), Some(least)) = (amount(object, STORAGE), least)
            && wanted < least
        {
            let path = Path::new("spec").child("resources").child("requests").child("storage");
            let detail = "field can not be less than status.capacity";
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
    if before != *spec {
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims{}",
            check::difference(&before, spec)
        );
        errors.push(FieldError::forbidden(&Path::new("spec"), detail));
    }
    errors
}

fn claim_row(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let bound = !text(spec, "volumeName").is_empty();
    let (capacity, modes) = if bound {
        (text(&status["capacity"], "storage"), access_modes(list(status, "accessModes")))
    } else {
        ("", String::new())
    };
    vec![
        json!(meta::name(object)),
        json!(phase(object)),
        json!(text(spec, "volumeName")),
        json!(capacity),
        json!(modes),
        json!(text(spec, "storageClassName")),
        or_unset(spec.get("volumeAttributesClassName")),
        age(object, now),
        or_unset(spec.get("volumeMode")),
    ]
}
