//! Pods nobody else removes: on nodes that are gone, never placed, or finished and too many (upstream `pkg/controller/podgc`).

use crate::context::{Context, Failure, Outcome, objects, synced};
use api::{Key, Node, Pod, is_pod_finished, is_terminating};
use client::{ChangeKind, Informer, Rest, WorkQueue};
use kube::api::{DeleteParams, Preconditions};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "pod-garbage-collector";
/// How long a node may be missing before its pods are given up.
const QUARANTINE: Duration = Duration::from_secs(40);

/// Why a pod is removed.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Reason {
    /// Its node does not exist.
    NodeGone,
    /// It is being deleted and never had a node.
    NeverPlaced,
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("")
}

/// Why this pod should go, if it should.
pub(crate) fn plan(pod: &Pod, nodes: &HashSet<String>) -> Option<Reason> {
    match node_of(pod) {
        "" => is_terminating(&pod.metadata).then_some(Reason::NeverPlaced),
        node => (!nodes.contains(node)).then_some(Reason::NodeGone),
    }
}

/// The oldest finished pods beyond the number that is kept.
pub(crate) fn surplus(pods: &[Arc<Pod>], keep: usize) -> Vec<Arc<Pod>> {
    let mut finished: Vec<Arc<Pod>> =
        pods.iter().filter(|pod| is_pod_finished(pod) && !is_terminating(&pod.metadata)).cloned().collect();
    let count = finished.len().saturating_sub(keep);
    finished.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    finished.truncate(count);
    finished
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    Pod(Key),
    Finished,
}

#[derive(Clone)]
struct Controller {
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    rest: Rest,
    keep: usize,
    queue: WorkQueue<Task>,
}

/// Starts the controller.
pub(crate) fn start(context: &Context) {
    let controller = Controller {
        nodes: context.informers.of(),
        pods: context.informers.of(),
        rest: context.rest(NAME),
        keep: context.config.terminated_pods_max,
        queue: WorkQueue::new(),
    };
    let watcher = controller.clone();
    controller.pods.on_change(move |change| {
        let pod = &change.object;
        if change.kind == ChangeKind::Deleted {
            return;
        }
        let was_finished = change.previous.as_ref().is_some_and(|old| is_pod_finished(old));
        if is_pod_finished(pod) && !was_finished {
            watcher.queue.add(Task::Finished);
        }
        let node = node_of(pod);
        if node.is_empty() && is_terminating(&pod.metadata) {
            watcher.queue.add(Task::Pod(Key::of(&**pod)));
        } else if !node.is_empty() && watcher.nodes.get("", node).is_none() {
            watcher.queue.add_after(Task::Pod(Key::of(&**pod)), QUARANTINE);
        }
    });
    let watcher = controller.clone();
    controller.nodes.on_change(move |change| {
        if change.kind == ChangeKind::Deleted {
            let name = change.object.metadata.name.as_deref().unwrap_or("");
            for pod in watcher.pods.list().iter().filter(|pod| node_of(pod) == name) {
                watcher.queue.add_after(Task::Pod(Key::of(&**pod)), QUARANTINE);
            }
        }
    });
    let ready = vec![synced(&controller.nodes), synced(&controller.pods)];
    let queue = controller.queue.clone();
    context.workers(NAME, queue, 1, ready, move |task: Task| {
        let controller = controller.clone();
        async move { controller.reconcile(task).await }
    });
}

impl Controller {
    async fn reconcile(&self, task: Task) -> Outcome {
        match task {
            Task::Finished => {
                for pod in surplus(&self.pods.list(), self.keep) {
                    self.delete(&pod).await?;
                }
            }
            Task::Pod(key) => {
                let nodes = self.nodes.list().iter().filter_map(|node| node.metadata.name.clone()).collect();
                if let Some(pod) = self.pods.get(&key.namespace, &key.name)
                    && let Some(reason) = plan(&pod, &nodes)
                {
                    tracing::info!(pod = %key, ?reason, "removing a pod");
                    self.delete(&pod).await?;
                }
            }
        }
        Ok(None)
    }

    /// Nobody is left to stop the pod gracefully.
    async fn delete(&self, pod: &Pod) -> Result<(), Failure> {
        let key = Key::of(pod);
        let options = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        match objects::<Pod>(&self.rest).delete(&key.namespace, &key.name, &options).await {
            Err(error) if !client::is_not_found(&error) && !client::is_conflict(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::json;

    fn pod(node: &str, phase: &str, deleting: bool, created: &str) -> Arc<Pod> {
        let deletion = deleting.then_some("2026-01-01T00:00:00Z");
        let value = json!({
            "metadata": {"name": created, "deletionTimestamp": deletion, "creationTimestamp": created},
            "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase},
        });
        Arc::new(Pod::from_value(value).unwrap())
    }

    #[test]
    fn pods_without_a_home_go() {
        let nodes = HashSet::from(["n1".to_owned()]);
        let at = "2026-01-01T00:00:00Z";
        let cases = [
            (pod("n1", "Running", false, at), None),
            (pod("n2", "Running", false, at), Some(Reason::NodeGone)),
            (pod("", "Pending", false, at), None),
            (pod("", "Pending", true, at), Some(Reason::NeverPlaced)),
        ];
        for (pod, want) in cases {
            assert_eq!(plan(&pod, &nodes), want);
        }
    }

    #[test]
    fn the_oldest_finished_pods_go() {
        let at = |minute: usize| format!("2026-01-01T00:0{minute}:00Z");
        let mut pods: Vec<Arc<Pod>> = (0..4).rev().map(|i| pod("n1", "Succeeded", false, &at(i))).collect();
        pods.push(pod("n1", "Running", false, &at(0)));
        let gone: Vec<_> = surplus(&pods, 2).iter().filter_map(|pod| pod.metadata.name.clone()).collect();
        assert_eq!(gone, [at(0), at(1)]);
        assert!(surplus(&pods, 4).is_empty());
    }
}
