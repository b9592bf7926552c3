//! Questions about a pod's state, as upstream's `pkg/api/v1/pod` answers them.

use crate::{ContainerStatus, Pod, PodCondition, Time};
use jiff::{SignedDuration, Timestamp};

/// Annotation of a pod that mirrors a static pod of a node.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The phase, empty before the API server has set one.
#[must_use]
pub fn pod_phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
}

/// The condition of the given type.
#[must_use]
pub fn pod_condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// Whether the `Ready` condition is true.
#[must_use]
pub fn pod_ready(pod: &Pod) -> bool {
    pod_condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Since when the pod has been ready; `None` when it is not.
#[must_use]
pub fn pod_ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = pod_condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether the pod has been ready for at least `min_ready_seconds`.
#[must_use]
pub fn pod_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    if !pod_ready(pod) {
        return false;
    }
    min_ready_seconds <= 0
        || pod_ready_since(pod).is_some_and(|since| {
            now.duration_since(since) >= SignedDuration::from_secs(i64::from(min_ready_seconds))
        })
}

/// Whether the pod has run to its end, well or badly.
#[must_use]
pub fn is_pod_finished(pod: &Pod) -> bool {
    matches!(pod_phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod counts for its controller: neither finished nor being deleted.
#[must_use]
pub fn is_pod_active(pod: &Pod) -> bool {
    !is_pod_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the pod is the API's mirror of a node's static pod.
#[must_use]
pub fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR))
}

/// Status of the named container, init and ephemeral ones included.
#[must_use]
pub fn container_status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .find(|container| container.name == name)
}

/// Puts a condition into the list by type; its transition time is kept while its status stays the same.
/// Returns whether anything changed.
pub fn set_pod_condition(conditions: &mut Vec<PodCondition>, mut new: PodCondition, now: Timestamp) -> bool {
    let Some(old) = conditions.iter_mut().find(|condition| condition.type_ == new.type_) else {
        new.last_transition_time.get_or_insert(Time(now));
        conditions.push(new);
        return true;
    };
    new.last_transition_time = if old.status == new.status {
        old.last_transition_time.clone()
    } else {
        new.last_transition_time.or(Some(Time(now)))
    };
    let changed = *old != new;
    *old = new;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use serde_json::json;

    fn pod(status: serde_json::Value) -> Pod {
        Pod::from_value(json!({"metadata": {"name": "p"}, "status": status})).expect("pod")
    }

    #[test]
    fn availability_waits_for_min_ready_seconds() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().expect("time");
        let ready = |since: &str| {
            pod(json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}))
        };
        let cases = [
            (ready("2026-01-01T00:00:00Z"), 0, true),
            (ready("2026-01-01T00:00:00Z"), 10, true),
            (ready("2026-01-01T00:00:01Z"), 10, false),
            (pod(json!({"conditions": [{"type": "Ready", "status": "False"}]})), 0, false),
            (pod(json!({})), 0, false),
        ];
        for (index, (pod, seconds, want)) in cases.into_iter().enumerate() {
            assert_eq!(pod_available(&pod, seconds, now), want, "case {index}");
        }
    }

    #[test]
    fn transition_time_moves_only_with_status() {
        let early: Timestamp = "2026-01-01T00:00:00Z".parse().expect("time");
        let late: Timestamp = "2026-01-01T00:01:00Z".parse().expect("time");
        let condition = |status: &str| PodCondition {
            type_: "Ready".into(),
            status: status.into(),
            ..PodCondition::default()
        };
        let mut list = Vec::new();
        assert!(set_pod_condition(&mut list, condition("False"), early));
        assert!(!set_pod_condition(&mut list, condition("False"), late));
        assert_eq!(list[0].last_transition_time, Some(Time(early)));
        assert!(set_pod_condition(&mut list, condition("True"), late));
        assert_eq!(list[0].last_transition_time, Some(Time(late)));
    }
}
