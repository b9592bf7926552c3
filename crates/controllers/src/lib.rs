//! The controllers of the control plane: each turns what is wanted into what is there, as an ordinary API client.
//!
//! Every controller is a pure function (`plan`) from the objects it watches and the time to what should be done, and
//! a thin loop that does it. Keys flow through work queues; nothing polls. [`run`] is the one entry point.
//!
//! | group | controllers |
//! |---|---|
//! | `workload` | Deployment, ReplicaSet and ReplicationController |
//! | `service` | EndpointSlice, Endpoints, ServiceCIDR |
//! | `identity` | service accounts, root CA publisher, cluster role aggregation |
//! | `lifecycle` | namespaces, garbage collection, node lifecycle, pod garbage collection, protection of volumes in use |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod context;
mod discovery;
mod identity;
mod lifecycle;
mod service;
mod workload;
mod written;

use context::Context;
use machinery::metrics::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the controllers are told; the rest they learn from the API.
#[derive(Clone, Debug)]
pub struct Config {
    /// Certificate authority published to every namespace, PEM.
    pub ca_pem: String,
    /// Silence after which a node's state counts as unknown (upstream's `--node-monitor-grace-period`).
    pub node_monitor_grace: Duration,
    /// Finished pods kept before the oldest are deleted (upstream's `--terminated-pod-gc-threshold`).
    pub terminated_pods_max: usize,
    /// Where the work queues report.
    pub metrics: Registry,
}

impl Config {
    /// Upstream's defaults with this certificate authority.
    #[must_use]
    pub fn new(ca_pem: impl Into<String>) -> Self {
        Self {
            ca_pem: ca_pem.into(),
            node_monitor_grace: Duration::from_secs(50),
            terminated_pods_max: 12_500,
            metrics: Registry::default(),
        }
    }
}

/// Name under which `clients` is asked for the identity of the shared informers, `system:kube-controller-manager`.
pub const MANAGER: &str = "kube-controller-manager";

/// Runs every controller until `token` is cancelled, then waits for their tasks.
///
/// `clients` makes the transport of an identity. It is called once with [`MANAGER`], for the user
/// `system:kube-controller-manager` (all lists and watches), and once a controller with the name of its service account in
/// `kube-system`, e.g. `deployment-controller` for `system:serviceaccount:kube-system:deployment-controller`.
pub async fn run(
    config: Config,
    clients: impl Fn(&str) -> kube::Client + Send + Sync + 'static,
    token: CancellationToken,
) {
    let context = Context::new(config, Arc::new(clients), &token);
    identity::start(&context);
    workload::start(&context);
    service::start(&context);
    lifecycle::start(&context);
    token.cancelled().await;
    context.shut_down().await;
}
