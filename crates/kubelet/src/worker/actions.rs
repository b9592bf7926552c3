//! Carries actions out: the only part of a worker that touches the world.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::{Container, Secret};
use client::EventType;
use client::kube::api::{DeleteParams, Preconditions};
use container::{Image, RuntimeError};
use futures::future::join_all;

use super::decide::{Action, KillReason};
use super::hooks;
use super::outcome::Outcome;
use super::shared::Shared;
use super::spec::{self, ManagedFiles};
use super::state::{Observed, Sandbox, State, Waiting};
use crate::env::{self, EnvObjects};
use crate::events::PodEvents;
use crate::images::ImageError;
use crate::pod::PodInfo;
use crate::volumes::Mounts;
use crate::{dns, hosts, logs, status};

/// Bytes of a termination message.
const MESSAGE_MAX: usize = 4096;
/// Lines and bytes of the log that stand in for it.
const LOG_MESSAGE_LINES: usize = 80;
const LOG_MESSAGE_BYTES: usize = 2048;
/// Longest a `postStart` hook may take.
const POST_START_MAX: Duration = Duration::from_secs(3600);

/// What an action needs to know of the worker's state, as it was when the action began.
pub(crate) struct Task {
    pub shared: Arc<Shared>,
    pub pod: PodInfo,
    pub events: PodEvents,
    pod_ips: Vec<String>,
    sandbox: Option<Sandbox>,
    mounts: Option<Mounts>,
    everything: Vec<String>,
    log_paths: Vec<std::path::PathBuf>,
}

impl Task {
    pub fn new(shared: &Arc<Shared>, state: &State, events: &PodEvents) -> Self {
        let sandboxes = state.old_sandboxes.iter().chain(state.sandbox.as_ref().map(|sandbox| &sandbox.id));
        let views = state.containers.values();
        let seen = views.flat_map(|view| view.current.iter().chain(&view.previous).chain(&view.old));
        Self {
            shared: shared.clone(),
            pod: state.pod.clone(),
            events: events.clone(),
            pod_ips: state.pod_ips(),
            sandbox: state.sandbox.clone(),
            mounts: state.volumes.mounts.clone(),
            everything: sandboxes.cloned().collect(),
            log_paths: seen.map(|seen| seen.log_path.clone()).collect(),
        }
    }

    /// Does it.
    pub async fn perform(self, action: Action) -> Outcome {
        match action {
            Action::MountVolumes => self.mount_volumes().await,
            Action::UnmountVolumes => self.unmount_volumes().await,
            Action::RunSandbox { attempt } => self.run_sandbox(attempt).await,
            Action::StopSandbox { id } => self.stop_sandbox(id).await,
            Action::DropSandbox { id } => self.drop_sandbox(id).await,
            Action::CleanUp => self.clean_up().await,
            Action::PullImage { container } => self.pull_image(container).await,
            Action::StartContainer { container, attempt } => self.start_container(container, attempt).await,
            Action::KillContainer { container, id, grace, why } => self.kill(container, id, grace, why).await,
            Action::HastenKill { id, grace, .. } => {
                let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
                if let Err(error) = self.shared.runtime.stop_container(&id, grace).await {
                    tracing::debug!(%error, id, "failed to hasten a container's end");
                }
                Outcome::Failed
            }
            Action::RemoveContainer { id, log_path } => self.remove_container(id, &log_path).await,
            Action::WriteStatus(new) => self.write_status(&new).await,
            Action::DeletePod => self.delete().await,
            Action::Finish => Outcome::Failed,
        }
    }

    async fn mount_volumes(&self) -> Outcome {
        let facts = self.shared.facts(self.pod_ips.clone());
        match self.shared.volumes.set_up(&self.pod, &facts).await {
            Ok(ready) => Outcome::VolumesReady(ready),
            Err(failed) => {
                for volume in failed {
                    let message =
                        format!("MountVolume.SetUp failed for volume {:?} : {}", volume.name, volume.error);
                    self.events.pod(EventType::Warning, "FailedMount", &message);
                }
                Outcome::VolumesFailed
            }
        }
    }

    async fn unmount_volumes(&self) -> Outcome {
        match self.shared.volumes.tear_down(self.pod.uid()).await {
            Ok(()) => Outcome::VolumesGone,
            Err(error) => {
                tracing::warn!(pod = self.pod.formatted(), %error, "failed to take volumes down");
                Outcome::Failed
            }
        }
    }

    async fn run_sandbox(&self, attempt: u32) -> Outcome {
        let shared = &self.shared;
        let (hostname, domain) = dns::hostname(&self.pod, &shared.hostname, &shared.config.cluster_domain);
        let hostname = dns::kernel_hostname(&self.pod, &hostname, &domain);
        let config = spec::sandbox(&self.pod, attempt, hostname, shared.log_root());
        if let Err(error) = tokio::fs::create_dir_all(&config.log_directory).await {
            return self.sandbox_failed(&format!("failed to create the log directory: {error}"));
        }
        let id = match shared.runtime.run_sandbox(config).await {
            Ok(id) => id,
            Err(error) => return self.sandbox_failed(&error.to_string()),
        };
        match self.sandbox_status(&id).await {
            Ok(Some(sandbox)) => Outcome::SandboxRunning(sandbox),
            Ok(None) => self.sandbox_failed("the sandbox vanished after it was made"),
            Err(error) => self.sandbox_failed(&error.to_string()),
        }
    }

    fn sandbox_failed(&self, error: &str) -> Outcome {
        let message = format!("Failed to create pod sandbox: {error}");
        self.events.pod(EventType::Warning, "FailedCreatePodSandBox", &message);
        Outcome::SandboxFailed
    }

    async fn sandbox_status(&self, id: &str) -> Result<Option<Sandbox>, RuntimeError> {
        let list = self.shared.runtime.list_sandboxes().await?;
        Ok(list.into_iter().find(|sandbox| sandbox.id == id).map(super::sandbox_of))
    }

    async fn stop_sandbox(&self, id: String) -> Outcome {
        match self.shared.runtime.stop_sandbox(&id).await {
            Ok(()) | Err(RuntimeError::NotFound { .. }) => Outcome::SandboxStopped { id },
            Err(error) => {
                let message = format!("error killing pod: failed to stop the sandbox: {error}");
                self.events.pod(EventType::Warning, "FailedKillPod", &message);
                Outcome::Failed
            }
        }
    }

    async fn drop_sandbox(&self, id: String) -> Outcome {
        match remove_sandbox(&self.shared, &id).await {
            Ok(()) => Outcome::SandboxDropped { id },
            Err(error) => {
                tracing::warn!(id, %error, "failed to remove a sandbox");
                Outcome::Failed
            }
        }
    }

    async fn clean_up(&self) -> Outcome {
        for result in join_all(self.everything.iter().map(|id| remove_sandbox(&self.shared, id))).await {
            if let Err(error) = result {
                tracing::warn!(pod = self.pod.formatted(), %error, "failed to remove a sandbox");
                return Outcome::Failed;
            }
        }
        for path in &self.log_paths {
            logs::remove(path);
        }
        let pod = &self.pod;
        let dir = spec::log_directory(self.shared.log_root(), pod.namespace(), pod.name(), pod.uid());
        let _ = tokio::fs::remove_dir_all(dir).await;
        Outcome::CleanedUp
    }

    async fn pull_image(&self, name: String) -> Outcome {
        let Some((_, container)) = self.pod.container(&name) else { return Outcome::Failed };
        let secrets = self.pull_secrets().await;
        match self.shared.images.ensure(container, &secrets, &self.events).await {
            Ok(image) => Outcome::ImageReady { container: name, image },
            Err(error) => {
                let text = format!("Error: {}", error.reason);
                self.events.named(&name, EventType::Warning, "Failed", &text);
                Outcome::ImageFailed { container: name, error }
            }
        }
    }

    /// Secrets with registry credentials; those that are missing are reported and left out.
    async fn pull_secrets(&self) -> Vec<Arc<Secret>> {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for reference in self.pod.spec().image_pull_secrets.iter().flatten() {
            match self.shared.objects.secret(self.pod.uid(), self.pod.namespace(), &reference.name).await {
                Ok(Some(secret)) => found.push(secret),
                _ => missing.push(reference.name.clone()),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.events.pod(EventType::Warning, "FailedToRetrieveImagePullSecret", &message);
        }
        found
    }

    async fn start_container(&self, name: String, attempt: u32) -> Outcome {
        match self.try_start(&name, attempt).await {
            Ok(seen) => Outcome::Started { container: name, seen },
            Err(failure) => {
                let Failure { reason, message, id } = *failure;
                let seen = match id {
                    Some(id) => observe(&self.shared, &self.pod, &id).await.ok(),
                    None => None,
                };
                let waiting = Waiting { reason: reason.to_owned(), message };
                Outcome::StartFailed { container: name, waiting, seen }
            }
        }
    }

    async fn try_start(&self, name: &str, attempt: u32) -> Result<Observed, Box<Failure>> {
        let shared = &self.shared;
        let config_error = |message: String| {
            self.events.named(name, EventType::Warning, "Failed", &format!("Error: {message}"));
            Failure::new("CreateContainerConfigError", message)
        };
        let (_, container) =
            self.pod.container(name).ok_or_else(|| config_error(format!("container {name} not found")))?;
        let sandbox = self.sandbox.as_ref().ok_or_else(|| config_error("no sandbox".to_owned()))?;
        let image = self.image(container).await.map_err(|error| config_error(error.message))?;
        let env = self.environment(container).await.map_err(config_error)?;
        let mounts = self.container_mounts(container, attempt, &env).map_err(config_error)?;
        let seccomp_root = shared.seccomp_root();
        let config = spec::container(spec::Parts {
            pod: &self.pod,
            container,
            attempt,
            image: &image,
            env,
            mounts,
            memory_capacity: shared.memory_capacity,
            seccomp_root: &seccomp_root,
        });
        let config = config.map_err(config_error)?;
        let id = shared.runtime.create_container(&sandbox.id, config).await.map_err(|error| {
            let message = error.to_string();
            self.events.named(name, EventType::Warning, "Failed", &format!("Error: {message}"));
            Failure::new("CreateContainerError", message)
        })?;
        self.events.named(name, EventType::Normal, "Created", "Container created");
        if let Err(error) = shared.runtime.start_container(&id).await {
            let message = error.to_string();
            self.events.named(name, EventType::Warning, "Failed", &format!("Error: {message}"));
            return Err(Failure::of(&id, "RunContainerError", message));
        }
        self.events.named(name, EventType::Normal, "Started", "Container started");
        self.post_start(container, &id).await?;
        let seen = observe(shared, &self.pod, &id).await;
        seen.map_err(|error| Failure::of(&id, "RunContainerError", error.to_string()))
    }

    async fn image(&self, container: &Container) -> Result<Image, ImageError> {
        let image = container.image.as_deref().unwrap_or_default();
        let gone = |message: String| ImageError { reason: "ImageInspectError", message };
        match self.shared.runtime.image_status(image).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(gone(format!("image {image:?} is no longer on the node"))),
            Err(error) => Err(gone(error.to_string())),
        }
    }

    async fn post_start(&self, container: &Container, id: &str) -> Result<(), Box<Failure>> {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        let host = self.pod_ips.first().map(String::as_str).unwrap_or_default();
        let runtime = &*self.shared.runtime;
        let Err(error) = hooks::run(runtime, container, id, host, hook, POST_START_MAX).await else {
            return Ok(());
        };
        let message = format!("PostStartHook failed: {error}");
        self.events.container(container, EventType::Warning, "FailedPostStartHook", &message);
        let grace = Duration::from_secs(u64::try_from(self.pod.grace_seconds()).unwrap_or(30));
        let text = "FailedPostStartHook";
        self.events.container(container, EventType::Normal, "Killing", text);
        let _ = runtime.stop_container(id, grace).await;
        Err(Failure::of(id, "PostStartHookError", message))
    }

    async fn environment(&self, container: &Container) -> Result<Vec<(String, String)>, String> {
        let (config_maps, secrets) = env::references(container);
        let mut objects = EnvObjects::default();
        let (uid, namespace) = (self.pod.uid(), self.pod.namespace());
        for name in config_maps {
            let found = self.shared.objects.config_map(uid, namespace, &name).await;
            objects.config_maps.insert(name, found.map_err(|error| error.to_string())?);
        }
        for name in secrets {
            let found = self.shared.objects.secret(uid, namespace, &name).await;
            objects.secrets.insert(name, found.map_err(|error| error.to_string())?);
        }
        let services = &self.shared.services;
        services.synced().await;
        let mut near = services.list_namespace(namespace);
        if namespace != "default" {
            near.extend(services.get("default", "kubernetes"));
        }
        let links = self.pod.spec().enable_service_links != Some(false);
        let variables = env::service_variables(&near, namespace, links);
        let facts = self.shared.facts(self.pod_ips.clone());
        env::make(&self.pod, container, &objects, &variables, &facts).map_err(|error| error.to_string())
    }

    fn container_mounts(
        &self,
        container: &Container,
        attempt: u32,
        env: &[(String, String)],
    ) -> Result<Vec<container::Mount>, String> {
        let files =
            self.managed_files().map_err(|error| format!("failed to write managed files: {error}"))?;
        let log = self.shared.termination_log(&self.pod, &container.name, attempt);
        prepare_termination_log(&log)
            .map_err(|error| format!("failed to create the termination log: {error}"))?;
        let volumes = self.mounts.clone().unwrap_or_default();
        spec::mounts(&self.shared.pod_dir(&self.pod), container, &volumes, env, &files, &log)
    }

    /// Writes `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname` of the pod.
    fn managed_files(&self) -> std::io::Result<ManagedFiles> {
        let shared = &self.shared;
        let dir = shared.pod_dir(&self.pod);
        std::fs::create_dir_all(&dir)?;
        let (hostname, domain) = dns::hostname(&self.pod, &shared.hostname, &shared.config.cluster_domain);
        let aliases = self.pod.spec().host_aliases.as_deref().unwrap_or_default();
        let hosts = if self.pod.host_network() {
            let own = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            hosts::host_network(&own, aliases)
        } else {
            hosts::managed(&self.pod_ips, &hostname, &domain, aliases)
        };
        let resolver = dns::for_pod(&self.pod, &shared.cluster_dns(), &shared.host_dns());
        let files = ManagedFiles {
            hosts: dir.join("etc-hosts"),
            resolv_conf: dir.join("etc-resolv.conf"),
            hostname: dir.join("etc-hostname"),
        };
        write_in_place(&files.hosts, &hosts)?;
        write_in_place(&files.resolv_conf, &resolver.render())?;
        let kernel_name = dns::kernel_hostname(&self.pod, &hostname, &domain);
        write_in_place(&files.hostname, &format!("{kernel_name}\n"))?;
        Ok(files)
    }

    async fn kill(&self, name: String, id: String, grace: i64, why: KillReason) -> Outcome {
        self.events.named(&name, EventType::Normal, "Killing", &why.message(&name));
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let started = tokio::time::Instant::now();
        self.pre_stop(&name, &id, grace).await;
        let left = grace.saturating_sub(started.elapsed());
        // A hook that used everything up still leaves the process a moment to hear the signal.
        let left = if grace.is_zero() { left } else { left.max(Duration::from_secs(2).min(grace)) };
        match self.shared.runtime.stop_container(&id, left).await {
            Ok(()) | Err(RuntimeError::NotFound { .. }) => {
                let seen = observe(&self.shared, &self.pod, &id).await.ok();
                Outcome::Killed { container: name, id, seen }
            }
            Err(error) => {
                let message = format!("error killing pod: failed to stop container {name}: {error}");
                self.events.pod(EventType::Warning, "FailedKillPod", &message);
                // Let the next attempt come with a pause rather than at once.
                tokio::time::sleep(Duration::from_secs(1)).await;
                let seen = observe(&self.shared, &self.pod, &id).await.ok();
                Outcome::Killed { container: name, id, seen }
            }
        }
    }

    async fn pre_stop(&self, name: &str, id: &str, grace: Duration) {
        let Some((_, container)) = self.pod.container(name) else { return };
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let Some(hook) = hook.filter(|_| !grace.is_zero()) else { return };
        let host = self.pod_ips.first().map(String::as_str).unwrap_or_default();
        let run = hooks::run(&*self.shared.runtime, container, id, host, hook, grace);
        let result = match tokio::time::timeout(grace, run).await {
            Ok(result) => result,
            Err(_) => Err(format!("the hook did not end within {}s", grace.as_secs())),
        };
        if let Err(error) = result {
            let message = format!("PreStopHook failed: {error}");
            self.events.container(container, EventType::Warning, "FailedPreStopHook", &message);
        }
    }

    async fn remove_container(&self, id: String, log_path: &Path) -> Outcome {
        match self.shared.runtime.remove_container(&id).await {
            Ok(()) | Err(RuntimeError::NotFound { .. }) => {
                logs::remove(log_path);
                Outcome::Removed { id }
            }
            Err(error) => {
                tracing::debug!(id, %error, "failed to remove a container");
                Outcome::Failed
            }
        }
    }

    async fn write_status(&self, new: &api::PodStatus) -> Outcome {
        let pod = &self.pod;
        let patch = status::patch(pod.uid(), pod.pod.status.as_ref(), new);
        match self.shared.pods.patch_status(pod.namespace(), pod.name(), &patch).await {
            Ok(written) => Outcome::StatusWritten(Box::new(PodInfo::new(Arc::new(written)))),
            Err(error) => {
                let gone = client::is_not_found(&error) || client::is_conflict(&error);
                if !gone {
                    tracing::warn!(pod = pod.formatted(), %error, "failed to write a status");
                }
                Outcome::StatusRefused { gone }
            }
        }
    }

    async fn delete(&self) -> Outcome {
        let pod = &self.pod;
        let options = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(pod.uid().to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.shared.pods.delete(pod.namespace(), pod.name(), &options).await {
            Ok(()) => Outcome::DeleteSent,
            Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Outcome::DeleteSent,
            Err(error) => {
                tracing::warn!(pod = pod.formatted(), %error, "failed to delete a pod");
                Outcome::Failed
            }
        }
    }
}

/// Why a container did not start; `id` once it was created.
struct Failure {
    reason: &'static str,
    message: String,
    id: Option<String>,
}

impl Failure {
    fn new(reason: &'static str, message: String) -> Box<Self> {
        Box::new(Self { reason, message, id: None })
    }

    fn of(id: &str, reason: &'static str, message: String) -> Box<Self> {
        Box::new(Self { reason, message, id: Some(id.to_owned()) })
    }
}

/// Stops and removes a sandbox with everything in it.
pub(crate) async fn remove_sandbox(shared: &Shared, id: &str) -> Result<(), RuntimeError> {
    let ok = |result: Result<(), RuntimeError>| match result {
        Err(RuntimeError::NotFound { .. }) => Ok(()),
        other => other,
    };
    ok(shared.runtime.stop_sandbox(id).await)?;
    ok(shared.runtime.remove_sandbox(id).await)
}

/// Asks the runtime for a container, with its last words if it ended.
pub(crate) async fn observe(shared: &Shared, pod: &PodInfo, id: &str) -> Result<Observed, RuntimeError> {
    let status = shared.runtime.container_status(id).await?;
    let name = status.config.name.clone();
    Ok(with_message(shared, pod, &name, Observed::new(status)))
}

/// Adds the termination message of a container that ended.
pub(crate) fn with_message(shared: &Shared, pod: &PodInfo, name: &str, mut seen: Observed) -> Observed {
    if !seen.is_exited() || !seen.message.is_empty() {
        return seen;
    }
    let path = shared.termination_log(pod, name, seen.attempt);
    seen.message = logs::read_head(&path, MESSAGE_MAX);
    let fall_back = pod.container(name).is_some_and(|(_, container)| {
        container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
    });
    if seen.message.is_empty() && fall_back && seen.exit_code != 0 {
        seen.message = logs::tail_message(&seen.log_path, LOG_MESSAGE_LINES, LOG_MESSAGE_BYTES);
    }
    seen
}

fn prepare_termination_log(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::File::create(path)?;
    // The container's user, whoever that is, writes it.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}

/// Writes a file that may be mounted: the inode has to stay the same, and what is right is left alone.
fn write_in_place(path: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text)
}
