//! Refusals of the volumes of a pod, and of paths in them.

use std::collections::BTreeMap;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use machinery::text::go_quote;
use serde_json::Value;

use super::super::check;
use super::super::value::{has, text};
use super::sources;

/// The volumes that are all right, by name, and what is wrong with the others. `pod` is the name of the pod, which a
/// template does not know.
pub(super) fn validate<'a>(
    volumes: &'a [Value],
    pod: Option<&str>,
    path: &Path,
) -> (BTreeMap<&'a str, &'a Value>, Errors) {
    let (mut fine, mut errors) = (BTreeMap::new(), Errors::new());
    for (i, volume) in volumes.iter().enumerate() {
        let (at, name) = (path.index(i), text(volume, "name"));
        let mut found = sources::of_pod(volume, pod.is_some(), &at);
        found.extend(claim_name(volume, pod, &at));
        if name.is_empty() {
            found.push(FieldError::required(&at.child("name"), ""));
        } else {
            found.extend(check::named(&at.child("name"), name, names::dns1123_label(name)));
        }
        if fine.contains_key(name) {
            found.push(FieldError::duplicate(&at.child("name"), name));
        }
        if found.is_empty() {
            fine.insert(name, volume);
        }
        errors.extend(found);
        errors.extend(made_for_another(volume, volumes, pod, &at));
    }
    (fine, errors)
}

/// The claim of an ephemeral volume is named after the pod and the volume.
fn claim_name(volume: &Value, pod: Option<&str>, path: &Path) -> Errors {
    let (pod, name) = (pod.unwrap_or_default(), text(volume, "name"));
    if !has(volume, "ephemeral") || pod.is_empty() || name.is_empty() {
        return Errors::new();
    }
    let claim = format!("{pod}-{name}");
    let reasons = names::dns1123_subdomain(&claim).into_iter();
    let said = reasons.map(|reason| format!("PVC name {}: {reason}", go_quote(&claim)));
    check::named(&path.child("name"), name, said.collect())
}

/// A volume does not use the claim that is made for another volume of the pod.
fn made_for_another(volume: &Value, volumes: &[Value], pod: Option<&str>, path: &Path) -> Option<FieldError> {
    let claim = volume.get("persistentVolumeClaim").map(|source| text(source, "claimName"))?;
    let own = claim.strip_prefix(pod.filter(|pod| !pod.is_empty())?)?.strip_prefix('-')?;
    let made = volumes.iter().any(|other| has(other, "ephemeral") && text(other, "name") == own);
    let at = path.child("persistentVolumeClaim").child("claimName");
    let detail = "must not reference a PVC that gets created for an ephemeral volume";
    made.then(|| FieldError::invalid(&at, claim, detail))
}

/// A path does not climb.
pub(in super::super) fn no_backsteps(value: &str, path: &Path) -> Option<FieldError> {
    let climbs = value.split('/').any(|step| step == "..");
    climbs.then(|| FieldError::invalid(path, value, "must not contain '..'"))
}

/// A path stays below where it starts.
pub(super) fn descending(value: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if value.starts_with('/') {
        errors.push(FieldError::invalid(path, value, "must be a relative path"));
    }
    errors.extend(no_backsteps(value, path));
    errors
}

/// The same for a file of a volume: names that start with two dots are the kubelet's.
pub(super) fn local(value: &str, path: &Path) -> Errors {
    let mut errors = descending(value, path);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.push(FieldError::invalid(path, value, "must not start with '..'"));
    }
    errors
}
