//! ReplicaSet and ReplicationController: keep a number of pods (upstream `pkg/controller/replicaset`).

use super::batch::{BURST, slow_start};
use super::claim::{Claimant, claim, settle};
use super::expectations::Expectations;
use super::pods::{PodControl, from_template, template_labels};
use super::rank::to_delete;
use super::replicator::{Goal, Replicator};
use crate::context::{Context, Failure, Outcome, objects, synced};
use crate::written::Written;
use api::{
    Key, ObjectMeta, Pod, ReplicaSet, ReplicaSetCondition, ReplicaSetStatus, ReplicationController, Time,
    controller_of, controller_ref, is_pod_active, is_terminating, object_reference, pod_available, pod_ready,
    pod_ready_since, selector_matches,
};
use client::{Change, ChangeKind, Informer, Rest, WorkQueue};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

const WORKERS: usize = 5;

/// How the number of pods should change.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    Keep,
    Create(usize),
    Delete(usize),
}

/// Compares wanted and active pods; one step never exceeds [`BURST`].
pub(crate) fn plan(replicas: i32, active: usize) -> Plan {
    let wanted = usize::try_from(replicas).unwrap_or(0);
    match wanted.cmp(&active) {
        std::cmp::Ordering::Equal => Plan::Keep,
        std::cmp::Ordering::Greater => Plan::Create((wanted - active).min(BURST)),
        std::cmp::Ordering::Less => Plan::Delete((active - wanted).min(BURST)),
    }
}

/// Why the last step failed, for the `ReplicaFailure` condition.
pub(crate) struct StepFailure {
    pub reason: &'static str,
    pub message: String,
}

/// The new status from the pods that are owned.
pub(crate) fn status(
    old: &ReplicaSetStatus,
    goal: &Goal,
    generation: Option<i64>,
    pods: &[Arc<Pod>],
    failure: Option<&StepFailure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let active: Vec<&Arc<Pod>> = pods.iter().filter(|pod| is_pod_active(pod)).collect();
    let count = |test: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX)
    };
    let wanted_labels = template_labels(&goal.template).cloned().unwrap_or_default();
    let labelled = |pod: &Pod| {
        wanted_labels.iter().all(|(k, v)| pod.metadata.labels.as_ref().and_then(|l| l.get(k)) == Some(v))
    };
    let terminating =
        pods.iter().filter(|pod| is_terminating(&pod.metadata) && !api::is_pod_finished(pod)).count();
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: Some(count(&labelled)),
        ready_replicas: Some(count(&pod_ready)),
        available_replicas: Some(count(&|pod| pod_available(pod, goal.min_ready_seconds, now))),
        terminating_replicas: i32::try_from(terminating).ok(),
        observed_generation: generation,
        conditions: conditions(old, failure, now),
    }
}

fn conditions(
    old: &ReplicaSetStatus,
    failure: Option<&StepFailure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut all = old.conditions.clone().unwrap_or_default();
    let present = all.iter().any(|condition| condition.type_.as_deref() == Some("ReplicaFailure"));
    match failure {
        Some(failure) if !present => all.push(ReplicaSetCondition {
            type_: Some("ReplicaFailure".into()),
            status: Some("True".into()),
            reason: Some(failure.reason.into()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }),
        None => all.retain(|condition| condition.type_.as_deref() != Some("ReplicaFailure")),
        Some(_) => {}
    }
    Some(all).filter(|all| !all.is_empty())
}

/// When the next ready pod becomes available.
pub(crate) fn next_available(pods: &[Arc<Pod>], min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let wait = SignedDuration::from_secs(i64::from(min_ready_seconds));
    pods.iter()
        .filter(|pod| is_pod_active(pod) && !pod_available(pod, min_ready_seconds, now))
        .filter_map(|pod| pod_ready_since(pod))
        .map(|since| wait - now.duration_since(since))
        .min()
        .map(|left| Duration::try_from(left).unwrap_or(Duration::ZERO) + Duration::from_millis(1))
}

/// Whether two statuses differ in what is stored.
fn differs(old: &ReplicaSetStatus, new: &ReplicaSetStatus) -> bool {
    let number = |value: Option<i32>| value.unwrap_or(0);
    old.replicas != new.replicas
        || number(old.fully_labeled_replicas) != number(new.fully_labeled_replicas)
        || number(old.ready_replicas) != number(new.ready_replicas)
        || number(old.available_replicas) != number(new.available_replicas)
        || number(old.terminating_replicas) != number(new.terminating_replicas)
        || old.observed_generation != new.observed_generation
        || old.conditions.as_deref().unwrap_or(&[]) != new.conditions.as_deref().unwrap_or(&[])
}

struct Controller<R> {
    owners: Informer<R>,
    pods: Informer<Pod>,
    control: PodControl,
    expectations: Arc<Expectations>,
    written: Written,
}

impl<R> Clone for Controller<R> {
    fn clone(&self) -> Self {
        Self {
            owners: self.owners.clone(),
            pods: self.pods.clone(),
            control: self.control.clone(),
            expectations: self.expectations.clone(),
            written: self.written.clone(),
        }
    }
}

/// Starts both controllers.
pub(crate) fn start(context: &Context) {
    start_one::<ReplicaSet>(context);
    start_one::<ReplicationController>(context);
}

fn start_one<R: Replicator>(context: &Context) {
    let rest = context.rest(R::ACCOUNT);
    let recorder = context.recorder(&rest, R::COMPONENT);
    let controller = Controller::<R> {
        owners: context.informers.of::<R>(),
        pods: context.informers.of::<Pod>(),
        control: PodControl { rest, recorder },
        expectations: Arc::default(),
        written: Written::default(),
    };
    let queue = WorkQueue::new();
    let (owners, keys, awaited) = (controller.owners.clone(), queue.clone(), controller.expectations.clone());
    owners.on_change(move |change: &Change<R>| {
        let key = Key::of(&*change.object);
        let replaced =
            change.previous.as_ref().is_some_and(|old| old.metadata().uid != change.object.metadata().uid);
        if change.kind == ChangeKind::Deleted || replaced {
            awaited.forget(&key);
        }
        keys.add(key);
    });
    let (router, keys) = (controller.clone(), queue.clone());
    controller.pods.on_change(move |change| router.pod_changed(change, &keys));
    let ready = vec![synced(&controller.owners), synced(&controller.pods)];
    context.workers(R::ACCOUNT, queue, WORKERS, ready, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(key).await }
    });
}

impl<R: Replicator> Controller<R> {
    /// The key of the owner this pod names, if the owner is of this kind.
    fn owner_key(meta: &ObjectMeta) -> Option<Key> {
        let owner = controller_of(meta).filter(|owner| owner.kind == R::KIND)?;
        Some(Key::new(meta.namespace.clone().unwrap_or_default(), owner.name.clone()))
    }

    fn pod_changed(&self, change: &Change<Pod>, queue: &WorkQueue<Key>) {
        let meta = &change.object.metadata;
        let before = change.previous.as_ref().and_then(|old| Self::owner_key(&old.metadata));
        let owner = Self::owner_key(meta);
        if let Some(before) = before.filter(|before| owner.as_ref() != Some(before)) {
            queue.add(before);
        }
        let Some(owner) = owner else {
            return self.orphan_changed(change, queue);
        };
        let known = change.previous.is_some();
        if change.kind == ChangeKind::Applied && !known {
            self.expectations.created(&owner, 1);
        }
        if change.kind == ChangeKind::Deleted || is_terminating(meta) {
            self.expectations.deleted(&owner, meta.uid.as_deref().unwrap_or(""));
        }
        queue.add(owner);
    }

    /// An orphan may be adopted by whoever selects it.
    fn orphan_changed(&self, change: &Change<Pod>, queue: &WorkQueue<Key>) {
        let meta = &change.object.metadata;
        if change.kind == ChangeKind::Deleted || meta.labels.is_none() {
            return;
        }
        let same_labels = change
            .previous
            .as_ref()
            .is_some_and(|old| old.metadata.labels == meta.labels && controller_of(&old.metadata).is_none());
        if same_labels {
            return;
        }
        for owner in self.owners.list_namespace(meta.namespace.as_deref().unwrap_or("")) {
            if owner.goal().is_some_and(|goal| selector_matches(&goal.selector, meta.labels.as_ref())) {
                queue.add(Key::of(&*owner));
            }
        }
    }

    async fn reconcile(self, key: Key) -> Outcome {
        let Some(owner) = self.owners.get(&key.namespace, &key.name) else {
            self.expectations.forget(&key);
            self.written.forget(&key);
            return Ok(None);
        };
        if !self.written.is_shown(&*owner) {
            return Ok(None);
        }
        let Some(goal) = owner.goal() else { return Ok(None) };
        let settled = self.expectations.satisfied(&key);
        let pods = self.claim_pods(&owner, &goal, &key).await?;
        let mut failure = None;
        let mut error = None;
        if settled && !is_terminating(owner.metadata()) {
            let active: Vec<Arc<Pod>> = pods.iter().filter(|pod| is_pod_active(pod)).cloned().collect();
            let step = plan(goal.replicas, active.len());
            let reason = if matches!(step, Plan::Create(_)) { "FailedCreate" } else { "FailedDelete" };
            error = self.carry_out(step, &owner, &goal, active, &key).await.err();
            failure = error.as_ref().map(|error| StepFailure { reason, message: failure_text(error) });
        }
        self.write_status(&owner, &goal, &pods, failure.as_ref()).await?;
        match error {
            Some(error) => Err(error),
            None => Ok(next_available(&pods, goal.min_ready_seconds, Timestamp::now())),
        }
    }

    async fn claim_pods(&self, owner: &R, goal: &Goal, key: &Key) -> Result<Vec<Arc<Pod>>, Failure> {
        let reference = controller_ref(owner);
        let claimant = Claimant {
            reference: reference.clone(),
            selector: &goal.selector,
            deleting: is_terminating(owner.metadata()),
        };
        let claims = claim(&claimant, &self.pods.list_namespace(&key.namespace));
        let fresh = still_there::<R>(&self.control.rest, key, &reference.uid);
        settle(&self.control.rest, &reference, claims, fresh).await
    }

    async fn carry_out(
        &self,
        step: Plan,
        owner: &R,
        goal: &Goal,
        active: Vec<Arc<Pod>>,
        key: &Key,
    ) -> Result<(), Failure> {
        match step {
            Plan::Keep => Ok(()),
            Plan::Create(count) => self.create(count, owner, goal, key).await,
            Plan::Delete(count) => {
                let related = self.related(owner, &active, key);
                let doomed = to_delete(active, &related, count, Timestamp::now());
                self.delete(&doomed, owner, key).await
            }
        }
    }

    async fn create(&self, count: usize, owner: &R, goal: &Goal, key: &Key) -> Result<(), Failure> {
        self.expectations.expect(key, count, []);
        let pod = from_template(&goal.template, &key.namespace, &controller_ref(owner));
        let about = object_reference(owner);
        let (done, failure) = slow_start(count, |_| async {
            match self.control.create(&pod, &about).await {
                Err(Failure::Request(error)) if super::pods::namespace_is_terminating(&error) => {
                    self.expectations.created(key, 1);
                    Ok(())
                }
                other => other.map(drop),
            }
        })
        .await;
        self.expectations.created(key, count - done);
        failure.map_or(Ok(()), Err)
    }

    async fn delete(&self, doomed: &[Arc<Pod>], owner: &R, key: &Key) -> Result<(), Failure> {
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        self.expectations.expect(key, 0, doomed.iter().map(|pod| uid(pod)));
        let about = object_reference(owner);
        let deletions = doomed.iter().map(|pod| async {
            let result = self.control.delete(pod, &about).await;
            if result.is_err() {
                self.expectations.deleted(key, &uid(pod));
            }
            result
        });
        let failures: Vec<Failure> =
            futures::future::join_all(deletions).await.into_iter().filter_map(Result::err).collect();
        match failures.first() {
            None => Ok(()),
            Some(first) => {
                Err(Failure::Batch { failed: failures.len(), total: doomed.len(), first: first.to_string() })
            }
        }
    }

    /// Pods of every owner that has the same controller, e.g. of all ReplicaSets of one Deployment.
    fn related(&self, owner: &R, own: &[Arc<Pod>], key: &Key) -> Vec<Arc<Pod>> {
        let Some(root) = controller_of(owner.metadata()) else { return own.to_vec() };
        let siblings: Vec<String> = self
            .owners
            .list_namespace(&key.namespace)
            .iter()
            .filter(|other| controller_of(other.metadata()).is_some_and(|other| other.uid == root.uid))
            .filter_map(|other| other.metadata().uid.clone())
            .collect();
        let pods = self.pods.list_namespace(&key.namespace).into_iter();
        pods.filter(|pod| controller_of(&pod.metadata).is_some_and(|owner| siblings.contains(&owner.uid)))
            .collect()
    }

    async fn write_status(
        &self,
        owner: &R,
        goal: &Goal,
        pods: &[Arc<Pod>],
        failure: Option<&StepFailure>,
    ) -> Result<(), Failure> {
        let old = owner.counts();
        let new = status(&old, goal, owner.metadata().generation, pods, failure, Timestamp::now());
        if !differs(&old, &new) {
            return Ok(());
        }
        match objects::<R>(&self.control.rest).replace_status(&owner.with_counts(&new)).await {
            Ok(written) => self.written.note(&written),
            Err(error) if client::is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn failure_text(failure: &Failure) -> String {
    match failure {
        Failure::Batch { first, .. } => first.clone(),
        other => other.to_string(),
    }
}

/// Whether the owner, read anew, is still the same object and not being deleted.
pub(super) async fn still_there<R: api::Kind>(rest: &Rest, key: &Key, uid: &str) -> Result<bool, Failure> {
    let owner = objects::<R>(rest).get_opt(&key.namespace, &key.name).await?;
    Ok(owner.is_some_and(|owner| {
        owner.metadata().uid.as_deref() == Some(uid) && !is_terminating(owner.metadata())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::{Value, json};

    #[test]
    fn the_difference_is_made_up_in_bounded_steps() {
        let cases = [
            (3, 3, Plan::Keep),
            (3, 1, Plan::Create(2)),
            (1, 3, Plan::Delete(2)),
            (0, 2, Plan::Delete(2)),
            (-1, 0, Plan::Keep),
            (10_000, 0, Plan::Create(BURST)),
            (0, 10_000, Plan::Delete(BURST)),
        ];
        for (replicas, active, want) in cases {
            assert_eq!(plan(replicas, active), want, "{replicas} wanted, {active} active");
        }
    }

    fn pod(phase: &str, ready_since: Option<&str>, deleting: bool, labels: Value) -> Arc<Pod> {
        let state = if ready_since.is_some() { "True" } else { "False" };
        let value = json!({
            "metadata": {"labels": labels, "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z")},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": state, "lastTransitionTime": ready_since}]},
        });
        Arc::new(Pod::from_value(value).expect("pod"))
    }

    fn goal(min_ready_seconds: i32) -> Goal {
        Goal {
            replicas: 3,
            min_ready_seconds,
            selector: LabelSelectorFor::web(),
            template: serde_json::from_value(json!({"metadata": {"labels": {"app": "web", "v": "1"}}}))
                .unwrap(),
        }
    }

    struct LabelSelectorFor;
    impl LabelSelectorFor {
        fn web() -> api::LabelSelector {
            serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap()
        }
    }

    #[test]
    fn status_counts_active_pods() {
        let now: Timestamp = "2026-01-01T00:00:30Z".parse().unwrap();
        let pods = [
            pod("Running", Some("2026-01-01T00:00:00Z"), false, json!({"app": "web", "v": "1"})),
            pod("Running", Some("2026-01-01T00:00:25Z"), false, json!({"app": "web"})),
            pod("Pending", None, false, json!({"app": "web", "v": "1"})),
            pod("Running", Some("2026-01-01T00:00:00Z"), true, json!({"app": "web"})),
            pod("Failed", None, false, json!({"app": "web"})),
        ];
        let old = ReplicaSetStatus::default();
        let got = status(&old, &goal(10), Some(4), &pods, None, now);
        assert_eq!(got.replicas, 3);
        assert_eq!(got.fully_labeled_replicas, Some(2));
        assert_eq!(got.ready_replicas, Some(2));
        assert_eq!(got.available_replicas, Some(1));
        assert_eq!(got.terminating_replicas, Some(1));
        assert_eq!(got.observed_generation, Some(4));
        assert_eq!(next_available(&pods, 10, now), Some(Duration::from_millis(5001)));
    }

    #[test]
    fn failure_condition_comes_and_goes() {
        let now: Timestamp = "2026-01-01T00:00:30Z".parse().unwrap();
        let failure = StepFailure { reason: "FailedCreate", message: "quota".into() };
        let failed = status(&ReplicaSetStatus::default(), &goal(0), None, &[], Some(&failure), now);
        let condition = &failed.conditions.as_ref().expect("condition")[0];
        assert_eq!(
            (condition.type_.as_deref().unwrap_or(""), condition.reason.as_deref()),
            ("ReplicaFailure", Some("FailedCreate"))
        );
        assert_eq!(status(&failed, &goal(0), None, &[], None, now).conditions, None);
    }
}
