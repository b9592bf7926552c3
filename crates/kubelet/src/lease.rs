//! The node's heartbeat: its Lease in `kube-node-lease`.

use std::time::Duration;

use api::{Lease, LeaseSpec, MicroTime, ObjectMeta, OwnerReference};
use client::Objects;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kube-node-lease";
const DURATION_SECONDS: i32 = 40;
const RENEW_PERIOD: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(7);

/// Renews the lease until the token is cancelled. `owner` is the node, which the lease goes away with.
pub(crate) async fn keep(
    leases: Objects<Lease>,
    node: String,
    owner: OwnerReference,
    token: CancellationToken,
) {
    let mut known: Option<Lease> = None;
    let mut retry = RETRY_FIRST;
    loop {
        let pause = match renew(&leases, &node, &owner, known.take()).await {
            Ok(lease) => {
                known = Some(lease);
                retry = RETRY_FIRST;
                RENEW_PERIOD
            }
            Err(error) => {
                tracing::warn!(%error, "failed to renew the node's lease");
                retry = (retry * 2).min(RETRY_MAX);
                retry
            }
        };
        if token.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

async fn renew(
    leases: &Objects<Lease>,
    node: &str,
    owner: &OwnerReference,
    known: Option<Lease>,
) -> Result<Lease, client::kube::Error> {
    let known = match known {
        Some(lease) => Some(lease),
        None => leases.get_opt(NAMESPACE, node).await?,
    };
    let now = Some(MicroTime(Timestamp::now()));
    match known {
        Some(mut lease) => {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some(node.to_owned());
            spec.lease_duration_seconds = Some(DURATION_SECONDS);
            spec.renew_time = now;
            lease.metadata.owner_references = Some(vec![owner.clone()]);
            leases.replace(&lease).await
        }
        None => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(node.to_owned()),
                    namespace: Some(NAMESPACE.to_owned()),
                    owner_references: Some(vec![owner.clone()]),
                    ..ObjectMeta::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some(node.to_owned()),
                    lease_duration_seconds: Some(DURATION_SECONDS),
                    renew_time: now,
                    ..LeaseSpec::default()
                }),
            };
            leases.create(&lease).await
        }
    }
}
