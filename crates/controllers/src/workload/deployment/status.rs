//! Counts and conditions of a Deployment.

use super::plan::{Draft, actual, available, wanted};
use super::scale;
use api::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, Time};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const PAUSED: &str = "DeploymentPaused";

fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(type_.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

fn has_type(condition: &DeploymentCondition, type_: &str) -> bool {
    condition.type_.as_deref() == Some(type_)
}

fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| has_type(condition, type_))
}

fn has_reason(condition: Option<&DeploymentCondition>, reason: &str) -> bool {
    condition.is_some_and(|condition| condition.reason.as_deref() == Some(reason))
}

fn remove(status: &mut DeploymentStatus, type_: &str) {
    if let Some(all) = &mut status.conditions {
        all.retain(|condition| !has_type(condition, type_));
    }
}

/// Sets a condition. One of the same status and reason stays as it is; one of the same status keeps its
/// transition time.
fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    let type_ = new.type_.clone().unwrap_or_default();
    if let Some(old) = find(status, &type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time.clone_from(&old.last_transition_time);
        }
    }
    remove(status, &type_);
    status.conditions.get_or_insert_default().push(new);
}

fn deadline(draft: &Draft<'_>) -> Option<i32> {
    draft.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}

/// Progress is not measured while the Deployment is paused.
pub(super) fn note_pause(draft: &mut Draft<'_>) {
    let current = find(&draft.status, PROGRESSING);
    if deadline(draft).is_none() || has_reason(current, TIMED_OUT) {
        return;
    }
    let (paused, noted) = (draft.spec.paused == Some(true), has_reason(current, PAUSED));
    let now = draft.now;
    if paused && !noted {
        set(&mut draft.status, condition(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".into(), now));
    } else if !paused && noted {
        let message = "Deployment is resumed".into();
        set(&mut draft.status, condition(PROGRESSING, "Unknown", "DeploymentResumed", message, now));
    }
}

/// An existing set runs the template and nothing is known about progress yet.
pub(super) fn note_found(draft: &mut Draft<'_>, set_name: &str) {
    if deadline(draft).is_some() && find(&draft.status, PROGRESSING).is_none() {
        let message = format!("Found new replica set {set_name:?}");
        set(&mut draft.status, condition(PROGRESSING, "True", "FoundNewReplicaSet", message, draft.now));
    }
}

/// A new set begins a rollout.
pub(super) fn note_created(draft: &mut Draft<'_>, set_name: &str) {
    if deadline(draft).is_some() {
        let message = format!("Created new replica set {set_name:?}");
        set(&mut draft.status, condition(PROGRESSING, "True", "NewReplicaSetCreated", message, draft.now));
    }
}

/// The status after a new set could not be created; `None` when progress is not tracked.
pub(super) fn creation_failed(
    deployment: &Deployment,
    message: String,
    now: Timestamp,
) -> Option<DeploymentStatus> {
    deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    let mut status = deployment.status.clone().unwrap_or_default();
    set(&mut status, condition(PROGRESSING, "False", "ReplicaSetCreateError", message, now));
    Some(status)
}

/// Counts and the `Available` condition.
pub(super) fn counts(draft: &Draft<'_>) -> DeploymentStatus {
    let sum = |of: &dyn Fn(&ReplicaSet) -> i32| draft.sets.iter().map(of).sum::<i32>();
    let available = sum(&available);
    let ready = sum(&|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0));
    let terminating =
        sum(&|set| set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0));
    let mut status = DeploymentStatus {
        observed_generation: draft.deployment.metadata.generation,
        replicas: Some(sum(&actual)),
        updated_replicas: Some(draft.new_set().map_or(0, actual)),
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        unavailable_replicas: Some((sum(&wanted) - available).max(0)),
        terminating_replicas: Some(terminating),
        collision_count: draft.status.collision_count,
        conditions: draft.status.conditions.clone(),
    };
    let enough = available >= draft.replicas() - scale::max_unavailable(draft);
    let (state, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, condition("Available", state, reason, message.to_owned(), draft.now));
    status
}

fn number(value: Option<i32>) -> i32 {
    value.unwrap_or(0)
}

/// Whether every wanted pod is new and available and no old one is left.
pub(super) fn is_complete(draft: &Draft<'_>, status: &DeploymentStatus) -> bool {
    let size = draft.replicas();
    number(status.updated_replicas) == size
        && number(status.replicas) == size
        && number(status.available_replicas) == size
        && status.observed_generation.unwrap_or(0) >= draft.deployment.metadata.generation.unwrap_or(0)
}

/// Whether the rollout moved since the status that is stored.
fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let stale = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(new.updated_replicas) > number(old.updated_replicas)
        || stale(new) < stale(old)
        || number(new.ready_replicas) > number(old.ready_replicas)
        || number(new.available_replicas) > number(old.available_replicas)
}

fn has_timed_out(draft: &Draft<'_>, status: &DeploymentStatus) -> bool {
    let current = find(status, PROGRESSING);
    if has_reason(current, NEW_SET_AVAILABLE) {
        return false;
    }
    has_reason(current, TIMED_OUT) || time_left(draft, current).is_some_and(|left| left.is_negative())
}

fn time_left(draft: &Draft<'_>, current: Option<&DeploymentCondition>) -> Option<SignedDuration> {
    let since = current?.last_update_time.as_ref()?.0;
    let limit = SignedDuration::from_secs(i64::from(deadline(draft)?));
    Some(limit - draft.now.duration_since(since))
}

/// The status of a rollout: counts, progress and failures.
pub(super) fn rollout(draft: &Draft<'_>) -> DeploymentStatus {
    let mut status = counts(draft);
    if deadline(draft).is_none() {
        remove(&mut status, PROGRESSING);
    }
    let old = draft.deployment.status.clone().unwrap_or_default();
    let current = find(&draft.status, PROGRESSING).cloned();
    let finished = number(status.replicas) == number(status.updated_replicas)
        && has_reason(current.as_ref(), NEW_SET_AVAILABLE);
    if deadline(draft).is_some() && !finished {
        note_progress(draft, &old, current.as_ref(), &mut status);
    }
    match replica_failure(draft) {
        Some(failure) => set(&mut status, failure),
        None => remove(&mut status, REPLICA_FAILURE),
    }
    status
}

fn note_progress(
    draft: &Draft<'_>,
    old: &DeploymentStatus,
    current: Option<&DeploymentCondition>,
    status: &mut DeploymentStatus,
) {
    let subject = match draft.new_set() {
        Some(set) => format!("ReplicaSet {:?}", set.metadata.name.as_deref().unwrap_or("")),
        None => format!("Deployment {:?}", draft.name()),
    };
    if is_complete(draft, status) {
        let message = format!("{subject} has successfully progressed.");
        set(status, condition(PROGRESSING, "True", NEW_SET_AVAILABLE, message, draft.now));
    } else if has_progressed(old, status) {
        let message = format!("{subject} is progressing.");
        let mut new = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, draft.now);
        if let Some(current) = current.filter(|current| current.status == new.status) {
            new.last_transition_time.clone_from(&current.last_transition_time);
        }
        // The update time must move even when status and reason stay: the deadline counts from it.
        remove(status, PROGRESSING);
        set(status, new);
    } else if has_timed_out(draft, status) {
        let message = format!("{subject} has timed out progressing.");
        set(status, condition(PROGRESSING, "False", TIMED_OUT, message, draft.now));
    }
}

/// The first failure a set reports, the new set's before others'.
fn replica_failure(draft: &Draft<'_>) -> Option<DeploymentCondition> {
    let failures = |set: &ReplicaSet| {
        let all = set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        all.into_iter().find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE))
    };
    let new = draft.new_set().and_then(failures);
    let failure = new.or_else(|| draft.sets.iter().find_map(failures))?;
    Some(DeploymentCondition {
        type_: failure.type_,
        status: failure.status,
        reason: failure.reason,
        message: failure.message,
        last_transition_time: failure.last_transition_time.clone(),
        last_update_time: failure.last_transition_time,
    })
}

/// Whether two statuses differ in what is stored.
pub(super) fn differs(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let numbers = |status: &DeploymentStatus| {
        [
            number(status.replicas),
            number(status.updated_replicas),
            number(status.ready_replicas),
            number(status.available_replicas),
            number(status.unavailable_replicas),
            number(status.terminating_replicas),
            number(status.collision_count),
        ]
    };
    numbers(old) != numbers(new)
        || old.observed_generation != new.observed_generation
        || old.conditions.as_deref().unwrap_or(&[]) != new.conditions.as_deref().unwrap_or(&[])
}

/// When to look again whether an unfinished rollout has passed its deadline.
pub(super) fn recheck(draft: &Draft<'_>) -> Option<Duration> {
    let current = find(&draft.status, PROGRESSING);
    if has_reason(current, TIMED_OUT)
        || has_reason(current, PAUSED)
        || has_reason(current, NEW_SET_AVAILABLE)
        || is_complete(draft, &draft.status)
    {
        return None;
    }
    let left = time_left(draft, current)?;
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO) + Duration::from_secs(1))
}
