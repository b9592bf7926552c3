//! PodSecurity: namespaces say by labels which of the pod security standards their pods follow (upstream:
//! `k8s.io/pod-security-admission`).

mod baseline;
mod checks;
mod policy;
mod restricted;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

use machinery::meta;
use machinery::status::Status;
use machinery::text::go_quote;
use serde_json::Value;

use self::checks::{Pod, details, reasons, violations};
use self::policy::{Level, Policy, Standard};
use super::{AdmissionContext, Plugin};
use crate::registry::kinds::value::{list, text};

/// How many pods of a namespace are looked at when its labels change.
const PODS_MAX: usize = 3000;
/// Subresources of pods that change no specification.
const OTHER_SUBRESOURCES: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];
/// Kinds that make pods, and where they say how these look.
const CONTROLLERS: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
];

pub(super) struct PodSecurity;

#[async_trait::async_trait]
impl Plugin for PodSecurity {
    async fn validate(
        &self,
        context: &AdmissionContext<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if context.is("", "namespaces") {
            return check_labels(context, object, old);
        }
        if !is_pod(context) || old.is_some_and(|old| !changes_containers(object, old)) {
            return Ok(());
        }
        let enforced = policy_of(context).enforce;
        let found = violations(enforced, &Pod::of(object));
        if found.is_empty() {
            return Ok(());
        }
        let standard = go_quote(&enforced.to_string());
        Err(context.forbidden(format!("violates PodSecurity {standard}: {}", details(&found))))
    }

    fn warnings(&self, context: &AdmissionContext<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        if context.is("", "namespaces") {
            return old.map(|old| of_pods_there(context, object, old)).unwrap_or_default();
        }
        let changed = || old.is_none_or(|old| changes_containers(object, old));
        let template =
            if is_pod(context) { Some(object).filter(|_| changed()) } else { template(context, object) };
        let Some(template) = template else { return Vec::new() };
        let warned = policy_of(context).warn;
        let found = violations(warned, &Pod::of(template));
        if found.is_empty() {
            return Vec::new();
        }
        let standard = go_quote(&warned.to_string());
        vec![format!("would violate PodSecurity {standard}: {}", details(&found))]
    }
}

fn is_pod(context: &AdmissionContext<'_>) -> bool {
    context.of("", "pods") && !OTHER_SUBRESOURCES.contains(&context.subresource)
}

/// The pods that an object makes.
fn template<'a>(context: &AdmissionContext<'_>, object: &'a Value) -> Option<&'a Value> {
    let (.., pointer) = CONTROLLERS.iter().find(|(group, plural, _)| context.is(group, plural))?;
    object.pointer(pointer).filter(|template| template.is_object())
}

/// A namespace that has just been made may not be known here yet; it has no pods to lose.
fn policy_of(context: &AdmissionContext<'_>) -> Policy {
    let namespace = context.registry.object_value("", "namespaces", "", context.namespace);
    Policy::of(&namespace.unwrap_or_default()).0
}

/// Labels that are new have to be right.
fn check_labels(context: &AdmissionContext<'_>, object: &Value, old: Option<&Value>) -> Result<(), Status> {
    let (_, errors) = Policy::of(object);
    if errors.is_empty() || old.is_some_and(|old| Policy::of(old).1 == errors) {
        return Ok(());
    }
    Err(context.handle.invalid(meta::name(object), errors))
}

/// Whether an update brings images or containers that have not been looked at.
fn changes_containers(pod: &Value, old: &Value) -> bool {
    let (spec, before) = (&pod["spec"], &old["spec"]);
    let same_image = |container: &Value, was: &Value| text(container, "image") == text(was, "image");
    for field in ["containers", "initContainers"] {
        let (now, was) = (list(spec, field), list(before, field));
        if now.len() != was.len() || !now.iter().zip(was).all(|(now, was)| same_image(now, was)) {
            return true;
        }
    }
    list(spec, "ephemeralContainers").iter().any(|container| {
        let mut was = list(before, "ephemeralContainers").iter();
        let was = was.find(|was| text(was, "name") == text(container, "name"));
        was.is_none_or(|was| !same_image(container, was))
    })
}

/// What is there and would be refused under the new labels of a namespace.
fn of_pods_there(context: &AdmissionContext<'_>, namespace: &Value, old: &Value) -> Vec<String> {
    let (enforced, was) = (Policy::of(namespace).0.enforce, Policy::of(old).0.enforce);
    let relaxed = enforced.minor == was.minor && enforced.level <= was.level;
    if enforced == was || enforced.level == Level::Privileged || relaxed {
        return Vec::new();
    }
    let name = meta::name(namespace);
    pod_warnings(&context.registry.values("", "pods", name), name, enforced)
}

fn pod_warnings(pods: &[Value], namespace: &str, enforced: Standard) -> Vec<String> {
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let found = violations(enforced, &Pod::of(pod));
        if !found.is_empty() {
            by_reason.entry(reasons(&found)).or_default().push(meta::name(pod));
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > PODS_MAX {
        let all = pods.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {all} existing pods"
        ));
    }
    if !by_reason.is_empty() {
        let (namespace, standard) = (go_quote(namespace), go_quote(&enforced.to_string()));
        warnings.push(format!(
            "existing pods in namespace {namespace} violate the new PodSecurity enforce level {standard}"
        ));
    }
    let mut of_pods: Vec<String> =
        by_reason.into_iter().map(|(reason, names)| of_names(&names, &reason)).collect();
    of_pods.sort_unstable();
    warnings.extend(of_pods);
    warnings
}

fn of_names(names: &[&str], reason: &str) -> String {
    let first = names.iter().min().copied().unwrap_or_default();
    match names.len() {
        1 => format!("{first}: {reason}"),
        2 => format!("{first} (and 1 other pod): {reason}"),
        count => format!("{first} (and {} other pods): {reason}", count - 1),
    }
}
