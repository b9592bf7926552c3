//! Annotations of pods that mean something, and fields that came after them.

use machinery::field::{Errors, FieldError, Path};
use machinery::text::go_quote;
use serde_json::{Map, Value, json};

use super::super::value::{below, each, has, map, put, text};
use super::{CONTAINER_LISTS, every_container, scheduling, security};

pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    map(object.get("metadata")?, "annotations")
}

/// What is wrong with the annotations of a pod or template.
pub(super) fn validate(object: &Value, path: &Path) -> Errors {
    let Some(annotations) = annotations(object) else { return Errors::new() };
    let spec = &object["spec"];
    let mut errors = Errors::new();
    let given = |key: &str| annotations.get(key).and_then(Value::as_str);
    if let Some(value) = given(MIRROR).filter(|_| text(spec, "nodeName").is_empty()) {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&path.key(MIRROR), value, detail));
    }
    if let Some(value) = given(TOLERATIONS).filter(|value| !value.is_empty()) {
        match serde_json::from_str::<Value>(value) {
            Ok(tolerations) => {
                let spec = json!({ "tolerations": tolerations });
                errors.extend(scheduling::tolerations(&spec, path));
            }
            Err(error) => errors.push(FieldError::invalid(path, TOLERATIONS, error.to_string())),
        }
    }
    if let Some(cost) = given(DELETION_COST).filter(|cost| !is_cost(cost)) {
        errors.push(FieldError::invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer"));
    }
    if let Some(profile) = given(SECCOMP_POD) {
        errors.extend(security::seccomp_annotation(profile, &path.child(SECCOMP_POD)));
    }
    for (key, profile) in annotations.iter().filter(|(key, _)| key.starts_with(SECCOMP)) {
        errors.extend(security::seccomp_annotation(profile.as_str().unwrap_or_default(), &path.child(key)));
    }
    for (key, profile) in annotations {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        if !every_container(spec, &Path::root()).any(|(container, _)| text(container, "name") == name) {
            errors.push(FieldError::invalid(&path.key(key), name, "container not found"));
        }
        let profile = profile.as_str().unwrap_or_default();
        if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
            let detail = format!("invalid AppArmor profile name: {}", go_quote(profile));
            errors.push(FieldError::invalid(&path.key(key), profile, detail));
        }
    }
    errors
}

/// A number as it would be printed, but that `-0` and the like pass.
fn is_cost(cost: &str) -> bool {
    let first = cost.bytes().next();
    let plain = matches!(first, Some(b'-' | b'1'..=b'9')) || cost == "0";
    plain && cost.parse::<i32>().is_ok()
}

/// Profiles of annotations and of fields are the same where both are there.
pub(in super::super) fn match_fields(object: &Value, spec_path: &Path) -> Errors {
    let Some(annotations) = annotations(object) else { return Errors::new() };
    let given = |key: &str| annotations.get(key).and_then(Value::as_str);
    let (spec, mut errors) = (&object["spec"], Errors::new());
    let profile = |place: &Value, field: &str| place.get("securityContext")?.get(field).cloned();
    let at = |path: &Path, field: &str| path.child("securityContext").child(field);
    if let (Some(annotation), Some(field)) = (given(SECCOMP_POD), profile(spec, "seccompProfile")) {
        errors.extend(same(annotation, &field, "seccomp", &at(spec_path, "seccompProfile")));
    }
    for (container, path) in every_container(spec, spec_path) {
        let annotation = given(&format!("{SECCOMP}{}", text(container, "name")));
        if let (Some(annotation), Some(field)) = (annotation, profile(container, "seccompProfile")) {
            errors.extend(same(annotation, &field, "seccomp", &at(&path, "seccompProfile")));
        }
    }
    if text(&spec["os"], "name") == "windows" {
        return errors;
    }
    for (container, path) in every_container(spec, spec_path) {
        let field = profile(container, "appArmorProfile").or_else(|| profile(spec, "appArmorProfile"));
        let annotation = given(&format!("{APP_ARMOR}{}", text(container, "name")));
        if let (Some(annotation), Some(field)) = (annotation, field) {
            errors.extend(same(annotation, &field, "apparmor", &at(&path, "appArmorProfile")));
        }
    }
    errors
}

fn same(annotation: &str, field: &Value, what: &str, path: &Path) -> Option<FieldError> {
    let of_type = match text(field, "type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => {
            annotation == "runtime/default" || (what == "seccomp" && annotation == "docker/default")
        }
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(file) if field.get("localhostProfile").and_then(Value::as_str) == Some(file) => true,
            Some(_) => {
                let detail = format!("{what} profile in annotation and field must match");
                return Some(FieldError::forbidden(&path.child("localhostProfile"), detail));
            }
            None => false,
        },
        _ => true,
    };
    let detail = || format!("{what} type in annotation and field must match");
    (!of_type).then(|| FieldError::forbidden(&path.child("type"), detail()))
}

/// What may not be done to the annotations of a pod that is there, and what is wrong with the new ones.
pub(in super::super) fn validate_update(pod: &Value, old: &Value) -> Errors {
    let path = Path::new("metadata").child("annotations");
    let fixed = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        key if key.starts_with(APP_ARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    let (now, before) = (annotations(pod), annotations(old));
    let mut errors = Errors::new();
    for (key, value) in before.into_iter().flatten() {
        if now.and_then(|now| now.get(key)) != Some(value)
            && let Some(what) = fixed(key)
        {
            errors.push(FieldError::forbidden(&path.key(key), format!("may not remove or update {what}")));
        }
    }
    for (key, _) in now.into_iter().flatten() {
        if !before.is_some_and(|before| before.contains_key(key))
            && let Some(what) = fixed(key)
        {
            errors.push(FieldError::forbidden(&path.key(key), format!("may not add {what}")));
        }
    }
    errors.extend(validate(pod, &path));
    errors
}

/// Takes AppArmor profiles from annotations of a new pod into the fields that came after them.
pub(in super::super) fn sync_app_armor(pod: &mut Value) {
    let Some(annotations) = annotations(pod) else { return };
    let profiles: Vec<(String, Value)> = annotations
        .iter()
        .filter_map(|(key, profile)| {
            Some((key.strip_prefix(APP_ARMOR)?.to_owned(), field(profile.as_str()?)?))
        })
        .collect();
    if profiles.is_empty() || pod.pointer("/spec/os/name").is_some_and(|os| os == "windows") {
        return;
    }
    let Some(spec) = pod.get_mut("spec") else { return };
    let of_pod = spec.pointer("/securityContext/appArmorProfile").cloned();
    for list in CONTAINER_LISTS {
        for container in each(spec, list) {
            let named = profiles.iter().find(|(name, _)| name == text(container, "name"));
            let Some((_, profile)) = named.filter(|(_, profile)| of_pod.as_ref() != Some(profile)) else {
                continue;
            };
            let context = below(container, "securityContext");
            if let Some(context) = context.filter(|context| !has(context, "appArmorProfile")) {
                put(context, "appArmorProfile", profile.clone());
            }
        }
    }
}

/// Whether an annotation says of a container what the pod's own profile says.
pub(super) fn says_app_armor(object: &Value, container: &Value, of_pod: Option<&Value>) -> bool {
    let key = format!("{APP_ARMOR}{}", text(container, "name"));
    let given = annotations(object).and_then(|all| all.get(&key)).and_then(Value::as_str);
    of_pod.is_some() && given.and_then(field).as_ref() == of_pod
}

fn field(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({ "type": "Unconfined" })),
        "runtime/default" => Some(json!({ "type": "RuntimeDefault" })),
        _ => {
            let file = annotation.strip_prefix("localhost/").filter(|file| !file.is_empty())?;
            Some(json!({ "type": "Localhost", "localhostProfile": file }))
        }
    }
}
