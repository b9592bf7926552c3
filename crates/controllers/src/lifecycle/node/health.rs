//! Conditions and taints of nodes.

use crate::context::{Context, Failure, Outcome, objects, synced};
use api::{
    Key, Lease, Node, NodeCondition, Pod, PodCondition, Taint, Time, is_terminating, object_reference,
    pod_ready, set_pod_condition,
};
use client::{ChangeKind, EventType, Informer, Recorder, Rest, WorkQueue};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const NAME: &str = "node-controller";
const WORKERS: usize = 4;
const LEASE_NAMESPACE: &str = "kube-node-lease";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Condition types that follow the kubelet's silence, and the taints that pressure brings.
const WATCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const PRESSURE: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

fn conditions(node: &Node) -> &[NodeCondition] {
    node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or(&[])
}

fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    conditions(node).iter().find(|condition| condition.type_ == type_)
}

/// The conditions to write when the node has been silent too long: none when they say so already.
pub(crate) fn silenced(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let mut changed = Vec::new();
    for type_ in WATCHED {
        let old = condition(node, type_);
        if old.is_some_and(|old| old.status == "Unknown") {
            continue;
        }
        let (reason, message) = match old {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        changed.push(NodeCondition {
            type_: type_.to_owned(),
            status: "Unknown".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: old
                .and_then(|old| old.last_heartbeat_time.clone())
                .or_else(|| node.metadata.creation_timestamp.clone()),
            last_transition_time: Some(Time(now)),
        });
    }
    changed
}

/// The taints the node should have; `None` when it has them. Taints of others stay.
pub(crate) fn taints(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match condition(node, "Ready").map(|ready| ready.status.as_str()) {
        Some("False") => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        Some("Unknown") => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        _ => {}
    }
    for (type_, key) in PRESSURE {
        if condition(node, type_).is_some_and(|condition| condition.status == "True") {
            wanted.push((key, "NoSchedule"));
        }
    }
    let spec = node.spec.as_ref();
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let old = spec.and_then(|spec| spec.taints.as_deref()).unwrap_or(&[]);
    let mut new: Vec<Taint> =
        old.iter().filter(|taint| !is_ours(taint) || is_wanted(taint, &wanted)).cloned().collect();
    for (key, effect) in wanted {
        if !new.iter().any(|taint| taint.key == key && taint.effect == effect) {
            new.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    (new != old).then_some(new)
}

fn is_ours(taint: &Taint) -> bool {
    let schedule = taint.effect == "NoSchedule"
        && (PRESSURE.iter().any(|(_, key)| *key == taint.key) || taint.key == UNSCHEDULABLE);
    let state = matches!(taint.key.as_str(), NOT_READY | UNREACHABLE)
        && matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    schedule || state
}

fn is_wanted(taint: &Taint, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect)
}

/// A pod on a node that is not ready cannot be ready; the condition to write, if it is not there.
pub(crate) fn unready(pod: &Pod, now: Timestamp) -> Option<Vec<PodCondition>> {
    if !pod_ready(pod) || is_terminating(&pod.metadata) {
        return None;
    }
    let mut all = pod.status.as_ref()?.conditions.clone().unwrap_or_default();
    let new = PodCondition { type_: "Ready".into(), status: "False".into(), ..PodCondition::default() };
    set_pod_condition(&mut all, new, now).then_some(all)
}

/// The last sign of life of a node: what it said, and when that was seen here. Clocks of nodes are not trusted.
struct Seen {
    heartbeat: (Option<Timestamp>, Option<Timestamp>),
    at: Instant,
}

#[derive(Clone)]
struct Controller {
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    rest: Rest,
    recorder: Recorder,
    seen: Arc<Mutex<HashMap<String, Seen>>>,
    grace: Duration,
}

/// Starts the controller.
pub(super) fn start(context: &Context) {
    let rest = context.rest(NAME);
    let controller = Controller {
        nodes: context.informers.of(),
        leases: context.informers.of(),
        pods: context.informers.of(),
        recorder: context.recorder(&rest, NAME),
        rest,
        seen: Arc::default(),
        grace: context.config.node_monitor_grace,
    };
    let queue = WorkQueue::new();
    let keys = queue.clone();
    controller.nodes.on_change(move |change| keys.add(Key::of(&*change.object).name));
    let keys = queue.clone();
    controller.leases.on_change(move |change| {
        let key = Key::of(&*change.object);
        if change.kind == ChangeKind::Applied && key.namespace == LEASE_NAMESPACE {
            keys.add(key.name);
        }
    });
    let ready = vec![synced(&controller.nodes), synced(&controller.leases), synced(&controller.pods)];
    context.workers("node-lifecycle", queue, WORKERS, ready, move |name: String| {
        let controller = controller.clone();
        async move { controller.reconcile(&name).await }
    });
}

impl Controller {
    async fn reconcile(&self, name: &str) -> Outcome {
        let Some(node) = self.nodes.get("", name) else {
            self.seen.lock().remove(name);
            return Ok(None);
        };
        let silent_for = self.observe(&node, name);
        let mut current = (*node).clone();
        if silent_for >= self.grace {
            self.silence(&mut current).await?;
        }
        self.taint(&current).await?;
        if condition(&current, "Ready").is_some_and(|ready| ready.status != "True") {
            self.mark_pods(name).await?;
        }
        let left = self.grace.saturating_sub(silent_for);
        Ok((!left.is_zero()).then(|| left + Duration::from_millis(50)))
    }

    /// Notes the newest sign of life; returns how long ago it was seen.
    fn observe(&self, node: &Node, name: &str) -> Duration {
        let lease = self.leases.get(LEASE_NAMESPACE, name);
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let posted = condition(node, "Ready").filter(|ready| ready.status != "Unknown");
        let posted = posted.and_then(|ready| ready.last_heartbeat_time.as_ref().map(|time| time.0));
        let now = Instant::now();
        let mut seen = self.seen.lock();
        let known = seen.entry(name.to_owned()).or_insert(Seen { heartbeat: (renewed, posted), at: now });
        let newer = renewed > known.heartbeat.0 || posted > known.heartbeat.1;
        if newer {
            *known = Seen { heartbeat: (renewed, posted.or(known.heartbeat.1)), at: now };
        }
        now.duration_since(known.at)
    }

    async fn silence(&self, node: &mut Node) -> Result<(), Failure> {
        let changed = silenced(node, Timestamp::now());
        if changed.is_empty() {
            return Ok(());
        }
        let name = node.metadata.name.clone().unwrap_or_default();
        let patch = json!({"status": {"conditions": changed}});
        *node = objects::<Node>(&self.rest).patch_status("", &name, &patch).await?;
        let message = format!("Node {name} status is now: NodeNotReady");
        self.recorder.event(&object_reference(node), EventType::Normal, "NodeNotReady", message);
        Ok(())
    }

    async fn taint(&self, node: &Node) -> Result<(), Failure> {
        let Some(taints) = taints(node, Timestamp::now()) else { return Ok(()) };
        let name = node.metadata.name.as_deref().unwrap_or("");
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": taints},
        });
        objects::<Node>(&self.rest).patch("", name, &patch).await?;
        Ok(())
    }

    async fn mark_pods(&self, node: &str) -> Result<(), Failure> {
        for pod in self.pods.list() {
            let here = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
            let Some(conditions) = unready(&pod, Timestamp::now()).filter(|_| here) else { continue };
            let mut changed = (*pod).clone();
            changed.status.get_or_insert_default().conditions = Some(conditions);
            match objects::<Pod>(&self.rest).replace_status(&changed).await {
                Ok(_) => {
                    let about = object_reference(&*pod);
                    self.recorder.event(&about, EventType::Warning, "NodeNotReady", "Node is not ready");
                }
                Err(error) if client::is_not_found(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::Value;

    fn node(conditions: Value, spec: Value) -> Node {
        Node::from_value(
            json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}}),
        )
        .unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn taints_follow_conditions_and_leave_others_alone() {
        let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
        let own = json!({"key": "mine", "effect": "NoSchedule"});
        let cases = [
            (ready("True"), json!({}), None),
            (ready("False"), json!({}), Some(vec![(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")])),
            (
                ready("Unknown"),
                json!({}),
                Some(vec![(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
            ),
            (
                ready("True"),
                json!({"taints": [own, {"key": NOT_READY, "effect": "NoExecute"}]}),
                Some(vec![("mine", "NoSchedule")]),
            ),
            (ready("True"), json!({"unschedulable": true}), Some(vec![(UNSCHEDULABLE, "NoSchedule")])),
            (
                ready("True"),
                json!({"taints": [{"key": UNSCHEDULABLE, "effect": "NoSchedule"}]}),
                Some(vec![]),
            ),
            (
                json!([{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]),
                json!({}),
                Some(vec![("node.kubernetes.io/disk-pressure", "NoSchedule")]),
            ),
        ];
        for (conditions, spec, want) in cases {
            let got = taints(&node(conditions.clone(), spec), now());
            let got = got.as_ref().map(|all| {
                all.iter().map(|taint| (taint.key.as_str(), taint.effect.as_str())).collect::<Vec<_>>()
            });
            assert_eq!(got, want, "{conditions}");
        }
    }

    #[test]
    fn a_silent_node_becomes_unknown_once() {
        let first = silenced(&node(json!([{"type": "Ready", "status": "True"}]), json!({})), now());
        let reasons: Vec<_> =
            first.iter().map(|c| (c.type_.as_str(), c.reason.as_deref().unwrap())).collect();
        assert_eq!(reasons[0], ("Ready", "NodeStatusUnknown"));
        assert_eq!(reasons[1], ("MemoryPressure", "NodeStatusNeverUpdated"));
        let known = serde_json::to_value(&first).unwrap();
        assert!(silenced(&node(known, json!({})), now()).is_empty());
    }
}
