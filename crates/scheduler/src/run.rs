//! Watches, the loop, and bindings in the background.

use crate::Config;
use crate::binder::Binder;
use crate::metrics::{Metrics, Outcome};
use crate::plugins::scheduling_gates;
use crate::queue::{Entry, Event, Queue};
use crate::schedule::schedule;
use crate::snapshot::{PodInfo, Snapshot};
use api::{Key, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, is_terminating};
use client::{Change, ChangeKind, Informers, Objects, Recorder};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bindings and status writes in flight at most.
const WRITES_MAX: usize = 128;

type Shared = Arc<Mutex<Snapshot>>;

/// Schedules until `token` is cancelled. `client` acts as `system:kube-scheduler`.
pub async fn run(config: Config, client: kube::Client, token: CancellationToken) {
    let informers = Informers::with_token(client.clone(), &token);
    let (snapshot, queue): (Shared, Queue) = Default::default();
    let binder = Binder {
        pods: Objects::new(client.clone(), "kube-scheduler"),
        recorder: Recorder::new(client, "kube-scheduler", &config.name, ""),
    };
    let metrics = Arc::new(Metrics::new(&config.metrics, &config.name, &queue));
    let nodes = informers.of::<Node>();
    let pods = informers.of::<Pod>();
    watch_nodes(&nodes, &snapshot, &queue);
    watch_volumes(&informers, &snapshot, &queue);
    watch_pods(&pods, &snapshot, &queue, config.name);
    let ready = async {
        nodes.synced().await;
        pods.synced().await;
    };
    if token.run_until_cancelled(ready).await.is_some() {
        let scheduler = Scheduler { snapshot, queue, binder, metrics };
        scheduler.work(&token).await;
    }
    informers.shut_down().await;
}

fn watch_nodes(nodes: &client::Informer<Node>, snapshot: &Shared, queue: &Queue) {
    let (snapshot, queue) = (snapshot.clone(), queue.clone());
    nodes.on_change(move |change| {
        let name = change.object.metadata.name.as_deref().unwrap_or("");
        if change.kind == ChangeKind::Deleted {
            snapshot.lock().remove_node(name);
            return;
        }
        snapshot.lock().set_node(change.object.clone());
        if change.previous.as_ref().is_none_or(|old| offers_differ(old, &change.object)) {
            queue.moved(Event::Node);
        }
    });
}

/// Whether a change of a node can make room for a pod; heartbeats and conditions cannot.
fn offers_differ(old: &Node, new: &Node) -> bool {
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    old.metadata.labels != new.metadata.labels
        || old.spec.as_ref().map(|spec| (&spec.taints, spec.unschedulable))
            != new.spec.as_ref().map(|spec| (&spec.taints, spec.unschedulable))
        || allocatable(old) != allocatable(new)
}

fn watch_volumes(informers: &Informers, snapshot: &Shared, queue: &Queue) {
    let (shared, events) = (snapshot.clone(), queue.clone());
    informers.of::<PersistentVolumeClaim>().on_change(move |change| {
        let key = Key::of(&*change.object);
        let key = (key.namespace, key.name);
        if change.kind == ChangeKind::Deleted {
            shared.lock().claims.remove(&key);
        } else {
            shared.lock().claims.insert(key, change.object.clone());
            events.moved(Event::Volume);
        }
    });
    let (shared, events) = (snapshot.clone(), queue.clone());
    informers.of::<PersistentVolume>().on_change(move |change| {
        let name = change.object.metadata.name.clone().unwrap_or_default();
        if change.kind == ChangeKind::Deleted {
            shared.lock().volumes.remove(&name);
        } else {
            shared.lock().volumes.insert(name, change.object.clone());
            events.moved(Event::Volume);
        }
    });
    let (shared, events) = (snapshot.clone(), queue.clone());
    informers.of::<Namespace>().on_change(move |change| {
        let meta = &change.object.metadata;
        let name = meta.name.clone().unwrap_or_default();
        let labels = meta.labels.clone().unwrap_or_default();
        if change.kind == ChangeKind::Deleted {
            shared.lock().namespaces.remove(&name);
        } else if shared.lock().namespaces.insert(name, labels.clone()) != Some(labels) {
            events.moved(Event::Namespace);
        }
    });
}

fn watch_pods(pods: &client::Informer<Pod>, snapshot: &Shared, queue: &Queue, scheduler: String) {
    let (snapshot, queue) = (snapshot.clone(), queue.clone());
    pods.on_change(move |change| {
        let placed = change.object.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let placed = placed.filter(|node| !node.is_empty());
        let over = change.kind == ChangeKind::Deleted || api::is_pod_finished(&change.object);
        match placed {
            Some(_) if over => pod_left(change, &snapshot, &queue),
            Some(node) => pod_placed(change, node, &snapshot, &queue),
            None => pod_waits(change, over, &snapshot, &queue, &scheduler),
        }
    });
}

fn pod_left(change: &Change<Pod>, snapshot: &Shared, queue: &Queue) {
    queue.remove(&Key::of(&*change.object));
    let left = snapshot.lock().unplace(change.object.metadata.uid.as_deref().unwrap_or(""));
    if left.is_some() {
        queue.moved(Event::PodGone);
    }
}

fn pod_placed(change: &Change<Pod>, node: &str, snapshot: &Shared, queue: &Queue) {
    let pod = &change.object;
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    queue.remove(&Key::of(&**pod));
    let before = change.previous.as_ref();
    let placed_before = snapshot.lock().placed_on(uid) == Some(node);
    // Most changes of a running pod are of its status, which nothing here reads.
    let same = before.is_some_and(|old| {
        old.spec == pod.spec
            && old.metadata.labels == pod.metadata.labels
            && old.metadata.deletion_timestamp == pod.metadata.deletion_timestamp
    });
    if same && placed_before {
        return;
    }
    snapshot.lock().place(PodInfo::new(pod.clone()), node);
    let resized = placed_before && before.is_some_and(|old| old.spec != pod.spec);
    queue.moved(if resized { Event::PodGone } else { Event::PodPlaced });
}

fn pod_waits(change: &Change<Pod>, over: bool, snapshot: &Shared, queue: &Queue, scheduler: &str) {
    let pod = &change.object;
    let own =
        pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or("default-scheduler");
    if over || is_terminating(&pod.metadata) || own != scheduler {
        queue.remove(&Key::of(&**pod));
        return;
    }
    // Already decided; the binding is on its way.
    if snapshot.lock().placed_on(pod.metadata.uid.as_deref().unwrap_or("")).is_some() {
        return;
    }
    let changed = change.previous.as_ref().is_none_or(|old| {
        old.spec != pod.spec
            || old.metadata.labels != pod.metadata.labels
            || old.metadata.annotations != pod.metadata.annotations
    });
    queue.offer(pod.clone(), !scheduling_gates::is_open(pod), changed);
}

struct Scheduler {
    snapshot: Shared,
    queue: Queue,
    binder: Binder,
    metrics: Arc<Metrics>,
}

impl Scheduler {
    async fn work(&self, token: &CancellationToken) {
        let permits = Arc::new(Semaphore::new(WRITES_MAX));
        let mut writes = JoinSet::new();
        loop {
            let permit = tokio::select! {
                () = token.cancelled() => break,
                permit = permits.clone().acquire_owned() => permit,
            };
            // The semaphore is never closed.
            let Ok(permit) = permit else { break };
            let entry = loop {
                tokio::select! {
                    biased;
                    () = token.cancelled() => break None,
                    entry = self.queue.next() => break Some(entry),
                    Some(result) = writes.join_next() => report_panic(result),
                }
            };
            let Some(entry) = entry else { break };
            if let Some(write) = self.attempt(entry) {
                writes.spawn(async move {
                    write.await;
                    drop(permit);
                });
            }
        }
        writes.shutdown().await;
    }

    /// Decides about one pod; the returned future tells the API.
    fn attempt(&self, entry: Entry) -> Option<futures::future::BoxFuture<'static, ()>> {
        let started = Instant::now();
        let info = PodInfo::new(entry.pod.clone());
        let mut snapshot = self.snapshot.lock();
        let decided = schedule(&info, &snapshot, &mut rand::rng());
        let metrics = self.metrics.clone();
        metrics.decided(started.elapsed());
        let (binder, queue, shared) = (self.binder.clone(), self.queue.clone(), self.snapshot.clone());
        match decided {
            Ok(node) => {
                snapshot.place(info, &node);
                drop(snapshot);
                Some(Box::pin(async move {
                    let history = entry.history();
                    let bound = bind(&binder, &queue, &shared, entry, &node).await;
                    metrics.ended(if bound { Outcome::Scheduled } else { Outcome::Error }, started.elapsed());
                    if bound {
                        metrics.bound(history.0, history.1);
                    }
                }))
            }
            Err(why) => {
                drop(snapshot);
                metrics.ended(Outcome::Unschedulable, started.elapsed());
                let pod = entry.pod.clone();
                self.queue.refuse(entry, &why);
                Some(Box::pin(async move { binder.report_unschedulable(&pod, &why).await }))
            }
        }
    }
}

/// Whether the pod has its node now.
async fn bind(binder: &Binder, queue: &Queue, snapshot: &Shared, entry: Entry, node: &str) -> bool {
    let pod = entry.pod.clone();
    let Err(error) = binder.bind(&pod, node).await else { return true };
    snapshot.lock().unplace(pod.metadata.uid.as_deref().unwrap_or(""));
    queue.moved(Event::PodGone);
    // Gone, or bound by someone else: the watch tells.
    if client::is_not_found(&error) {
        return false;
    }
    tracing::debug!(pod = %entry.key(), node, %error, "failed to bind");
    binder.report_failed_binding(&pod, &error);
    queue.retry(entry);
    false
}

fn report_panic(result: Result<(), tokio::task::JoinError>) {
    if let Err(error) = result
        && error.is_panic()
    {
        tracing::error!(%error, "a binding panicked");
    }
}
