//! The composition root: builds every component of a cluster, starts them in order, and drains them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use api::Node;
use apiserver::ApiServer;
use client::kube;
use futures::StreamExt;
use ipnet::Ipv4Net;
use serde_json::json;
use store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::control::{self, Controlled};
use super::pki::Pki;
use super::supervise::Supervisor;
use super::transport::Clients;
use super::{Kubeconfig, Paths, Settings, node};

/// What the user is told while a cluster starts.
pub(crate) enum Milestone {
    Step(&'static str),
    NodeReady { kubeconfig: String, merged: Option<String> },
}

/// How the program was asked to end.
enum Ending {
    /// Containers go on and are adopted by the next start.
    KeepContainers,
    /// As `knarr down`.
    TakeDown,
}

const STOP_LIMIT: Duration = Duration::from_secs(10);
const PUBLISH_RETRY: Duration = Duration::from_millis(200);

/// Runs a cluster until it is asked to end.
pub(crate) fn run(paths: &Paths, settings: &Settings, report: impl Fn(Milestone)) -> anyhow::Result<()> {
    let _lock = lock(paths)?;
    if Settings::load(paths)?.as_ref() != Some(settings) {
        settings.save(paths)?;
    }
    // One provider for the whole process; a second call would only say that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().min(4)))
        .enable_all()
        .build()?;
    let ending = runtime.block_on(async {
        let mut cluster = Cluster::build(paths, settings, &report).await?;
        let outcome = cluster.serve(&report).await;
        cluster.stop().await;
        outcome
    })?;
    runtime.shutdown_timeout(Duration::from_secs(2));
    if matches!(ending, Ending::TakeDown) {
        node::cleanup(paths, settings)?;
        Kubeconfig::unmerge(&settings.name)?;
    }
    Ok(())
}

/// Held while the cluster runs: two programs on one data directory would destroy it.
fn lock(paths: &Paths) -> anyhow::Result<nix::fcntl::Flock<std::fs::File>> {
    let file = paths.data.join("lock");
    let handle =
        std::fs::File::create(&file).with_context(|| format!("failed to create {}", file.display()))?;
    nix::fcntl::Flock::lock(handle, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow::anyhow!("another knarr uses the data directory {}", paths.data.display()))
}

/// The parts of a cluster in this process.
struct Cluster<'a> {
    paths: &'a Paths,
    settings: &'a Settings,
    pki: Pki,
    address: IpAddr,
    /// The store, the API server and everything below end with these, in this order: clients first.
    supervisor: Supervisor,
    components: CancellationToken,
    server_token: CancellationToken,
    serving: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    store: Arc<store::Embedded>,
    clients: Clients,
    runtime: Arc<dyn container::Runtime>,
    /// Cancelled by the control interface.
    asked_to_stop: CancellationToken,
    /// The cluster's own kubeconfig, and the user's it was merged into.
    kubeconfig: (String, Option<String>),
}

impl<'a> Cluster<'a> {
    /// Opens store and certificates, starts the API server, then everything that is its client.
    async fn build(
        paths: &'a Paths,
        settings: &'a Settings,
        report: &impl Fn(Milestone),
    ) -> anyhow::Result<Self> {
        let pki = Pki::open(&paths.pki())?;
        report(Milestone::Step("certificates"));
        let store = Arc::new(store::Embedded::open(&paths.store(), store::Options::default())?);
        report(Milestone::Step("store"));

        let network = network::cni::Bridge::new(node::cni_config(paths, settings)?).await?;
        let address = node::address(settings);
        let server_token = CancellationToken::new();
        let config = server_config(settings, &pki, address)?;
        let server = Arc::new(ApiServer::start(config, store.clone(), server_token.clone()).await?);
        let serving = listen(&server, settings, &pki, address).await?;
        let (kubeconfig, merged) = write_kubeconfig(paths, settings, &pki)?;
        report(Milestone::Step("API ready"));

        let network = Arc::new(network);
        let runtime = container::Embedded::open(node::runtime_config(paths), network.clone()).await?;
        let live = container::Runtime::list_sandboxes(&*runtime).await?;
        network.reconcile(live.into_iter().map(|sandbox| sandbox.id).collect()).await?;
        let components = CancellationToken::new();
        let cluster = Self {
            paths,
            settings,
            pki,
            address,
            supervisor: Supervisor::new(components.clone()),
            components,
            server_token,
            serving: Some(serving),
            store,
            clients: Clients::new(server),
            runtime,
            asked_to_stop: CancellationToken::new(),
            kubeconfig: (kubeconfig, merged),
        };
        cluster.start_node()?;
        cluster.start_control_plane();
        cluster.start_control_interface();
        Ok(cluster)
    }

    fn start_control_plane(&self) {
        let config = controllers::Config::new(&self.pki.ca_pem);
        let clients = self.clients.clone();
        self.supervisor.spawn("controllers", move |token| {
            let clients = clients.clone();
            let of = move |name: &str| match name {
                controllers::MANAGER => clients.of("system:kube-controller-manager", &[]),
                controller => clients.of_controller(controller),
            };
            let run = controllers::run(config.clone(), of, token);
            async move {
                run.await;
                Ok(())
            }
        });
        let client = self.clients.of("system:kube-scheduler", &[]);
        self.supervisor.spawn("scheduler", move |token| {
            let run = scheduler::run(scheduler::Config::default(), client.clone(), token);
            async move {
                run.await;
                Ok(())
            }
        });
    }

    fn start_node(&self) -> anyhow::Result<()> {
        let kubelet = self.kubelet()?;
        let (client, runtime) = (self.node_client(), self.runtime.clone());
        self.supervisor.spawn("kubelet", move |token| {
            let kubelet = kubelet::Kubelet::new(kubelet.clone(), client.clone(), runtime.clone());
            async move { Ok(kubelet.run(token).await?) }
        });
        self.start_proxy()?;
        self.start_dns()
    }

    fn start_proxy(&self) -> anyhow::Result<()> {
        let cni = node::cni_config(self.paths, self.settings)?;
        let config = network::proxy::Config {
            cluster: self.settings.name.clone(),
            node_name: self.settings.node_name.clone(),
            bridge: cni.bridge,
            pod_cidr: cni.cluster_pod_cidr,
            service_cidr: cni.service_cidr,
            mark: network::proxy::MASQUERADE_MARK,
            pods: Some(self.node_client()),
        };
        let client = self.clients.of("system:kube-proxy", &[]);
        self.supervisor.spawn("proxy", move |token| {
            let run = network::proxy::run(config.clone(), client.clone(), token);
            async move { Ok(run.await?) }
        });
        Ok(())
    }

    fn start_dns(&self) -> anyhow::Result<()> {
        let settings = self.settings;
        let range = |text: &str| text.parse::<Ipv4Net>().context("not a range");
        let gateway = settings.gateway();
        let config = network::dns::Config {
            listen: SocketAddr::new(IpAddr::V4(gateway), 53),
            domain: settings.cluster_domain.clone(),
            service_ip: settings.cluster_dns,
            ranges: vec![range(&settings.cluster_pod_cidr)?, range(&settings.service_cidr)?],
            upstream: network::dns::Upstream::File("/etc/resolv.conf".into()),
        };
        let publication = network::dns::Publication {
            service_ip: settings.cluster_dns,
            address: IpAddr::V4(gateway),
            node_name: settings.node_name.clone(),
        };
        // Publishing the DNS Service is an add-on manager's work, with an administrator's rights.
        let (reader, publisher) = (
            self.clients.of_controller("kube-dns"),
            self.clients.of("system:addon-manager", &["system:masters"]),
        );
        self.supervisor.spawn("dns", move |token| {
            let serve = network::dns::run(config.clone(), reader.clone(), token);
            let (publication, publisher) = (publication.clone(), publisher.clone());
            async move {
                while let Err(error) = network::dns::publish(&publication, publisher.clone()).await {
                    tracing::warn!("{error}; trying again");
                    tokio::time::sleep(PUBLISH_RETRY).await;
                }
                serve.await;
                Ok(())
            }
        });
        Ok(())
    }

    fn start_control_interface(&self) {
        let facts = json!({
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "since": machinery::time::now_rfc3339(jiff::Timestamp::now()),
            "server": format!("https://{}:{}", self.address, self.settings.port),
            "node": self.settings.node_name,
            "data": self.paths.data,
            "kubeconfig": self.paths.kubeconfig(),
        });
        let controlled =
            Controlled { runtime: self.runtime.clone(), stop: self.asked_to_stop.clone(), facts };
        let socket = self.paths.control();
        self.supervisor
            .spawn("control", move |token| control::serve(socket.clone(), controlled.clone(), token));
    }

    fn node_client(&self) -> kube::Client {
        self.clients.of(&format!("system:node:{}", self.settings.node_name), &["system:nodes"])
    }

    fn kubelet(&self) -> anyhow::Result<kubelet::Config> {
        let settings = self.settings;
        let names = vec![settings.node_name.clone()];
        let identity =
            self.pki.server(&format!("system:node:{}", settings.node_name), &names, &[self.address])?;
        let tls = self.pki.server_tls(&identity, true)?;
        let (root, logs) = (self.paths.kubelet(), self.paths.pod_logs());
        let mut config = kubelet::Config::new(&settings.node_name, self.address, root, logs, tls);
        config.pod_cidr.clone_from(&settings.pod_cidr);
        config.cluster_dns = vec![IpAddr::V4(settings.cluster_dns)];
        config.cluster_domain.clone_from(&settings.cluster_domain);
        config.listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), node::kubelet_port());
        config.builtin_repositories = vec![node::DEMO_IMAGE.to_owned()];
        Ok(config)
    }

    /// Tells when the node is ready, then waits for the end.
    async fn serve(&mut self, report: &impl Fn(Milestone)) -> anyhow::Result<Ending> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stop = self.asked_to_stop.clone();
        let ready = self.node_ready();
        tokio::pin!(ready);
        let mut waiting = true;
        loop {
            tokio::select! {
                outcome = &mut ready, if waiting => {
                    outcome?;
                    waiting = false;
                    let (kubeconfig, merged) = self.kubeconfig.clone();
                    report(Milestone::NodeReady { kubeconfig, merged });
                }
                _ = interrupt.recv() => return Ok(Ending::TakeDown),
                _ = terminate.recv() => return Ok(Ending::KeepContainers),
                () = stop.cancelled() => return Ok(Ending::KeepContainers),
                reason = self.store.failed() => bail!(
                    "the store can no longer be written, so the cluster ends: {reason}; check the disk and start again"
                ),
            }
        }
    }

    /// Resolves when the node says that it is ready.
    fn node_ready(&self) -> impl Future<Output = anyhow::Result<()>> + use<> {
        let nodes: kube::Api<Node> = kube::Api::all(self.clients.of("system:admin", &["system:masters"]));
        let name = self.settings.node_name.clone();
        async move {
            let config = kube::runtime::watcher::Config::default().fields(&format!("metadata.name={name}"));
            let mut changes = std::pin::pin!(kube::runtime::watcher(nodes, config).boxed());
            while let Some(change) = changes.next().await {
                let object = match change {
                    Ok(
                        kube::runtime::watcher::Event::Apply(n) | kube::runtime::watcher::Event::InitApply(n),
                    ) => n,
                    Ok(_) => continue,
                    Err(error) => {
                        tracing::warn!("waiting for the node: {error}");
                        continue;
                    }
                };
                let conditions = object.status.and_then(|s| s.conditions).unwrap_or_default();
                if conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True") {
                    return Ok(());
                }
            }
            bail!("the watch for the node ended")
        }
    }

    /// Clients first, then the server they talk to, then the store.
    async fn stop(&mut self) {
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

fn server_config(settings: &Settings, pki: &Pki, address: IpAddr) -> anyhow::Result<apiserver::Config> {
    let kubelet = pki.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
    let issuer = format!("https://kubernetes.default.svc.{}", settings.cluster_domain);
    Ok(apiserver::Config {
        advertise: SocketAddr::new(address, settings.port),
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
        anonymous: true,
    })
}

async fn listen(
    server: &Arc<ApiServer>,
    settings: &Settings,
    pki: &Pki,
    address: IpAddr,
) -> anyhow::Result<tokio::task::JoinHandle<std::io::Result<()>>> {
    let mut names: Vec<String> = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        .map(str::to_owned)
        .to_vec();
    names.push(format!("kubernetes.default.svc.{}", settings.cluster_domain));
    names.push(settings.node_name.clone());
    let mut addresses = node::all_addresses();
    addresses.extend([address, settings.api_service_ip(), IpAddr::V4(settings.gateway())]);
    let tls = pki.server_tls(&pki.server("kube-apiserver", &names, &addresses)?, false)?;
    let listener =
        tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, settings.port)).await.with_context(|| {
            format!("port {} cannot be used for the API server; choose another with --port", settings.port)
        })?;
    let server = server.clone();
    Ok(tokio::spawn(async move { server.serve(listener, tls).await }))
}

/// Writes the cluster's own kubeconfig and merges it into the user's; a user's file that cannot be changed is left alone.
fn write_kubeconfig(
    paths: &Paths,
    settings: &Settings,
    pki: &Pki,
) -> anyhow::Result<(String, Option<String>)> {
    let admin = pki.client("kubernetes-admin", Some("system:masters"))?;
    let server = format!("https://127.0.0.1:{}", settings.port);
    let kubeconfig = Kubeconfig::new(&settings.name, server, &pki.ca_pem, admin);
    let file = paths.kubeconfig();
    kubeconfig.write(&file)?;
    let merged = kubeconfig.merge().inspect_err(|error| tracing::warn!("{error:#}")).ok();
    Ok((file.display().to_string(), merged.map(|file| file.display().to_string())))
}
