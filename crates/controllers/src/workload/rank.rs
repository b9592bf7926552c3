//! Which pods go first when there are too many: upstream's `ActivePodsWithRanks`.

use api::{Pod, pod_phase, pod_ready, pod_ready_since};
use jiff::Timestamp;
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

/// Annotation by which users rank pods; lower is deleted first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods of `pods` to delete. `related` are the pods of the same root owner: a node that carries more of
/// them loses one first.
pub(crate) fn to_delete(
    mut pods: Vec<Arc<Pod>>,
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count < pods.len() {
        let mut crowd: HashMap<&str, usize> = HashMap::new();
        for pod in related.iter().filter(|pod| api::is_pod_active(pod)) {
            *crowd.entry(node_name(pod)).or_default() += 1;
        }
        pods.sort_by(|a, b| compare(a, b, &crowd, now));
        pods.truncate(count);
    }
    pods
}

fn compare(a: &Pod, b: &Pod, crowd: &HashMap<&str, usize>, now: Timestamp) -> Ordering {
    let crowded = |pod: &Pod| crowd.get(node_name(pod)).copied().unwrap_or(0);
    let assigned = |pod: &Pod| !node_name(pod).is_empty();
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pod_ready(a).cmp(&pod_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| Reverse(crowded(a)).cmp(&Reverse(crowded(b))))
        .then_with(|| younger_first(pod_ready_since(a), pod_ready_since(b), a, b, now))
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| younger_first(created(a), created(b), a, b, now))
}

fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("")
}

fn phase_rank(pod: &Pod) -> u8 {
    match pod_phase(pod) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotation = pod.metadata.annotations.as_ref().and_then(|all| all.get(DELETION_COST));
    annotation.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or(0)
}

/// Younger first, by orders of magnitude of age; within one the uid decides, so that pods of about the same age go in
/// random order. A pod without a time comes first.
fn younger_first(
    a: Option<Timestamp>,
    b: Option<Timestamp>,
    pod_a: &Pod,
    pod_b: &Pod,
    now: Timestamp,
) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) if a == b => Ordering::Equal,
        (Some(a), Some(b)) => magnitude(a, now)
            .cmp(&magnitude(b, now))
            .then_with(|| pod_a.metadata.uid.cmp(&pod_b.metadata.uid)),
    }
}

fn magnitude(time: Timestamp, now: Timestamp) -> i32 {
    let seconds = now.duration_since(time).as_nanos();
    if seconds <= 0 { -1 } else { seconds.ilog2().cast_signed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::{Value, json};

    fn pod(uid: &str, node: &str, phase: &str, ready: Option<&str>, extra: Value) -> Arc<Pod> {
        let mut meta = json!({"name": uid, "uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z"});
        if let (Some(meta), Some(extra)) = (meta.as_object_mut(), extra.as_object()) {
            meta.extend(extra.clone());
        }
        let condition = json!({"type": "Ready", "status": if ready.is_some() {"True"} else {"False"}, "lastTransitionTime": ready});
        let value = json!({
            "metadata": meta,
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": [condition]},
        });
        Arc::new(Pod::from_value(value).expect("pod"))
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let since = Some("2026-01-01T00:00:10Z");
        let none = json!({});
        let solid = || pod("solid", "n1", "Running", since, none.clone());
        let cases = [
            ("unassigned", pod("x", "", "Pending", None, none.clone())),
            ("pending", pod("x", "n1", "Pending", None, none.clone())),
            ("not ready", pod("x", "n1", "Running", None, none.clone())),
            ("cheap", pod("x", "n1", "Running", since, json!({"annotations": {DELETION_COST: "-5"}}))),
            ("ready for less long", pod("x", "n1", "Running", Some("2026-01-01T23:59:00Z"), none.clone())),
            (
                "younger",
                pod("x", "n1", "Running", since, json!({"creationTimestamp": "2026-01-01T23:00:00Z"})),
            ),
        ];
        for (name, candidate) in cases {
            let gone = to_delete(vec![solid(), candidate], &[], 1, now);
            assert_eq!(gone[0].metadata.uid.as_deref(), Some("x"), "{name}");
        }
    }

    #[test]
    fn a_crowded_node_loses_one_first() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let since = Some("2026-01-01T00:00:10Z");
        let on = |uid: &str, node: &str| pod(uid, node, "Running", since, json!({}));
        let pods = vec![on("a", "n1"), on("b", "n2")];
        let related = [on("a", "n1"), on("b", "n2"), on("c", "n2")];
        assert_eq!(to_delete(pods, &related, 1, now)[0].metadata.uid.as_deref(), Some("b"));
    }
}
