//! LimitRanger: defaults and bounds for resources (upstream: `plugin/pkg/admission/limitranger`).

use std::collections::BTreeMap;

use machinery::meta;
use machinery::quantity::Quantity;
use machinery::status::Status;
use serde_json::{Map, Value, json};

use super::{AdmissionContext, Operation, Plugin};
use crate::registry::kinds::aggregate;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) struct LimitRanger;

type Amounts = BTreeMap<String, Quantity>;

#[async_trait::async_trait]
impl Plugin for LimitRanger {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        object: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if context.is("", "pods") && context.operation == Operation::Create {
            let ranges = context.registry.values("", "limitranges", context.namespace);
            ranges.iter().for_each(|range| fill_defaults(object, range));
        }
        Ok(())
    }

    async fn validate(
        &self,
        context: &AdmissionContext<'_>,
        object: &Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        let pods = context.is("", "pods") && context.operation == Operation::Create;
        let claims = context.is("", "persistentvolumeclaims");
        if !pods && !claims {
            return Ok(());
        }
        let mut errors = Vec::new();
        for range in context.registry.values("", "limitranges", context.namespace) {
            for limit in items(&range) {
                match limit.get("type").and_then(Value::as_str).unwrap_or_default() {
                    "Container" if pods => errors.extend(check_containers(object, limit)),
                    "Pod" if pods => errors.extend(check_pod(object, limit)),
                    "PersistentVolumeClaim" if claims => errors.extend(check_claim(object, limit)),
                    _ => {}
                }
            }
        }
        match errors.len() {
            0 => Ok(()),
            1 => Err(context.forbidden(errors.remove(0))),
            _ => Err(context.forbidden(format!("[{}]", errors.join(", ")))),
        }
    }
}

fn items(range: &Value) -> &[Value] {
    range.pointer("/spec/limits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn amounts(value: Option<&Value>) -> Amounts {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount).ok()?))).collect()
}

/// Gives containers the limits and requests that they do not name, and says so in an annotation.
fn fill_defaults(pod: &mut Value, range: &Value) {
    let defaults = items(range).iter().filter(|limit| limit["type"] == "Container");
    let (mut limits, mut requests) = (Map::new(), Map::new());
    for limit in defaults {
        for (target, key) in [(&mut limits, "default"), (&mut requests, "defaultRequest")] {
            target.extend(limit.get(key).and_then(Value::as_object).cloned().unwrap_or_default());
        }
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            for (key, defaults, word) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let set = fill(container, key, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        meta::set_annotation(pod, ANNOTATION, &format!("LimitRanger plugin set: {}", notes.join("; ")));
    }
}

fn fill(container: &mut Value, key: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let mut set = Vec::new();
    for (resource, amount) in defaults {
        if container.pointer(&format!("/resources/{key}/{}", resource.replace('/', "~1"))).is_none() {
            if !container.get("resources").is_some_and(Value::is_object) {
                container["resources"] = json!({});
            }
            container["resources"][key][resource] = amount.clone();
            set.push(resource.clone());
        }
    }
    set
}

fn check_containers(pod: &Value, limit: &Value) -> Vec<String> {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let containers = lists.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    let amounts_of = |container: &Value, key: &str| amounts(container.pointer(&format!("/resources/{key}")));
    containers
        .flat_map(|c| check(limit, "Container", &amounts_of(c, "requests"), &amounts_of(c, "limits")))
        .collect()
}

/// A pod needs what its containers need together, unless it says itself what it needs.
fn check_pod(pod: &Value, limit: &Value) -> Vec<String> {
    let total = |key: &str| {
        let mut total = aggregate(&pod["spec"], key);
        total.extend(amounts(pod.pointer(&format!("/spec/resources/{key}"))));
        total
    };
    check(limit, "Pod", &total("requests"), &total("limits"))
}

fn check_claim(claim: &Value, limit: &Value) -> Vec<String> {
    let requests = amounts(claim.pointer("/spec/resources/requests"));
    let named = |key: &str| amounts(limit.get(key));
    let mut errors = Vec::new();
    for (resource, min) in named("min") {
        if requests.get(&resource).is_some_and(|have| *have < min) {
            let have = &requests[&resource];
            errors.push(format!(
                "minimum {resource} usage per PersistentVolumeClaim is {min}, but request is {have}"
            ));
        }
    }
    for (resource, max) in named("max") {
        if requests.get(&resource).is_some_and(|have| *have > max) {
            let have = &requests[&resource];
            errors.push(format!(
                "maximum {resource} usage per PersistentVolumeClaim is {max}, but request is {have}"
            ));
        }
    }
    errors
}

fn check(limit: &Value, what: &str, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut errors = Vec::new();
    for (resource, min) in amounts(limit.get("min")) {
        let name = format!("minimum {resource} usage per {what} is {min}");
        match (requests.get(&resource), limits.get(&resource)) {
            (None, _) => errors.push(format!("{name}.  No request is specified")),
            (Some(have), _) if *have < min => errors.push(format!("{name}, but request is {have}")),
            (_, Some(have)) if *have < min => errors.push(format!("{name}, but limit is {have}")),
            _ => {}
        }
    }
    for (resource, max) in amounts(limit.get("max")) {
        let name = format!("maximum {resource} usage per {what} is {max}");
        match (requests.get(&resource), limits.get(&resource)) {
            (_, None) => errors.push(format!("{name}.  No limit is specified")),
            (_, Some(have)) if *have > max => errors.push(format!("{name}, but limit is {have}")),
            (Some(have), _) if *have > max => errors.push(format!("{name}, but request is {have}")),
            _ => {}
        }
    }
    for (resource, max) in amounts(limit.get("maxLimitRequestRatio")) {
        errors.extend(check_ratio(&resource, what, &max, requests.get(&resource), limits.get(&resource)));
    }
    errors
}

fn check_ratio(
    resource: &str,
    what: &str,
    max: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let name = format!("{resource} max limit to request ratio per {what} is {max}");
    let (Some(request), Some(limit)) = (request.filter(|r| !r.is_zero()), limit.filter(|l| !l.is_zero()))
    else {
        return Some(format!("{name}, but no request or limit is specified or request is 0"));
    };
    let ratio = limit.as_f64() / request.as_f64();
    (ratio > max.as_f64()).then(|| format!("{name}, but provided ratio is {ratio:.6}"))
}
