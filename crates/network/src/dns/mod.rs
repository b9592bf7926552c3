//! Cluster DNS of a node: names of Services and pods, and for every other name the node's own resolvers.
//!
//! Follows the specification "Kubernetes DNS-Based Service Discovery" 1.1.0 and, where that is silent, CoreDNS. The zone
//! is built whole from the informers whenever something changed, and swapped; a question is answered from memory.

mod answer;
mod forward;
mod publish;
mod server;
#[cfg(test)]
mod tests;
mod zone;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::{EndpointSlice, Namespace, Service};
use client::{Informer, Informers, kube};
use ipnet::Ipv4Net;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use answer::{Outcome, Reply, answer};
pub use forward::Resolvers;
pub use publish::{Publication, PublishError, publish};
pub use zone::{Records, Service as ServiceRecord, Zone, ZoneFacts, ZoneObjects};

use forward::Forwarder;
use server::Server;

/// Seconds that clients may keep an answer, as CoreDNS' kubernetes plugin has it.
pub const TTL_SECONDS: u32 = 5;
/// Pause after a zone was built: a burst of events is carried out together.
const PAUSE: Duration = Duration::from_millis(5);

/// What cluster DNS needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens, UDP and TCP: the bridge's address, port 53. It may appear later.
    pub listen: SocketAddr,
    /// `cluster.local`
    pub domain: String,
    /// Cluster address of the Service `kube-dns`, also the address of the zone's name server.
    pub service_ip: Ipv4Addr,
    /// Ranges whose reverse names are answered here: pods and Services.
    pub ranges: Vec<Ipv4Net>,
    /// Where questions about other names go.
    pub upstream: Upstream,
}

/// Where questions about names outside the cluster go.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// The name servers of this file, usually `/etc/resolv.conf`; read again when it changes.
    File(PathBuf),
    /// These.
    Fixed(Vec<SocketAddr>),
}

impl Config {
    fn facts(&self) -> ZoneFacts {
        ZoneFacts {
            domain: self.domain.trim_matches('.').to_ascii_lowercase(),
            name_server: self.service_ip,
            ranges: self.ranges.clone(),
        }
    }

    /// Addresses that lead back here: asking them would be a loop.
    fn own(&self) -> Vec<IpAddr> {
        vec![self.listen.ip(), IpAddr::V4(self.service_ip)]
    }
}

/// Runs cluster DNS until `token` is cancelled.
pub async fn run(config: Config, client: kube::Client, token: CancellationToken) {
    let informers = Informers::with_token(client, &token);
    let watched = Watched::start(&informers);
    if token.run_until_cancelled(watched.synced()).await.is_some() {
        let forwarder = Forwarder::new(config.upstream.clone(), config.own());
        let server = Arc::new(Server::new(watched.zone(&config), forwarder));
        let follow = token.run_until_cancelled(follow(&config, &watched, &server));
        let (_, ()) = tokio::join!(follow, Arc::clone(&server).serve(config.listen, token.clone()));
    }
    informers.shut_down().await;
}

/// Keeps the server's zone as the cluster is.
async fn follow(config: &Config, watched: &Watched, server: &Server) {
    loop {
        watched.changed.notified().await;
        server.swap(watched.zone(config));
        tokio::time::sleep(PAUSE).await;
    }
}

struct Watched {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    namespaces: Informer<Namespace>,
    changed: Arc<Notify>,
}

impl Watched {
    fn start(informers: &Informers) -> Self {
        let changed = Arc::new(Notify::new());
        let (services, slices, namespaces) = (informers.of(), informers.of(), informers.of());
        let bell = || {
            let changed = Arc::clone(&changed);
            move || changed.notify_one()
        };
        let ring = bell();
        Informer::<Service>::on_change(&services, move |_| ring());
        let ring = bell();
        Informer::<EndpointSlice>::on_change(&slices, move |_| ring());
        let ring = bell();
        Informer::<Namespace>::on_change(&namespaces, move |_| ring());
        Self { services, slices, namespaces, changed }
    }

    async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
        self.namespaces.synced().await;
    }

    fn zone(&self, config: &Config) -> Zone {
        let objects = ZoneObjects {
            services: self.services.list(),
            slices: self.slices.list(),
            namespaces: self.namespaces.list().iter().filter_map(|n| n.metadata.name.clone()).collect(),
        };
        // Truncated on purpose: serial numbers wrap.
        #[expect(clippy::cast_possible_truncation, reason = "serial numbers wrap")]
        let serial = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as u32;
        Zone::build(config.facts(), &objects, serial)
    }
}
