//! The composition root: builds every component of a cluster, starts them in order, and drains them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use api::Node;
use client::kube;
use futures::StreamExt;
use ipnet::Ipv4Net;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::control::{self, Controlled};
use super::control_plane::{ControlPlane, Place};
use super::pki::Pki;
use super::{Kubeconfig, Paths, Settings, datastore, node};

/// What the user is told while a cluster starts.
pub(crate) enum Milestone {
    Step(&'static str),
    /// Something is not as it should be, but may become so.
    Waiting(String),
    NodeReady {
        kubeconfig: String,
        merged: Option<String>,
    },
}

/// How the program was asked to end.
enum Ending {
    /// Containers go on and are adopted by the next start.
    KeepContainers,
    /// As `knarr down`.
    TakeDown,
}

const PUBLISH_RETRY: Duration = Duration::from_millis(200);

/// Runs a cluster until it is asked to end.
pub(crate) fn run(paths: &Paths, settings: &Settings, report: impl Fn(Milestone)) -> anyhow::Result<()> {
    let _lock = lock(paths)?;
    let runtime = runtime()?;
    let ending = runtime.block_on(async {
        let mut cluster = Cluster::build(paths, settings, &report).await?;
        let outcome = cluster.serve(&report).await;
        cluster.plane.stop().await;
        outcome
    })?;
    runtime.shutdown_timeout(Duration::from_secs(2));
    if matches!(ending, Ending::TakeDown) {
        node::cleanup(paths, settings)?;
        Kubeconfig::unmerge(&settings.name)?;
    }
    Ok(())
}

/// The threads that everything runs on.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // One provider for the whole process; a second call would only say that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

/// Held while the cluster runs: two programs on one data directory would destroy it.
pub(super) fn lock(paths: &Paths) -> anyhow::Result<nix::fcntl::Flock<std::fs::File>> {
    let file = paths.data.join("lock");
    let handle =
        std::fs::File::create(&file).with_context(|| format!("failed to create {}", file.display()))?;
    nix::fcntl::Flock::lock(handle, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow::anyhow!("another knarr uses the data directory {}", paths.data.display()))
}

/// Whether the objects that others may have made are those of this cluster.
async fn admitted(plane: &ControlPlane, paths: &Paths, settings: &Settings) -> anyhow::Result<()> {
    plane.check_authority(paths).await?;
    plane.check_only_node(&settings.node_name).await
}

/// The parts of a cluster in this process.
struct Cluster<'a> {
    paths: &'a Paths,
    settings: &'a Settings,
    /// For snapshots; none when objects are in etcd.
    store: Option<Arc<store::Embedded>>,
    plane: ControlPlane,
    address: IpAddr,
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
        let opened = datastore::open(paths, settings, |why| report(Milestone::Waiting(why))).await?;
        settings.keep(paths)?;
        report(Milestone::Step("store"));

        let address = node::address(settings);
        let shared = settings.datastore.is_some();
        let place = Place { bind: Ipv4Addr::UNSPECIFIED.into(), advertise: address, shared };
        let mut plane = ControlPlane::start(paths, settings, pki, opened.store, place).await?;
        if shared && let Err(refused) = admitted(&plane, paths, settings).await {
            plane.stop().await;
            return Err(refused);
        }
        let kubeconfig = (paths.kubeconfig().display().to_string(), plane.merge_kubeconfig());
        report(Milestone::Step("API ready"));

        let network = Arc::new(network::cni::Bridge::new(node::cni_config(paths, settings)?).await?);
        let runtime = container::Embedded::open(node::runtime_config(paths), network.clone()).await?;
        let live = container::Runtime::list_sandboxes(&*runtime).await?;
        network.reconcile(live.into_iter().map(|sandbox| sandbox.id).collect()).await?;
        let cluster = Self {
            paths,
            settings,
            store: opened.embedded,
            plane,
            address,
            runtime,
            asked_to_stop: CancellationToken::new(),
            kubeconfig,
        };
        cluster.start_node()?;
        cluster.plane.start_components(shared);
        cluster.start_control_interface();
        Ok(cluster)
    }

    fn start_node(&self) -> anyhow::Result<()> {
        let kubelet = self.kubelet()?;
        let (client, runtime) = (self.node_client(), self.runtime.clone());
        self.plane.supervisor.spawn("kubelet", move |token| {
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
        let client = self.plane.clients.of("system:kube-proxy", &[]);
        self.plane.supervisor.spawn("proxy", move |token| {
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
            self.plane.clients.of_controller("kube-dns"),
            self.plane.clients.of("system:addon-manager", &["system:masters"]),
        );
        self.plane.supervisor.spawn("dns", move |token| {
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
            "server": self.plane.url,
            "node": self.settings.node_name,
            "data": self.paths.data,
            "kubeconfig": self.paths.kubeconfig(),
        });
        let controlled = Controlled {
            runtime: self.runtime.clone(),
            store: self.store.clone(),
            stop: self.asked_to_stop.clone(),
            facts,
        };
        let socket = self.paths.control();
        self.plane
            .supervisor
            .spawn("control", move |token| control::serve(socket.clone(), controlled.clone(), token));
    }

    fn node_client(&self) -> kube::Client {
        self.plane.clients.of(&format!("system:node:{}", self.settings.node_name), &["system:nodes"])
    }

    fn kubelet(&self) -> anyhow::Result<kubelet::Config> {
        let settings = self.settings;
        let names = vec![settings.node_name.clone()];
        let identity =
            self.plane.pki.server(&format!("system:node:{}", settings.node_name), &names, &[self.address])?;
        let tls = self.plane.pki.server_tls(&identity, true)?;
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
                reason = self.plane.store.failed() => bail!(
                    "the store can no longer be written, so the cluster ends: {reason}; {} and start again",
                    if self.store.is_some() { "check the disk" } else { "check etcd" }
                ),
            }
        }
    }

    /// Resolves when the node says that it is ready.
    fn node_ready(&self) -> impl Future<Output = anyhow::Result<()>> + use<> {
        let nodes: kube::Api<Node> = kube::Api::all(self.plane.admin());
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
}
