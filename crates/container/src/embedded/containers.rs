//! Containers: created here, run by their monitors, watched from here.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::client::MessageSocket;
use super::images::ImageConfig;
use super::monitor::protocol::{
    ExitRecord, MonitorConfig, MonitorState, Overlay, Reply, Request, SpawnRequest, UserRequest,
};
use super::monitor::sys;
use super::paths::new_id;
use super::sandbox::SandboxRecord;
use super::{Embedded, cgroup, io_error, run_blocking, spec, state};
use crate::{
    ContainerConfig, ContainerEvent, ContainerState, ContainerStatus, Resources, RuntimeError, SandboxState,
};

/// How long a container may take to be set up; its processes are not waited for.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long killed processes may take to vanish.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Exit code of a container whose end nobody saw, as containerd reports it.
const UNKNOWN_CODE: i32 = 255;

/// What is remembered of a container; `container.json` in its directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub id: String,
    pub sandbox_id: String,
    pub pod_uid: String,
    pub config: ContainerConfig,
    pub image_id: String,
    /// Layers it stands on; they stay while it exists.
    pub layers: Vec<String>,
    pub created_at_ns: i64,
    pub cgroup: String,
    pub log_path: PathBuf,
    pub stop_signal: i32,
}

/// Where in its life a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    Created,
    Running {
        pid: i32,
        started_at_ns: i64,
    },
    Exited {
        started_at_ns: i64,
        exit: ExitRecord,
    },
    /// It ended while nothing watched it.
    Lost {
        started_at_ns: i64,
        found_at_ns: i64,
    },
}

impl Phase {
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Exited { .. } | Self::Lost { .. })
    }
}

/// One container.
pub struct Container {
    pub record: ContainerRecord,
    pub phase: watch::Sender<Phase>,
    /// Held by starting and removing.
    operation: tokio::sync::Mutex<()>,
}

impl Container {
    pub fn new(record: ContainerRecord, phase: Phase) -> Self {
        Self { record, phase: watch::Sender::new(phase), operation: tokio::sync::Mutex::new(()) }
    }

    /// Returns once the container's process is gone.
    pub async fn ended(&self) -> Phase {
        let mut phase = self.phase.subscribe();
        match phase.wait_for(Phase::is_over).await {
            Ok(phase) => phase.clone(),
            Err(_) => Phase::Lost { started_at_ns: 0, found_at_ns: 0 },
        }
    }
}

impl Embedded {
    pub(super) fn container(&self, id: &str) -> Result<Arc<Container>, RuntimeError> {
        let found = self.containers.lock().get(id).cloned();
        found.ok_or_else(|| RuntimeError::NotFound { kind: "container", id: id.to_owned() })
    }

    pub(super) fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        let containers = self.containers.lock();
        containers.values().filter(|container| container.record.sandbox_id == sandbox).cloned().collect()
    }

    // ---- create ----

    pub(super) async fn make_container(
        self: &Arc<Self>,
        sandbox: &str,
        config: ContainerConfig,
    ) -> Result<String, RuntimeError> {
        let sandbox = self.sandbox(sandbox)?.snapshot();
        if sandbox.state != SandboxState::Ready {
            return Err(RuntimeError::Invalid(format!("sandbox {:?} is not ready", sandbox.id)));
        }
        let runtime = self.clone();
        let layout = self.layout.clone();
        self.tasks.spawn_blocking(move || layout.expect_process());
        run_blocking("create the container", move || Ok(runtime.prepare(sandbox, config))).await?
    }

    fn prepare(
        self: &Arc<Self>,
        sandbox: SandboxRecord,
        config: ContainerConfig,
    ) -> Result<String, RuntimeError> {
        self.images.find_or_make(&config.image).map_err(|error| RuntimeError::Invalid(error.to_string()))?;
        let (image, _pin) = self
            .images
            .find_pinned(&config.image)
            .ok_or_else(|| RuntimeError::NotFound { kind: "image", id: config.image.clone() })?;
        let stop_signal = stop_signal(&config, &image.config)?;
        let id = new_id();
        let record = ContainerRecord {
            cgroup: format!("{}/{id}", sandbox.cgroup),
            sandbox_id: sandbox.id.clone(),
            pod_uid: sandbox.config.uid.clone(),
            image_id: image.digests.iter().next().unwrap_or(&image.id).clone(),
            layers: image.layers.clone(),
            created_at_ns: sys::now_ns(),
            log_path: log_path(&sandbox, &config),
            stop_signal,
            id: id.clone(),
            config,
        };
        let container = Arc::new(Container::new(record, Phase::Created));
        // Known before its files exist, so that a removal of the image leaves the layers.
        self.containers.lock().insert(id.clone(), container.clone());
        match self.write_files(&container.record, &sandbox, &image.config) {
            Ok(()) => {
                self.container_event(&container.record);
                Ok(id)
            }
            Err(error) => {
                self.containers.lock().remove(&id);
                let _ = state::remove_all(&self.paths.container(&id));
                Err(error)
            }
        }
    }

    fn write_files(
        &self,
        record: &ContainerRecord,
        sandbox: &SandboxRecord,
        image: &ImageConfig,
    ) -> Result<(), RuntimeError> {
        let directory = self.paths.container(&record.id);
        for part in ["upper", "work", "rootfs", "lower", "bundle"] {
            fs::create_dir_all(directory.join(part)).map_err(io_error("make the container's directory"))?;
        }
        let rootfs = directory.join("rootfs");
        let spec = spec::build(&spec::Parts {
            config: &record.config,
            image,
            sandbox: &sandbox.config,
            sandbox_run: &self.paths.sandbox_run(&sandbox.id),
            hostname_file: &self.paths.sandbox(&sandbox.id).join("hostname"),
            rootfs: &rootfs,
            cgroup: &record.cgroup,
            device_limits: matches!(self.layout, cgroup::Layout::V1(_)),
        })
        .map_err(RuntimeError::Invalid)?;
        let monitor = self.monitor_config(record, sandbox, image)?;
        let fail = || io_error("write the container's files");
        fs::write(directory.join("bundle/config.json"), spec.to_string()).map_err(fail())?;
        let bytes = serde_json::to_vec(&monitor).map_err(|error| fail()(error.into()))?;
        fs::write(directory.join("monitor.json"), bytes).map_err(fail())?;
        state::write_json_unsynced(&directory.join("container.json"), record).map_err(fail())
    }

    fn monitor_config(
        &self,
        record: &ContainerRecord,
        sandbox: &SandboxRecord,
        image: &ImageConfig,
    ) -> Result<MonitorConfig, RuntimeError> {
        let directory = self.paths.container(&record.id);
        let mut lower: Vec<String> = record.layers.iter().rev().cloned().collect();
        if lower.is_empty() {
            lower.push(directory.join("lower").to_string_lossy().into_owned());
        }
        let security = &record.config.security;
        let number = |value: Option<i64>, what: &str| {
            value
                .map(u32::try_from)
                .transpose()
                .map_err(|_| RuntimeError::Invalid(format!("{what} {} is out of range", value.unwrap_or(0))))
        };
        let supplemental = security.supplemental_groups.iter().map(|gid| number(Some(*gid), "group"));
        let user = UserRequest {
            image_user: image.user.clone(),
            uid: number(security.run_as_user, "runAsUser")?,
            gid: number(security.run_as_group, "runAsGroup")?,
            supplemental: supplemental.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect(),
            non_root: security.run_as_non_root,
        };
        Ok(MonitorConfig {
            id: record.id.clone(),
            bundle: directory.join("bundle"),
            state: directory.join("state.json"),
            socket: self.paths.monitor_socket(&record.id),
            oci_root: self.paths.oci(),
            log: record.log_path.clone(),
            overlay: Overlay {
                base: self.images.layers_directory(),
                lower,
                upper: directory.join("upper"),
                work: directory.join("work"),
                target: directory.join("rootfs"),
            },
            user,
            tty: record.config.tty,
            stdin: record.config.stdin,
            stdin_once: record.config.stdin_once,
            cgroups: self.layout.directories(&record.cgroup),
            own_pid_namespace: !sandbox.config.host_pid && !sandbox.config.share_process_namespace,
            oom_score_adj: record.config.resources.oom_score_adj,
        })
    }

    // ---- start ----

    /// Goes on to its end even when the caller does not wait for it: a process may run already.
    pub(super) async fn start_container_by_id(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let container = self.container(id)?;
        let runtime = self.clone();
        let started = self.tasks.spawn(async move { runtime.start(container).await });
        started.await.map_err(|error| io_error("start the container")(std::io::Error::other(error)))?
    }

    async fn start(self: &Arc<Self>, container: Arc<Container>) -> Result<(), RuntimeError> {
        let id = container.record.id.as_str();
        let _operation = container.operation.lock().await;
        if *container.phase.borrow() != Phase::Created {
            return Err(RuntimeError::Invalid(format!("container {id:?} has been started before")));
        }
        let request = SpawnRequest::Monitor { config: self.paths.container(id).join("monitor.json") };
        let started = async {
            let socket = self.spawner.request(&request).await?;
            let (reply, _) = socket.receive().await?;
            Ok::<_, std::io::Error>((socket, reply))
        };
        let answer = tokio::time::timeout(START_LIMIT, started).await;
        let failure = match answer {
            Ok(Ok((socket, Reply::Running { pid, started_at_ns }))) => {
                container.phase.send_replace(Phase::Running { pid, started_at_ns });
                self.container_event(&container.record);
                self.watch(container.clone(), socket);
                return Ok(());
            }
            Ok(Ok((_, Reply::Failed { message }))) => message,
            Ok(Ok(_)) => "unexpected answer from the monitor".to_owned(),
            Ok(Err(error)) => format!("the monitor cannot be reached: {error}"),
            Err(_) => format!("the container was not set up within {START_LIMIT:?}"),
        };
        self.start_failed(&container, &failure).await;
        Err(RuntimeError::Start { name: container.record.config.name.clone(), reason: failure })
    }

    async fn start_failed(&self, container: &Container, message: &str) {
        let (layout, group) = (self.layout.clone(), container.record.cgroup.clone());
        if let Err(error) = run_blocking("remove the control group", move || layout.remove(&group)).await {
            tracing::warn!(container = %container.record.id, %error, "failed to clean up after a failed start");
        }
        let _ = state::remove_all(&self.paths.oci().join(&container.record.id));
        let exit = ExitRecord {
            code: 128,
            signal: None,
            finished_at_ns: sys::now_ns(),
            oom_killed: false,
            start_error: Some(message.to_owned()),
        };
        let kept = MonitorState { exit: Some(exit.clone()), ..MonitorState::default() };
        let _ = state::write_json(&self.paths.container(&container.record.id).join("state.json"), &kept);
        container.phase.send_replace(Phase::Exited { started_at_ns: 0, exit });
        self.container_event(&container.record);
    }

    /// Follows the monitor until the container has ended.
    pub(super) fn watch(self: &Arc<Self>, container: Arc<Container>, socket: MessageSocket) {
        let runtime = self.clone();
        let token = self.token.clone();
        self.tasks.spawn(async move {
            let reply = tokio::select! {
                () = token.cancelled() => return,
                reply = next_exit(&socket) => reply,
            };
            let started_at_ns = match &*container.phase.borrow() {
                Phase::Running { started_at_ns, .. } => *started_at_ns,
                _ => 0,
            };
            let phase = match reply {
                Some(exit) => Phase::Exited { started_at_ns, exit },
                None => runtime.phase_without_monitor(&container.record).await,
            };
            container.phase.send_replace(phase);
            runtime.container_event(&container.record);
        });
    }

    /// What the monitor wrote before it went; if it went without a word, its container is ended too.
    async fn phase_without_monitor(&self, record: &ContainerRecord) -> Phase {
        let path = self.paths.container(&record.id).join("state.json");
        let kept: MonitorState = state::read_json(&path).ok().flatten().unwrap_or_default();
        if let Some(exit) = kept.exit {
            return Phase::Exited { started_at_ns: kept.started_at_ns, exit };
        }
        tracing::warn!(container = %record.id, "the monitor is gone; ending the container");
        let directories = self.layout.directories(&record.cgroup);
        let _ = run_blocking("end the container", move || {
            cgroup::kill_in(&directories);
            Ok(())
        })
        .await;
        Phase::Lost { started_at_ns: kept.started_at_ns, found_at_ns: sys::now_ns() }
    }

    /// Finds out what has become of a container recorded by an earlier run.
    pub(super) async fn adopt(self: &Arc<Self>, record: ContainerRecord) {
        let directory = self.paths.container(&record.id);
        let kept: Option<MonitorState> = state::read_json(&directory.join("state.json")).ok().flatten();
        let exit = kept.as_ref().and_then(|kept| kept.exit.clone());
        let adopted = match (exit, MessageSocket::connect(&self.paths.monitor_socket(&record.id))) {
            (Some(exit), _) => {
                let started_at_ns = kept.map_or(0, |kept| kept.started_at_ns);
                Err(Phase::Exited { started_at_ns, exit })
            }
            (None, Ok(socket)) => match tokio::time::timeout(START_LIMIT, socket.call(&Request::Watch)).await
            {
                Ok(Ok(Reply::Running { pid, started_at_ns })) => {
                    Ok((socket, Phase::Running { pid, started_at_ns }))
                }
                _ => Err(self.phase_without_monitor(&record).await),
            },
            (None, Err(_)) if kept.is_none() => Err(Phase::Created),
            (None, Err(_)) => Err(self.phase_without_monitor(&record).await),
        };
        let (phase, socket) = match adopted {
            Ok((socket, phase)) => (phase, Some(socket)),
            Err(phase) => (phase, None),
        };
        let container = Arc::new(Container::new(record, phase));
        self.containers.lock().insert(container.record.id.clone(), container.clone());
        if let Some(socket) = socket {
            self.watch(container, socket);
        }
    }

    // ---- stop and remove ----

    async fn tell_monitor(&self, container: &Container, request: &Request) -> Result<(), RuntimeError> {
        let socket = MessageSocket::connect(&self.paths.monitor_socket(&container.record.id))
            .map_err(io_error("reach the container's monitor"))?;
        match socket.call(request).await {
            Ok(Reply::Failed { message }) => Err(RuntimeError::Invalid(message)),
            Ok(_) => Ok(()),
            Err(error) => Err(io_error("reach the container's monitor")(error)),
        }
    }

    pub(super) async fn stop_container_by_id(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        if !matches!(*container.phase.borrow(), Phase::Running { .. }) {
            return Ok(());
        }
        if !grace.is_zero() {
            let signal = Request::Signal { signal: container.record.stop_signal };
            // A monitor that cannot be reached has just ended, or is dealt with by killing.
            let told = self.tell_monitor(&container, &signal).await;
            if told.is_ok() && tokio::time::timeout(grace, container.ended()).await.is_ok() {
                return Ok(());
            }
        }
        self.kill_container(&container).await
    }

    /// Kills every process of the container and waits until it is over.
    pub(super) async fn kill_container(&self, container: &Container) -> Result<(), RuntimeError> {
        if !matches!(*container.phase.borrow(), Phase::Running { .. }) {
            return Ok(());
        }
        if self.tell_monitor(container, &Request::Kill).await.is_err() {
            let directories = self.layout.directories(&container.record.cgroup);
            run_blocking("kill the container", move || {
                cgroup::kill_in(&directories);
                Ok(())
            })
            .await?;
        }
        match tokio::time::timeout(KILL_LIMIT, container.ended()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(RuntimeError::Timeout(KILL_LIMIT)),
        }
    }

    pub(super) async fn remove_container_by_id(&self, id: &str) -> Result<(), RuntimeError> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        let _operation = container.operation.lock().await;
        self.kill_container(&container).await?;
        let (layout, group) = (self.layout.clone(), container.record.cgroup.clone());
        let (directory, oci) = (self.paths.container(id), self.paths.oci().join(id));
        let socket = self.paths.monitor_socket(id);
        run_blocking("remove the container", move || {
            layout.remove(&group)?;
            state::remove_all(&oci)?;
            state::remove_all(&socket)?;
            // The record goes first: without it the rest is leftovers that the next start sweeps away.
            state::remove_all(&directory.join("container.json"))?;
            state::remove_all(&directory)
        })
        .await?;
        self.containers.lock().remove(id);
        self.container_event(&container.record);
        Ok(())
    }

    pub(super) async fn reopen_log_by_id(&self, id: &str) -> Result<(), RuntimeError> {
        let container = self.container(id)?;
        if !matches!(*container.phase.borrow(), Phase::Running { .. }) {
            return Err(RuntimeError::Invalid(format!("container {id:?} is not running")));
        }
        self.tell_monitor(&container, &Request::ReopenLog).await
    }

    pub(super) async fn update_limits(&self, id: &str, resources: Resources) -> Result<(), RuntimeError> {
        let container = self.container(id)?;
        let (layout, group) = (self.layout.clone(), container.record.cgroup.clone());
        run_blocking("change the container's limits", move || layout.apply(&group, &resources)).await
    }

    // ---- look ----

    pub(super) fn status_of(container: &Container) -> ContainerStatus {
        let record = &container.record;
        let mut status = ContainerStatus {
            id: record.id.clone(),
            sandbox_id: record.sandbox_id.clone(),
            config: record.config.clone(),
            state: ContainerState::Created,
            created_at_ns: record.created_at_ns,
            started_at_ns: 0,
            finished_at_ns: 0,
            exit_code: 0,
            signal: None,
            reason: String::new(),
            message: String::new(),
            image_id: record.image_id.clone(),
            log_path: record.log_path.clone(),
            pid: None,
        };
        match &*container.phase.borrow() {
            Phase::Created => {}
            Phase::Running { pid, started_at_ns } => {
                status.state = ContainerState::Running;
                status.pid = Some(*pid);
                status.started_at_ns = *started_at_ns;
            }
            Phase::Exited { started_at_ns, exit } => {
                status.state = ContainerState::Exited;
                status.started_at_ns = *started_at_ns;
                status.finished_at_ns = exit.finished_at_ns;
                status.exit_code = exit.code;
                status.signal = exit.signal;
                exit_reason(exit).clone_into(&mut status.reason);
                status.message = exit.start_error.clone().unwrap_or_default();
            }
            Phase::Lost { started_at_ns, found_at_ns } => {
                status.state = ContainerState::Exited;
                status.started_at_ns = *started_at_ns;
                status.finished_at_ns = *found_at_ns;
                status.exit_code = UNKNOWN_CODE;
                "Unknown".clone_into(&mut status.reason);
                "the container ended while nothing watched it".clone_into(&mut status.message);
            }
        }
        status
    }

    pub(super) fn container_event(&self, record: &ContainerRecord) {
        let _ = self.events.send(ContainerEvent {
            sandbox_id: record.sandbox_id.clone(),
            container_id: Some(record.id.clone()),
            pod_uid: record.pod_uid.clone(),
        });
    }
}

fn exit_reason(exit: &ExitRecord) -> &'static str {
    match exit {
        ExitRecord { start_error: Some(_), .. } => "StartError",
        ExitRecord { oom_killed: true, .. } => "OOMKilled",
        ExitRecord { code: 0, .. } => "Completed",
        _ => "Error",
    }
}

fn log_path(sandbox: &SandboxRecord, config: &ContainerConfig) -> PathBuf {
    if config.log_path.as_os_str().is_empty() {
        return PathBuf::new();
    }
    sandbox.config.log_directory.join(&config.log_path)
}

/// The pod's, else the image's, else SIGTERM.
fn stop_signal(config: &ContainerConfig, image: &ImageConfig) -> Result<i32, RuntimeError> {
    let chosen =
        config.stop_signal.as_deref().or(image.stop_signal.as_deref()).filter(|text| !text.is_empty());
    let Some(text) = chosen else { return Ok(libc::SIGTERM) };
    parse_signal(text).ok_or_else(|| RuntimeError::Invalid(format!("unknown stop signal {text:?}")))
}

fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    if let Some(rest) = bare.strip_prefix("RTMAX") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then_some(64 - offset);
    }
    format!("SIG{bare}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

async fn next_exit(socket: &MessageSocket) -> Option<ExitRecord> {
    loop {
        match socket.receive().await {
            Ok((Reply::Exited(exit), _)) => return Some(exit),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("SIGRTMIN", Some(34)),
            ("0", None),
            ("65", None),
            ("SIGFOO", None),
        ] {
            assert_eq!(parse_signal(text), expected, "{text}");
        }
    }
}
