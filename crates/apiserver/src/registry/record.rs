//! Events of the server itself.

use jiff::Timestamp;
use machinery::meta;
use serde_json::{Value, json};

use super::Registry;

/// Something that is wrong with an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// The part of the server that found it.
    pub reporter: &'static str,
    /// The object.
    pub about: Value,
    /// Why, in one word.
    pub reason: &'static str,
    /// What was tried; parts that write events of the older kind do not say.
    pub action: Option<&'static str>,
    /// Why, for people.
    pub note: String,
}

/// Writes an event. One that cannot be written is lost.
pub async fn warn(registry: &Registry, warning: &Warning) {
    let event = event(warning, &registry.config().hostname, Timestamp::now());
    if let Err(status) = registry.create(event).await {
        tracing::warn!(reason = warning.reason, note = warning.note, %status, "failed to write an event");
    }
}

fn event(warning: &Warning, host: &str, now: Timestamp) -> Value {
    let Warning { reporter, about, reason, note, .. } = warning;
    let about = json!({
        "apiVersion": meta::api_version(about), "kind": meta::kind(about),
        "namespace": meta::namespace(about), "name": meta::name(about), "uid": meta::uid(about),
        "resourceVersion": meta::resource_version(about),
    });
    let namespace =
        if meta::namespace(&warning.about).is_empty() { "default" } else { meta::namespace(&warning.about) };
    // An IPv6 address is no name of an event.
    let name = meta::name(&warning.about).replace(':', "-");
    let metadata = json!({"name": format!("{name}.{:x}", now.as_nanosecond()), "namespace": namespace});
    match warning.action {
        Some(action) => json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": metadata, "type": "Warning",
            "regarding": about, "reason": reason, "action": action, "note": note,
            "eventTime": machinery::time::micro(now),
            "reportingController": reporter, "reportingInstance": format!("{reporter}-{host}"),
        }),
        None => json!({
            "apiVersion": "v1", "kind": "Event", "metadata": metadata, "type": "Warning",
            "involvedObject": about, "reason": reason, "message": note, "count": 1,
            "firstTimestamp": machinery::time::rfc3339(now), "lastTimestamp": machinery::time::rfc3339(now),
            "source": {"component": reporter}, "reportingComponent": reporter,
        }),
    }
}
