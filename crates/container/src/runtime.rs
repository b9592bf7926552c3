//! The container runtime as the kubelet sees it, in the terms of the Container Runtime Interface (CRI).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why a runtime call failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The sandbox, container or image does not exist.
    #[error("{kind} {id:?} not found")]
    NotFound { kind: &'static str, id: String },
    /// The request cannot be carried out as given (bad user name, missing working directory, …).
    #[error("{0}")]
    Invalid(String),
    /// The image could not be pulled or read.
    #[error("failed to pull image {image:?}: {reason}")]
    Pull { image: String, reason: String },
    /// The container process could not be created or started.
    #[error("failed to start container {name:?}: {reason}")]
    Start { name: String, reason: String },
    /// The pod network could not be set up or torn down.
    #[error("failed to set up the pod network: {0}")]
    Network(String),
    /// The call did not end in the time given.
    #[error("timed out after {0:?}")]
    Timeout(std::time::Duration),
    /// An operating system call failed.
    #[error("failed to {action}: {source}")]
    Io { action: String, source: std::io::Error },
}

/// What a pod sandbox is made from.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct SandboxConfig {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// Counts sandboxes made for the same pod.
    pub attempt: u32,
    pub hostname: String,
    /// Contents of `/etc/resolv.conf` are written by the kubelet into mounts; this is for the runtime's own record.
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    /// One PID namespace for all containers of the pod.
    pub share_process_namespace: bool,
    /// The pod's cgroup below the runtime's root, e.g. `kubepods/burstable/pod<uid>`.
    pub cgroup_parent: String,
    /// Limits of the pod as a whole.
    pub resources: Resources,
    /// Directory for container logs, `/var/log/pods/<ns>_<name>_<uid>`.
    pub log_directory: PathBuf,
    /// Kernel parameters of the pod's namespaces.
    pub sysctls: BTreeMap<String, String>,
}

/// Limits of a container or pod. `None` means unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Resources {
    pub cpu_shares: Option<u64>,
    pub cpu_quota_us: Option<i64>,
    pub cpu_period_us: Option<u64>,
    pub memory_limit_bytes: Option<i64>,
    pub pids_limit: Option<i64>,
    pub oom_score_adj: Option<i32>,
}

/// A bind mount from the node into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    pub host_path: PathBuf,
    pub container_path: PathBuf,
    pub read_only: bool,
    pub propagation: Propagation,
}

/// Whether mounts made on one side are seen on the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// Who the container's process is and what it may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SecurityContext {
    /// `None`: the image's user.
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub supplemental_groups: Vec<i64>,
    pub run_as_non_root: bool,
    pub privileged: bool,
    pub add_capabilities: Vec<String>,
    pub drop_capabilities: Vec<String>,
    pub no_new_privs: bool,
    pub read_only_rootfs: bool,
    /// `None`: unconfined; `Some("runtime/default")`: the runtime's filter; else a path of a local profile.
    pub seccomp: Option<String>,
    /// Paths hidden and paths read-only as upstream's default `procMount`; false leaves /proc whole.
    pub mask_proc: bool,
}

/// What a container is made from.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct ContainerConfig {
    pub name: String,
    pub attempt: u32,
    /// Image reference as in the pod's spec; it is already present on the node.
    pub image: String,
    /// Overrides the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Overrides the image's arguments when not empty (or when `command` is given).
    pub args: Vec<String>,
    pub working_dir: Option<String>,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Log file relative to the sandbox's log directory, e.g. `web/0.log`.
    pub log_path: PathBuf,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
    pub resources: Resources,
    pub security: SecurityContext,
    /// Signal that asks the container to stop; `None`: the image's, else SIGTERM.
    pub stop_signal: Option<String>,
}

/// State of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SandboxState {
    Ready,
    NotReady,
}

/// A sandbox as it is now.
#[derive(Debug, Clone)]
pub struct SandboxStatus {
    pub id: String,
    pub config: SandboxConfig,
    pub state: SandboxState,
    /// Nanoseconds since the epoch.
    pub created_at_ns: i64,
    pub ips: Vec<IpAddr>,
    /// Path of the pod's network namespace; `None` with host network.
    pub netns: Option<PathBuf>,
}

/// State of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ContainerState {
    Created,
    Running,
    Exited,
    Unknown,
}

/// A container as it is now.
#[derive(Debug, Clone)]
pub struct ContainerStatus {
    pub id: String,
    pub sandbox_id: String,
    pub config: ContainerConfig,
    pub state: ContainerState,
    /// Nanoseconds since the epoch; 0 when not reached.
    pub created_at_ns: i64,
    pub started_at_ns: i64,
    pub finished_at_ns: i64,
    /// Exit code, 128+n when killed by signal n.
    pub exit_code: i32,
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    pub message: String,
    /// `name@sha256:…` or the image's id.
    pub image_id: String,
    pub log_path: PathBuf,
    /// Process id on the node while running.
    pub pid: Option<i32>,
}

/// An image on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…` of the configuration.
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    pub size_bytes: u64,
    /// User of the image's configuration, as written there.
    pub user: String,
}

/// Credentials for a registry.
#[derive(Debug, Clone, Default)]
pub struct RegistryAuth {
    pub username: String,
    pub password: String,
    /// A bearer token to use as it is.
    pub registry_token: Option<String>,
}

/// Output of a command run to its end.
#[derive(Debug, Clone, Default)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// Where a streaming command reads from and writes to.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// See [`Reader`].
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// A running interactive command: the caller's ends of its streams. Dropping it hangs up.
pub struct ExecSession {
    pub stdin: Option<Writer>,
    pub stdout: Option<Reader>,
    /// `None` with a terminal: all output comes on `stdout`.
    pub stderr: Option<Reader>,
    /// Changes of the terminal's size.
    pub resize: Option<tokio::sync::mpsc::Sender<TerminalSize>>,
    /// Resolves to the exit code when the command ends.
    pub exit: Pin<Box<dyn std::future::Future<Output = Result<i32, RuntimeError>> + Send>>,
}

/// How an interactive command is started.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    pub command: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Something happened to a container; the kubelet looks at its pod again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    pub sandbox_id: String,
    /// `None`: the sandbox itself.
    pub container_id: Option<String>,
    /// UID of the pod.
    pub pod_uid: String,
}

/// CPU and memory a container or pod uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_usage_ns: u64,
    pub memory_working_set_bytes: u64,
    pub memory_rss_bytes: u64,
    pub pids: u64,
}

/// A container runtime. Calls are idempotent where CRI's are: stopping or removing what is gone succeeds.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version, as in `status.nodeInfo.containerRuntimeVersion` (`knarr://0.1.0`).
    fn version(&self) -> String;

    /// Creates the namespaces, cgroup and network of a pod. Returns the sandbox's id.
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String, RuntimeError>;
    /// Kills what still runs and releases the network. The sandbox stays listed, not ready.
    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError>;
    /// Removes a stopped sandbox with its containers.
    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError>;
    /// All sandboxes, also those left by an earlier run of the program.
    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError>;

    /// Prepares root file system and specification. Returns the container's id.
    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String, RuntimeError>;
    /// Starts the process.
    async fn start_container(&self, id: &str) -> Result<(), RuntimeError>;
    /// Sends the stop signal, waits up to `grace`, then kills. Returns when the process is gone.
    async fn stop_container(&self, id: &str, grace: std::time::Duration) -> Result<(), RuntimeError>;
    /// Removes a container, killing it if it runs. Its log file is kept for the kubelet to remove.
    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError>;
    /// All containers.
    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError>;
    /// One container.
    async fn container_status(&self, id: &str) -> Result<ContainerStatus, RuntimeError>;
    /// Changes limits of a running container.
    async fn update_resources(&self, id: &str, resources: Resources) -> Result<(), RuntimeError>;
    /// What a container uses now.
    async fn usage(&self, id: &str) -> Result<Usage, RuntimeError>;

    /// Runs a command to its end, killing it at the deadline.
    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: std::time::Duration,
    ) -> Result<ExecOutput, RuntimeError>;
    /// Starts an interactive command.
    async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecSession, RuntimeError>;
    /// Attaches to the container's main process.
    async fn attach(&self, id: &str, request: ExecRequest) -> Result<ExecSession, RuntimeError>;
    /// Connects to a TCP port on the pod's loopback.
    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<(Reader, Writer), RuntimeError>;
    /// Asks a container's log writer to reopen its file after rotation.
    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError>;

    /// Pulls an image; returns its id (`sha256:…`).
    async fn pull_image(&self, image: &str, auth: Option<RegistryAuth>) -> Result<String, RuntimeError>;
    /// The image a reference names, if it is on the node.
    async fn image_status(&self, image: &str) -> Result<Option<Image>, RuntimeError>;
    /// All images.
    async fn list_images(&self) -> Result<Vec<Image>, RuntimeError>;
    /// Removes an image by id or reference.
    async fn remove_image(&self, image: &str) -> Result<(), RuntimeError>;
    /// Loads an OCI or Docker archive; returns the references it now has.
    async fn import_image(&self, archive: &std::path::Path) -> Result<Vec<String>, RuntimeError>;

    /// Container starts and ends from now on. Lagging receivers miss events and must list again.
    fn events(&self) -> tokio::sync::broadcast::Receiver<ContainerEvent>;
}

/// Gives a pod's network namespace its interface, address and routes (the role of CNI).
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Sets up the network namespace at `netns` and returns the pod's addresses. Idempotent for a sandbox.
    async fn setup(
        &self,
        sandbox_id: &str,
        netns: &std::path::Path,
        config: &SandboxConfig,
    ) -> Result<Vec<IpAddr>, RuntimeError>;
    /// Releases address and interface; succeeds when they are gone already.
    async fn teardown(&self, sandbox_id: &str, netns: &std::path::Path) -> Result<(), RuntimeError>;
}
