//! What every controller is built from.

use crate::{Config, MANAGER};
use client::{Informer, Informers, Objects, Recorder, Rest, Tasks, WorkQueue, run_workers};
use futures::future::BoxFuture;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A failed step of a reconciliation; the key is retried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A request failed.
    #[error("{0}")]
    Request(#[from] kube::Error),
    /// An answer could not be read.
    #[error("failed to read an answer: {0}")]
    Answer(#[from] serde_json::Error),
    /// An object names a resource that the API does not serve (now).
    #[error("no resource serves {kind} of {api_version}")]
    UnknownKind { api_version: String, kind: String },
    /// A pod group could not be brought to its size.
    #[error("failed to create or delete {failed} of {total} objects: {first}")]
    Batch { failed: usize, total: usize, first: String },
    /// The name a new object would take belongs to another.
    #[error("name {0} is taken by an object of another owner")]
    NameTaken(String),
}

/// `Ok(Some(delay))`: reconcile again after the delay.
pub(crate) type Outcome = Result<Option<Duration>, Failure>;

/// Waits until something is ready; may be called again.
pub(crate) type Ready = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Ready when the informer's first list is in its cache.
pub(crate) fn synced<K: api::Kind>(informer: &Informer<K>) -> Ready {
    let informer = informer.clone();
    Arc::new(move || {
        let informer = informer.clone();
        Box::pin(async move { informer.synced().await })
    })
}

/// Shared informers, the identities, and the tasks of the program.
pub(crate) struct Context {
    pub config: Arc<Config>,
    pub informers: Informers,
    pub tasks: Tasks,
    clients: Arc<dyn Fn(&str) -> kube::Client + Send + Sync>,
}

impl Context {
    pub(crate) fn new(
        config: Config,
        clients: Arc<dyn Fn(&str) -> kube::Client + Send + Sync>,
        token: &CancellationToken,
    ) -> Self {
        let token = token.child_token();
        let informers = Informers::with_token(clients(MANAGER), &token);
        Self { config: Arc::new(config), informers, tasks: Tasks::new(token), clients }
    }

    /// Requests as the controller's own identity.
    pub(crate) fn rest(&self, controller: &str) -> Rest {
        Rest::new((self.clients)(controller), MANAGER)
    }

    /// Events as the controller. `component` is the name events show, which may differ from the service account's.
    pub(crate) fn recorder(&self, rest: &Rest, component: &str) -> Recorder {
        Recorder::new(rest.client().clone(), MANAGER, component, "")
    }

    /// Starts workers over a queue once everything in `ready` is.
    pub(crate) fn workers<T, F, Fut>(
        &self,
        name: &'static str,
        queue: WorkQueue<T>,
        workers: usize,
        ready: Vec<Ready>,
        reconcile: F,
    ) where
        T: Clone + Eq + Hash + Debug + Send + Sync + 'static,
        F: Fn(T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        queue.report(&self.config.metrics, queue_name(name));
        let token = self.tasks.token().clone();
        self.tasks.spawn(name, move || {
            let (queue, token, ready) = (queue.clone(), token.clone(), ready.clone());
            let reconcile = reconcile.clone();
            Box::pin(async move {
                for wait in ready {
                    wait().await;
                }
                run_workers(name, queue, workers, token, reconcile).await;
            })
        });
    }

    pub(crate) async fn shut_down(&self) {
        self.tasks.shut_down().await;
        self.informers.shut_down().await;
    }
}

/// What upstream calls the queue of a controller.
fn queue_name(controller: &str) -> &str {
    match controller {
        "clusterrole-aggregation-controller" => "ClusterRoleAggregator",
        "endpoint-controller" => "endpoint",
        "endpointslice-controller" => "endpoint_slice",
        "generic-garbage-collector" => "garbage_collector_attempt_to_delete",
        "node-lifecycle" => "node_lifecycle_controller",
        "pod-garbage-collector" => "orphaned_pods_nodes",
        "pv-protection-controller" => "pvprotection",
        "pvc-protection-controller" => "pvcprotection",
        "replication-controller" => "replicationmanager",
        "root-ca-cert-publisher" => "root_ca_cert_publisher",
        "service-account-controller" => "serviceaccount",
        "taint-eviction" => "noexec_taint_pod",
        "volumeattributesclass-protection-controller" => "vacprotection",
        other => other.trim_end_matches("-controller"),
    }
}

/// Typed access over a controller's requests.
pub(crate) fn objects<K: api::Kind>(rest: &Rest) -> Objects<K> {
    Objects::over(rest.clone())
}
