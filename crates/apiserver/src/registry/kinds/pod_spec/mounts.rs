//! Refusals of what a container mounts.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use serde_json::Value;

use super::super::value::{flag, has, list, text};
use super::Surroundings;
use super::volumes::{descending, no_backsteps};

const PROPAGATIONS: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
const RECURSIVE: [&str; 3] = ["Disabled", "Enabled", "IfPossible"];

/// Mounts of file systems, and devices.
pub(super) fn validate(container: &Value, around: &Surroundings<'_>, path: &Path) -> Errors {
    let mut errors = mounts(container, around, &path.child("volumeMounts"));
    errors.extend(devices(container, around, &path.child("volumeDevices")));
    errors
}

fn mounts(container: &Value, around: &Surroundings<'_>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut places = BTreeSet::new();
    let devices = list(container, "volumeDevices");
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let at = path.index(i);
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        }
        if !around.volumes.contains_key(name) {
            errors.push(FieldError::not_found(&at.child("name"), name));
        }
        if place.is_empty() {
            errors.push(FieldError::required(&at.child("mountPath"), ""));
        }
        if !places.insert(place) {
            errors.push(FieldError::invalid(&at.child("mountPath"), place, "must be unique"));
        }
        if devices.iter().any(|device| text(device, "name") == name) {
            let detail = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(&at.child("name"), name, detail));
        }
        if devices.iter().any(|device| text(device, "devicePath") == place) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(&at.child("mountPath"), place, detail));
        }
        errors.extend(part(mount, path, &at));
        errors.extend(propagation(mount, container, path));
        errors.extend(recursive_read_only(mount, &path.child("recursiveReadOnly")));
    }
    errors
}

/// A part of the volume. Upstream complains of the list when it is about an item.
fn part(mount: &Value, path: &Path, at: &Path) -> Errors {
    let (part, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
    let mut errors = descending(part, &path.child("subPath"));
    if !expression.is_empty() {
        if !part.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(&at.child("subPathExpr"), expression, detail));
        }
        errors.extend(descending(expression, &path.child("subPathExpr")));
    }
    errors
}

fn propagation(mount: &Value, container: &Value, path: &Path) -> Errors {
    if !has(mount, "mountPropagation") {
        return Errors::new();
    }
    let (mode, at) = (text(mount, "mountPropagation"), path.child("mountPropagation"));
    let mut errors = Errors::new();
    if !PROPAGATIONS.contains(&mode) {
        errors.push(FieldError::not_supported(&at, mode, &PROPAGATIONS));
    }
    if mode == "Bidirectional" && !flag(&container["securityContext"], "privileged") {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(&at, detail));
    }
    errors
}

fn recursive_read_only(mount: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    match text(mount, "recursiveReadOnly") {
        _ if !has(mount, "recursiveReadOnly") => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !flag(mount, "readOnly") {
                errors.push(FieldError::forbidden(path, "may only be specified when readOnly is true"));
            }
            if has(mount, "mountPropagation") && text(mount, "mountPropagation") != "None" {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(path, detail));
            }
        }
        other => errors.push(FieldError::not_supported(path, other, &RECURSIVE)),
    }
    errors
}

fn devices(container: &Value, around: &Surroundings<'_>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    let mounts = list(container, "volumeMounts");
    for (i, device) in list(container, "volumeDevices").iter().enumerate() {
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        let (at_name, at_place) = (path.index(i).child("name"), path.index(i).child("devicePath"));
        errors.extend(device_name(name, !name.is_empty() && !names.insert(name), around, &at_name));
        if place.is_empty() {
            errors.push(FieldError::required(&at_place, ""));
        }
        if places.contains(place) {
            errors.push(FieldError::invalid(&at_place, place, "must be unique"));
        }
        if no_backsteps(place, &at_place).is_some() {
            errors.push(FieldError::invalid(&at_place, place, "can not contain backsteps ('..')"));
        } else {
            places.insert(place);
        }
        if mounts.iter().any(|mount| text(mount, "name") == name) {
            errors.push(FieldError::invalid(&at_name, name, "must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| text(mount, "mountPath") == place) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(&at_place, place, detail));
        }
    }
    errors
}

/// A device is that of a claim to a volume.
fn device_name(name: &str, taken: bool, around: &Surroundings<'_>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if taken {
        errors.push(FieldError::invalid(path, name, "must be unique"));
    }
    match around.volumes.get(name) {
        None => errors.push(FieldError::not_found(path, name)),
        Some(volume) if !has(volume, "persistentVolumeClaim") && !has(volume, "ephemeral") => {
            let detail =
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            errors.push(FieldError::invalid(path, name, detail));
        }
        Some(_) => {}
    }
    errors
}
