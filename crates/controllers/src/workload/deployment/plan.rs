//! What to do for one Deployment, from a snapshot.

use super::{annotations, rollout, scale, status};
use api::{
    Deployment, DeploymentSpec, DeploymentStatus, Key, LabelSelector, ObjectMeta, Pod, PodTemplateSpec,
    ReplicaSet, ReplicaSetSpec, controller_ref, is_terminating,
};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Label by which a ReplicaSet tells its pods from its siblings'.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// One step for the loop to carry out, in order.
#[derive(Debug)]
pub(crate) enum Action {
    CreateSet {
        set: Box<ReplicaSet>,
        event: Option<String>,
    },
    UpdateSet {
        set: Box<ReplicaSet>,
        event: Option<String>,
    },
    DeleteSet(Key),
    /// Write the status and, when given, the revision annotation.
    Write {
        status: DeploymentStatus,
        revision: Option<String>,
    },
    /// Plan again after this time.
    Again(Duration),
}

/// The snapshot.
pub(crate) struct World<'a> {
    pub deployment: &'a Deployment,
    /// Every ReplicaSet the Deployment controls.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// Every pod these control.
    pub pods: Vec<Arc<Pod>>,
    pub now: Timestamp,
}

/// Decides the next steps.
pub(crate) fn plan(world: &World<'_>) -> Vec<Action> {
    let mut draft = Draft::new(world);
    if is_terminating(&world.deployment.metadata) {
        draft.find_new_set(false);
        draft.write_status(status::counts(&draft));
    } else {
        status::note_pause(&mut draft);
        draft.find_new_set(false);
        if draft.spec.paused == Some(true) || draft.is_scaling() {
            scale::sync(&mut draft);
        } else if is_recreate(world.deployment) {
            rollout::recreate(&mut draft);
        } else {
            rollout::rolling(&mut draft);
        }
    }
    draft.finish()
}

/// Whether the strategy is Recreate.
pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.strategy.as_ref();
    strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
}

/// Whether a ReplicaSet runs this template: equal but for the hash label.
pub(super) fn runs_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(own) = set.spec.template.as_ref() else { return false };
    without_hash(own) == without_hash(template)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.creation_timestamp = None;
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH_LABEL);
    }
    meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
    meta.annotations = meta.annotations.take().filter(|annotations| !annotations.is_empty());
    template
}

/// Wanted pods of a ReplicaSet.
pub(super) fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// Pods a ReplicaSet has.
pub(super) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// Available pods of a ReplicaSet.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

fn created(set: &ReplicaSet) -> (Option<Timestamp>, Option<String>) {
    (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.clone())
}

/// The snapshot while it is being planned on: changes are made here and noted as actions.
pub(super) struct Draft<'a> {
    pub deployment: &'a Deployment,
    pub spec: DeploymentSpec,
    pub status: DeploymentStatus,
    /// ReplicaSets, oldest first; the one that runs the current template is `sets[new]`.
    pub sets: Vec<ReplicaSet>,
    pub new: Option<usize>,
    pub pods: &'a [Arc<Pod>],
    pub now: Timestamp,
    revision: Option<String>,
    actions: Vec<Action>,
}

impl<'a> Draft<'a> {
    fn new(world: &'a World<'_>) -> Self {
        let mut sets: Vec<ReplicaSet> = world.sets.iter().map(|set| (**set).clone()).collect();
        sets.sort_by_key(created);
        Self {
            deployment: world.deployment,
            spec: world.deployment.spec.clone(),
            status: world.deployment.status.clone().unwrap_or_default(),
            sets,
            new: None,
            pods: &world.pods,
            now: world.now,
            revision: None,
            actions: Vec::new(),
        }
    }

    pub fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    pub fn name(&self) -> &str {
        self.deployment.metadata.name.as_deref().unwrap_or("")
    }

    pub fn new_set(&self) -> Option<&ReplicaSet> {
        self.new.map(|index| &self.sets[index])
    }

    /// Indices of all sets but the new one, oldest first.
    pub fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|index| Some(*index) != self.new).collect()
    }

    /// Indices of the sets that want pods.
    pub fn active(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|index| wanted(&self.sets[*index]) > 0).collect()
    }

    pub fn wanted_total(&self) -> i32 {
        self.sets.iter().map(wanted).sum()
    }

    pub fn available_total(&self) -> i32 {
        self.sets.iter().map(available).sum()
    }

    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// A user changed the Deployment's size: some active set was last scaled for another one.
    fn is_scaling(&self) -> bool {
        let sizes = self.active().into_iter().filter_map(|index| annotations::desired(&self.sets[index]));
        sizes.into_iter().any(|size| size != self.replicas())
    }

    /// Finds the set of the current template, brings its annotations up to date, and creates it when asked to.
    pub fn find_new_set(&mut self, create: bool) {
        self.new = self.sets.iter().position(|set| runs_template(set, &self.spec.template));
        let old_max = self.old().iter().map(|i| annotations::revision(&self.sets[*i].metadata)).max();
        let revision = old_max.unwrap_or(0) + 1;
        match self.new {
            Some(index) => self.refresh_new_set(index, revision),
            None if create => self.create_new_set(revision),
            None => {}
        }
    }

    fn refresh_new_set(&mut self, index: usize, revision: i64) {
        let min_ready = self.spec.min_ready_seconds;
        let set = &mut self.sets[index];
        let mut changed = annotations::sync(self.deployment, set, revision);
        let spec = &mut set.spec;
        if spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
            spec.min_ready_seconds = min_ready;
            changed = true;
        }
        let name = set.metadata.name.clone().unwrap_or_default();
        let revision = annotations::revision(&set.metadata);
        if changed {
            let set = Box::new(set.clone());
            self.actions.push(Action::UpdateSet { set, event: None });
        }
        self.set_revision(revision);
        status::note_found(self, &name);
    }

    fn create_new_set(&mut self, revision: i64) {
        let mut set = new_set(self.deployment, &self.spec, self.status.collision_count);
        let replicas = scale::new_set_size(self, 0);
        set.spec.replicas = Some(replicas);
        annotations::sync(self.deployment, &mut set, revision);
        annotations::set_sizes(&mut set, self.replicas(), self.replicas() + scale::max_surge(self));
        let name = set.metadata.name.clone().unwrap_or_default();
        let event = (replicas > 0).then(|| format!("Scaled up replica set {name} from 0 to {replicas}"));
        self.actions.push(Action::CreateSet { set: Box::new(set.clone()), event });
        self.sets.push(set);
        self.new = Some(self.sets.len() - 1);
        self.set_revision(revision);
        status::note_created(self, &name);
    }

    fn set_revision(&mut self, revision: i64) {
        if annotations::revision(&self.deployment.metadata) != revision {
            self.revision = Some(revision.to_string());
        }
    }

    /// Scales a set and notes the Deployment's size on it; returns whether the size changed.
    pub fn scale(&mut self, index: usize, size: i32) -> bool {
        let (desired, max) = (self.replicas(), self.replicas() + scale::max_surge(self));
        let set = &mut self.sets[index];
        let before = wanted(set);
        let noted = annotations::set_sizes(set, desired, max);
        if before == size && !noted {
            return false;
        }
        set.spec.replicas = Some(size);
        let direction = if before < size { "up" } else { "down" };
        let name = set.metadata.name.as_deref().unwrap_or("");
        let event = (before != size)
            .then(|| format!("Scaled {direction} replica set {name} from {before} to {size}"));
        let set = set.clone();
        self.update(set, event);
        before != size
    }

    /// Notes a set's new state; one that is already to be written is written once, with the last state.
    fn update(&mut self, set: ReplicaSet, event: Option<String>) {
        let same = |other: &ReplicaSet| other.metadata.name == set.metadata.name;
        for action in &mut self.actions {
            match action {
                Action::CreateSet { set: planned, .. } if same(planned) => {
                    **planned = set;
                    return;
                }
                Action::UpdateSet { set: planned, event: planned_event } if same(planned) => {
                    **planned = set;
                    *planned_event = event.or(planned_event.take());
                    return;
                }
                _ => {}
            }
        }
        self.actions.push(Action::UpdateSet { set: Box::new(set), event });
    }

    /// Deletes the oldest finished sets beyond the history limit.
    pub fn clean_up(&mut self) {
        let Some(limit) = self.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else { return };
        let mut old = self.old();
        old.retain(|index| !is_terminating(&self.sets[*index].metadata));
        let limit = usize::try_from(limit).unwrap_or(0);
        let surplus = old.len().saturating_sub(limit);
        old.sort_by_key(|index| annotations::revision(&self.sets[*index].metadata));
        for index in old.into_iter().take(surplus) {
            let set = &self.sets[index];
            let observed = set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
            let settled = set.metadata.generation.unwrap_or(0) <= observed;
            if actual(set) == 0 && wanted(set) == 0 && settled {
                let key = Key::of(set);
                self.act(Action::DeleteSet(key));
            }
        }
    }

    /// Sets the status to be written.
    pub fn write_status(&mut self, status: DeploymentStatus) {
        self.status = status;
    }

    /// The actions, with the status last.
    fn finish(mut self) -> Vec<Action> {
        let before = self.deployment.status.clone().unwrap_or_default();
        if status::differs(&before, &self.status) || self.revision.is_some() {
            let (status, revision) = (self.status.clone(), self.revision.take());
            self.act(Action::Write { status, revision });
        } else if let Some(after) = status::recheck(&self) {
            self.act(Action::Again(after));
        }
        self.actions
    }
}

/// The ReplicaSet that runs the Deployment's current template, without a size.
fn new_set(deployment: &Deployment, spec: &DeploymentSpec, collisions: Option<i32>) -> ReplicaSet {
    let value = serde_json::to_value(&spec.template).unwrap_or_default();
    let hash = machinery::hash::pod_template_hash(&value, collisions);
    let mut template = spec.template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = meta.labels.clone();
    let mut match_labels = spec.selector.match_labels.clone().unwrap_or_default();
    match_labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let name = deployment.metadata.name.as_deref().unwrap_or("");
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels,
            owner_references: Some(vec![controller_ref(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: None,
            min_ready_seconds: spec.min_ready_seconds,
            selector: LabelSelector {
                match_labels: Some(match_labels),
                match_expressions: spec.selector.match_expressions.clone(),
            },
            template: Some(template),
        },
        status: None,
    }
}
