//! Makes Services work on this node: addresses and ports of Services lead to their endpoints (the role of kube-proxy).
//!
//! ```text
//! informers ─► World (plain values) ─► compile ─► Ruleset ─► RulesetApplier ─► kernel
//! ```
//!
//! Everything up to the ruleset is pure. A change is on its way as soon as its event arrives; events that come while one
//! ruleset is being applied are carried out together by the next.

mod apply;
mod compile;
mod endpoints;
mod model;
mod render;
mod source;
mod stale;
#[cfg(test)]
mod tests;
mod world;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use api::{EndpointSlice, Node, Pod, Service};
use client::{Informer, Informers, kube};
use ipnet::Ipv4Net;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use apply::{ApplyError, NftProgram, RulesetApplier, remove_table, table_name};
pub use compile::compile;
pub use endpoints::Usable;
pub use model::{
    Action, Chain, Condition, Hook, HookKind, Map, MapKey, Point, Refusal, Rule, Ruleset, Set, Verdict,
};
pub use render::{Change, change, whole};
pub use source::{Objects, world};
pub use world::{Endpoint, HostPort, NodeFacts, Protocol, ServicePort, World};

use crate::netlink::{NetlinkError, conntrack};
use crate::{cni, sysctl};
use stale::UdpTargets;

/// The bit of the packet mark that asks for masquerading, the same as kube-proxy's.
pub const MASQUERADE_MARK: u32 = 0x4000;
/// How often the table is looked for: somebody may flush the host's ruleset.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// Pause after a failure; doubles up to the maximum.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// So many rulesets may follow each other without a pause; one more for each [`BURST_REFILL`] that passes.
const BURST: u32 = 10;
const BURST_REFILL: Duration = Duration::from_millis(100);
/// In a longer burst the pause after a ruleset is as long as applying it took, up to this.
const PAUSE_MAX: Duration = Duration::from_millis(500);
const UDP: u8 = 17;

/// What the proxy of a node needs to know.
#[derive(Clone)]
pub struct Config {
    /// The cluster's name; its table is [`table_name`] of it.
    pub cluster: String,
    pub node_name: String,
    /// Name of the pods' bridge.
    pub bridge: String,
    /// The pod range of the whole cluster.
    pub pod_cidr: Ipv4Net,
    pub service_cidr: Ipv4Net,
    /// See [`MASQUERADE_MARK`].
    pub mark: u32,
    /// A client that may list this node's pods, for their host ports: upstream's role of kube-proxy may not, the node's
    /// own may. `None`: host ports are not served.
    pub pods: Option<kube::Client>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("cluster", &self.cluster)
            .field("node", &self.node_name)
            .finish_non_exhaustive()
    }
}

/// Why the proxy cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Runs the proxy of this node until `token` is cancelled. Its rules stay: connections to Services go on without it.
///
/// # Errors
/// When the `nft` program is missing. Later failures are logged and tried again.
pub async fn run(config: Config, client: kube::Client, token: CancellationToken) -> Result<(), ProxyError> {
    let applier = Arc::new(NftProgram::find()?);
    run_with(config, client, applier, token).await;
    Ok(())
}

/// As [`run`], with another way into the kernel.
pub async fn run_with(
    config: Config,
    client: kube::Client,
    applier: Arc<dyn RulesetApplier>,
    token: CancellationToken,
) {
    let informers = Informers::with_token(client, &token);
    let pod_informers = config.pods.clone().map(|client| Informers::with_token(client, &token));
    let watched = Watched::start(&informers, pod_informers.as_ref(), &config.node_name);
    if token.run_until_cancelled(watched.synced()).await.is_some() {
        let mut proxy = Proxy { config, watched, applier, targets: UdpTargets::default() };
        token.run_until_cancelled(proxy.serve()).await;
    }
    informers.shut_down().await;
    if let Some(informers) = pod_informers {
        informers.shut_down().await;
    }
}

/// The informers, and a bell that rings when one of them changes.
struct Watched {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    node: Informer<Node>,
    pods: Option<Informer<Pod>>,
    changed: Arc<Notify>,
}

impl Watched {
    fn start(informers: &Informers, pods: Option<&Informers>, node: &str) -> Self {
        let changed = Arc::new(Notify::new());
        let watched = Self {
            services: informers.of(),
            slices: informers.of(),
            node: informers.of_selected(&format!("metadata.name={node}")),
            pods: pods.map(|informers| informers.of_selected(&format!("spec.nodeName={node}"))),
            changed,
        };
        ring(&watched.services, &watched.changed, |_, _| true);
        ring(&watched.slices, &watched.changed, |_, _| true);
        // Nodes and pods change their status often; the proxy looks at little of them.
        ring(&watched.node, &watched.changed, |old, new| old.metadata.labels != new.metadata.labels);
        if let Some(pods) = &watched.pods {
            ring(pods, &watched.changed, pod_matters);
        }
        watched
    }

    async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
        self.node.synced().await;
        if let Some(pods) = &self.pods {
            pods.synced().await;
        }
    }

    fn objects(&self, node: &str) -> Objects {
        Objects {
            services: self.services.list(),
            slices: self.slices.list(),
            node: self.node.get("", node),
            pods: self.pods.as_ref().map(Informer::list).unwrap_or_default(),
        }
    }
}

/// Rings for every change, except updates in which nothing that counts is different.
fn ring<K: api::Kind>(
    informer: &Informer<K>,
    bell: &Arc<Notify>,
    matters: impl Fn(&K, &K) -> bool + Send + Sync + 'static,
) {
    let bell = Arc::clone(bell);
    informer.on_change(move |change| {
        let same = change.kind == client::ChangeKind::Applied
            && change.previous.as_ref().is_some_and(|previous| !matters(previous, &change.object));
        if !same {
            bell.notify_one();
        }
    });
}

fn pod_matters(old: &Pod, new: &Pod) -> bool {
    let facts = |pod: &Pod| pod.status.as_ref().map(|status| (status.pod_ip.clone(), status.phase.clone()));
    facts(old) != facts(new)
}

/// Keeps a single change fast, and a storm of them from taking more than half a processor.
struct Pace {
    credit: u32,
    counted: Instant,
}

impl Pace {
    /// How long to wait after a ruleset that took so long to apply.
    fn pause(&mut self, took: Duration, now: Instant) -> Duration {
        let refills = now.duration_since(self.counted).as_millis() / BURST_REFILL.as_millis();
        if let Ok(refills @ 1..) = u32::try_from(refills) {
            self.credit = self.credit.saturating_add(refills).min(BURST);
            self.counted = now;
        }
        match self.credit.checked_sub(1) {
            Some(rest) => {
                self.credit = rest;
                Duration::ZERO
            }
            None => took.min(PAUSE_MAX),
        }
    }
}

struct Proxy {
    config: Config,
    watched: Watched,
    applier: Arc<dyn RulesetApplier>,
    /// UDP destinations of the ruleset in force.
    targets: UdpTargets,
}

impl Proxy {
    async fn serve(&mut self) {
        let mut retry = RETRY_FIRST;
        let mut pace = Pace { credit: BURST, counted: Instant::now() };
        loop {
            let start = Instant::now();
            match self.sync().await {
                Ok(()) => {
                    retry = RETRY_FIRST;
                    let took = start.elapsed();
                    tracing::debug!(took_us = took.as_micros(), "service rules are in force");
                    tokio::time::sleep(pace.pause(took, Instant::now())).await;
                    self.wait().await;
                }
                Err(error) => {
                    tracing::error!(%error, "service rules could not be applied");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Until something changed, or the table is gone.
    async fn wait(&self) {
        let table = table_name(&self.config.cluster);
        while tokio::time::timeout(CHECK_EVERY, self.watched.changed.notified()).await.is_err() {
            match self.applier.is_present(&table).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(table, "the nftables table was removed by somebody; restoring it");
                    self.applier.forget().await;
                    return;
                }
                Err(error) => tracing::warn!(%error, "the nftables table could not be looked up"),
            }
        }
    }

    async fn sync(&mut self) -> Result<(), ApplyError> {
        let addresses = blocking(cni::local_addresses).await?;
        let facts = self.facts(addresses);
        let world = world(&self.watched.objects(&self.config.node_name), facts);
        self.applier.apply(&compile(&world)).await?;
        self.open_loopback();
        self.forget_stale_flows(&world).await
    }

    fn facts(&self, addresses: Vec<Ipv4Addr>) -> NodeFacts {
        NodeFacts {
            table: table_name(&self.config.cluster),
            name: self.config.node_name.clone(),
            zone: None,
            addresses,
            pod_cidr: self.config.pod_cidr,
            service_cidr: self.config.service_cidr,
            mark: self.config.mark,
        }
    }

    /// Lets connections from 127.0.0.1 leave for a pod, so that NodePorts answer there. Only with the ruleset in force,
    /// which keeps pods from using it the other way round.
    fn open_loopback(&self) {
        if let Err(error) = sysctl::set(&format!("net/ipv4/conf/{}/route_localnet", self.config.bridge), "1")
        {
            tracing::warn!(%error, "node ports do not answer on 127.0.0.1");
        }
    }

    async fn forget_stale_flows(&mut self, world: &World) -> Result<(), ApplyError> {
        let targets = UdpTargets::of(world);
        if targets == self.targets {
            return Ok(());
        }
        let judged = UdpTargets::of(world).and_gone(&self.targets);
        self.targets = targets;
        if judged.is_empty() {
            return Ok(());
        }
        let forget = move || {
            let stale = judged.stale(&conntrack::list(UDP)?);
            conntrack::delete(&stale).map(|()| stale.len())
        };
        // Not worth another ruleset: the flows also end by themselves.
        match blocking(forget).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "forgot UDP flows to former endpoints"),
            Err(error) => tracing::warn!(%error, "UDP flows to former endpoints could not be forgotten"),
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetlinkError> + Send + 'static,
) -> Result<T, ApplyError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| ApplyError::Panicked)??)
}
