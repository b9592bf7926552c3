//! One metadata watch a resource, following what the API serves.

use super::Collector;
use super::graph::KindRef;
use crate::context::{Context, Ready};
use crate::discovery::{Resource, discover};
use client::{MetadataChange, Tasks, watch_metadata};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Pause between looks at what an extension server may serve meanwhile; custom resources are followed by event.
const REFRESH: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(200);
/// Lets a burst of changed definitions settle into one look.
const SETTLE: Duration = Duration::from_millis(100);
/// A resource whose first list takes longer does not hold up the others.
const SYNC_MAX: Duration = Duration::from_secs(30);

struct Monitors {
    collector: Collector,
    tasks: Tasks,
    running: Mutex<HashMap<Resource, CancellationToken>>,
    /// Paths whose first list has not come yet; `None` before the first discovery.
    pending: watch::Sender<Option<HashSet<String>>>,
    changed: Arc<Notify>,
}

/// Starts the monitors; the answer is ready when every resource was listed once.
pub(super) fn start(context: &Context, collector: &Collector) -> Ready {
    let monitors = Arc::new(Monitors {
        collector: collector.clone(),
        tasks: context.tasks.clone(),
        running: Mutex::default(),
        pending: watch::Sender::new(None),
        changed: Arc::default(),
    });
    let pending = monitors.pending.subscribe();
    context.tasks.spawn("garbage collector's monitors", move || {
        let monitors = monitors.clone();
        Box::pin(async move { monitors.follow().await })
    });
    Arc::new(move || {
        let mut pending = pending.clone();
        Box::pin(async move {
            let complete = pending.wait_for(|paths| paths.as_ref().is_some_and(HashSet::is_empty));
            if tokio::time::timeout(SYNC_MAX, complete).await.is_err() {
                tracing::warn!("some resources could not be listed in time; collecting without them");
            }
        })
    })
}

/// Whether objects of the resource can be owned or owners and can be watched. Events come and go by themselves.
fn is_collected(resource: &Resource) -> bool {
    ["list", "watch", "delete"].iter().all(|verb| resource.can(verb)) && resource.plural != "events"
}

impl Monitors {
    async fn follow(self: &Arc<Self>) {
        loop {
            let pause = match discover(&self.collector.rest).await {
                Ok(discovered) => {
                    let wanted: Vec<Arc<Resource>> = discovered
                        .preferred
                        .iter()
                        .filter(|resource| is_collected(resource))
                        .cloned()
                        .collect();
                    // A group that did not answer keeps its monitors.
                    let partial = !discovered.failures.is_empty();
                    *self.collector.served.write() = discovered;
                    self.adjust(&wanted, partial);
                    REFRESH
                }
                Err(error) => {
                    tracing::debug!(%error, "failed to discover resources");
                    RETRY
                }
            };
            if tokio::time::timeout(pause, self.changed.notified()).await.is_ok() {
                tokio::time::sleep(SETTLE).await;
            }
        }
    }

    fn adjust(self: &Arc<Self>, wanted: &[Arc<Resource>], partial: bool) {
        let mut running = self.running.lock();
        let keys: HashSet<&Resource> = wanted.iter().map(|resource| &**resource).collect();
        if !partial {
            running.retain(|resource, token| {
                let stays = keys.contains(resource);
                if !stays {
                    token.cancel();
                }
                stays
            });
        }
        let new: Vec<Arc<Resource>> =
            wanted.iter().filter(|resource| !running.contains_key(&***resource)).cloned().collect();
        self.pending.send_modify(|pending| {
            pending.get_or_insert_default().extend(new.iter().map(|resource| resource.collection("")));
        });
        for resource in new {
            let token = self.tasks.token().child_token();
            running.insert((*resource).clone(), token.clone());
            self.watch(&resource, token);
        }
    }

    fn watch(self: &Arc<Self>, resource: &Resource, token: CancellationToken) {
        let kind =
            Arc::new(KindRef { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
        let path = resource.collection("");
        let defines = matches!(resource.kind.as_str(), "CustomResourceDefinition" | "APIService");
        let (collector, pending, changed) =
            (self.collector.clone(), self.pending.clone(), self.changed.clone());
        let client = collector.rest.client().clone();
        let own_path = path.clone();
        watch_metadata(client, path, &self.tasks, token, move |change| {
            let tasks = match change {
                MetadataChange::Applied(header) => collector.graph.lock().apply(&kind, header),
                MetadataChange::Deleted(header) => collector.graph.lock().remove(&header.uid),
                MetadataChange::Synced => {
                    pending.send_modify(|paths| {
                        paths.as_mut().map(|paths| paths.remove(&own_path));
                    });
                    return;
                }
            };
            collector.add(tasks);
            if defines {
                changed.notify_one();
            }
        });
    }
}
