//! Pod sandboxes: namespaces that outlive their containers, the pod's cgroup and its network.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::monitor::protocol::{Reply, SpawnRequest};
use super::monitor::sys;
use super::paths::new_id;
use super::{Embedded, io_error, mounts, run_blocking, state};
use crate::{ContainerEvent, RuntimeError, SandboxConfig, SandboxState, SandboxStatus};

/// Size of a pod's `/dev/shm`.
const SHM_SIZE: &str = "size=65536k,mode=1777";

/// What is remembered of a sandbox; `sandbox.json` in its directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxRecord {
    pub id: String,
    pub config: SandboxConfig,
    pub state: SandboxState,
    pub created_at_ns: i64,
    pub ips: Vec<IpAddr>,
    /// The pod's cgroup.
    pub cgroup: String,
}

/// One sandbox.
pub struct Sandbox {
    pub record: Mutex<SandboxRecord>,
    /// Held by whatever changes the sandbox.
    pub operation: tokio::sync::Mutex<()>,
}

impl Sandbox {
    pub fn new(record: SandboxRecord) -> Self {
        Self { record: Mutex::new(record), operation: tokio::sync::Mutex::new(()) }
    }

    pub fn snapshot(&self) -> SandboxRecord {
        self.record.lock().clone()
    }
}

impl Embedded {
    pub(super) fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, RuntimeError> {
        let found = self.sandboxes.lock().get(id).cloned();
        found.ok_or_else(|| RuntimeError::NotFound { kind: "sandbox", id: id.to_owned() })
    }

    pub(super) fn save_sandbox(&self, record: &SandboxRecord) -> Result<(), RuntimeError> {
        let path = self.paths.sandbox(&record.id).join("sandbox.json");
        state::write_json_unsynced(&path, record).map_err(io_error("record the sandbox"))
    }

    pub(super) async fn create_sandbox(&self, config: SandboxConfig) -> Result<String, RuntimeError> {
        let id = new_id();
        let cgroup = format!("{}/{}", self.config.cgroup_root, config.cgroup_parent.trim_matches('/'));
        let record = SandboxRecord {
            id: id.clone(),
            config,
            state: SandboxState::NotReady,
            created_at_ns: sys::now_ns(),
            ips: Vec::new(),
            cgroup,
        };
        let directory = self.paths.sandbox(&id);
        fs::create_dir_all(&directory).map_err(io_error("make the sandbox's directory"))?;
        fs::write(directory.join("hostname"), format!("{}\n", record.config.hostname))
            .map_err(io_error("write the host name"))?;
        // Recorded before anything is made, so that a crash leaves nothing unknown.
        self.save_sandbox(&record)?;
        let sandbox = Arc::new(Sandbox::new(record));
        self.sandboxes.lock().insert(id.clone(), sandbox.clone());
        let _operation = sandbox.operation.lock().await;
        match self.bring_up(&sandbox).await {
            Ok(()) => {
                self.sandbox_event(&sandbox);
                Ok(id)
            }
            Err(error) => {
                if let Err(second) = self.take_down(&sandbox).await {
                    tracing::warn!(sandbox = %id, error = %second, "failed to clean up after a failed sandbox");
                }
                self.forget_sandbox(&id, &sandbox.snapshot());
                Err(error)
            }
        }
    }

    async fn bring_up(&self, sandbox: &Sandbox) -> Result<(), RuntimeError> {
        let record = sandbox.snapshot();
        let run = self.paths.sandbox_run(&record.id);
        let (layout, cgroup, config) = (self.layout.clone(), record.cgroup.clone(), record.config.clone());
        let namespaces = run_blocking("set up the pod's namespaces", {
            let (run, config) = (run.clone(), config.clone());
            move || make_namespaces(&run, &config)
        });
        let group = run_blocking("set up the pod's control group", move || {
            layout.create(&cgroup)?;
            layout.apply(&cgroup, &config.resources)
        });
        futures::try_join!(namespaces, group)?;
        if record.config.share_process_namespace {
            self.start_pause(&record, &run).await?;
        }
        let ips = if record.config.host_network {
            Vec::new()
        } else {
            self.network.setup(&record.id, &run.join("net"), &record.config).await?
        };
        let ready = {
            let mut record = sandbox.record.lock();
            record.ips = ips;
            record.state = SandboxState::Ready;
            record.clone()
        };
        self.save_sandbox(&ready)
    }

    async fn start_pause(&self, record: &SandboxRecord, run: &Path) -> Result<(), RuntimeError> {
        let group = format!("{}/sandbox-{}", record.cgroup, super::monitor::short(&record.id));
        self.layout.create(&group).map_err(io_error("set up the pod's control group"))?;
        let pin = run.join("pid");
        fs::write(&pin, b"").map_err(io_error("pin the pod's process namespace"))?;
        let request = SpawnRequest::Pause {
            program: self.program.clone(),
            cgroups: self.layout.directories(&group),
            pin,
        };
        let socket =
            self.spawner.request(&request).await.map_err(io_error("start the pod's first process"))?;
        match socket.receive().await {
            Ok((Reply::Paused { .. }, _)) => Ok(()),
            Ok((Reply::Failed { message }, _)) => Err(RuntimeError::Invalid(message)),
            Ok(_) => Err(RuntimeError::Invalid("unexpected answer from the spawner".to_owned())),
            Err(error) => Err(io_error("start the pod's first process")(error)),
        }
    }

    pub(super) async fn stop_sandbox_by_id(&self, id: &str) -> Result<(), RuntimeError> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let _operation = sandbox.operation.lock().await;
        self.take_down(&sandbox).await?;
        self.sandbox_event(&sandbox);
        Ok(())
    }

    /// Ends processes, network and namespaces; what is gone already is fine.
    async fn take_down(&self, sandbox: &Sandbox) -> Result<(), RuntimeError> {
        let record = sandbox.snapshot();
        let containers = self.containers_of(&record.id);
        let kills = containers.iter().map(|container| self.kill_container(container));
        futures::future::try_join_all(kills).await?;
        let run = self.paths.sandbox_run(&record.id);
        if !record.config.host_network {
            self.network.teardown(&record.id, &run.join("net")).await?;
        }
        let layout = self.layout.clone();
        let group = format!("{}/sandbox-{}", record.cgroup, super::monitor::short(&record.id));
        run_blocking("release the pod's namespaces", move || {
            layout.remove(&group)?;
            release_namespaces(&run)
        })
        .await?;
        let stopped = {
            let mut record = sandbox.record.lock();
            record.state = SandboxState::NotReady;
            record.ips.clear();
            record.clone()
        };
        self.save_sandbox(&stopped)
    }

    pub(super) async fn remove_sandbox_by_id(&self, id: &str) -> Result<(), RuntimeError> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let _operation = sandbox.operation.lock().await;
        self.take_down(&sandbox).await?;
        for container in self.containers_of(id) {
            self.remove_container_by_id(&container.record.id).await?;
        }
        self.forget_sandbox(id, &sandbox.snapshot());
        self.sandbox_event(&sandbox);
        Ok(())
    }

    fn forget_sandbox(&self, id: &str, record: &SandboxRecord) {
        let shared = {
            let mut sandboxes = self.sandboxes.lock();
            sandboxes.remove(id);
            sandboxes.values().any(|other| other.record.lock().cgroup == record.cgroup)
        };
        if !shared
            && record.cgroup != self.config.cgroup_root
            && let Err(error) = self.layout.remove(&record.cgroup)
        {
            tracing::warn!(sandbox = id, %error, "failed to remove the pod's control group");
        }
        if let Err(error) = state::remove_all(&self.paths.sandbox(id)) {
            tracing::warn!(sandbox = id, %error, "failed to remove the sandbox's directory");
        }
    }

    pub(super) fn sandbox_statuses(&self) -> Vec<SandboxStatus> {
        let sandboxes: Vec<Arc<Sandbox>> = self.sandboxes.lock().values().cloned().collect();
        sandboxes.iter().map(|sandbox| self.sandbox_status(sandbox.snapshot())).collect()
    }

    fn sandbox_status(&self, record: SandboxRecord) -> SandboxStatus {
        let netns = (!record.config.host_network).then(|| self.paths.sandbox_run(&record.id).join("net"));
        SandboxStatus {
            id: record.id,
            config: record.config,
            state: record.state,
            created_at_ns: record.created_at_ns,
            ips: record.ips,
            netns,
        }
    }

    fn sandbox_event(&self, sandbox: &Sandbox) {
        let record = sandbox.record.lock();
        let _ = self.events.send(ContainerEvent {
            sandbox_id: record.id.clone(),
            container_id: None,
            pod_uid: record.config.uid.clone(),
        });
    }
}

/// Whether the namespaces of a sandbox recorded as ready are still there: a reboot takes them away.
pub fn is_alive(run: &Path, config: &SandboxConfig) -> bool {
    pins(config).iter().all(|(file, _)| is_namespace(&run.join(file)))
}

fn is_namespace(path: &Path) -> bool {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    nix::sys::statfs::statfs(path).is_ok_and(|found| found.filesystem_type().0 == NSFS_MAGIC)
}

fn pins(config: &SandboxConfig) -> Vec<(&'static str, CloneFlags)> {
    let mut all = Vec::new();
    if !config.host_network {
        all.push(("net", CloneFlags::CLONE_NEWNET));
        all.push(("uts", CloneFlags::CLONE_NEWUTS));
    }
    if !config.host_ipc {
        all.push(("ipc", CloneFlags::CLONE_NEWIPC));
    }
    all
}

/// Makes the pod's namespaces and keeps them by bind mounts below `run`.
fn make_namespaces(run: &Path, config: &SandboxConfig) -> io::Result<()> {
    fs::create_dir_all(run)?;
    let (run_for_thread, config_for_thread) = (run.to_owned(), config.clone());
    // Unsharing changes the calling thread for good, so it is one that ends right after.
    let worker = std::thread::Builder::new().name("pod-namespaces".to_owned());
    let result = worker.spawn(move || unshare_and_pin(&run_for_thread, &config_for_thread))?.join();
    result.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))?;
    if !config.host_ipc {
        let shm = run.join("shm");
        fs::create_dir_all(&shm)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("shm"), &shm, Some("tmpfs"), flags, Some(SHM_SIZE))?;
    }
    Ok(())
}

fn unshare_and_pin(run: &Path, config: &SandboxConfig) -> io::Result<()> {
    let pins = pins(config);
    let context = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    unshare(pins.iter().fold(CloneFlags::empty(), |all, (_, flag)| all | *flag))
        .map_err(|error| context("unshare", error.into()))?;
    if !config.host_network {
        sys::loopback_up().map_err(|error| context("bring up loopback", error))?;
        nix::unistd::sethostname(&config.hostname)
            .map_err(|error| context("set the host name", error.into()))?;
    }
    for (name, value) in &config.sysctls {
        set_sysctl(name, value).map_err(|error| context(&format!("set sysctl {name}"), error))?;
    }
    for (file, _) in pins {
        let at = run.join(file);
        fs::write(&at, b"")?;
        let source = PathBuf::from("/proc/thread-self/ns").join(file);
        mount(Some(&source), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|error| context(&format!("pin the {file} namespace"), error.into()))?;
    }
    Ok(())
}

/// Only names inside `/proc/sys`; dots and slashes both separate.
fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "invalid name"));
    }
    fs::write(Path::new("/proc/sys").join(path), value)
}

fn release_namespaces(run: &Path) -> io::Result<()> {
    for file in ["net", "uts", "ipc", "pid", "shm"] {
        mounts::unmount(&run.join(file));
    }
    state::remove_all(run)
}
