//! What the daemon and the processes beside the containers say to each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Daemon to spawner; the reply comes on the socket passed along.
#[derive(Debug, Serialize, Deserialize)]
pub enum SpawnRequest {
    /// Fork a monitor for the container whose [`MonitorConfig`] is in this file.
    Monitor { config: PathBuf },
    /// Start the process that holds a pod's shared PID namespace.
    Pause { program: PathBuf, cgroups: Vec<PathBuf>, pin: PathBuf },
}

/// All a monitor knows about its container; written beside it as `monitor.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MonitorConfig {
    pub id: String,
    /// `config.json` is in it.
    pub bundle: PathBuf,
    /// Exit record and process id are written here.
    pub state: PathBuf,
    /// Where the monitor listens.
    pub socket: PathBuf,
    /// libcontainer's own records.
    pub oci_root: PathBuf,
    pub log: PathBuf,
    pub overlay: Overlay,
    pub user: UserRequest,
    pub tty: bool,
    pub stdin: bool,
    pub stdin_once: bool,
    /// Directories of the container's cgroup, one for each hierarchy.
    pub cgroups: Vec<PathBuf>,
    /// The container has a PID namespace of its own, so killing its first process ends it whole.
    pub own_pid_namespace: bool,
    pub oom_score_adj: Option<i32>,
}

/// Root file system of a container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Overlay {
    /// Directory that `lower` is relative to (keeps mount options within a page).
    pub base: PathBuf,
    /// Topmost layer first.
    pub lower: Vec<String>,
    pub upper: PathBuf,
    pub work: PathBuf,
    pub target: PathBuf,
}

/// Who the process shall be, before names are looked up in the container's own files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UserRequest {
    /// The image's user: `""`, `name`, `uid`, `name:group`, `uid:gid`.
    pub image_user: String,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub supplemental: Vec<u32>,
    pub non_root: bool,
}

/// How a container's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Exit code, 128+n when killed by signal n.
    pub code: i32,
    pub signal: Option<i32>,
    pub finished_at_ns: i64,
    pub oom_killed: bool,
    /// Set when the process never started.
    pub start_error: Option<String>,
}

/// The monitor's state file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorState {
    pub monitor_pid: i32,
    pub pid: Option<i32>,
    pub started_at_ns: i64,
    pub exit: Option<ExitRecord>,
}

/// What to run beside the container's own process; streams are passed as descriptors in the order of the flags.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecStart {
    pub args: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Daemon to monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Tell this connection when the container ends.
    Watch,
    /// Send a signal to the container's first process.
    Signal {
        signal: i32,
    },
    /// Kill every process of the container.
    Kill,
    ReopenLog,
    Exec(ExecStart),
    /// Descriptors: stdin, stdout, stderr as flagged.
    Attach {
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
    /// On an exec's connection: signal to its process group. On others: refused.
    SignalExec {
        signal: i32,
    },
    /// Terminal size of the attached container.
    Resize {
        width: u16,
        height: u16,
    },
}

/// Monitor to daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    Done,
    /// The container runs (answer to spawning, watching and attaching).
    Running {
        pid: i32,
        started_at_ns: i64,
    },
    /// The container's process has ended.
    Exited(ExitRecord),
    /// An exec runs; with a terminal its master side is passed along.
    ExecStarted,
    /// An exec has ended.
    ExecExited {
        code: i32,
    },
    Failed {
        message: String,
    },
    /// The pause process runs.
    Paused {
        pid: i32,
    },
}

/// From the short-lived processes that set up a container or an exec to the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// Process id; with a terminal its master side may be passed along.
    Pid(i32),
    /// The master side of the terminal comes with this.
    Terminal,
    Failed(String),
    /// What libcontainer logged about a failure; its errors come without their causes.
    Detail(String),
}
