//! What a server does when it starts, one bit a step: health checks tell whether it is done
//! (upstream: post-start hooks, apiserver `pkg/server/hooks.go`).

use std::sync::atomic::{AtomicU32, Ordering};

/// One thing that is done at the start, in the order in which health checks list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The caches of all resources are loaded.
    Informers,
    /// Flow schemas are known to those who classify requests.
    FlowConsumer,
    /// The namespaces that every cluster has are there.
    SystemNamespaces,
    /// How clients are authenticated is published.
    AuthenticationInfo,
    /// The server's Lease was renewed for the first time.
    IdentityLease,
    /// Leases of servers that are gone were looked for.
    IdentitySweep,
    /// The caches have seen everything that was in the store at the start.
    Storage,
    /// It is written down since when legacy tokens are watched.
    LegacyTokens,
    /// Cluster IPs and node ports agree with what Services have.
    ServiceRepair,
    /// The roles and bindings that every cluster has are there.
    BootstrapRoles,
    /// Likewise the priority classes.
    PriorityClasses,
    /// Likewise the objects of flow control.
    FlowProducer,
    /// The `kubernetes` Service and its endpoints are there.
    Bootstrap,
    /// The default range of cluster IPs is there.
    ServiceRange,
    /// The groups and versions that are served have their APIServices.
    Registration,
}

impl Step {
    /// All, in order.
    pub const ALL: [Step; 15] = [
        Step::Informers,
        Step::FlowConsumer,
        Step::SystemNamespaces,
        Step::AuthenticationInfo,
        Step::IdentityLease,
        Step::IdentitySweep,
        Step::Storage,
        Step::LegacyTokens,
        Step::ServiceRepair,
        Step::BootstrapRoles,
        Step::PriorityClasses,
        Step::FlowProducer,
        Step::Bootstrap,
        Step::ServiceRange,
        Step::Registration,
    ];

    /// The name of the check, which is that of upstream's hook.
    pub const fn check(self) -> &'static str {
        match self {
            Step::Informers => "poststarthook/generic-apiserver-start-informers",
            Step::FlowConsumer => "poststarthook/priority-and-fairness-config-consumer",
            Step::SystemNamespaces => "poststarthook/start-system-namespaces-controller",
            Step::AuthenticationInfo => "poststarthook/start-cluster-authentication-info-controller",
            Step::IdentityLease => "poststarthook/start-kube-apiserver-identity-lease-controller",
            Step::IdentitySweep => "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
            Step::Storage => "poststarthook/storage-readiness",
            Step::LegacyTokens => "poststarthook/start-legacy-token-tracking-controller",
            Step::ServiceRepair => "poststarthook/start-service-ip-repair-controllers",
            Step::BootstrapRoles => "poststarthook/rbac/bootstrap-roles",
            Step::PriorityClasses => "poststarthook/scheduling/bootstrap-system-priority-classes",
            Step::FlowProducer => "poststarthook/priority-and-fairness-config-producer",
            Step::Bootstrap => "poststarthook/bootstrap-controller",
            Step::ServiceRange => "poststarthook/start-kubernetes-service-cidr-controller",
            Step::Registration => "poststarthook/kube-apiserver-autoregistration",
        }
    }
}

/// Which steps are done.
#[derive(Debug, Default)]
pub struct Steps(AtomicU32);

impl Steps {
    /// Notes that a step is done.
    pub fn done(&self, step: Step) {
        self.0.fetch_or(1 << step as u32, Ordering::Relaxed);
    }

    /// Whether a step is done.
    pub fn is_done(&self, step: Step) -> bool {
        self.0.load(Ordering::Relaxed) & 1 << step as u32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_done_one_by_one() {
        let steps = Steps::default();
        for (at, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, at);
            assert!(!steps.is_done(step), "{step:?}");
            steps.done(step);
            assert!(steps.is_done(step), "{step:?}");
        }
    }
}
