//! Fields behind feature gates that are off: they are dropped, unless the object had them before.

use serde_json::Value;

use super::super::value::{each, has, list};
use super::CONTAINER_LISTS;

/// Fields of a specification.
const OF_SPEC: [&str; 2] = ["schedulingGroup", "evictionResponders"];
/// What a projected volume may hold only when it is switched on.
const OF_PROJECTION: [&str; 2] = ["clusterTrustBundle", "podCertificate"];

/// Drops them from a pod's specification. `old` is the one that is there, if any.
pub(in super::super) fn drop_disabled(spec: &mut Value, old: Option<&Value>) {
    for field in OF_SPEC {
        if spec.get(field).is_some()
            && !old.is_some_and(|old| has(old, field))
            && let Some(spec) = spec.as_object_mut()
        {
            spec.remove(field);
        }
    }
    let projects = |spec: &Value, field: &str| {
        let mut sources = list(spec, "volumes").iter().flat_map(|v| list(&v["projected"], "sources"));
        sources.any(|source| has(source, field))
    };
    for field in OF_PROJECTION {
        if projects(spec, field) && !old.is_some_and(|old| projects(old, field)) {
            let sources = each(spec, "volumes").filter_map(|volume| volume.get_mut("projected"));
            for source in sources.flat_map(|projected| each(projected, "sources")) {
                source.as_object_mut().map(|source| source.remove(field));
            }
        }
    }
    let stops = |spec: &Value| {
        let mut containers = CONTAINER_LISTS.into_iter().flat_map(|field| list(spec, field));
        containers.any(|container| container.pointer("/lifecycle/stopSignal").is_some())
    };
    if stops(spec) && !old.is_some_and(stops) {
        for field in CONTAINER_LISTS {
            for container in each(spec, field) {
                let lifecycle = container.get_mut("lifecycle").and_then(Value::as_object_mut);
                lifecycle.map(|lifecycle| lifecycle.remove("stopSignal"));
            }
        }
    }
}
