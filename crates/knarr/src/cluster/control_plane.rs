//! The control plane of a cluster: the API server over a store, and the controllers and the scheduler as its clients.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use api::{ConfigMap, Lease};
use apiserver::ApiServer;
use client::{LeaderConfig, LeaderElector, kube};
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::pki::Pki;
use super::supervise::Supervisor;
use super::transport::Clients;
use super::{Kubeconfig, Paths, Settings, node};

const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Components by the names they are supervised under.
const CONTROLLERS: &str = "controllers";
const SCHEDULER: &str = "scheduler";

/// Where the API server is reached.
pub(super) struct Place {
    /// Address it listens on; unspecified means all.
    pub bind: IpAddr,
    /// Address it is known by.
    pub advertise: IpAddr,
    /// Whether other servers may work on the same store.
    pub shared: bool,
}

/// A control plane in this process.
pub(super) struct ControlPlane {
    pub pki: Pki,
    pub store: Arc<dyn Store>,
    pub clients: Clients,
    /// The clients of the API server end first, with this.
    pub supervisor: Supervisor,
    /// How clients on this machine reach the API server, and how others do.
    pub local_url: String,
    pub url: String,
    kubeconfig: Kubeconfig,
    components: CancellationToken,
    server_token: CancellationToken,
    serving: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl ControlPlane {
    /// Starts the API server and writes the cluster's own kubeconfig. None of its clients run yet.
    pub async fn start(
        paths: &Paths,
        settings: &Settings,
        pki: Pki,
        store: Arc<dyn Store>,
        place: Place,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((place.bind, settings.port)).await.with_context(|| {
            format!("port {} cannot be used for the API server; choose another with --port", settings.port)
        })?;
        let port = listener.local_addr()?.port();
        let advertise = SocketAddr::new(place.advertise, port);
        let (server_token, components) = (CancellationToken::new(), CancellationToken::new());
        let supervisor = Supervisor::new(components.clone());
        let config = server_config(settings, &pki, advertise, !place.shared, &supervisor)?;
        let server = Arc::new(ApiServer::start(config, store.clone(), server_token.clone()).await?);
        let serving = serve(&server, listener, settings, &pki, &place)?;
        let here = if place.bind.is_unspecified() { [127, 0, 0, 1].into() } else { place.bind };
        let local_url = format!("https://{}", SocketAddr::new(here, port));
        let admin = pki.client("kubernetes-admin", Some("system:masters"))?;
        let kubeconfig = Kubeconfig::new(&settings.name, local_url.clone(), &pki.ca_pem, admin);
        kubeconfig.write(&paths.kubeconfig())?;
        Ok(Self {
            clients: Clients::new(server, advertise.to_string()),
            pki,
            store,
            supervisor,
            local_url,
            url: format!("https://{advertise}"),
            kubeconfig,
            components,
            server_token,
            serving: Some(serving),
        })
    }

    /// Adds the cluster to the user's kubeconfig; a file that cannot be changed is left alone.
    pub fn merge_kubeconfig(&self) -> Option<String> {
        let merged = self.kubeconfig.merge().inspect_err(|error| tracing::warn!("{error:#}")).ok();
        merged.map(|file| file.display().to_string())
    }

    /// Refuses to work on the objects of a cluster with another authority: its tokens and certificates would not be this one's.
    pub async fn check_authority(&self, paths: &Paths) -> anyhow::Result<()> {
        let maps: kube::Api<ConfigMap> = kube::Api::namespaced(self.admin(), "kube-system");
        let published =
            maps.get_opt("kube-root-ca.crt").await.context("failed to read the cluster's authority")?;
        let published = published.and_then(|map| map.data?.remove("ca.crt"));
        if published.is_some_and(|ca| ca.trim() != self.pki.ca_pem.trim()) {
            bail!(
                "the datastore holds a cluster with another certificate authority; copy ca.crt, ca.key and sa.key from a server of \
                 that cluster to {}",
                paths.pki().display()
            );
        }
        Ok(())
    }

    /// Refuses to be a second node: its pods would have the addresses of the first one's.
    pub async fn check_only_node(&self, node: &str) -> anyhow::Result<()> {
        let leases: kube::Api<Lease> = kube::Api::namespaced(self.admin(), "kube-node-lease");
        let leases = leases.list(&kube::api::ListParams::default()).await;
        let leases = leases.context("failed to look for other nodes")?;
        let now = jiff::Timestamp::now();
        let other = |lease: &&Lease| lease.metadata.name.as_deref() != Some(node) && holds(lease, now);
        if let Some(other) = leases.items.iter().find(other) {
            bail!(
                "the datastore holds a cluster whose node {:?} runs, and a cluster has one node; knarr server adds a server to it",
                other.metadata.name.as_deref().unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Starts controllers and scheduler. `elect`: of several servers over one store only one runs them at a time.
    pub fn start_components(&self, elect: bool) {
        let candidate = elect.then(candidate);
        let metrics = self.clients.metrics().clone();
        let config =
            controllers::Config { metrics: metrics.clone(), ..controllers::Config::new(&self.pki.ca_pem) };
        let clients = self.clients.clone();
        let manager = clients.of("system:kube-controller-manager", &[]);
        let election = self.election("kube-controller-manager", candidate.as_deref(), &manager);
        self.supervisor.spawn(CONTROLLERS, move |token| {
            let (clients, manager, config) = (clients.clone(), manager.clone(), config.clone());
            let of = move |name: &str| match name {
                controllers::MANAGER => manager.clone(),
                controller => clients.of_controller(controller),
            };
            lead(election.clone(), token, move |token| controllers::run(config, of, token))
        });
        let client = self.clients.of("system:kube-scheduler", &[]);
        let election = self.election("kube-scheduler", candidate.as_deref(), &client);
        self.supervisor.spawn(SCHEDULER, move |token| {
            let client = client.clone();
            let config = scheduler::Config { metrics: metrics.clone(), ..scheduler::Config::default() };
            lead(election.clone(), token, move |token| scheduler::run(config, client, token))
        });
    }

    fn election(&self, lease: &str, candidate: Option<&str>, client: &kube::Client) -> Option<Election> {
        let config = LeaderConfig::new("kube-system", lease, candidate?);
        Some(Election { config, client: client.clone() })
    }

    /// A client with all rights.
    pub fn admin(&self) -> kube::Client {
        self.clients.of("system:admin", &["system:masters"])
    }

    /// Clients first, then the server they talk to, then the store.
    pub async fn stop(&mut self) {
        self.components.cancel();
        self.supervisor.drain(STOP_LIMIT).await;
        self.server_token.cancel();
        if let Some(serving) = self.serving.take()
            && tokio::time::timeout(STOP_LIMIT, serving).await.is_err()
        {
            tracing::warn!("the API server did not drain within {STOP_LIMIT:?}");
        }
    }
}

/// Whether a lease was renewed lately enough.
fn holds(lease: &Lease, now: jiff::Timestamp) -> bool {
    let spec = lease.spec.as_ref();
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    renewed
        .is_some_and(|renewed| now.duration_since(renewed) < jiff::SignedDuration::from_secs(seconds.into()))
}

/// The lease a component has to hold to run.
#[derive(Clone)]
struct Election {
    config: LeaderConfig,
    client: kube::Client,
}

/// Unique among all processes that may ever compete.
fn candidate() -> String {
    format!("{}_{:016x}", hostname(), rand::random::<u64>())
}

fn hostname() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Runs a component, after having been elected if there is an election.
async fn lead<R: Future<Output = ()>>(
    election: Option<Election>,
    token: CancellationToken,
    run: impl FnOnce(CancellationToken) -> R,
) -> anyhow::Result<()> {
    match election {
        None => run(token).await,
        Some(Election { config, client }) => LeaderElector::new(client, config).run(token, run).await,
    }
    Ok(())
}

fn server_config(
    settings: &Settings,
    pki: &Pki,
    advertise: SocketAddr,
    alone: bool,
    supervisor: &Supervisor,
) -> anyhow::Result<apiserver::Config> {
    let kubelet = pki.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
    let issuer = format!("https://kubernetes.default.svc.{}", settings.cluster_domain);
    Ok(apiserver::Config {
        advertise,
        hostname: hostname(),
        alone,
        service_cidr: settings.service_cidr.clone(),
        node_ports: 30000..=32767,
        cluster_dns: settings.cluster_dns.to_string(),
        cluster_domain: settings.cluster_domain.clone(),
        audiences: vec![issuer.clone()],
        issuer,
        token_key_pem: pki.token_key()?,
        ca_pem: pki.ca_pem.clone(),
        kubelet: Some(apiserver::KubeletTls {
            ca_pem: pki.ca_pem.clone(),
            cert_pem: kubelet.cert_pem,
            key_pem: kubelet.key_pem,
        }),
        components: vec![
            ("controller-manager", supervisor.health(CONTROLLERS)),
            ("scheduler", supervisor.health(SCHEDULER)),
        ],
        anonymous: true,
    })
}

fn serve(
    server: &Arc<ApiServer>,
    listener: TcpListener,
    settings: &Settings,
    pki: &Pki,
    place: &Place,
) -> anyhow::Result<tokio::task::JoinHandle<std::io::Result<()>>> {
    let mut names: Vec<String> = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        .map(str::to_owned)
        .to_vec();
    names.push(format!("kubernetes.default.svc.{}", settings.cluster_domain));
    names.push(settings.node_name.clone());
    let mut addresses = node::all_addresses();
    addresses.extend([place.advertise, settings.api_service_ip(), IpAddr::V4(settings.gateway())]);
    let tls = pki.server_tls(&pki.server("kube-apiserver", &names, &addresses)?, false)?;
    let server = server.clone();
    Ok(tokio::spawn(async move { server.serve(listener, tls).await }))
}
