//! That this server is there: behind the `kubernetes` Service, and by a Lease of its own
//! (upstream `pkg/controlplane/reconcilers`, `pkg/controlplane/controller/kubernetesservice`).
//!
//! Of several servers over one store, each says so there every few seconds, and leaves out of the Service's endpoints those that
//! no longer do. The last one leaves the endpoints as they are, for its next start.

mod endpoints;
mod identity;
mod peers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use machinery::status::Status;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Registry, allocator};
pub(crate) use identity::Identity;
use peers::Peers;

/// How often a server says that it is there.
const EVERY: Duration = Duration::from_secs(10);
/// How long an ending server may take to say that it goes.
const FAREWELL: Duration = Duration::from_secs(3);

/// The Service through which pods reach the servers.
pub async fn service(registry: &Registry) -> Result<(), Status> {
    let config = registry.config();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": endpoints::SERVICE, "namespace": endpoints::NAMESPACE,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": registry.allocators().first_ip().to_string(),
            "sessionAffinity": "None",
            "ports": [
                {"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.advertise.port()},
            ],
        },
    });
    registry.ensure(service).await.map(|_| ())
}

/// Says that this server is there, and puts it behind the Service with those that are known to be.
pub async fn announce(registry: &Registry) -> Result<(), Status> {
    renew(registry, &mut Peers::default(), Instant::now()).await
}

async fn renew(registry: &Registry, peers: &mut Peers, now: Instant) -> Result<(), Status> {
    let config = registry.config();
    if config.alone {
        return endpoints::reconcile(registry, &BTreeSet::from([config.advertise])).await;
    }
    peers::say(registry).await?;
    let addresses = peers.present(registry, now).await?;
    endpoints::reconcile(registry, &addresses).await
}

/// Shows this server by a Lease of its own for the first time.
///
/// # Errors
/// When the Lease cannot be written.
pub async fn introduce(registry: &Registry) -> Result<Identity, Status> {
    let mut identity = Identity::new(registry.config());
    identity.renew(registry, Timestamp::now()).await?;
    Ok(identity)
}

/// Says that this server is there until the token is cancelled; then that it goes.
pub async fn run(registry: Arc<Registry>, mut identity: Identity, token: CancellationToken) {
    let mut peers = Peers::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while token.run_until_cancelled(ticks.tick()).await.is_some() {
        let ticked = tick(&registry, &mut peers, &mut identity);
        let Some(ticked) = token.run_until_cancelled(ticked).await else { break };
        if let Err(status) = ticked {
            tracing::warn!(%status, "failed to say that this server is there");
        }
    }
    let gone = tokio::time::timeout(FAREWELL, leave(&registry, &mut peers, Instant::now())).await;
    if let Ok(Err(status)) = gone {
        tracing::debug!(%status, "failed to say that this server goes");
    }
}

async fn tick(registry: &Registry, peers: &mut Peers, identity: &mut Identity) -> Result<(), Status> {
    allocator::default_range(registry).await?;
    service(registry).await?;
    // At once: they share a commit of the store.
    let now = Timestamp::now();
    tokio::try_join!(renew(registry, peers, Instant::now()), identity.renew(registry, now)).map(|_| ())
}

/// Takes this server out of the endpoints, unless it is the last.
async fn leave(registry: &Registry, peers: &mut Peers, now: Instant) -> Result<(), Status> {
    if registry.config().alone {
        return Ok(());
    }
    peers::take_back(registry).await?;
    let others = peers.present(registry, now).await?;
    if others.is_empty() { Ok(()) } else { endpoints::reconcile(registry, &others).await }
}

#[cfg(test)]
mod tests;
