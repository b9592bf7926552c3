//! Refusals of files that volumes hold: keys of maps, fields of the pod, tokens, and all of them in one place.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use serde_json::Value;

use super::super::check;
use super::super::value::{has, int, list, text};
use super::environment;
use super::volumes::local;

const MODE_MAX: i64 = 0o777;
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
/// What of a pod may stand in a file.
const FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Permissions of a file.
pub(super) fn mode(object: &Value, field: &str, path: &Path) -> Option<FieldError> {
    let mode = int(object, field)?;
    let detail = "must be a number between 0 and 0777 (octal), both inclusive";
    (!(0..=MODE_MAX).contains(&mode)).then(|| FieldError::invalid(&path.child(field), mode, detail))
}

/// Keys of a ConfigMap or a Secret, each with its file.
pub(super) fn keys(source: &Value, path: &Path) -> Errors {
    let items = list(source, "items").iter().enumerate();
    items.flat_map(|(i, item)| key(item, &path.child("items").index(i))).collect()
}

fn key(item: &Value, path: &Path) -> Errors {
    let mut errors: Errors = check::required(item, "key", path).into_iter().collect();
    errors.extend(check::required(item, "path", path));
    errors.extend(local(text(item, "path"), &path.child("path")));
    errors.extend(mode(item, "mode", path));
    errors
}

/// A field of the pod in a file. `path` is that of the volume: upstream does not say which item it is about.
pub(super) fn field_file(item: &Value, path: &Path) -> Errors {
    let mut errors: Errors = check::required(item, "path", path).into_iter().collect();
    errors.extend(local(text(item, "path"), &path.child("path")));
    if has(item, "fieldRef") {
        errors.extend(environment::field_ref(&item["fieldRef"], &FIELDS, &path.child("fieldRef")));
        if has(item, "resourceFieldRef") {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", detail));
        }
    } else if has(item, "resourceFieldRef") {
        let at = path.child("resourceFieldRef");
        errors.extend(environment::resource_ref(&item["resourceFieldRef"], true, &at));
    } else {
        errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"));
    }
    errors.extend(mode(item, "mode", path));
    errors
}

/// Several sources in one volume. No two may write the same file.
pub(super) fn projected(volume: &Value, path: &Path) -> Errors {
    let mut errors: Errors = mode(volume, "defaultMode", path).into_iter().collect();
    let mut taken = BTreeSet::new();
    for (i, source) in list(volume, "sources").iter().enumerate() {
        let at = path.child("sources").index(i);
        for kind in ["secret", "configMap"].into_iter().filter(|kind| has(source, kind)) {
            let (part, at) = (&source[kind], at.child(kind));
            errors.extend(check::required(part, "name", &at));
            for (j, item) in list(part, "items").iter().enumerate() {
                errors.extend(key(item, &at.child("items").index(j)));
                errors.extend(take(text(item, "path"), text(part, "name"), &mut taken, path));
            }
        }
        for item in list(&source["downwardAPI"], "items") {
            let place = text(item, "path");
            errors.extend(field_file(item, &at.child("downwardAPI")));
            errors.extend(take(place, place, &mut taken, path));
        }
        if let Some(token) = source.get("serviceAccountToken").filter(|token| token.is_object()) {
            errors.extend(service_account_token(token, &at.child("serviceAccountToken"), path));
        }
        if source.as_object().is_some_and(|kinds| kinds.values().filter(|kind| !kind.is_null()).count() > 1) {
            errors.push(FieldError::forbidden(&at, "may not specify more than 1 volume type per source"));
        }
    }
    errors
}

fn take<'a>(place: &'a str, shown: &str, taken: &mut BTreeSet<&'a str>, path: &Path) -> Option<FieldError> {
    let free = place.is_empty() || taken.insert(place);
    (!free).then(|| FieldError::invalid(path, shown, "conflicting duplicate paths"))
}

fn service_account_token(token: &Value, path: &Path, volume: &Path) -> Errors {
    let mut errors = Errors::new();
    let seconds = int(token, "expirationSeconds").unwrap_or_default();
    let mut refuse = |detail: &str| {
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
    };
    if seconds < TOKEN_SECONDS_MIN {
        refuse("may not specify a duration less than 10 minutes");
    }
    if seconds > TOKEN_SECONDS_MAX {
        refuse("may not specify a duration larger than 2^32 seconds");
    }
    match text(token, "path") {
        "" => errors.push(FieldError::required(&volume.child("path"), "")),
        place => errors.extend(local(place, &volume.child("path"))),
    }
    errors
}
