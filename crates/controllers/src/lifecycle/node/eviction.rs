//! Pods leave a node whose NoExecute taints they do not tolerate.

use crate::context::{Context, Outcome, objects, synced};
use api::{Key, Node, Pod, Taint, Toleration, is_terminating, object_reference};
use client::{EventType, Informer, Recorder, Rest, WorkQueue};
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Preconditions};
use std::time::Duration;

const NAME: &str = "node-controller";
const WORKERS: usize = 4;

/// When the pod must leave: `None` never, otherwise a time that may have passed.
pub(crate) fn leaves_at(tolerations: &[Toleration], taints: &[Taint], now: Timestamp) -> Option<Timestamp> {
    let mut earliest: Option<Timestamp> = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let covering: Vec<&Toleration> =
            tolerations.iter().filter(|toleration| covers(toleration, taint)).collect();
        if covering.is_empty() {
            return Some(now);
        }
        // Of the tolerations with a limit the shortest counts; one without a limit adds none.
        let limit = covering.iter().filter_map(|toleration| toleration.toleration_seconds).min();
        if let Some(seconds) = limit {
            let since = taint.time_added.as_ref().map_or(now, |time| time.0);
            let at = since.saturating_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(now);
            earliest = Some(earliest.map_or(at, |before| before.min(at)));
        }
    }
    earliest
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    fn text(value: &Option<String>) -> &str {
        value.as_deref().unwrap_or("")
    }
    let effect = text(&toleration.effect);
    let key = text(&toleration.key);
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match text(&toleration.operator) {
            "Exists" => true,
            "" | "Equal" => text(&toleration.value) == text(&taint.value),
            _ => false,
        }
}

#[derive(Clone)]
struct Controller {
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    rest: Rest,
    recorder: Recorder,
}

fn executes(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    taints.into_iter().filter(|taint| taint.effect == "NoExecute").collect()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

/// Starts the controller.
pub(super) fn start(context: &Context) {
    let rest = context.rest(NAME);
    let controller = Controller {
        nodes: context.informers.of(),
        pods: context.informers.of(),
        recorder: context.recorder(&rest, "taint-eviction-controller"),
        rest,
    };
    let queue = WorkQueue::new();
    let (nodes, keys) = (controller.nodes.clone(), queue.clone());
    controller.pods.on_change(move |change| {
        let pod = &change.object;
        let same = change.previous.as_ref().is_some_and(|old| old.spec == pod.spec);
        let tainted = || {
            node_of(pod).and_then(|node| nodes.get("", node)).is_some_and(|node| !executes(&node).is_empty())
        };
        if !same && tainted() {
            keys.add(Key::of(&**pod));
        }
    });
    let (pods, keys) = (controller.pods.clone(), queue.clone());
    controller.nodes.on_change(move |change| {
        let before = change.previous.as_ref().map(|old| executes(old)).unwrap_or_default();
        let taints = executes(&change.object);
        if taints == before {
            return;
        }
        let name = change.object.metadata.name.as_deref();
        for pod in pods.list().iter().filter(|pod| node_of(pod) == name) {
            keys.add(Key::of(&**pod));
        }
    });
    let ready = vec![synced(&controller.nodes), synced(&controller.pods)];
    context.workers("taint-eviction", queue, WORKERS, ready, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    });
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else { return Ok(None) };
        if is_terminating(&pod.metadata) {
            return Ok(None);
        }
        let Some(node) = node_of(&pod).and_then(|node| self.nodes.get("", node)) else { return Ok(None) };
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
        let now = Timestamp::now();
        let Some(at) = leaves_at(&tolerations, &executes(&node), now) else { return Ok(None) };
        if let Ok(left) = Duration::try_from(at.duration_since(now))
            && !left.is_zero()
        {
            return Ok(Some(left));
        }
        let about = object_reference(&*pod);
        let message = format!("Marking for deletion Pod {key}");
        self.recorder.event(&about, EventType::Normal, "TaintManagerEviction", message);
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let options = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match objects::<Pod>(&self.rest).delete(&key.namespace, &key.name, &options).await {
            Err(error) if !client::is_not_found(&error) && !client::is_conflict(&error) => Err(error.into()),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_shortest_toleration_counts() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let taint = json!({"key": "t", "effect": "NoExecute", "timeAdded": "2026-01-01T00:09:00Z"});
        let soft = json!({"key": "t", "effect": "NoSchedule"});
        let cases: [(Value, Value, Option<&str>); 6] = [
            (json!([]), json!([soft]), None),
            (json!([]), json!([taint]), Some("2026-01-01T00:10:00Z")),
            (json!([{"operator": "Exists"}]), json!([taint]), None),
            (
                json!([{"key": "t", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
                json!([taint]),
                Some("2026-01-01T00:14:00Z"),
            ),
            (
                json!([{"key": "t", "operator": "Exists", "tolerationSeconds": 300}, {"key": "t", "operator": "Exists", "tolerationSeconds": 90}]),
                json!([taint]),
                Some("2026-01-01T00:10:30Z"),
            ),
            (json!([{"key": "t", "value": "x"}]), json!([taint]), Some("2026-01-01T00:10:00Z")),
        ];
        for (tolerations, taints, want) in cases {
            let tolerated: Vec<Toleration> = serde_json::from_value(tolerations.clone()).unwrap();
            let taints: Vec<Taint> = serde_json::from_value(taints).unwrap();
            let want: Option<Timestamp> = want.map(|text| text.parse().unwrap());
            assert_eq!(leaves_at(&tolerated, &taints, now), want, "{tolerations}");
        }
    }
}
