//! The embedded runtime: pods in real containers with nothing installed beside this program.
//!
//! The daemon's side keeps records and makes requests; each container is held by a monitor process of its own
//! (`monitor/`), so that the daemon may be killed and started again while containers run on.

mod cgroup;
mod cleanup;
mod client;
mod containers;
mod images;
mod monitor;
mod mounts;
mod paths;
mod sandbox;
mod sessions;
mod spec;
mod state;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{
    ContainerConfig, ContainerEvent, ContainerStatus, ExecOutput, ExecRequest, ExecSession, Image,
    PodNetwork, Reader, RegistryAuth, Resources, Runtime, RuntimeError, SandboxConfig, SandboxState,
    SandboxStatus, Usage, Writer,
};
use client::Spawner;
use containers::{Container, ContainerRecord};
use images::{ImageError, ImageRecord, Images};
use paths::Paths;
use sandbox::{Sandbox, SandboxRecord};

pub use cleanup::cleanup;
pub use images::BuiltinImage;
pub use monitor::{REEXEC, reexec};

/// Events kept for a receiver that lags.
const EVENTS_KEPT: usize = 1024;

/// Where and how the embedded runtime works.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Images, layers and the records of pods and containers. Survives reboots. Not on overlayfs.
    pub root: PathBuf,
    /// Sockets and pinned namespaces, for example `/run/knarr/<cluster>`. Emptied by a reboot.
    pub run: PathBuf,
    /// Control group below which all pods are, for example `knarr/<cluster>`.
    pub cgroup_root: String,
    /// Images made from the program itself.
    pub builtin_images: Vec<BuiltinImage>,
    /// Registries (`host` or `host:port`) spoken to without TLS, besides those on loopback.
    pub insecure_registries: Vec<String>,
    /// Program to start for monitors; it must call [`reexec`] first thing. Usually `/proc/self/exe`.
    pub program: PathBuf,
}

impl EmbeddedConfig {
    /// A configuration with nothing special.
    pub fn new(root: impl Into<PathBuf>, run: impl Into<PathBuf>, cgroup_root: impl Into<String>) -> Self {
        Self {
            root: root.into(),
            run: run.into(),
            cgroup_root: cgroup_root.into(),
            builtin_images: Vec::new(),
            insecure_registries: Vec::new(),
            program: PathBuf::from("/proc/self/exe"),
        }
    }
}

/// Why the runtime cannot work here.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Containers need it.
    #[error("failed to start the container runtime: root privileges are needed")]
    NotRoot,
    /// Another process has the data directory open.
    #[error("failed to start the container runtime: {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The data directory cannot hold containers' root file systems.
    #[error("failed to start the container runtime: {} is on overlayfs, which cannot be stacked; choose a data directory on ext4, xfs, btrfs or tmpfs (in a container: a volume)", .0.display())]
    OnOverlay(PathBuf),
    #[error("failed to start the container runtime: failed to {action}: {source}")]
    Io { action: String, source: io::Error },
}

/// The embedded runtime.
pub struct Embedded {
    config: EmbeddedConfig,
    paths: Paths,
    /// What monitors are started from.
    program: PathBuf,
    layout: cgroup::Layout,
    network: Arc<dyn PodNetwork>,
    images: Arc<Images>,
    spawner: Spawner,
    sandboxes: Mutex<BTreeMap<String, Arc<Sandbox>>>,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    events: broadcast::Sender<ContainerEvent>,
    tasks: TaskTracker,
    token: CancellationToken,
    /// For tasks that outlive the call that starts them.
    myself: Weak<Self>,
    _lock: nix::fcntl::Flock<std::fs::File>,
}

impl Embedded {
    /// Opens the runtime and adopts what an earlier run of the program left: containers that still run are watched
    /// again, those that ended meanwhile have their exit status.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing has been changed on the node then except directories made.
    pub async fn open(config: EmbeddedConfig, network: Arc<dyn PodNetwork>) -> Result<Arc<Self>, OpenError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(OpenError::NotRoot);
        }
        // Another component may have installed the same provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fail = |action: &str| {
            let action = action.to_owned();
            move |source| OpenError::Io { action, source }
        };
        for directory in [&config.root, &config.run] {
            std::fs::create_dir_all(directory).map_err(fail(&format!("make {}", directory.display())))?;
        }
        let root = config.root.canonicalize().map_err(fail("find the data directory"))?;
        let run = config.run.canonicalize().map_err(fail("find the run directory"))?;
        if is_overlay(&root) {
            return Err(OpenError::OnOverlay(root));
        }
        let lock = take_lock(&root)?;
        let paths = Paths::new(&root, &run);
        for directory in [run.clone(), paths.containers()] {
            mounts::make_private(&directory).map_err(fail(&format!("mount {}", directory.display())))?;
        }
        for directory in [paths.sandboxes(), paths.oci(), run.join("ns"), run.join("m")] {
            std::fs::create_dir_all(&directory).map_err(fail(&format!("make {}", directory.display())))?;
        }
        let program = mounts::expose_program(&config.program, &paths.program()).unwrap_or_else(|error| {
            tracing::debug!(%error, "monitors are started from the program's own path");
            config.program.clone()
        });
        let layout = cgroup::Layout::detect().map_err(fail("find control groups"))?;
        layout.create(&config.cgroup_root).map_err(fail("make the cluster's control group"))?;
        let images = Images::open(&root, config.builtin_images.clone(), config.insecure_registries.clone())
            .map_err(fail("read the images"))?;
        let runtime = Arc::new_cyclic(|myself| Self {
            myself: myself.clone(),
            spawner: Spawner::new(program.clone()),
            program,
            layout,
            network,
            images: Arc::new(images),
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_KEPT),
            tasks: TaskTracker::new(),
            token: CancellationToken::new(),
            _lock: lock,
            paths,
            config,
        });
        runtime.spawner.warm_up().await.map_err(fail("start the spawner"))?;
        runtime.restore().await;
        Ok(runtime)
    }

    /// Stops watching; containers run on and are adopted by the next [`Embedded::open`].
    pub async fn shutdown(&self) {
        self.token.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.tasks.wait()).await;
    }

    fn shared(&self) -> Result<Arc<Self>, RuntimeError> {
        self.myself.upgrade().ok_or_else(|| RuntimeError::Invalid("the runtime is shutting down".to_owned()))
    }

    async fn restore(self: &Arc<Self>) {
        for record in read_records::<SandboxRecord>(&self.paths.sandboxes(), "sandbox.json") {
            let mut record = record;
            let alive = sandbox::is_alive(&self.paths.sandbox_run(&record.id), &record.config);
            if record.state == SandboxState::Ready && !alive {
                record.state = SandboxState::NotReady;
                record.ips.clear();
            }
            self.sandboxes.lock().insert(record.id.clone(), Arc::new(Sandbox::new(record)));
        }
        let records = read_records::<ContainerRecord>(&self.paths.containers(), "container.json");
        futures::future::join_all(records.into_iter().map(|record| self.adopt(record))).await;
    }

    fn layers_in_use(&self) -> HashSet<String> {
        self.containers.lock().values().flat_map(|container| container.record.layers.clone()).collect()
    }
}

/// Reads every record below `directory`; directories without one, or with one that power loss has damaged, are leftovers
/// and are removed.
fn read_records<T: serde::de::DeserializeOwned>(directory: &Path, file: &str) -> Vec<T> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut records = Vec::new();
    for entry in entries.map(|entry| entry.path()) {
        match state::read_json(&entry.join(file)) {
            Ok(Some(record)) => records.push(record),
            Ok(None) => drop(state::remove_all(&entry)),
            Err(error) => {
                tracing::warn!(path = %entry.display(), %error, "failed to read a record; removing it");
                let _ = state::remove_all(&entry);
            }
        }
    }
    records
}

fn is_overlay(path: &Path) -> bool {
    const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
    nix::sys::statfs::statfs(path).is_ok_and(|found| found.filesystem_type().0 == OVERLAYFS_MAGIC)
}

fn take_lock(root: &Path) -> Result<nix::fcntl::Flock<std::fs::File>, OpenError> {
    let path = root.join("runtime.lock");
    let file = std::fs::File::create(&path)
        .map_err(|source| OpenError::Io { action: format!("make {}", path.display()), source })?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|_| OpenError::InUse(root.to_owned()))
}

fn io_error(action: impl Into<String>) -> impl FnOnce(io::Error) -> RuntimeError {
    let action = action.into();
    move |source| RuntimeError::Io { action, source }
}

/// Runs work that waits for the kernel away from the async threads.
async fn run_blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, RuntimeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(io_error(action)),
        Err(error) => Err(io_error(action)(io::Error::other(error))),
    }
}

fn describe_image(record: &ImageRecord) -> Image {
    Image {
        id: record.id.clone(),
        repo_tags: record.tags.iter().cloned().collect(),
        repo_digests: record.digests.iter().cloned().collect(),
        size_bytes: record.size_bytes,
        user: record.config.user.clone(),
    }
}

fn image_error(image: &str) -> impl FnOnce(ImageError) -> RuntimeError {
    let image = image.to_owned();
    move |error| RuntimeError::Pull { image, reason: error.to_string() }
}

#[async_trait]
impl Runtime for Embedded {
    fn version(&self) -> String {
        concat!("knarr://", env!("CARGO_PKG_VERSION")).to_owned()
    }

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String, RuntimeError> {
        self.create_sandbox(config).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.stop_sandbox_by_id(id).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.remove_sandbox_by_id(id).await
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        Ok(self.sandbox_statuses())
    }

    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String, RuntimeError> {
        self.shared()?.make_container(sandbox, config).await
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.shared()?.start_container_by_id(id).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        self.stop_container_by_id(id, grace).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.remove_container_by_id(id).await
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        let containers: Vec<Arc<Container>> = self.containers.lock().values().cloned().collect();
        Ok(containers.iter().map(|container| Self::status_of(container)).collect())
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus, RuntimeError> {
        Ok(Self::status_of(&*self.container(id)?))
    }

    async fn update_resources(&self, id: &str, resources: Resources) -> Result<(), RuntimeError> {
        self.update_limits(id, resources).await
    }

    async fn usage(&self, id: &str) -> Result<Usage, RuntimeError> {
        Ok(self.layout.usage(&self.container(id)?.record.cgroup))
    }

    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        self.run_command(id, command, timeout).await
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        self.open_command(id, request).await
    }

    async fn attach(&self, id: &str, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        self.attach_to(id, request).await
    }

    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<(Reader, Writer), RuntimeError> {
        self.connect_into(sandbox, port).await
    }

    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError> {
        self.reopen_log_by_id(id).await
    }

    async fn pull_image(&self, image: &str, auth: Option<RegistryAuth>) -> Result<String, RuntimeError> {
        self.images.pull(image, auth).await.map_err(image_error(image))
    }

    async fn image_status(&self, image: &str) -> Result<Option<Image>, RuntimeError> {
        let (images, name) = (self.images.clone(), image.to_owned());
        let found = run_blocking("look for the image", move || Ok(images.find_or_make(&name))).await?;
        Ok(found.map_err(image_error(image))?.map(|record| describe_image(&record)))
    }

    async fn list_images(&self) -> Result<Vec<Image>, RuntimeError> {
        Ok(self.images.list().iter().map(|record| describe_image(record)).collect())
    }

    async fn remove_image(&self, image: &str) -> Result<(), RuntimeError> {
        let (images, name, in_use) = (self.images.clone(), image.to_owned(), self.layers_in_use());
        let removed = run_blocking("remove the image", move || Ok(images.remove(&name, &in_use))).await?;
        match removed {
            Err(ImageError::NotFound(_)) => Ok(()),
            other => other.map_err(|error| RuntimeError::Invalid(error.to_string())),
        }
    }

    async fn import_image(&self, archive: &Path) -> Result<Vec<String>, RuntimeError> {
        let (images, path) = (self.images.clone(), archive.to_owned());
        let imported = run_blocking("import the archive", move || Ok(images.import(&path))).await?;
        imported.map_err(|error| {
            RuntimeError::Invalid(format!("failed to import {}: {error}", archive.display()))
        })
    }

    fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.events.subscribe()
    }
}

/// A pod network that gives no addresses: pods have loopback only.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNetwork;

#[async_trait]
impl PodNetwork for NoNetwork {
    async fn setup(
        &self,
        _sandbox_id: &str,
        _netns: &Path,
        _config: &SandboxConfig,
    ) -> Result<Vec<std::net::IpAddr>, RuntimeError> {
        Ok(Vec::new())
    }

    async fn teardown(&self, _sandbox_id: &str, _netns: &Path) -> Result<(), RuntimeError> {
        Ok(())
    }
}
