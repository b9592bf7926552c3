//! What may be done to a pod that is there (upstream `ValidatePodUpdate` and its neighbours).

use machinery::field::{Errors, FieldError, Path};
use serde_json::{Map, Value};

use super::super::check;
use super::super::pod_spec;
use super::super::value::{each, has, int, list, map, put, text};

const IMMUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                         `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate_create(pod: &Value) -> Errors {
    let path = Path::new("spec").child("ephemeralContainers");
    let given = !list(&pod["spec"], "ephemeralContainers").is_empty();
    if given { vec![FieldError::forbidden(&path, "cannot be set on create")] } else { Errors::new() }
}

/// What an update may do: images, the deadline, more tolerations, fewer scheduling gates.
pub(super) fn validate_update(pod: &Value, old: &Value) -> Errors {
    let (spec, before, path) = (&pod["spec"], &old["spec"], Path::new("spec"));
    for field in ["containers", "initContainers"] {
        if list(spec, field).len() != list(before, field).len() {
            let detail = "pod updates may not add or remove containers";
            return vec![FieldError::forbidden(&path.child(field), detail)];
        }
    }
    let mut errors = deadline(spec, before, &path);
    errors.extend(tolerations(spec, before, &path));
    errors.extend(gates(spec, before, &path));
    if !errors.is_empty() {
        return errors;
    }
    let expected = with_mutable_of(before, spec);
    if expected != *spec {
        let detail = format!("{IMMUTABLE}{}", check::difference(&expected, spec));
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}

/// A deadline may only come closer.
fn deadline(spec: &Value, before: &Value, path: &Path) -> Errors {
    let at = path.child("activeDeadlineSeconds");
    match (int(spec, "activeDeadlineSeconds"), int(before, "activeDeadlineSeconds")) {
        (Some(now), Some(was)) if now > was => {
            vec![FieldError::invalid(&at, now, "must be less than or equal to previous value")]
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            vec![FieldError::invalid(&at, Value::Null, detail)]
        }
        _ => Errors::new(),
    }
}

/// Tolerations may come, and change how long they last.
fn tolerations(spec: &Value, before: &Value, path: &Path) -> Errors {
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.as_object_mut().map(|map| map.remove("tolerationSeconds"));
        toleration
    };
    let now: Vec<Value> = list(spec, "tolerations").iter().map(timeless).collect();
    let kept = list(before, "tolerations").iter().all(|old| now.contains(&timeless(old)));
    let detail = "existing toleration can not be modified except its tolerationSeconds";
    if kept { Errors::new() } else { vec![FieldError::forbidden(&path.child("tolerations"), detail)] }
}

/// Gates may only go.
fn gates(spec: &Value, before: &Value, path: &Path) -> Errors {
    let old = list(before, "schedulingGates");
    let new = list(spec, "schedulingGates").iter().enumerate().filter(|(_, gate)| !old.contains(gate));
    new.map(|(i, gate)| {
        let at = path.child("schedulingGates").index(i).child("name");
        let name = text(gate, "name");
        FieldError::forbidden(
            &at,
            format!("only deletion is allowed, but found new scheduling gate '{name}'"),
        )
    })
    .collect()
}

/// The present specification with what an update may change taken from the wanted one.
fn with_mutable_of(before: &Value, wanted: &Value) -> Value {
    let mut spec = before.clone();
    let mut fields = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    let grace = "terminationGracePeriodSeconds";
    if int(before, grace).is_some_and(|seconds| seconds < 0) && int(wanted, grace) == Some(1) {
        fields.push(grace);
    }
    if !list(before, "schedulingGates").is_empty() {
        if more_selective(wanted, before) {
            fields.push("nodeSelector");
        }
        if !has(&before["affinity"], "nodeAffinity") && same_pod_affinity(wanted, before) {
            fields.push("affinity");
        }
    }
    for field in fields {
        match wanted.get(field) {
            Some(value) => put(&mut spec, field, value.clone()),
            None => {
                spec.as_object_mut().map(|spec| spec.remove(field));
            }
        }
    }
    for field in ["containers", "initContainers"] {
        for (container, wanted) in each(&mut spec, field).zip(list(wanted, field)) {
            if let Some(image) = wanted.get("image") {
                put(container, "image", image.clone());
            }
        }
    }
    spec
}

/// A pod that waits may be told to be more choosy about its node.
fn more_selective(wanted: &Value, before: &Value) -> bool {
    let empty = Map::new();
    let wanted = map(wanted, "nodeSelector").unwrap_or(&empty);
    map(before, "nodeSelector").into_iter().flatten().all(|(key, value)| wanted.get(key) == Some(value))
}

fn same_pod_affinity(wanted: &Value, before: &Value) -> bool {
    let same = |field: &str| wanted["affinity"].get(field) == before["affinity"].get(field);
    same("podAffinity") && same("podAntiAffinity")
}

pub(super) fn validate_subresource(subresource: &str, pod: &Value, old: &Value) -> Errors {
    let path = Path::new("spec");
    match subresource {
        "ephemeralcontainers" => {
            let mut errors = pod_spec::validate(&pod["spec"], &path);
            errors.extend(ephemeral(pod, old, &path.child("ephemeralContainers")));
            errors
        }
        "resize" => {
            let mut errors = pod_spec::validate(&pod["spec"], &path);
            errors.extend(resize(pod, old, &path));
            errors
        }
        _ => Errors::new(),
    }
}

/// Ephemeral containers come and stay as they are.
fn ephemeral(pod: &Value, old: &Value, path: &Path) -> Errors {
    let now = list(&pod["spec"], "ephemeralContainers");
    let mut errors = Errors::new();
    for was in list(&old["spec"], "ephemeralContainers") {
        let name = text(was, "name");
        let detail = match now.iter().find(|container| text(container, "name") == name) {
            Some(container) if container == was => continue,
            Some(_) => format!("existing ephemeral containers {name:?} may not be changed\n"),
            None => format!("existing ephemeral containers {name:?} may not be removed\n"),
        };
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

/// A running pod may be given more or less processor time and memory, not another class of service.
fn resize(pod: &Value, old: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (spec, before) = (&pod["spec"], &old["spec"]);
    if pod_spec::qos_class(spec) != pod_spec::qos_class(before) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(path, pod_spec::qos_class(spec), detail));
    }
    let others = |spec: &Value| {
        let mut spec = spec.clone();
        for field in ["containers", "initContainers"] {
            for container in each(&mut spec, field) {
                for amounts in ["limits", "requests"] {
                    let amounts = container.pointer_mut(&format!("/resources/{amounts}"));
                    if let Some(amounts) = amounts.and_then(Value::as_object_mut) {
                        amounts.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
                    }
                }
                container.as_object_mut().map(|container| container.remove("resizePolicy"));
            }
        }
        spec
    };
    let (was, now) = (others(before), others(spec));
    let resources = |spec: &Value| -> Vec<Value> {
        list(spec, "containers").iter().map(|container| amounts(&container["resources"])).collect()
    };
    if resources(&was) != resources(&now) {
        let detail = format!("only cpu and memory resources are mutable{}", check::difference(&was, &now));
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

/// Amounts, whether the maps that hold them are empty or absent.
fn amounts(resources: &Value) -> Value {
    let fields = ["limits", "requests"].into_iter();
    fields
        .filter_map(|field| Some((field.to_owned(), Value::Object(map(resources, field)?.clone()))))
        .collect()
}

/// What works but is likely a mistake (upstream `pkg/api/pod/warnings.go`).
pub(super) fn warnings(pod: &Value) -> Vec<String> {
    let spec = &pod["spec"];
    let mut warnings = Vec::new();
    for field in ["containers", "initContainers"] {
        for (i, container) in list(spec, field).iter().enumerate() {
            let mut seen = std::collections::BTreeSet::new();
            for (j, variable) in list(container, "env").iter().enumerate() {
                let name = text(variable, "name");
                if !name.is_empty() && !seen.insert(name) {
                    warnings.push(format!(
                        "spec.{field}[{i}].env[{j}]: hides previous definition of {name:?}, which may be dropped when using apply"
                    ));
                }
            }
        }
    }
    warnings
}
