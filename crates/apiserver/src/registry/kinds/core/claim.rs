//! Claims to persistent volumes.

use machinery::field::{Errors, FieldError, Path};
use machinery::quantity::Quantity;
use machinery::{internal, meta, names};
use serde_json::{Value, json};

use super::super::cells::{access_modes, age, or_unset};
use super::super::check;
use super::super::plain::Plain;
use super::super::pod_spec;
use super::super::value::{has, list, map, put, text};
use super::volume::{VOLUME_MODES, class_name, modes, not_owed, phase, positive, storage_class};
use crate::registry::strategy::Generic;

/// Where the class of a claim stood before there was a field for it.
pub(super) const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const CLASS: &str = "storageClassName";
const ATTRIBUTES: &str = "volumeAttributesClassName";
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: "
            spec.volumeMode = \"Filesystem\"
            status = {}
            status.phase ?= \"Pending\"
        ",
        complete: |object| {
            for field in ["limits", "requests"] {
                pod_spec::round_up(object.pointer_mut("/spec/resources").and_then(|r| r.get_mut(field)));
            }
        },
        prepare: |object| data_sources(object.get_mut("spec"), None),
        prepare_update: |object, old| data_sources(object.get_mut("spec"), old.get("spec")),
        status: r#"{"phase":"Pending"}"#,
        validate: |object| validate_claim_spec(&object["spec"], &Path::new("spec")),
        validate_update,
        validate_status,
        row: Some(row),
        warnings,
        update_warnings: |object, _| warnings(object),
        ..Plain::new(generic)
    }
}

fn warnings(object: &Value) -> Vec<String> {
    let old = meta::annotation(object, BETA_CLASS).map(|_| {
        let what = "deprecated since v1.8; use \"storageClassName\" attribute instead";
        format!("metadata.annotations[{BETA_CLASS}]: {what}")
    });
    let amounts = pod_spec::claim_warnings(&object["spec"], &Path::new("spec"));
    old.into_iter().chain(amounts).collect()
}

/// What a volume is filled with is told by two fields that say the same. The older one knows claims and snapshots only,
/// and data of other namespaces is not switched on.
fn data_sources(spec: Option<&mut Value>, old: Option<&Value>) {
    const OLD: &str = "dataSource";
    const NEW: &str = "dataSourceRef";
    let had = |field: &str| old.is_some_and(|old| has(old, field));
    let Some(fields) = spec.and_then(Value::as_object_mut) else { return };
    if !had(NEW) && fields.get(NEW).is_some_and(|source| !text(source, "namespace").is_empty()) {
        fields.remove(NEW);
    }
    let known = |source: &Value| match (text(source, "apiGroup"), text(source, "kind")) {
        ("", "PersistentVolumeClaim") => true,
        (group, kind) => group == SNAPSHOTS && kind == "VolumeSnapshot",
    };
    let legacy = !had(OLD) && !had(NEW) && !fields.contains_key(NEW);
    if legacy && fields.get(OLD).is_some_and(|source| !known(source)) {
        fields.remove(OLD);
    }
    let (older, newer) = (fields.get(OLD).cloned(), fields.get(NEW).cloned());
    match (older, newer) {
        (Some(source), None) => fields.insert(NEW.to_owned(), source),
        (None, Some(mut source)) if text(&source, "namespace").is_empty() => {
            source.as_object_mut().map(|source| source.remove("namespace"));
            fields.insert(OLD.to_owned(), source)
        }
        _ => None,
    };
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
    errors.extend(class_name(spec, CLASS, path));
    errors.extend(check::known(spec, "volumeMode", &VOLUME_MODES, path));
    for field in ["dataSource", "dataSourceRef"].into_iter().filter(|field| has(spec, field)) {
        errors.extend(data_source(&spec[field], &path.child(field)));
    }
    let (older, newer) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if older.is_object() && newer.is_object() {
        let same = |field: &str| text(older, field) == text(newer, field);
        let elsewhere = !text(newer, "namespace").is_empty();
        let detail = if elsewhere {
            "may not be specified when dataSourceRef.namespace is specified"
        } else {
            "must match dataSourceRef"
        };
        if elsewhere || !["apiGroup", "kind", "name"].into_iter().all(same) {
            // Upstream shows the path to the field, which prints as nothing.
            errors.push(FieldError::invalid(path, json!({}), detail));
        }
    }
    errors.extend(class_name(spec, ATTRIBUTES, path));
    errors
}

fn data_source(source: &Value, path: &Path) -> Errors {
    let mut errors: Errors =
        ["name", "kind"].into_iter().filter_map(|field| check::required(source, field, path)).collect();
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(path, kind, detail));
    }
    if !group.is_empty() {
        errors.extend(check::named(&path.child("apiGroup"), group, names::dns1123_subdomain(group)));
    }
    let namespace = text(source, "namespace");
    if !namespace.is_empty() {
        errors.extend(check::named(&path.child("namespace"), namespace, names::dns1123_label(namespace)));
    }
    errors
}

/// A claim stays what it is; a bound one may grow, an unbound one may be given its volume.
fn validate_update(object: &Value, old: &Value) -> Errors {
    let (spec, before) = (&object["spec"], &old["spec"]);
    if spec == before && meta::annotation(object, BETA_CLASS) == meta::annotation(old, BETA_CLASS) {
        return Errors::new();
    }
    let mut errors = Errors::new();
    let (mut was, mut is) = (before.clone(), spec.clone());
    // Claims from before `dataSourceRef` have one of the two fields only.
    data_sources(Some(&mut was), Some(before));
    if text(before, "volumeName").is_empty() {
        copy(spec, &mut was, "volumeName");
    }
    let (class, old_class) = (meta::annotation(object, BETA_CLASS), meta::annotation(old, BETA_CLASS));
    let unset = !has(before, CLASS) && has(spec, CLASS);
    let from_annotation =
        unset && old_class == Some(text(spec, CLASS)) && class.is_none_or(|class| Some(class) == old_class);
    if from_annotation {
        copy(&was, &mut is, CLASS);
    } else {
        if class.unwrap_or_default() != old_class.unwrap_or_default() {
            let path = Path::new("metadata").child("annotations").child(BETA_CLASS);
            errors.push(FieldError::invalid(&path, class.unwrap_or_default(), "field is immutable"));
        }
        if unset && old_class.is_none() {
            copy(&was, &mut is, CLASS);
        }
    }
    if text(&object["status"], "phase") == "Bound" {
        if let Some(requests) = is.pointer_mut("/resources/requests").filter(|requests| requests.is_object())
        {
            copy(&before["resources"]["requests"], requests, "storage");
        }
        copy(&was, &mut is, ATTRIBUTES);
    }
    if was != is {
        let difference = internal::difference("PersistentVolumeClaimSpec", &was, &is);
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{difference}"
        );
        errors.push(FieldError::forbidden(&Path::new("spec"), detail));
    }
    errors.extend(shrunk(object, old));
    errors.extend(check::immutable(object, old, "/spec/volumeMode", &Path::new("volumeMode")));
    errors.extend(attributes_lost(object, old));
    errors
}

/// A volume that has got its attributes from a class has one from then on.
fn attributes_lost(object: &Value, old: &Value) -> Option<FieldError> {
    const GIVEN: &str = "currentVolumeAttributesClassName";
    let (spec, given) = (&object["spec"], has(&old["status"], GIVEN));
    let what = if has(spec, ATTRIBUTES) { "empty string" } else { "nil" };
    let lost = given && has(&old["spec"], ATTRIBUTES) && text(spec, ATTRIBUTES).is_empty();
    let detail = format!("update to {what} is forbidden when status.{GIVEN} is not nil");
    lost.then(|| FieldError::forbidden(&Path::new("spec").child(ATTRIBUTES), detail))
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    match from.get(field) {
        Some(value) => put(to, field, value.clone()),
        None => {
            to.as_object_mut().map(|to| to.remove(field));
        }
    }
}

/// A claim that could not grow may want less again, but more than it has.
fn shrunk(object: &Value, old: &Value) -> Option<FieldError> {
    let amount = |object: &Value, pointer: &str| {
        let amount = object.pointer(pointer).and_then(|amount| Quantity::from_json(amount).ok());
        amount.unwrap_or_else(|| Quantity::from_i128(0))
    };
    let wanted = |object: &Value| amount(object, "/spec/resources/requests/storage");
    let (now, was, has) = (wanted(object), wanted(old), amount(old, "/status/capacity/storage"));
    let path = Path::new("spec").child("resources").child("requests").child("storage");
    (now < was && now <= has)
        .then(|| FieldError::forbidden(&path, "field can not be less than status.capacity"))
}

fn validate_status(object: &Value, _old: &Value) -> Errors {
    const RESIZES: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let (status, path) = (&object["status"], Path::new("status"));
    let mut errors = Errors::new();
    if list(&object["spec"], "accessModes").is_empty() {
        errors.push(FieldError::required(&Path::new("Spec").child("accessModes"), ""));
    }
    for (name, amount) in map(status, "capacity").into_iter().flatten() {
        errors.extend(not_owed(amount, &path.child("capacity").key(name)));
    }
    for (name, state) in map(status, "allocatedResourceStatuses").into_iter().flatten() {
        let at = path.child("allocatedResourceStatuses");
        errors.extend(resizable(name, &at));
        if !state.as_str().is_some_and(|state| RESIZES.contains(&state)) {
            errors.push(FieldError::not_supported(&at, name.as_str(), &RESIZES));
        }
    }
    for (name, amount) in map(status, "allocatedResources").into_iter().flatten() {
        let at = path.child("allocatedResources");
        let reasons = resizable(name, &at);
        if reasons.is_empty() {
            errors.extend(not_owed(amount, &at.key(name)));
        }
        errors.extend(reasons);
    }
    errors
}

/// What of a claim may grow: storage, and what is not of Kubernetes itself.
fn resizable(name: &str, path: &Path) -> Errors {
    let reasons = check::named(path, name, names::qualified_name(name));
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if reasons.is_empty() && native && name != "storage" {
        return vec![FieldError::not_supported(path, name, &["storage"])];
    }
    reasons
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let bound = !text(spec, "volumeName").is_empty();
    let (capacity, modes) = if bound {
        let capacity = status.pointer("/capacity/storage").and_then(Value::as_str);
        (capacity.unwrap_or("0"), access_modes(list(status, "accessModes")))
    } else {
        ("", String::new())
    };
    vec![
        json!(meta::name(object)),
        json!(phase(object)),
        json!(text(spec, "volumeName")),
        json!(capacity),
        json!(modes),
        json!(storage_class(object)),
        or_unset(spec.get(ATTRIBUTES)),
        age(object, now),
        or_unset(spec.get("volumeMode")),
    ]
}
