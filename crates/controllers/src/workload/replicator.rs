//! What ReplicaSet and ReplicationController have in common.

use api::{
    Kind, LabelSelector, PodTemplateSpec, ReplicaSet, ReplicaSetCondition, ReplicaSetStatus,
    ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};

/// A kind that keeps a number of identical pods.
pub(crate) trait Replicator: Kind {
    /// Service account of the controller.
    const ACCOUNT: &'static str;
    /// Name under which events are reported.
    const COMPONENT: &'static str;
    /// What is wanted; `None` when the object is too broken to act on.
    fn goal(&self) -> Option<Goal>;
    /// The status as it is stored.
    fn counts(&self) -> ReplicaSetStatus;
    /// The object with this status.
    fn with_counts(&self, counts: &ReplicaSetStatus) -> Self;
}

/// The specification in one form.
pub(crate) struct Goal {
    pub replicas: i32,
    pub min_ready_seconds: i32,
    pub selector: LabelSelector,
    pub template: PodTemplateSpec,
}

impl Replicator for ReplicaSet {
    const ACCOUNT: &'static str = "replicaset-controller";
    const COMPONENT: &'static str = "replicaset-controller";

    fn goal(&self) -> Option<Goal> {
        let spec = &self.spec;
        api::selector_validate(&spec.selector).ok()?;
        Some(Goal {
            replicas: spec.replicas.unwrap_or(1),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            selector: spec.selector.clone(),
            template: spec.template.clone().unwrap_or_default(),
        })
    }

    fn counts(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }

    fn with_counts(&self, counts: &ReplicaSetStatus) -> Self {
        Self { status: Some(counts.clone()), ..self.clone() }
    }
}

impl Replicator for ReplicationController {
    const ACCOUNT: &'static str = "replication-controller";
    const COMPONENT: &'static str = "replication-controller";

    fn goal(&self) -> Option<Goal> {
        let spec = self.spec.as_ref()?;
        let selector = spec.selector.clone().filter(|selector| !selector.is_empty())?;
        Some(Goal {
            replicas: spec.replicas.unwrap_or(1),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            selector: LabelSelector { match_labels: Some(selector), match_expressions: None },
            template: spec.template.clone().unwrap_or_default(),
        })
    }

    fn counts(&self) -> ReplicaSetStatus {
        let status = self.status.clone().unwrap_or_default();
        let condition = |old: ReplicationControllerCondition| ReplicaSetCondition {
            last_transition_time: old.last_transition_time,
            message: old.message,
            reason: old.reason,
            status: Some(old.status),
            type_: Some(old.type_),
        };
        ReplicaSetStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
            terminating_replicas: None,
        }
    }

    fn with_counts(&self, counts: &ReplicaSetStatus) -> Self {
        let counts = counts.clone();
        let condition = |new: ReplicaSetCondition| ReplicationControllerCondition {
            last_transition_time: new.last_transition_time,
            message: new.message,
            reason: new.reason,
            status: new.status.unwrap_or_default(),
            type_: new.type_.unwrap_or_default(),
        };
        let status = ReplicationControllerStatus {
            available_replicas: counts.available_replicas,
            conditions: counts.conditions.map(|all| all.into_iter().map(condition).collect()),
            fully_labeled_replicas: counts.fully_labeled_replicas,
            observed_generation: counts.observed_generation,
            ready_replicas: counts.ready_replicas,
            replicas: counts.replicas,
        };
        Self { status: Some(status), ..self.clone() }
    }
}
