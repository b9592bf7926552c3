//! Resizing of pods that run (upstream `ValidatePodResize`).

use machinery::field::{Errors, FieldError, Path};
use serde_json::{Map, Value, json};

use super::super::pod_spec;
use super::super::value::{each, has, list, map, put, take, text};
use super::pod_rules::is_static;

const LISTS: [&str; 2] = ["initContainers", "containers"];

/// Takes what a resize may change: resources of the pod and of its containers, by name.
pub(super) fn prepare(object: &mut Value, wanted: &Value) {
    let (Some(spec), Some(wanted)) = (object.get_mut("spec"), wanted.get("spec")) else { return };
    // Containers that came or went are refused as they are.
    if LISTS.iter().any(|field| list(spec, field).len() != list(wanted, field).len()) {
        *spec = wanted.clone();
        return;
    }
    for field in LISTS {
        for container in each(spec, field).filter(|container| container.is_object()) {
            let same = list(wanted, field).iter().find(|w| w.get("name") == container.get("name"));
            let Some(same) = same else { continue };
            put(container, "resources", same.get("resources").cloned().unwrap_or_else(|| json!({})));
            take(container, same, "resizePolicy");
        }
    }
    take(spec, wanted, "resources");
}

/// A running pod may be given more or less processor time and memory, not another class of service.
pub(super) fn validate(pod: &Value, old: &Value) -> Errors {
    if is_static(old) {
        return vec![FieldError::forbidden(&Path::nameless(), "static pods cannot be resized")];
    }
    let (spec, before, path) = (&pod["spec"], &old["spec"], Path::new("spec"));
    if text(&before["os"], "name") == "windows" {
        return vec![FieldError::forbidden(&Path::nameless(), "windows pods cannot be resized")];
    }
    let mut errors = pod_spec::validate_pod(pod);
    let class = text(&old["status"], "qosClass");
    let class = if class.is_empty() { pod_spec::qos_class(before) } else { class };
    if pod_spec::qos_class(spec) != class {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, text(&pod["status"], "qosClass"), detail));
    }
    if !node_resizes(old) {
        let detail = "Pod running on node without support for resize";
        errors.push(FieldError::forbidden(&path, detail));
    }
    let mut masked = spec.clone();
    errors.extend(whole(spec, before, &mut masked, &path));
    if !list(&old["status"], "nodeAllocatableResourceClaimStatuses").is_empty() {
        let detail = "pods with node allocatable resource claims cannot be resized";
        errors.push(FieldError::forbidden(&path, detail));
    }
    let order = LISTS.into_iter().rev().flat_map(|field| same_containers(spec, before, field, &path));
    let order: Errors = order.collect();
    if !order.is_empty() {
        errors.extend(order);
        return errors;
    }
    for field in LISTS {
        for (i, (now, was)) in list(spec, field).iter().zip(list(before, field)).enumerate() {
            let at = path.child(field).index(i).child("resources");
            errors.extend(removed(&now["resources"], &was["resources"], "resource", &at));
        }
    }
    errors.extend(only_amounts(before, &mut masked, &path));
    if errors.is_empty() && masked != *before {
        errors.push(FieldError::forbidden(&path, "only cpu and memory resources are mutable"));
    }
    errors
}

/// Whether the node can resize: one that can says what its containers have.
fn node_resizes(pod: &Value) -> bool {
    let mut running =
        list(&pod["status"], "containerStatuses").iter().filter(|status| has(&status["state"], "running"));
    running.next().is_none_or(|status| has(status, "resources"))
}

/// Resources of the pod as a whole.
fn whole(spec: &Value, before: &Value, masked: &mut Value, path: &Path) -> Errors {
    let amounts = |spec: &Value| ["limits", "requests"].iter().any(|f| map(&spec["resources"], f).is_some());
    if !amounts(spec) && !amounts(before) {
        return Errors::new();
    }
    let at = path.child("resources");
    if has(before, "resources") && !has(spec, "resources") {
        return vec![FieldError::forbidden(&at, "pod-level resources cannot be removed")];
    }
    let mut errors = removed(&spec["resources"], &before["resources"], "pod-level resource", &at);
    let now = with_amounts_of(&spec["resources"], &before["resources"]);
    if now != normal(&before["resources"]) {
        let detail = "only cpu and memory resources are mutable at pod-level";
        errors.push(FieldError::forbidden(path, detail));
    }
    take(masked, before, "resources");
    errors
}

/// Containers are neither added nor renamed.
fn same_containers(spec: &Value, before: &Value, field: &str, path: &Path) -> Errors {
    let (now, was, at) = (list(spec, field), list(before, field), path.child(field));
    if now.len() != was.len() {
        let detail = format!("{field} may not be added or removed on resize");
        return vec![FieldError::forbidden(&at, detail)];
    }
    let renamed =
        now.iter().zip(was).enumerate().filter(|(_, (now, was))| text(now, "name") != text(was, "name"));
    let detail = format!("{field} may not be renamed or reordered on resize");
    renamed.map(|(i, _)| FieldError::forbidden(&at.index(i).child("name"), detail.as_str())).collect()
}

/// What was asked for stays asked for, be it less.
fn removed(now: &Value, was: &Value, what: &str, path: &Path) -> Errors {
    let gone = |field: &&str| {
        let now = map(now, field);
        map(was, field)
            .is_some_and(|was| !was.keys().all(|name| now.is_some_and(|now| now.contains_key(name))))
    };
    let refuse =
        |field: &str| FieldError::forbidden(&path.child(field), format!("{what} {field} cannot be removed"));
    ["requests", "limits"].into_iter().filter(gone).map(refuse).collect()
}

/// Processor time and memory apart, resources stay as they are. Puts the amounts of before into `masked`.
fn only_amounts(before: &Value, masked: &mut Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (now, was) in each(masked, "containers").zip(list(before, "containers")) {
        if !mask(now, was) {
            errors.push(FieldError::forbidden(path, "only cpu and memory resources are mutable"));
        }
    }
    for (i, (now, was)) in each(masked, "initContainers").zip(list(before, "initContainers")).enumerate() {
        let at = path.child("initContainers").index(i);
        let changed = now != was;
        let restarts = text(now, "restartPolicy") != "Always"
            && list(now, "resizePolicy")
                .iter()
                .any(|policy| text(policy, "restartPolicy") == "RestartContainer");
        if !mask(now, was) {
            let detail = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.push(FieldError::forbidden(&at, detail));
        }
        if changed && restarts {
            let detail =
                "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            errors.push(FieldError::forbidden(&at, detail));
        }
    }
    errors
}

/// Whether a container is what it was, amounts of processor time and memory apart; it has those of before then.
fn mask(now: &mut Value, was: &Value) -> bool {
    let same = with_amounts_of(&now["resources"], &was["resources"]) == normal(&was["resources"]);
    if same {
        take(now, was, "resources");
    }
    same && now == was
}

/// Resources with the processor time and memory of others, in a form in which they can be compared.
fn with_amounts_of(resources: &Value, others: &Value) -> Value {
    let mut all = normal(resources);
    for field in ["limits", "requests"] {
        let mut amounts: Map<String, Value> = map(resources, field).cloned().unwrap_or_default();
        amounts.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
        let kept = map(others, field).into_iter().flatten();
        let kept = kept.filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"));
        amounts.extend(kept.map(|(name, amount)| (name.clone(), amount.clone())));
        put(&mut all, field, amounts);
    }
    all
}

/// Resources whose empty maps are there.
fn normal(resources: &Value) -> Value {
    let field = |name: &str| map(resources, name).cloned().unwrap_or_default();
    json!({ "limits": field("limits"), "requests": field("requests"), "claims": list(resources, "claims") })
}
