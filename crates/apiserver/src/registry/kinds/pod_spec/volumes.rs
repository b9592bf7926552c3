//! Refusals of volumes.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{has, int, list, text};
use super::containers::local_path;

const MODE_MAX: i64 = 0o777;
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const PROJECTIONS: [&str; 6] =
    ["configMap", "secret", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];

/// The names of the volumes, and what is wrong with them.
pub(super) fn validate<'a>(volumes: &'a [Value], path: &Path) -> (BTreeSet<&'a str>, Errors) {
    let mut seen = BTreeSet::new();
    let mut errors = Errors::new();
    for (i, volume) in volumes.iter().enumerate() {
        let at = path.index(i);
        let name = text(volume, "name");
        let mut found = source(volume, &at);
        if name.is_empty() {
            found.push(FieldError::required(&at.child("name"), ""));
        } else {
            found.extend(check::named(&at.child("name"), name, names::dns1123_label(name)));
        }
        if seen.contains(name) {
            found.push(FieldError::duplicate(&at.child("name"), name));
        }
        if found.is_empty() {
            seen.insert(name);
        }
        errors.extend(found);
    }
    (seen, errors)
}

fn source(volume: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let kinds: Vec<&String> = volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(k, v)| *k != "name" && !v.is_null())
        .map(|(k, _)| k)
        .collect();
    let Some((first, others)) = kinds.split_first() else {
        return vec![FieldError::required(path, "must specify a volume type")];
    };
    for other in others {
        errors.push(FieldError::forbidden(&path.child(other), "may not specify more than 1 volume type"));
    }
    let at = path.child(first);
    let source = &volume[first.as_str()];
    errors.extend(match first.as_str() {
        "configMap" => check::required(source, "name", &at).into_iter().chain(files(source, &at)).collect(),
        "secret" => {
            check::required(source, "secretName", &at).into_iter().chain(files(source, &at)).collect()
        }
        "downwardAPI" => files(source, &at),
        "hostPath" => host_path(source, &at),
        "projected" => projected(source, &at),
        "persistentVolumeClaim" => check::required(source, "claimName", &at).into_iter().collect(),
        "nfs" => check::required(source, "server", &at)
            .into_iter()
            .chain(check::required(source, "path", &at))
            .collect(),
        "csi" => check::required(source, "driver", &at).into_iter().collect(),
        "emptyDir" => has(source, "sizeLimit")
            .then(|| check::quantity(&source["sizeLimit"], &at.child("sizeLimit")).err())
            .flatten()
            .into_iter()
            .collect(),
        _ => Errors::new(),
    });
    errors
}

fn files(source: &Value, path: &Path) -> Errors {
    let mut errors: Errors = mode(source, "defaultMode", path).into_iter().collect();
    for (i, item) in list(source, "items").iter().enumerate() {
        let at = path.child("items").index(i);
        if !has(item, "fieldRef") && !has(item, "resourceFieldRef") {
            errors.extend(check::required(item, "key", &at));
        }
        errors.extend(check::required(item, "path", &at));
        errors.extend(local_path(text(item, "path"), &at.child("path")));
        errors.extend(mode(item, "mode", &at));
    }
    errors
}

fn mode(object: &Value, field: &str, path: &Path) -> Option<FieldError> {
    let mode = int(object, field)?;
    let detail = "must be a number between 0 and 0777 (octal), both inclusive";
    (!(0..=MODE_MAX).contains(&mode)).then(|| FieldError::invalid(&path.child(field), mode, detail))
}

fn host_path(source: &Value, path: &Path) -> Errors {
    let (at, place) = (path.child("path"), text(source, "path"));
    let mut errors: Errors = check::required(source, "path", path).into_iter().collect();
    if place.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(&at, place, "must not contain '..'"));
    }
    let kind = text(source, "type");
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, &HOST_PATH_TYPES));
    }
    errors
}

fn projected(source: &Value, path: &Path) -> Errors {
    let mut errors: Errors = mode(source, "defaultMode", path).into_iter().collect();
    for (i, part) in list(source, "sources").iter().enumerate() {
        let at = path.child("sources").index(i);
        for kind in PROJECTIONS.into_iter().filter(|kind| has(part, kind)) {
            let at = at.child(kind);
            errors.extend(files(&part[kind], &at));
            if kind == "serviceAccountToken" {
                errors.extend(check::required(&part[kind], "path", &at));
                let seconds = int(&part[kind], "expirationSeconds").unwrap_or(3600);
                if seconds < 600 {
                    errors.push(FieldError::invalid(
                        &at.child("expirationSeconds"),
                        seconds,
                        "may not specify a duration less than 10 minutes",
                    ));
                }
            }
        }
    }
    errors
}
