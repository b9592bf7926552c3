//! Persistent volumes.

use machinery::field::{Errors, FieldError, Path};
use machinery::quantity::Quantity;
use machinery::{internal, meta, names, time};
use serde_json::{Map, Value, json};

use super::super::cells::{access_modes, age, or_unset};
use super::super::check;
use super::super::node_labels;
use super::super::plain::Plain;
use super::super::pod_spec;
use super::super::value::{has, list, map, put, strings, text};
use super::volume_affinity;
use crate::registry::strategy::Generic;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(super) const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
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
const SINCE: &str = "lastPhaseTransitionTime";

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: r#"
            spec.persistentVolumeReclaimPolicy ?= "Retain"
            spec.volumeMode = "Filesystem"
            spec.hostPath.type = ""
            spec.iscsi.iscsiInterface ?= "default"
            spec.rbd.pool ?= "rbd"
            spec.rbd.user ?= "admin"
            spec.rbd.keyring ?= "/etc/ceph/keyring"
            spec.azureDisk.cachingMode = "ReadWrite"
            spec.azureDisk.fsType = "ext4"
            spec.azureDisk.readOnly = false
            spec.azureDisk.kind = "Shared"
            spec.scaleIO.storageMode ?= "ThinProvisioned"
            spec.scaleIO.fsType ?= "xfs"
            status.phase ?= "Pending"
        "#,
        complete: |object| pod_spec::round_up(object.pointer_mut("/spec/capacity")),
        prepare: |object| {
            let since = meta::creation_timestamp(object).to_owned();
            put(object, "status", json!({ "phase": "Pending", SINCE: since }));
        },
        prepare_status: phase_since,
        validate,
        validate_update,
        row: Some(row),
        warnings,
        update_warnings: |object, _| warnings(object),
        ..Plain::new(generic)
    }
}

/// The status says since when it has its phase.
fn phase_since(object: &mut Value, old: &Value) {
    let before = &old["status"];
    let Some(status) = object.get_mut("status").filter(|status| status.is_object()) else { return };
    if has(status, SINCE) && status.get(SINCE) != before.get(SINCE) {
        return;
    }
    if text(status, "phase") != text(before, "phase") {
        put(status, SINCE, time::rfc3339(jiff::Timestamp::now()));
    } else if let Some(since) = before.get(SINCE) {
        put(status, SINCE, since.clone());
    }
}

/// How a volume may be mounted.
pub(super) fn modes(spec: &Value, path: &Path) -> Errors {
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

/// An amount that is more than nothing.
pub(super) fn positive(amount: &Value, path: &Path) -> Option<FieldError> {
    let amount = match Quantity::from_json(amount) {
        Ok(amount) => amount,
        Err(error) => return Some(FieldError::invalid(path, amount.clone(), error.to_string())),
    };
    let none = amount.is_zero() || amount.is_negative();
    none.then(|| FieldError::invalid(path, amount.to_string(), "must be greater than zero"))
}

/// An amount that is there (upstream `validateBasicResource`).
pub(super) fn not_owed(amount: &Value, path: &Path) -> Option<FieldError> {
    let amount = Quantity::from_json(amount).ok().filter(Quantity::is_negative)?;
    let shown = i64::try_from(amount.value()).unwrap_or(i64::MIN);
    Some(FieldError::invalid(path, shown, "must be a valid resource quantity"))
}

/// The name of a class, if there is one.
pub(super) fn class_name(spec: &Value, field: &str, path: &Path) -> Errors {
    match text(spec, field) {
        "" => Errors::new(),
        name => check::named(&path.child(field), name, names::dns1123_subdomain(name)),
    }
}

fn validate(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    if list(spec, "accessModes").is_empty() {
        errors.push(FieldError::required(&path.child("accessModes"), ""));
    }
    errors.extend(modes(spec, &path));
    errors.extend(capacity(spec, &path.child("capacity")));
    errors.extend(check::enumeration(spec, "persistentVolumeReclaimPolicy", &POLICIES, &path));
    if has(spec, "nodeAffinity") {
        let (affinity, at) = (&spec["nodeAffinity"], path.child("nodeAffinity").child("required"));
        if has(affinity, "required") {
            errors.extend(pod_spec::node_selector(&affinity["required"], &at));
        } else {
            errors.push(FieldError::required(&at, "must specify required node constraints"));
        }
    }
    errors.extend(made_of(spec, meta::name(object), &path));
    errors.extend(class_name(spec, "storageClassName", &path));
    errors.extend(check::known(spec, "volumeMode", &VOLUME_MODES, &path));
    if has(spec, "volumeAttributesClassName") {
        if text(spec, "volumeAttributesClassName").is_empty() {
            let at = path.child("volumeAttributesClassName");
            errors.push(FieldError::required(&at, "an empty string is disallowed"));
        }
        errors.extend(class_name(spec, "volumeAttributesClassName", &path));
        if !has(spec, "csi") {
            let detail = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required(&path.child("csi"), detail));
        }
    }
    errors
}

/// What a volume is made of, with what that asks of the rest.
fn made_of(spec: &Value, name: &str, path: &Path) -> Errors {
    let mut errors = pod_spec::of_persistent_volume(spec, name, path);
    let local = path.child("local");
    let is_second = errors.iter().any(|error| error.field() == local.as_str());
    if has(spec, "local") && !is_second && !has(spec, "nodeAffinity") {
        errors.push(FieldError::required(&path.child("nodeAffinity"), "Local volume requires node affinity"));
    }
    let place = text(&spec["hostPath"], "path");
    let root = place.starts_with('/') && place.split('/').all(|step| matches!(step, "" | "."));
    if root && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
    errors
}

/// A volume that stands in the pod that uses it, and so in what attaches it.
pub(in super::super) fn validate_inline(spec: &Value, path: &Path) -> Errors {
    const CONTEXT: &str = "in the context of inline volumes";
    let forbid = |field: &str| {
        let detail = format!("may not be specified {CONTEXT}");
        has(spec, field).then(|| FieldError::forbidden(&path.child(field), detail))
    };
    let only = |field: &str, name: &str, value: &str| {
        let detail = format!("{name}{value} {CONTEXT}");
        let other = has(spec, field) && text(spec, field) != value;
        other.then(|| FieldError::forbidden(&path.child(field), detail))
    };
    let mut errors: Errors = ["claimRef", "capacity"].into_iter().filter_map(forbid).collect();
    if !has(spec, "csi") {
        let detail = format!("has to be specified {CONTEXT}");
        errors.push(FieldError::required(&path.child("csi"), detail));
    }
    if list(spec, "accessModes").is_empty() {
        errors.push(FieldError::required(&path.child("accessModes"), ""));
    }
    errors.extend(modes(spec, path));
    errors.extend(only("persistentVolumeReclaimPolicy", "may only be ", "Retain"));
    errors.extend(forbid("nodeAffinity"));
    errors.extend(made_of(spec, "", path));
    if !text(spec, "storageClassName").is_empty() {
        errors.extend(forbid("storageClassName"));
    }
    errors.extend(only("volumeMode", "may not specify volumeMode other than ", "Filesystem"));
    errors
}

fn capacity(spec: &Value, path: &Path) -> Errors {
    let capacity = map(spec, "capacity");
    let mut errors = Errors::new();
    if capacity.is_none() {
        errors.push(FieldError::required(path, ""));
    }
    if capacity.is_none_or(|all| all.len() > 1 || !all.contains_key("storage")) {
        errors.push(FieldError::not_supported(path, spec["capacity"].clone(), &["storage"]));
    }
    for (name, amount) in capacity.into_iter().flatten() {
        errors.extend(not_owed(amount, &path.key(name)));
        errors.extend(positive(amount, &path.key(name)));
    }
    errors
}

/// The part of a specification that says what kind of volume it is. A secret that was not named yet is left out.
fn source(spec: &Value, expands: bool) -> Map<String, Value> {
    let fields = spec.as_object().into_iter().flatten();
    let mut source: Map<String, Value> = fields
        .filter(|(name, value)| !NOT_SOURCES.contains(&name.as_str()) && !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(csi) = source.get_mut("csi").and_then(Value::as_object_mut).filter(|_| !expands) {
        csi.remove("controllerExpandSecretRef");
    }
    source
}

/// Upstream looks at the volume a second time when it is changed, and tells each cause twice.
fn validate_update(object: &Value, old: &Value) -> Errors {
    let mut errors = validate(object);
    let (spec, was) = (&object["spec"], &old["spec"]);
    let expands = has(&was["csi"], "controllerExpandSecretRef");
    let (before, after) = (source(was, expands), source(spec, expands));
    if before != after {
        let path = Path::new("spec").child("persistentvolumesource");
        let difference =
            internal::difference("PersistentVolumeSource", &Value::Object(before), &Value::Object(after));
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{difference}");
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors.extend(check::immutable(object, old, "/spec/volumeMode", &Path::new("volumeMode")));
    if has(was, "nodeAffinity") {
        errors.extend(volume_affinity::fixed(&spec["nodeAffinity"], &was["nodeAffinity"]));
    }
    let attributes = "volumeAttributesClassName";
    if has(was, attributes) && !has(spec, attributes) {
        let path = Path::new("spec").child(attributes);
        errors.push(FieldError::forbidden(&path, "update from non-nil value to nil is forbidden"));
    }
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
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
        json!(storage_class(object)),
        or_unset(spec.get("volumeAttributesClassName")),
        json!(text(status, "reason")),
        age(object, now),
        or_unset(spec.get("volumeMode")),
    ]
}

/// The phase, or that it is on its way out.
pub(super) fn phase(object: &Value) -> &str {
    if meta::deletion_timestamp(object).is_some() { "Terminating" } else { text(&object["status"], "phase") }
}

/// The class of a volume or claim, which was an annotation once.
pub(super) fn storage_class(object: &Value) -> &str {
    meta::annotation(object, super::claim::BETA_CLASS)
        .unwrap_or_else(|| text(&object["spec"], "storageClassName"))
}

/// Kinds of volumes that are not mounted any more, and other things of the past (upstream
/// `GetWarningsForPersistentVolume`).
fn warnings(object: &Value) -> Vec<String> {
    const OLD: [(&str, &str); 2] = [
        (super::claim::BETA_CLASS, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        (
            "volume.beta.kubernetes.io/mount-options",
            "deprecated since v1.31; use \"mountOptions\" attribute instead",
        ),
    ];
    let spec = &object["spec"];
    let mut warnings: Vec<String> = OLD
        .into_iter()
        .filter(|(key, _)| meta::annotation(object, key).is_some())
        .map(|(key, what)| format!("metadata.annotations[{key}]: {what}"))
        .collect();
    if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        warnings.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned(),
        );
    }
    let required = &spec["nodeAffinity"]["required"];
    let path = Path::new("spec").child("nodeAffinity").child("required").child("nodeSelectorTerms");
    for (i, term) in list(required, "nodeSelectorTerms").iter().enumerate() {
        warnings.extend(node_labels::of_term(term, true, &path.index(i)));
    }
    // Of these two nobody says anything.
    let dead = pod_spec::dead_volume(spec).filter(|(shown, _)| !matches!(*shown, "flocker" | "quobyte"));
    warnings.extend(dead.map(|(shown, since)| format!("spec.{shown}: {since}")));
    warnings
}
