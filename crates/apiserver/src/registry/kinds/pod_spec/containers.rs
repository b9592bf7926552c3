//! Refusals of containers.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{flag, has, int, list, map, text};
use super::{CONTAINER_LISTS, probes, validate};

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const TERMINATION_POLICIES: [&str; 2] = ["FallbackToLogsOnError", "File"];
/// Resources counted in whole units, or known without a domain.
const STANDARD_RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// All containers of a specification, in upstream's order.
pub(super) fn validate_all(spec: &Value, volumes: &BTreeSet<&str>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    if list(spec, "containers").is_empty() {
        errors.push(FieldError::required(&path.child("containers"), ""));
    }
    for field in CONTAINER_LISTS {
        for (i, container) in list(spec, field).iter().enumerate() {
            let at = path.child(field).index(i);
            errors.extend(name(container, &mut seen, &at));
            errors.extend(one(container, volumes, &at));
            errors.extend(probes::of_container(container, field == "initContainers", &at));
        }
    }
    errors.extend(host_ports(spec, path));
    errors
}

fn name<'a>(container: &'a Value, seen: &mut BTreeSet<&'a str>, path: &Path) -> Errors {
    let (name, at) = (text(container, "name"), path.child("name"));
    if name.is_empty() {
        return vec![FieldError::required(&at, "")];
    }
    let mut errors = check::named(&at, name, names::dns1123_label(name));
    if !seen.insert(name) {
        errors.push(FieldError::duplicate(&at, name));
    }
    errors
}

fn one(container: &Value, volumes: &BTreeSet<&str>, path: &Path) -> Errors {
    let mut errors = image(container, path);
    errors.extend(ports(container, path));
    errors.extend(environment(container, path));
    errors.extend(mounts(container, volumes, path));
    errors.extend(check::enumeration(container, "imagePullPolicy", &PULL_POLICIES, path));
    errors.extend(check::enumeration(container, "terminationMessagePolicy", &TERMINATION_POLICIES, path));
    errors.extend(resources(&container["resources"], &path.child("resources")));
    let context = &container["securityContext"];
    for field in ["runAsUser", "runAsGroup"] {
        errors.extend(validate::id_in_range(context.get(field), &path.child("securityContext").child(field)));
    }
    if context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) && flag(context, "privileged") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(&path.child("securityContext"), context.clone(), detail));
    }
    errors
}

fn image(container: &Value, path: &Path) -> Errors {
    let (image, at) = (text(container, "image"), path.child("image"));
    if image.is_empty() {
        return vec![FieldError::required(&at, "")];
    }
    if image.trim() != image {
        return vec![FieldError::invalid(&at, image, "must not have leading or trailing whitespace")];
    }
    Errors::new()
}

fn ports(container: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, port) in list(container, "ports").iter().enumerate() {
        let at = path.child("ports").index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            errors.extend(check::named(&at.child("name"), name, names::port_name(name)));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), name));
            }
        }
        match int(port, "containerPort") {
            None | Some(0) => errors.push(FieldError::required(&at.child("containerPort"), "")),
            Some(number) => errors.extend(check::port(number, &at.child("containerPort"))),
        }
        if let Some(number) = int(port, "hostPort").filter(|p| *p != 0) {
            errors.extend(check::port(number, &at.child("hostPort")));
        }
        errors.extend(check::enumeration(port, "protocol", &PROTOCOLS, &at));
    }
    errors
}

/// A port of the host is given to one container only; on the network of the host, ports are those of the host.
fn host_ports(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut taken = BTreeSet::new();
    let host_network = flag(spec, "hostNetwork");
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (j, port) in list(container, "ports").iter().enumerate() {
            let at = path.child("containers").index(i).child("ports").index(j);
            let inner = int(port, "containerPort").unwrap_or_default();
            let number = int(port, "hostPort").filter(|p| *p != 0);
            if host_network && number.is_some_and(|number| number != inner) {
                let detail = "must match `hostPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&at.child("containerPort"), inner, detail));
            }
            let Some(number) = number else { continue };
            let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if !taken.insert(key.clone()) {
                errors.push(FieldError::duplicate(&at.child("hostPort"), key));
            }
        }
    }
    errors
}

fn environment(container: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, variable) in list(container, "env").iter().enumerate() {
        let at = path.child("env").index(i);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else {
            errors.extend(check::named(&at.child("name"), name, names::env_var_name(name)));
        }
        if has(variable, "valueFrom") {
            errors.extend(value_from(variable, &at.child("valueFrom")));
        }
    }
    for (i, source) in list(container, "envFrom").iter().enumerate() {
        let at = path.child("envFrom").index(i);
        match (has(source, "configMapRef"), has(source, "secretRef")) {
            (true, true) => errors.push(FieldError::invalid(
                &at,
                "",
                "may not have more than one field specified at a time",
            )),
            (false, false) => errors.push(FieldError::invalid(
                &at,
                "",
                "must specify one of: `configMapRef` or `secretRef`",
            )),
            _ => {}
        }
    }
    errors
}

fn value_from(variable: &Value, path: &Path) -> Errors {
    const SOURCES: [&str; 5] =
        ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let from = &variable["valueFrom"];
    let mut errors = Errors::new();
    let given: Vec<&str> = SOURCES.into_iter().filter(|source| has(from, source)).collect();
    if given.is_empty() {
        let detail =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        errors.push(FieldError::invalid(path, "", detail));
    } else if !text(variable, "value").is_empty() {
        errors.push(FieldError::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if given.len() > 1 {
        errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time"));
    }
    for source in ["configMapKeyRef", "secretKeyRef"].into_iter().filter(|source| has(from, source)) {
        let key = text(&from[source], "key");
        let at = path.child(source).child("key");
        if key.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else {
            errors.extend(check::named(&at, key, names::config_map_key(key)));
        }
    }
    if has(from, "fieldRef") && text(&from["fieldRef"], "fieldPath").is_empty() {
        errors.push(FieldError::required(&path.child("fieldRef").child("fieldPath"), ""));
    }
    errors
}

fn mounts(container: &Value, volumes: &BTreeSet<&str>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut places = BTreeSet::new();
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let at = path.child("volumeMounts").index(i);
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        }
        if !volumes.contains(name) {
            errors.push(FieldError::not_found(&at.child("name"), name));
        }
        if place.is_empty() {
            errors.push(FieldError::required(&at.child("mountPath"), ""));
        }
        if !places.insert(place) {
            errors.push(FieldError::invalid(&at.child("mountPath"), place, "must be unique"));
        }
        for field in ["subPath", "subPathExpr"] {
            errors.extend(local_path(text(mount, field), &at.child(field)));
        }
        if !text(mount, "subPath").is_empty() && !text(mount, "subPathExpr").is_empty() {
            errors.push(FieldError::invalid(
                &at.child("subPathExpr"),
                text(mount, "subPathExpr"),
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
    }
    errors
}

/// A path inside a volume.
pub(super) fn local_path(value: &str, path: &Path) -> Option<FieldError> {
    if value.starts_with('/') {
        return Some(FieldError::invalid(path, value, "must be a relative path"));
    }
    value
        .split('/')
        .any(|part| part == "..")
        .then(|| FieldError::invalid(path, value, "must not contain '..'"))
}

fn resources(resources: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (limits, requests) = (map(resources, "limits"), map(resources, "requests"));
    for (field, amounts) in [("limits", limits), ("requests", requests)] {
        for (name, amount) in amounts.into_iter().flatten() {
            let at = path.child(field).key(name);
            errors.extend(resource_name(name, &at));
            errors.extend(check::quantity(amount, &at).err());
        }
    }
    for (name, request) in requests.into_iter().flatten() {
        let limit = limits.and_then(|limits| limits.get(name));
        let at = path.child("requests");
        let amounts = (limit.map(|limit| check::quantity(limit, &at)), check::quantity(request, &at));
        let (Some(Ok(limit)), Ok(wanted)) = amounts else { continue };
        if wanted > limit {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(&at, wanted.to_string(), why));
        }
    }
    errors
}

fn resource_name(name: &str, path: &Path) -> Errors {
    if STANDARD_RESOURCES.contains(&name) || name.starts_with("hugepages-") {
        return Errors::new();
    }
    let mut errors = check::named(path, name, names::qualified_name(name));
    if errors.is_empty() && !name.contains('/') {
        errors.push(FieldError::invalid(path, name, "must be a standard resource type or fully qualified"));
        errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
    }
    errors
}
