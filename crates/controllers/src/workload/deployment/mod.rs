//! Deployment: roll ReplicaSets (upstream `pkg/controller/deployment`).
//!
//! [`plan`] decides everything from the Deployment, its ReplicaSets and their pods; this module watches and carries out.

mod annotations;
mod plan;
mod rollout;
mod scale;
mod status;
#[cfg(test)]
mod tests;

use super::claim::{Claimant, claim, settle};
use super::pods::{error_text, namespace_is_terminating};
use super::replicaset::still_there;
use crate::context::{Context, Failure, Outcome, objects, synced};
use crate::written::Written;
use api::{
    Deployment, Key, ObjectMeta, Pod, ReplicaSet, controller_of, controller_ref, is_terminating,
    object_reference, selector_matches,
};
use client::{Change, ChangeKind, EventType, Informer, Recorder, Rest, WorkQueue};
use jiff::Timestamp;
use kube::api::DeleteParams;
use plan::{Action, World, plan};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "deployment-controller";
const WORKERS: usize = 5;

#[derive(Clone)]
struct Controller {
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    rest: Rest,
    recorder: Recorder,
    written: Written,
    written_sets: Written,
}

/// Starts the controller.
pub(crate) fn start(context: &Context) {
    let rest = context.rest(NAME);
    let recorder = context.recorder(&rest, NAME);
    let controller = Controller {
        deployments: context.informers.of(),
        sets: context.informers.of(),
        pods: context.informers.of(),
        rest,
        recorder,
        written: Written::default(),
        written_sets: Written::default(),
    };
    let queue = WorkQueue::new();
    let keys = queue.clone();
    controller.deployments.on_change(move |change| keys.add(Key::of(&*change.object)));
    let (router, keys) = (controller.clone(), queue.clone());
    controller.sets.on_change(move |change| router.set_changed(change, &keys));
    let (router, keys) = (controller.clone(), queue.clone());
    controller.pods.on_change(move |change| router.pod_changed(change, &keys));
    let ready = vec![synced(&controller.deployments), synced(&controller.sets), synced(&controller.pods)];
    context.workers(NAME, queue, WORKERS, ready, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(key).await }
    });
}

fn owner_key(meta: &ObjectMeta) -> Option<Key> {
    let owner = controller_of(meta).filter(|owner| owner.kind == "Deployment")?;
    Some(Key::new(meta.namespace.clone().unwrap_or_default(), owner.name.clone()))
}

impl Controller {
    fn set_changed(&self, change: &Change<ReplicaSet>, queue: &WorkQueue<Key>) {
        let meta = &change.object.metadata;
        if change.kind == ChangeKind::Deleted {
            self.written_sets.forget(&Key::of(&*change.object));
        }
        let owner = owner_key(meta);
        let before = change.previous.as_ref().and_then(|old| owner_key(&old.metadata));
        if let Some(before) = before.filter(|before| owner.as_ref() != Some(before)) {
            queue.add(before);
        }
        if let Some(owner) = owner {
            queue.add(owner);
        } else if change.kind == ChangeKind::Applied && meta.labels.is_some() {
            for deployment in self.deployments.list_namespace(meta.namespace.as_deref().unwrap_or("")) {
                if selector_matches(&deployment.spec.selector, meta.labels.as_ref()) {
                    queue.add(Key::of(&*deployment));
                }
            }
        }
    }

    /// A Recreate rollout goes on when the last old pod is gone.
    fn pod_changed(&self, change: &Change<Pod>, queue: &WorkQueue<Key>) {
        let gone = change.kind == ChangeKind::Deleted || api::is_pod_finished(&change.object);
        let meta = &change.object.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or("");
        let set = controller_of(meta).filter(|owner| gone && owner.kind == "ReplicaSet");
        let set = set.and_then(|owner| self.sets.get(namespace, &owner.name));
        let Some(key) = set.and_then(|set| owner_key(&set.metadata)) else { return };
        let deployment = self.deployments.get(&key.namespace, &key.name);
        if deployment.is_some_and(|deployment| plan::is_recreate(&deployment)) {
            queue.add(key);
        }
    }

    async fn reconcile(self, key: Key) -> Outcome {
        let Some(deployment) = self.deployments.get(&key.namespace, &key.name) else {
            self.written.forget(&key);
            return Ok(None);
        };
        if !self.written.is_shown(&*deployment) {
            return Ok(None);
        }
        if api::selector_query(&deployment.spec.selector).is_empty() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            let about = object_reference(&*deployment);
            self.recorder.event(&about, EventType::Warning, "SelectingAll", message);
            return Ok(None);
        }
        let sets = self.claim_sets(&deployment, &key).await?;
        if !sets.iter().all(|set| self.written_sets.is_shown(&**set)) {
            return Ok(None);
        }
        let pods = self.pods_of(&sets, &key);
        let world = World { deployment: &deployment, sets, pods, now: Timestamp::now() };
        let actions = plan(&world);
        self.carry_out(&deployment, actions).await
    }

    async fn claim_sets(&self, deployment: &Deployment, key: &Key) -> Result<Vec<Arc<ReplicaSet>>, Failure> {
        let reference = controller_ref(deployment);
        let deleting = is_terminating(&deployment.metadata);
        let claimant =
            Claimant { reference: reference.clone(), selector: &deployment.spec.selector, deleting };
        let claims = claim(&claimant, &self.sets.list_namespace(&key.namespace));
        let fresh = still_there::<Deployment>(&self.rest, key, &reference.uid);
        settle(&self.rest, &reference, claims, fresh).await
    }

    fn pods_of(&self, sets: &[Arc<ReplicaSet>], key: &Key) -> Vec<Arc<Pod>> {
        let uids: HashSet<&str> = sets.iter().filter_map(|set| set.metadata.uid.as_deref()).collect();
        let mut pods = self.pods.list_namespace(&key.namespace);
        pods.retain(|pod| {
            controller_of(&pod.metadata).is_some_and(|owner| uids.contains(owner.uid.as_str()))
        });
        pods
    }

    async fn carry_out(&self, deployment: &Deployment, actions: Vec<Action>) -> Outcome {
        let mut current = deployment.clone();
        let mut again: Option<Duration> = None;
        for action in actions {
            match action {
                Action::CreateSet { set, event } => self.create_set(&mut current, &set, event).await?,
                Action::UpdateSet { set, event } => {
                    let written = objects::<ReplicaSet>(&self.rest).replace(&set).await?;
                    self.written_sets.note(&written);
                    self.report(deployment, event);
                }
                Action::DeleteSet(key) => self.delete_set(&key).await?,
                Action::Write { status, revision } => self.write(&mut current, status, revision).await?,
                Action::Again(after) => again = Some(again.map_or(after, |before| before.min(after))),
            }
        }
        Ok(again)
    }

    fn report(&self, deployment: &Deployment, message: Option<String>) {
        if let Some(message) = message {
            let about = object_reference(deployment);
            self.recorder.event(&about, EventType::Normal, "ScalingReplicaSet", message);
        }
    }

    async fn delete_set(&self, key: &Key) -> Result<(), Failure> {
        let options = DeleteParams::default();
        match objects::<ReplicaSet>(&self.rest).delete(&key.namespace, &key.name, &options).await {
            Err(error) if !client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn create_set(
        &self,
        deployment: &mut Deployment,
        set: &ReplicaSet,
        event: Option<String>,
    ) -> Result<(), Failure> {
        let error = match objects::<ReplicaSet>(&self.rest).create(set).await {
            Ok(created) => {
                self.written_sets.note(&created);
                self.report(deployment, event);
                return Ok(());
            }
            Err(error) => error,
        };
        if client::is_already_exists(&error) {
            return self.name_taken(deployment, set).await;
        }
        if !namespace_is_terminating(&error) {
            let name = set.metadata.name.as_deref().unwrap_or("");
            let message = format!("Failed to create new replica set {name:?}: {}", error_text(&error));
            if let Some(failed) = status::creation_failed(deployment, message.clone(), Timestamp::now()) {
                let about = object_reference(deployment);
                self.recorder.event(&about, EventType::Warning, "ReplicaSetCreateError", message);
                self.write(deployment, failed, None).await?;
            }
        }
        Err(error.into())
    }

    /// The name is taken: by our own set that the cache has not shown yet, or by a collision of hashes, which the
    /// Deployment's collision count resolves at the next attempt.
    async fn name_taken(&self, deployment: &mut Deployment, set: &ReplicaSet) -> Result<(), Failure> {
        let key = Key::of(set);
        let there = objects::<ReplicaSet>(&self.rest).get(&key.namespace, &key.name).await?;
        let ours = api::is_controlled_by(&there.metadata, &deployment.metadata);
        if ours && plan::runs_template(&there, &deployment.spec.template) {
            return Ok(());
        }
        let mut status = deployment.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.write(deployment, status, None).await?;
        Err(Failure::NameTaken(key.name))
    }

    /// Writes the status and, if asked, the revision annotation. Upstream's status endpoint stores annotations too, so
    /// that one write does both; where it does not, a second one follows.
    async fn write(
        &self,
        deployment: &mut Deployment,
        status: api::DeploymentStatus,
        revision: Option<String>,
    ) -> Result<(), Failure> {
        deployment.status = Some(status);
        if let Some(revision) = &revision {
            annotations::set(&mut deployment.metadata, annotations::REVISION, revision);
        }
        let access = objects::<Deployment>(&self.rest);
        let mut written = match access.replace_status(deployment).await {
            Err(error) if client::is_not_found(&error) => return Ok(()),
            other => other?,
        };
        if let Some(revision) = revision
            && annotations::get(&written.metadata, annotations::REVISION) != Some(revision.as_str())
        {
            annotations::set(&mut written.metadata, annotations::REVISION, &revision);
            written = access.replace(&written).await?;
        }
        self.written.note(&written);
        *deployment = written;
        Ok(())
    }
}
