//! The API server: one chain from a request to the store, offered as a tower service and by a TLS listener.
//!
//! `http` reads requests, `flow` holds the chain (authenticate → limit → authorize → dispatch), `registry` is the
//! generic engine over the store, `discovery` and `openapi` describe what is served, `access` answers the virtual
//! identity resources, `kubelet_proxy` forwards logs, exec and alike to the nodes.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod discovery;
mod flow;
pub mod http;
mod kubelet_proxy;
mod openapi;
pub mod registry;
mod server;

#[cfg(test)]
extern crate self as apiserver;
#[cfg(test)]
#[path = "../../../fuzz/src/targets.rs"]
mod fuzz_targets;
#[cfg(test)]
mod fuzz_tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use registry::components::Health;
pub use server::{TlsError, server_tls};

/// Any error that a body's stream may end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of requests and answers.
pub type ApiBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Request extension: the identity that the transport has established (a verified client certificate, or the
/// component behind an in-process client).
#[derive(Debug, Clone)]
pub struct Authenticated(Arc<auth::UserInfo>);

impl Authenticated {
    /// Vouches for a user, who thereby is in `system:authenticated`.
    #[must_use]
    pub fn new(user: auth::UserInfo) -> Authenticated {
        Authenticated(Arc::new(user.authenticated()))
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &Arc<auth::UserInfo> {
        &self.0
    }
}

/// Credentials for talking to kubelets.
#[derive(Debug, Clone)]
pub struct KubeletTls {
    /// CA that signed the kubelets' serving certificates, PEM.
    pub ca_pem: String,
    /// Client certificate, PEM.
    pub cert_pem: String,
    /// Its key, PEM.
    pub key_pem: String,
}

/// What the API server must know before it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients reach this server: becomes an endpoint of the `kubernetes` Service.
    pub advertise: SocketAddr,
    /// Name of the machine, for its Lease and its events.
    pub hostname: String,
    /// Whether no other server works on the store: then what others have left there is old.
    pub alone: bool,
    /// Range of cluster IPs, CIDR notation.
    pub service_cidr: String,
    /// Range of node ports.
    pub node_ports: RangeInclusive<u16>,
    /// Cluster IP of the DNS Service.
    pub cluster_dns: String,
    /// DNS domain of the cluster, without a trailing dot.
    pub cluster_domain: String,
    /// `iss` of service account tokens, and where OIDC discovery claims to live.
    pub issuer: String,
    /// Audiences of tokens that do not name any, and those this server accepts.
    pub audiences: Vec<String>,
    /// P-256 private key that signs service account tokens, PEM (PKCS#8).
    pub token_key_pem: String,
    /// The cluster CA, PEM: published to every namespace as `kube-root-ca.crt`, verifies client certificates.
    pub ca_pem: String,
    /// Credentials for logs, exec, attach, port-forward and proxies; `None` refuses those.
    pub kubelet: Option<KubeletTls>,
    /// Parts of the cluster that ComponentStatuses tell about, beside the store, by name.
    pub components: Vec<(&'static str, Arc<dyn Health>)>,
    /// Whether requests without credentials may read `/healthz`, `/livez`, `/readyz` and `/version`.
    pub anonymous: bool,
}

/// Why the API server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The registry could not load or create what it needs.
    #[error(transparent)]
    Registry(#[from] registry::StartError),
    /// Roles, bindings or flow schemas could not be read from the store.
    #[error("failed to load roles, bindings and flow schemas: {0}")]
    Policy(#[from] store::ReadError),
    /// The key for service account tokens is unusable.
    #[error(transparent)]
    TokenKey(#[from] auth::KeyError),
    /// The credentials for kubelets are unusable.
    #[error("failed to use the kubelet client credentials: {0}")]
    Kubelet(#[from] TlsError),
}

/// The API server, started. Serves in-process clients by [`ApiServer::service`] and the network by [`ApiServer::serve`].
pub struct ApiServer {
    chain: Arc<flow::Chain>,
    token: CancellationToken,
}

impl ApiServer {
    /// Loads what the store has and creates what every cluster has. Cancelling `token` ends everything.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        config: Config,
        store: Arc<dyn store::Store>,
        token: CancellationToken,
    ) -> Result<ApiServer, StartError> {
        let signer = auth::TokenSigner::new(config.issuer.clone(), &config.token_key_pem)?;
        let kubelets = config.kubelet.as_ref().map(kubelet_proxy::Kubelets::new).transpose()?;
        let metrics = flow::Metrics::default();
        let store: Arc<dyn store::Store> = Arc::new(metrics.observed(store));
        let policy = Arc::new(flow::Policy::start(store.as_ref()).await?);
        let flows = flow::Flows::start(store.as_ref()).await?;
        let registry =
            registry::Registry::start(&config, store.clone(), policy.clone(), token.clone()).await?;
        // The policy has to know the roles that every cluster has before the first request.
        store.feed().wait_for(store.revision()).await?;
        let identity = registry::presence::introduce(&registry).await.map_err(|status| {
            registry::StartError::Bootstrap { what: "the server's Lease".to_owned(), status }
        })?;
        registry.steps().done(registry::steps::Step::FlowConsumer);
        registry.steps().done(registry::steps::Step::Storage);
        let audiences = config.audiences.clone();
        let tasks = TaskTracker::new();
        tasks.spawn(registry::event_expiry::run(registry.clone(), token.clone()));
        tasks.spawn(registry::allocator::run(registry.clone(), token.clone()));
        tasks.spawn(registry::presence::run(registry.clone(), identity, token.clone()));
        let chain = flow::Chain {
            authenticator: flow::Authenticator::new(signer, audiences, config.anonymous, registry.clone()),
            discovery: discovery::Discovery::of(config.advertise),
            config,
            store,
            registry,
            policy,
            limits: flow::Limits::default(),
            flows,
            metrics,
            openapi: openapi::OpenApi::default(),
            kubelets,
            token: token.clone(),
            tasks,
        };
        Ok(ApiServer { chain: Arc::new(chain), token })
    }

    /// The server as a tower service: what an in-process client is made of.
    #[must_use]
    pub fn service(&self) -> ApiService {
        ApiService { chain: self.chain.clone() }
    }

    /// Accepts connections until the token is cancelled; see [`server_tls`] for the configuration.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(&self, listener: TcpListener, tls: Arc<rustls::ServerConfig>) -> std::io::Result<()> {
        let served = self.serve_within(listener, tls, server::Patience::default()).await;
        self.chain.tasks.close();
        self.chain.tasks.wait().await;
        served
    }

    async fn serve_within(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        patience: server::Patience,
    ) -> std::io::Result<()> {
        server::serve(self.chain.clone(), listener, tls, self.token.clone(), patience).await
    }

    /// Where parts of the same program report what the page of metrics is to show.
    #[must_use]
    pub fn metrics(&self) -> &machinery::metrics::Registry {
        self.chain.registry.metrics()
    }

    /// The objects behind the API, for parts that live inside the same program.
    #[must_use]
    pub fn registry(&self) -> &Arc<registry::Registry> {
        &self.chain.registry
    }
}

/// Answers requests without a network in between. The identity is the [`Authenticated`] extension of each request, or
/// what its headers prove.
#[derive(Clone)]
pub struct ApiService {
    chain: Arc<flow::Chain>,
}

impl tower::Service<::http::Request<ApiBody>> for ApiService {
    type Response = ::http::Response<ApiBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ::http::Request<ApiBody>) -> Self::Future {
        let chain = self.chain.clone();
        Box::pin(async move { Ok(chain.answer(request).await) })
    }
}
