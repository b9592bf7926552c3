//! What may be done to a pod that is there (upstream `ValidatePodUpdate` and its neighbours).

use machinery::field::{Errors, FieldError, Path};
use machinery::{internal, meta, names};
use serde_json::Value;

use super::super::check::{self, MAX_INT32};
use super::super::pod_spec;
use super::super::value::{below, each, has, int, list, map, put, take, text};

const IMMUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                         `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate_create(pod: &Value) -> Errors {
    let (spec, path) = (&pod["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.push(FieldError::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(&path.child("nodeName"), detail));
    }
    errors.extend(pod_spec::annotations_match_fields(pod, &path));
    errors
}

/// What an update may do: images, the deadline, more tolerations, fewer scheduling gates.
pub(super) fn validate_update(pod: &Value, old: &Value) -> Errors {
    let (spec, before, path) = (&pod["spec"], &old["spec"], Path::new("spec"));
    let mut errors = pod_spec::validate_annotations_update(pod, old);
    for field in ["containers", "initContainers"] {
        let at = path.child(field);
        if list(spec, field).len() != list(before, field).len() {
            let detail = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&at, detail));
            return errors;
        }
        for (i, container) in list(spec, field).iter().enumerate() {
            let at = at.index(i);
            errors.extend(check::required(container, "image", &at));
            errors.extend(pod_spec::padded_image(container, &at));
        }
    }
    match deadline(spec, before, &path) {
        Ok(error) => errors.extend(error),
        Err(error) => {
            errors.push(error);
            return errors;
        }
    }
    errors.extend(tolerations(spec, before, &path));
    errors.extend(gates(spec, before, &path));
    if spec == before {
        return errors;
    }
    if !list(before, "schedulingGates").is_empty() {
        errors.extend(steering(spec, before, &path));
    }
    let kept = without_changeable(spec, before);
    if kept != *before {
        let detail =
            format!("{IMMUTABLE}\n{}", internal::difference("PodSpec", &inner(before), &inner(&kept)));
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}

/// A specification in upstream's inner form, where what a pod shares with its host is part of its security context.
fn inner(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"] {
        let value = spec.get(field).cloned();
        if let (Some(value), Some(context)) = (value, below(&mut spec, "securityContext")) {
            put(context, field, value);
        }
    }
    spec
}

/// A deadline may only come closer. The error of `Err` is the last one to be looked for.
fn deadline(spec: &Value, before: &Value, path: &Path) -> Result<Option<FieldError>, FieldError> {
    let at = path.child("activeDeadlineSeconds");
    match (int(spec, "activeDeadlineSeconds"), int(before, "activeDeadlineSeconds")) {
        (Some(now), _) if !(0..=MAX_INT32).contains(&now) => {
            Err(FieldError::invalid(&at, now, names::range_error(0, MAX_INT32)))
        }
        (Some(now), Some(was)) if now > was => {
            Err(FieldError::invalid(&at, now, "must be less than or equal to previous value"))
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            Ok(Some(FieldError::invalid(&at, Value::Null, detail)))
        }
        _ => Ok(None),
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
    if !kept {
        return vec![FieldError::forbidden(&path.child("tolerations"), detail)];
    }
    pod_spec::tolerations(spec, path)
}

/// Gates may only go.
fn gates(spec: &Value, before: &Value, path: &Path) -> Errors {
    let (old, gates) = (list(before, "schedulingGates"), list(spec, "schedulingGates"));
    // Of several with one name, the last is meant.
    let last = |i: usize| gates[i + 1..].iter().all(|later| *later != gates[i]);
    let new = gates.iter().enumerate().filter(|(i, gate)| !old.contains(gate) && last(*i));
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

/// The wanted specification with what an update may change as it is at present.
fn without_changeable(wanted: &Value, before: &Value) -> Value {
    let mut spec = wanted.clone();
    let mut fields = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    let grace = "terminationGracePeriodSeconds";
    if int(before, grace).is_some_and(|seconds| seconds < 0) && int(wanted, grace) == Some(1) {
        fields.push(grace);
    }
    if !list(before, "schedulingGates").is_empty() {
        fields.push("nodeSelector");
        keep_node_affinity(&mut spec, before);
    }
    for field in fields {
        take(&mut spec, before, field);
    }
    for field in ["containers", "initContainers"] {
        for (container, before) in each(&mut spec, field).zip(list(before, field)) {
            take(container, before, "image");
        }
    }
    spec
}

fn keep_node_affinity(spec: &mut Value, before: &Value) {
    const FIELD: &str = "nodeAffinity";
    let (now, was) = (&spec["affinity"][FIELD], &before["affinity"][FIELD]);
    if now == was {
        return;
    }
    let of_nodes_only = spec["affinity"].as_object().is_some_and(|all| all.keys().all(|key| key == FIELD));
    if !has(before, "affinity") && of_nodes_only {
        take(spec, before, "affinity");
    } else if let Some(affinity) = below(spec, "affinity") {
        take(affinity, &before["affinity"], FIELD);
    }
}

/// A pod that waits may be told to be more choosy about its node, not less (upstream `validateNodeSelectorMutation` and
/// `validateNodeAffinityMutation`).
fn steering(spec: &Value, before: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (now, was) = (&spec["nodeSelector"], &before["nodeSelector"]);
    let kept = map(before, "nodeSelector").into_iter().flatten().all(|(k, v)| now.get(k) == Some(v));
    if now != was && !kept {
        let at = path.child("nodeSelector");
        errors.push(FieldError::invalid(
            &at,
            now.clone(),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ));
    }
    let affinity = |spec: &Value| spec["affinity"].get("nodeAffinity").cloned().unwrap_or_default();
    let (now, was) = (affinity(spec), affinity(before));
    if now != was {
        errors.extend(choosier(&now, &was, &path.child("affinity").child("nodeAffinity")));
    }
    errors
}

/// Terms may come when there were none; what is there may have more expressions, none fewer.
fn choosier(now: &Value, was: &Value, path: &Path) -> Errors {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const TERM: &str = "NodeSelectorTerm";
    let Some(was) = was.get(REQUIRED).filter(|was| was.is_object()) else { return Errors::new() };
    let old = list(was, "nodeSelectorTerms");
    if old.is_empty() {
        return Errors::new();
    }
    let path = path.child(REQUIRED).child("nodeSelectorTerms");
    let new = now.get(REQUIRED).map_or(&[][..], |now| list(now, "nodeSelectorTerms"));
    if old.len() != new.len() {
        let shown = if new.is_empty() { "null".to_owned() } else { internal::compact_list(TERM, new) };
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return vec![FieldError::invalid(&path, Value::Null, detail).showing(shown)];
    }
    let mut errors = Errors::new();
    for (i, (now, was)) in new.iter().zip(old).enumerate() {
        let empty = list(was, "matchExpressions").is_empty() && list(was, "matchFields").is_empty();
        let longer = |field: &str| list(now, field).starts_with(list(was, field));
        if now != was && (empty || !longer("matchExpressions") || !longer("matchFields")) {
            let detail = "only additions are allowed (no mutations or deletions)";
            let shown = internal::compact(TERM, now);
            errors.push(FieldError::invalid(&path.index(i), Value::Null, detail).showing(shown));
        }
    }
    errors
}

/// Ephemeral containers come and stay as they are.
pub(super) fn validate_ephemeral(pod: &Value, old: &Value) -> Errors {
    if is_static(old) {
        return vec![FieldError::forbidden(
            &Path::nameless(),
            "static pods do not support ephemeral containers",
        )];
    }
    let mut errors = pod_spec::validate_pod(pod);
    errors.extend(pod_spec::validate_annotations_update(pod, old));
    let path = Path::new("spec").child("ephemeralContainers");
    let now = list(&pod["spec"], "ephemeralContainers");
    for was in list(&old["spec"], "ephemeralContainers") {
        let name = text(was, "name");
        let detail = match now.iter().find(|container| text(container, "name") == name) {
            Some(container) if container == was => continue,
            Some(container) => {
                let difference = internal::difference("EphemeralContainer", was, container);
                format!("existing ephemeral containers {name:?} may not be changed\n{difference}")
            }
            None => format!("existing ephemeral containers {name:?} may not be removed\n"),
        };
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}

/// Whether a kubelet made the pod from a file of its own.
pub(super) fn is_static(pod: &Value) -> bool {
    meta::annotation(pod, "kubernetes.io/config.mirror").is_some()
}
