//! Leader election over a `Lease`, with client-go's timings and rules.

use crate::objects::Objects;
use api::{Lease, LeaseSpec, MicroTime, ObjectMeta};
use jiff::Timestamp;
use rand::Rng as _;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Which lease to hold, as whom, and for how long.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Unique name of this candidate.
    pub identity: String,
    /// How long others wait before they take over.
    pub lease: Duration,
    /// How long the leader tries to renew before it gives up.
    pub renew: Duration,
    /// Pause between attempts.
    pub retry: Duration,
}

impl LeaderConfig {
    /// Upstream's timings: 15 s, 10 s, 2 s.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A candidate for one lease.
#[derive(Debug)]
pub struct LeaderElector {
    config: LeaderConfig,
    leases: Objects<Lease>,
    /// The last state seen and when: expiry is judged by this clock, never by the other's.
    observed: Option<(LeaseSpec, Instant)>,
}

impl LeaderElector {
    /// A candidate that has not yet looked at the lease.
    #[must_use]
    pub fn new(client: kube::Client, config: LeaderConfig) -> Self {
        Self { config, leases: Objects::new(client, "leader-election"), observed: None }
    }

    /// Waits for leadership, then runs `lead` with a token that is cancelled when leadership is lost; returns when
    /// `lead` has ended. The lease is given up at the end so that another can take over at once.
    pub async fn run<F, Fut>(mut self, token: CancellationToken, lead: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()>,
    {
        while !self.attempt().await {
            let pause = self.config.retry.mul_f64(rand::rng().random_range(1.0..2.2));
            if token.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
        let leading = token.child_token();
        let lost = leading.clone();
        tokio::join!(
            async {
                lead(leading.clone()).await;
                leading.cancel();
            },
            async {
                self.hold(&lost).await;
                lost.cancel();
            }
        );
        self.release().await;
    }

    /// Renews until it has failed for the renew time or the token is cancelled.
    async fn hold(&mut self, token: &CancellationToken) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < self.config.renew {
            if token.run_until_cancelled(tokio::time::sleep(self.config.retry)).await.is_none() {
                return;
            }
            let left = self.config.renew.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.attempt()).await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) if !self.is_mine() => return,
                _ => {}
            }
        }
    }

    fn is_mine(&self) -> bool {
        self.observed
            .as_ref()
            .is_some_and(|(spec, _)| spec.holder_identity.as_deref() == Some(&self.config.identity))
    }

    /// Tries to take or renew the lease once.
    async fn attempt(&mut self) -> bool {
        match self.try_attempt().await {
            Ok(leads) => leads,
            Err(error) => {
                tracing::debug!(lease = self.config.name, %error, "failed to take or renew a lease");
                false
            }
        }
    }

    async fn try_attempt(&mut self) -> Result<bool, kube::Error> {
        let config = self.config.clone();
        let Some(mut lease) = self.leases.get_opt(&config.namespace, &config.name).await? else {
            let created = self.leases.create(&self.new_lease()).await?;
            self.observe(created.spec.unwrap_or_default());
            return Ok(true);
        };
        let current = lease.spec.clone().unwrap_or_default();
        self.observe(current.clone());
        let mine = self.is_mine();
        if !mine && !self.expired(&current) {
            return Ok(false);
        }
        lease.spec = Some(self.claim(&current, mine));
        let written = self.leases.replace(&lease).await?;
        self.observe(written.spec.unwrap_or_default());
        Ok(true)
    }

    fn observe(&mut self, spec: LeaseSpec) {
        if self.observed.as_ref().is_none_or(|(old, _)| *old != spec) {
            self.observed = Some((spec, Instant::now()));
        }
    }

    fn expired(&self, current: &LeaseSpec) -> bool {
        let free = current.holder_identity.as_deref().unwrap_or("").is_empty();
        let held = u64::try_from(current.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        let limit = Duration::from_secs(held).max(Duration::from_secs(1));
        free || self.observed.as_ref().is_none_or(|(_, since)| since.elapsed() > limit)
    }

    fn claim(&self, current: &LeaseSpec, mine: bool) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let transitions = current.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.lease.as_secs()).ok(),
            acquire_time: if mine { current.acquire_time.clone() } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(if mine { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }

    fn new_lease(&self) -> Lease {
        let mut spec = self.claim(&LeaseSpec::default(), false);
        spec.lease_transitions = Some(0);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                namespace: Some(self.config.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        }
    }

    async fn release(&mut self) {
        if !self.is_mine() {
            return;
        }
        let lease = self.config.name.clone();
        match tokio::time::timeout(self.config.retry, self.try_release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(lease, %error, "failed to release a lease"),
            Err(_) => tracing::debug!(lease, "a lease was not released in time"),
        }
    }

    /// Leaves the lease free. An update, as upstream's: its roles do not allow candidates to patch.
    async fn try_release(&mut self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.config.namespace, &self.config.name).await? else {
            return Ok(());
        };
        self.observe(lease.spec.clone().unwrap_or_default());
        if !self.is_mine() {
            return Ok(());
        }
        let free = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..LeaseSpec::default()
        };
        let transitions = lease.spec.take().and_then(|spec| spec.lease_transitions);
        lease.spec = Some(LeaseSpec { lease_transitions: transitions, ..free });
        self.leases.replace(&lease).await.map(drop)
    }
}
