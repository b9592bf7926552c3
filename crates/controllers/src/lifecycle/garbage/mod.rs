//! Garbage collector: deletes what nobody owns any more (upstream `pkg/controller/garbagecollector`).
//!
//! Metadata-only watches of every resource that can be listed, watched and deleted feed a graph of owners; the graph
//! names objects to look at; each is read anew, with its owners, before anything is done to it.

mod decide;
mod graph;
mod monitors;

use crate::context::{Context, Failure, Outcome};
use crate::discovery::{Discovered, Resource};
use api::OwnerReference;
use client::{ObjectHeader, Rest, WorkQueue};
use decide::{Decision, Ownership, decide, policy};
use graph::{Dependent, FOREGROUND, Graph, KindRef, ORPHAN, Task};
use kube::api::{DeleteParams, Preconditions};
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use std::sync::Arc;

const NAME: &str = "generic-garbage-collector";
const WORKERS: usize = 10;

#[derive(Clone)]
struct Collector {
    graph: Arc<Mutex<Graph>>,
    served: Arc<RwLock<Discovered>>,
    queue: WorkQueue<Task>,
    rest: Rest,
}

/// Starts the controller.
pub(crate) fn start(context: &Context) {
    let collector = Collector {
        graph: Arc::default(),
        served: Arc::default(),
        queue: WorkQueue::new(),
        rest: context.rest(NAME),
    };
    let ready = vec![monitors::start(context, &collector)];
    let queue = collector.queue.clone();
    context.workers(NAME, queue, WORKERS, ready, move |task: Task| {
        let collector = collector.clone();
        async move {
            match task {
                Task::Delete(uid) => collector.attempt_delete(&uid).await,
                Task::Orphan(uid) => collector.orphan(&uid).await,
            }
        }
    });
}

impl Collector {
    fn add(&self, tasks: Vec<Task>) {
        for task in tasks {
            self.queue.add(task);
        }
    }

    fn resource(&self, kind: &KindRef) -> Result<Arc<Resource>, Failure> {
        let key = (kind.api_version.clone(), kind.kind.clone());
        let found = self.served.read().kinds.get(&key).cloned();
        found.ok_or(Failure::UnknownKind { api_version: key.0, kind: key.1 })
    }

    /// The object as it is now, if it is still the one with this uid; the path it is found at.
    async fn live(
        &self,
        kind: &KindRef,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<(String, Option<ObjectHeader>), Failure> {
        let path = self.resource(kind)?.object(namespace, name);
        let live = self.rest.get_metadata(&path).await?;
        Ok((path, live.filter(|live| live.uid == uid)))
    }

    fn gone(&self, uid: &str) {
        let tasks = self.graph.lock().remove(uid);
        self.add(tasks);
    }

    async fn attempt_delete(&self, uid: &str) -> Outcome {
        let Some(view) = self.graph.lock().view(uid) else { return Ok(None) };
        let nothing_to_do = !view.is_virtual && !view.waits && (!view.has_owners || view.deleting);
        if nothing_to_do {
            return Ok(None);
        }
        let (path, live) = self.live(&view.kind, &view.namespace, &view.name, uid).await?;
        let Some(live) = live else {
            self.gone(uid);
            return Ok(None);
        };
        let deleting = live.deletion_timestamp.is_some();
        if deleting && live.has_finalizer(FOREGROUND) {
            return self.wait_for_dependents(&path, &live).await;
        }
        if deleting || live.owner_references.is_empty() {
            return Ok(None);
        }
        let mut owners = Vec::new();
        for owner in &live.owner_references {
            owners.push((owner.uid.clone(), self.ownership(owner, &live).await?));
        }
        let dependents = self.graph.lock().dependents(uid);
        self.carry_out(&path, &live, decide(&owners, &dependents), &dependents).await?;
        Ok(None)
    }

    /// What one owner reference amounts to.
    async fn ownership(
        &self,
        owner: &OwnerReference,
        dependent: &ObjectHeader,
    ) -> Result<Ownership, Failure> {
        if self.graph.lock().is_absent(&owner.uid) {
            return Ok(Ownership::Dangling);
        }
        let kind = KindRef { api_version: owner.api_version.clone(), kind: owner.kind.clone() };
        if self.resource(&kind)?.namespaced && dependent.namespace.is_empty() {
            // Such a reference can never be resolved: nothing is ever deleted because of it.
            return Ok(Ownership::Solid);
        }
        let (_, live) = self.live(&kind, &dependent.namespace, &owner.name, &owner.uid).await?;
        let Some(live) = live else {
            self.graph.lock().note_absent(&owner.uid);
            return Ok(Ownership::Dangling);
        };
        let waits = live.deletion_timestamp.is_some() && live.has_finalizer(FOREGROUND);
        Ok(if waits { Ownership::Waiting } else { Ownership::Solid })
    }

    async fn carry_out(
        &self,
        path: &str,
        live: &ObjectHeader,
        decision: Decision,
        dependents: &[Dependent],
    ) -> Result<(), Failure> {
        match decision {
            Decision::Keep => Ok(()),
            Decision::DropOwners(uids) => self.drop_owners(path, live, &uids).await,
            Decision::Delete { foreground, unblock } => {
                if unblock {
                    self.unblock(path, live).await?;
                }
                let options = DeleteParams {
                    propagation_policy: Some(policy(live, foreground)),
                    preconditions: Some(Preconditions {
                        uid: Some(live.uid.clone()),
                        // Unblocking has just changed the revision.
                        resource_version: (!unblock).then(|| live.resource_version.clone()),
                    }),
                    ..DeleteParams::default()
                };
                tracing::debug!(path, dependents = dependents.len(), "collecting");
                match self.rest.delete(path, &options).await {
                    Err(error) if client::is_not_found(&error) => {
                        self.gone(&live.uid);
                        Ok(())
                    }
                    Err(error) => Err(error.into()),
                    Ok(_) => Ok(()),
                }
            }
        }
    }

    async fn drop_owners(&self, path: &str, live: &ObjectHeader, uids: &[String]) -> Result<(), Failure> {
        let left: Vec<&OwnerReference> =
            live.owner_references.iter().filter(|owner| !uids.contains(&owner.uid)).collect();
        let patch = json!({"metadata": {
            "uid": live.uid, "resourceVersion": live.resource_version, "ownerReferences": left,
        }});
        ignore_gone(self.rest.merge_patch(path, &patch).await)
    }

    /// Dependents that block each other in a circle would wait for ever.
    async fn unblock(&self, path: &str, live: &ObjectHeader) -> Result<(), Failure> {
        let mut owners = live.owner_references.clone();
        owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
        let patch = json!({"metadata": {
            "uid": live.uid, "resourceVersion": live.resource_version, "ownerReferences": owners,
        }});
        ignore_gone(self.rest.merge_patch(path, &patch).await)
    }

    /// Foreground deletion: deletes the dependents; when none blocks any more the object itself may go.
    async fn wait_for_dependents(&self, path: &str, live: &ObjectHeader) -> Outcome {
        let dependents = self.graph.lock().dependents(&live.uid);
        let blocking: Vec<&Dependent> = dependents.iter().filter(|dependent| dependent.blocks).collect();
        if blocking.is_empty() {
            self.drop_finalizer(path, live, FOREGROUND).await?;
        }
        for dependent in blocking.into_iter().filter(|dependent| !dependent.waits) {
            self.queue.add(Task::Delete(dependent.uid.clone()));
        }
        Ok(None)
    }

    async fn drop_finalizer(&self, path: &str, live: &ObjectHeader, finalizer: &str) -> Result<(), Failure> {
        let left: Vec<&String> = live.finalizers.iter().filter(|own| *own != finalizer).collect();
        let patch = json!({"metadata": {
            "uid": live.uid, "resourceVersion": live.resource_version, "finalizers": left,
        }});
        ignore_gone(self.rest.merge_patch(path, &patch).await)
    }

    /// Releases every dependent of an object, then lets the object go.
    async fn orphan(&self, uid: &str) -> Outcome {
        let Some(view) = self.graph.lock().view(uid) else { return Ok(None) };
        let dependents = self.graph.lock().dependents(uid);
        for dependent in dependents {
            let found =
                self.live(&dependent.kind, &dependent.namespace, &dependent.name, &dependent.uid).await?;
            if let (path, Some(live)) = found {
                self.drop_owners(&path, &live, &[uid.to_owned()]).await?;
            }
        }
        let (path, live) = self.live(&view.kind, &view.namespace, &view.name, uid).await?;
        if let Some(live) = live.filter(|live| live.has_finalizer(ORPHAN)) {
            self.drop_finalizer(&path, &live, ORPHAN).await?;
        }
        Ok(None)
    }
}

fn ignore_gone(result: Result<String, kube::Error>) -> Result<(), Failure> {
    match result {
        Err(error) if !client::is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}
