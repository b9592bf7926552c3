//! Refusals of environment variables, and of what they and files take from the pod.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::super::check;
use super::super::value::{has, list, text};
use super::volumes::no_backsteps;
use super::{Surroundings, every_container};

/// What a variable may take from its pod.
const POD_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that have a name in the downward API at all.
const KNOWN_FIELDS: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// `env` and `envFrom`.
pub(super) fn validate(container: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, variable) in list(container, "env").iter().enumerate() {
        let at = path.child("env").index(i);
        match text(variable, "name") {
            "" => errors.push(FieldError::required(&at.child("name"), "")),
            name => errors.extend(check::named(&at.child("name"), name, names::env_var_name(name))),
        }
        if has(variable, "valueFrom") {
            errors.extend(value_from(variable, &at.child("valueFrom")));
        }
    }
    errors.extend(all_of(container, &path.child("envFrom")));
    errors
}

/// Whole maps as variables. Upstream complains of the list when it is about an item.
fn all_of(container: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, source) in list(container, "envFrom").iter().enumerate() {
        let at = path.index(i);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            errors.extend(check::named(&at.child("prefix"), prefix, names::env_var_name(prefix)));
        }
        let kinds = ["configMapRef", "secretRef"].into_iter().filter(|kind| has(source, kind));
        let mut given = 0;
        for kind in kinds {
            given += 1;
            let at = at.child(kind).child("name");
            match text(&source[kind], "name") {
                "" => errors.push(FieldError::required(&at, "")),
                name => errors.extend(check::named(&at, name, names::dns1123_subdomain(name))),
            }
        }
        let detail = match given {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.push(FieldError::invalid(path, "", detail));
    }
    errors
}

fn value_from(variable: &Value, path: &Path) -> Errors {
    const SOURCES: [&str; 5] =
        ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let from = &variable["valueFrom"];
    let mut errors = Errors::new();
    let mut given = 0;
    for source in SOURCES.into_iter().filter(|source| has(from, source)) {
        given += 1;
        let at = path.child(source);
        errors.extend(match source {
            "fieldRef" => field_ref(&from[source], &POD_FIELDS, &at),
            "resourceFieldRef" => resource_ref(&from[source], false, &at),
            "fileKeyRef" => file_key(&from[source], &at),
            _ => map_key(&from[source], &at),
        });
    }
    let detail = match given {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !text(variable, "value").is_empty() => "may not be specified when `value` is not empty",
        1 => return errors,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(path, "", detail));
    errors
}

/// A key of a ConfigMap or Secret.
fn map_key(source: &Value, path: &Path) -> Errors {
    let (name, key) = (text(source, "name"), text(source, "key"));
    let mut errors = check::named(&path.child("name"), name, names::dns1123_subdomain(name));
    match key {
        "" => errors.push(FieldError::required(&path.child("key"), "")),
        key => errors.extend(check::named(&path.child("key"), key, names::config_map_key(key))),
    }
    errors
}

/// A variable in a file of a volume.
fn file_key(source: &Value, path: &Path) -> Errors {
    let (key, volume, file) = (text(source, "key"), text(source, "volumeName"), text(source, "path"));
    let mut errors: Errors = ["key", "volumeName", "path"]
        .into_iter()
        .filter_map(|field| check::required(source, field, path))
        .collect();
    if !key.is_empty() {
        errors.extend(check::named(&path.child("key"), key, names::env_var_name(key)));
    }
    if !volume.is_empty() {
        errors.extend(check::named(&path.child("volumeName"), volume, names::dns1123_label(volume)));
    }
    errors.extend(no_backsteps(file, &path.child("path")));
    errors
}

/// A field of the pod, of those that may be asked for here (`allowed`).
pub(super) fn field_ref(reference: &Value, allowed: &[&str], path: &Path) -> Errors {
    let (version, field) = (text(reference, "apiVersion"), text(reference, "fieldPath"));
    for required in ["apiVersion", "fieldPath"] {
        if let Some(error) = check::required(reference, required, path) {
            return vec![error];
        }
    }
    let at = path.child("fieldPath");
    let unknown =
        |why: String| vec![FieldError::invalid(&at, field, format!("error converting fieldPath: {why}"))];
    if version != "v1" {
        return unknown(format!("unsupported pod version: {version}"));
    }
    match subscripted(field) {
        Some(("metadata.annotations", key)) => {
            check::named(path, key, names::qualified_name(&key.to_lowercase()))
        }
        Some(("metadata.labels", key)) => check::named(path, key, names::qualified_name(key)),
        Some(_) => unknown(format!("field label does not support subscript: {field}")),
        None => {
            let field = if field == "spec.host" { "spec.nodeName" } else { field };
            if !KNOWN_FIELDS.contains(&field) {
                return unknown(format!("field label not supported: {field}"));
            }
            let fits = allowed.contains(&field);
            if fits { Errors::new() } else { vec![FieldError::not_supported(&at, field, allowed)] }
        }
    }
}

/// The parts of `metadata.labels['key']`.
fn subscripted(field: &str) -> Option<(&str, &str)> {
    field.strip_suffix("']")?.split_once("['").filter(|(path, _)| !path.is_empty())
}

/// What a container has been given of a resource. In files the container is named.
pub(super) fn resource_ref(reference: &Value, in_file: bool, path: &Path) -> Errors {
    let resource = text(reference, "resource");
    let pages =
        ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| resource.starts_with(prefix));
    let mut errors = Errors::new();
    if in_file && text(reference, "containerName").is_empty() {
        errors.push(FieldError::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !pages {
        errors.push(FieldError::not_supported(&path.child("resource"), resource, &RESOURCES));
    }
    let Ok(divisor) = Quantity::from_json(&reference["divisor"]) else { return errors };
    let (allowed, detail): (&[&str], _) = match resource {
        _ if divisor.is_zero() => return errors,
        "limits.cpu" | "requests.cpu" => {
            (&["1m", "1"], "only divisor's values 1m and 1 are supported with the cpu resource".to_owned())
        }
        "limits.memory" | "requests.memory" => (&SIZES, sizes_only("memory")),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (&SIZES, sizes_only("local ephemeral storage"))
        }
        _ if pages => (&SIZES, sizes_only("hugepages")),
        _ => return errors,
    };
    if !allowed.contains(&divisor.to_string().as_str()) {
        errors.push(FieldError::invalid(&path.child("divisor"), resource, detail));
    }
    errors
}

fn sizes_only(what: &str) -> String {
    format!("only divisor's values {} are supported with the {what} resource", SIZES.join(", "))
}

/// Files of variables are in volumes that the pod itself fills.
pub(super) fn file_volumes(around: &Surroundings<'_>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let volume =
        |name: &str| list(around.spec, "volumes").iter().rfind(|volume| text(volume, "name") == name);
    for (container, at) in every_container(around.spec, path) {
        for (j, variable) in list(container, "env").iter().enumerate() {
            let Some(file) = variable.pointer("/valueFrom/fileKeyRef").filter(|file| file.is_object()) else {
                continue;
            };
            let name = text(file, "volumeName");
            let at = at.child("env").index(j).child("valueFrom").child("fileKeyRef").child("volumeName");
            match volume(name) {
                None => errors.push(FieldError::not_found(&at, name)),
                Some(volume) if !has(volume, "emptyDir") => {
                    let detail = "referenced volume must be of type emptyDir";
                    errors.push(FieldError::invalid(&at, name, detail));
                }
                Some(_) => {}
            }
        }
    }
    errors
}
