//! Sentences about containers that do what they may not.

use serde_json::Value;

use crate::registry::kinds::value::{list, text};

/// The fields of a specification that hold containers, in upstream's order.
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// What a pod may not do: a word for it, and more about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub reason: &'static str,
    pub detail: String,
}

impl Violation {
    pub(super) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// All containers of a pod.
pub(super) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    LISTS.into_iter().flat_map(|field| list(spec, field))
}

/// Names of containers for which something holds.
pub(super) fn names(spec: &Value, holds: impl Fn(&Value) -> bool) -> Vec<&str> {
    containers(spec).filter(|container| holds(container)).map(|container| text(container, "name")).collect()
}

/// Items in quotes, which upstream does not escape.
pub(super) fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    quoted.join(", ")
}

/// The right one of two words.
pub(super) fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`
pub(super) fn named(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// Who says something: the pod, containers, or both.
pub(super) fn sayers(pod: bool, names: &[&str]) -> Option<String> {
    let pod = pod.then(|| "pod".to_owned());
    let all: Vec<String> = pod.into_iter().chain((!names.is_empty()).then(|| named(names))).collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

/// A field of the security context of a pod or container.
pub(super) fn context<'a>(place: &'a Value, field: &str) -> Option<&'a Value> {
    place.get("securityContext")?.get(field).filter(|value| !value.is_null())
}

/// Whether the pod is for Windows, where most of this means nothing.
pub(super) fn is_windows(spec: &Value) -> bool {
    text(&spec["os"], "name") == "windows"
}

/// Whether users of the pod are not those of the host.
pub(super) fn has_own_users(spec: &Value) -> bool {
    spec.get("hostUsers") == Some(&Value::Bool(false))
}
