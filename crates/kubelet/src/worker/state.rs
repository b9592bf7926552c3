//! What a pod worker knows: the folded world that [`decide`](super::decide::decide) reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use api::{Container, PodStatus};
use container::ContainerState;
use jiff::{SignedDuration, Timestamp};

use crate::backoff::CrashBackoff;
use crate::pod::{PodInfo, Role};
use crate::volumes::Mounts;

/// Annotation that holds the fingerprint of the container's definition.
pub(crate) const HASH_ANNOTATION: &str = "io.kubernetes.container.hash";
/// Annotation that holds how often the container was restarted.
pub(crate) const RESTARTS_ANNOTATION: &str = "io.kubernetes.container.restartCount";
/// Annotation that holds the pod's grace period, for pods whose object is gone.
pub(crate) const GRACE_ANNOTATION: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Labels by which pods and containers are recognised after a restart.
pub(crate) const POD_NAME_LABEL: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID_LABEL: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME_LABEL: &str = "io.kubernetes.container.name";

/// A container as the runtime last showed it, without its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub id: String,
    pub sandbox_id: String,
    pub attempt: u32,
    pub phase: Phase,
    pub created_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: String,
    pub image: String,
    pub image_id: String,
    pub log_path: PathBuf,
    pub hash: String,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Created,
    Running,
    Exited,
}

impl Observed {
    /// The runtime's status in this form.
    pub fn new(status: container::ContainerStatus) -> Self {
        let time = |ns: i64| (ns > 0).then(|| Timestamp::from_nanosecond(i128::from(ns)).ok()).flatten();
        let unknown = status.state == ContainerState::Unknown;
        Self {
            attempt: status.config.attempt,
            phase: match status.state {
                ContainerState::Created => Phase::Created,
                ContainerState::Running => Phase::Running,
                ContainerState::Exited | ContainerState::Unknown => Phase::Exited,
            },
            created_at: time(status.created_at_ns),
            started_at: time(status.started_at_ns),
            finished_at: time(status.finished_at_ns),
            exit_code: if unknown { 137 } else { status.exit_code },
            signal: status.signal,
            reason: if unknown { "ContainerStatusUnknown".to_owned() } else { status.reason },
            message: if unknown {
                "The container could not be located when the pod was terminated".to_owned()
            } else {
                status.message
            },
            image: status.config.image,
            image_id: status.image_id,
            hash: status.config.annotations.get(HASH_ANNOTATION).cloned().unwrap_or_default(),
            log_path: status.log_path,
            id: status.id,
            sandbox_id: status.sandbox_id,
        }
    }

    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    pub fn is_exited(&self) -> bool {
        self.phase == Phase::Exited
    }
}

/// Why a container is not running, in the words of its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub reason: String,
    pub message: String,
}

/// Whether the image of the next start is at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ImageState {
    #[default]
    Unknown,
    Present(String),
    Failed {
        reason: String,
        message: String,
        at: Timestamp,
        retry_at: Timestamp,
    },
}

/// How a probe judged a container that has to be restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeFailure {
    Liveness,
    Startup,
}

/// Latest word of the probes on the container with id `container_id`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProbeView {
    pub container_id: String,
    /// `None`: no startup probe.
    pub started: Option<bool>,
    /// `None`: no readiness probe.
    pub ready: Option<bool>,
    pub failed: Option<ProbeFailure>,
}

/// A kill that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Killing {
    pub deadline: Timestamp,
}

/// One container of the pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerView {
    /// The newest attempt.
    pub current: Option<Observed>,
    /// The attempt before.
    pub previous: Option<Observed>,
    /// Attempts before that, to be removed.
    pub old: Vec<Observed>,
    /// Attempt number of the next start when nothing is known to the runtime.
    pub first_attempt: u32,
    pub image: ImageState,
    pub image_failures: u32,
    /// Why the last attempt to create or start failed.
    pub waiting: Option<Waiting>,
    /// Not before this time.
    pub retry_at: Option<Timestamp>,
    pub failures: u32,
    pub backoff: Option<CrashBackoff>,
    pub probe: ProbeView,
    pub killing: Option<Killing>,
    /// Started again whatever the restart policy says, because its definition changed.
    pub forced: bool,
}

impl ContainerView {
    /// The current attempt if it lives in that sandbox.
    pub fn within(&self, sandbox: Option<&str>) -> Option<&Observed> {
        self.current.as_ref().filter(|current| Some(current.sandbox_id.as_str()) == sandbox)
    }

    pub fn is_running(&self) -> bool {
        self.current.as_ref().is_some_and(Observed::is_running)
    }

    /// Whether the container counts as started: it runs and its startup probe, if any, has succeeded.
    pub fn is_started(&self) -> bool {
        self.is_running() && self.probe_of_current().is_none_or(|probe| probe.started != Some(false))
    }

    /// Whether the container counts as ready.
    pub fn is_ready(&self) -> bool {
        self.is_started() && self.probe_of_current().is_none_or(|probe| probe.ready != Some(false))
    }

    /// The probes' word, if it is about the current attempt.
    pub fn probe_of_current(&self) -> Option<&ProbeView> {
        let current = self.current.as_ref()?;
        (self.probe.container_id == current.id).then_some(&self.probe)
    }

    /// Files a new observation: a newer attempt shifts the older ones back.
    pub fn observe(&mut self, seen: Observed) {
        for slot in [&mut self.current, &mut self.previous] {
            if slot.as_ref().is_some_and(|known| known.id == seen.id) {
                *slot = Some(seen);
                return;
            }
        }
        if let Some(known) = self.old.iter_mut().find(|known| known.id == seen.id) {
            *known = seen;
            return;
        }
        let newest = self
            .current
            .as_ref()
            .is_none_or(|current| (seen.attempt, seen.created_at) >= (current.attempt, current.created_at));
        if newest {
            self.old.extend(self.previous.take());
            self.previous = self.current.replace(seen);
        } else if self.previous.as_ref().is_none_or(|previous| seen.attempt >= previous.attempt) {
            self.old.extend(self.previous.replace(seen));
        } else {
            self.old.push(seen);
        }
    }

    /// The runtime no longer has this container.
    pub fn forget(&mut self, id: &str) {
        self.old.retain(|old| old.id != id);
        if self.previous.as_ref().is_some_and(|previous| previous.id == id) {
            self.previous = None;
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.id == id)
            && !current.is_exited()
        {
            current.phase = Phase::Exited;
            current.exit_code = 137;
            current.reason = "ContainerStatusUnknown".to_owned();
            current.message = "The container could not be located when the pod was terminated".to_owned();
        }
    }

    /// Attempt number of the next start.
    pub fn next_attempt(&self) -> u32 {
        self.current.as_ref().map_or(self.first_attempt, |current| current.attempt.saturating_add(1))
    }
}

/// The pod's sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sandbox {
    pub id: String,
    pub ready: bool,
    pub ips: Vec<IpAddr>,
    pub attempt: u32,
}

/// The pod's volumes.
#[derive(Debug, Clone, Default)]
pub(crate) struct VolumesView {
    pub mounts: Option<Mounts>,
    /// What they hold may have changed.
    pub stale: bool,
    /// When a token in them has to be renewed.
    pub refresh_at: Option<Timestamp>,
    pub retry_at: Option<Timestamp>,
    pub failures: u32,
    pub torn_down: bool,
}

/// Why the node refuses or ends the pod; becomes the pod's reason and message, its phase is `Failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub reason: String,
    pub message: String,
}

/// What is being worked on; no second action is begun for the same slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    Volumes,
    Sandbox,
    Image(String),
    Container(String),
    Hasten(String),
    Remove(String),
    Status,
    Delete,
}

/// Facts of the node that a status carries.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeFacts {
    pub host_ips: Vec<String>,
    /// Scheme of container ids, e.g. `knarr`.
    pub scheme: String,
}

/// Everything a worker knows about its pod.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub pod: PodInfo,
    pub node: NodeFacts,
    /// When this kubelet first saw the pod.
    pub accepted_at: Timestamp,
    /// The object is gone from the API.
    pub vanished: bool,
    pub verdict: Option<Verdict>,
    /// When stopping began.
    pub stopping_since: Option<Timestamp>,
    pub sandbox: Option<Sandbox>,
    pub old_sandboxes: Vec<String>,
    pub next_sandbox_attempt: u32,
    pub sandbox_retry_at: Option<Timestamp>,
    pub sandbox_failures: u32,
    /// Sandboxes, containers and log files are removed.
    pub cleaned: bool,
    pub volumes: VolumesView,
    pub containers: BTreeMap<String, ContainerView>,
    pub busy: BTreeSet<Slot>,
    pub status_retry_at: Option<Timestamp>,
    /// The status in the last answer to a write: a write that changes nothing is not repeated at once.
    pub last_answer: Option<PodStatus>,
    pub delete_retry_at: Option<Timestamp>,
}

impl State {
    /// A pod that was just seen.
    pub fn new(pod: PodInfo, node: NodeFacts, now: Timestamp) -> Self {
        let mut state = Self {
            pod,
            node,
            accepted_at: now,
            vanished: false,
            verdict: None,
            stopping_since: None,
            sandbox: None,
            old_sandboxes: Vec::new(),
            next_sandbox_attempt: 0,
            sandbox_retry_at: None,
            sandbox_failures: 0,
            cleaned: false,
            volumes: VolumesView::default(),
            containers: BTreeMap::new(),
            busy: BTreeSet::new(),
            status_retry_at: None,
            last_answer: None,
            delete_retry_at: None,
        };
        state.recall();
        state
    }

    /// Restart counts and readiness from the status that an earlier run of the program wrote.
    fn recall(&mut self) {
        let pod = self.pod.pod.clone();
        let Some(status) = &pod.status else { return };
        let lists = [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ];
        for known in lists.into_iter().flatten().flatten() {
            let view = self.containers.entry(known.name.clone()).or_default();
            let ran = known.container_id.as_deref().is_some_and(|id| !id.is_empty());
            view.first_attempt = u32::try_from(known.restart_count).unwrap_or(0) + u32::from(ran);
            if let Some((_, id)) = known.container_id.as_deref().and_then(|id| id.split_once("://")) {
                view.probe = ProbeView {
                    container_id: id.to_owned(),
                    started: known.started,
                    ready: Some(known.ready),
                    failed: None,
                };
            }
        }
    }

    pub fn view(&self, name: &str) -> Option<&ContainerView> {
        self.containers.get(name)
    }

    pub fn view_mut(&mut self, name: &str) -> &mut ContainerView {
        self.containers.entry(name.to_owned()).or_default()
    }

    pub fn is_busy(&self, slot: &Slot) -> bool {
        self.busy.contains(slot)
    }

    /// Id of the sandbox if it can take containers.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref().filter(|sandbox| sandbox.ready)
    }

    pub fn sandbox_id(&self) -> Option<&str> {
        self.sandbox.as_ref().map(|sandbox| sandbox.id.as_str())
    }

    /// Addresses of the pod: the sandbox's, or the node's on the host's network.
    pub fn pod_ips(&self) -> Vec<String> {
        match &self.sandbox {
            Some(_) if self.pod.host_network() => self.node.host_ips.clone(),
            Some(sandbox) => sandbox.ips.iter().map(ToString::to_string).collect(),
            None => Vec::new(),
        }
    }

    /// Takes a newer state of the object, whether from the watch or from the answer to a write.
    /// Returns whether it was taken.
    pub fn take_pod(&mut self, pod: PodInfo) -> bool {
        let version =
            |pod: &PodInfo| -> Option<u64> { pod.pod.metadata.resource_version.as_ref()?.parse().ok() };
        if let (Some(known), Some(new)) = (version(&self.pod), version(&pod))
            && new <= known
        {
            return false;
        }
        let meta = |pod: &PodInfo| (pod.pod.metadata.labels.clone(), pod.pod.metadata.annotations.clone());
        if meta(&self.pod) != meta(&pod) {
            self.volumes.stale = true;
        }
        if self.pod.spec() != pod.spec() {
            // A changed definition may be what a failed start was waiting for.
            for view in self.containers.values_mut() {
                view.retry_at = None;
            }
        }
        self.pod = pod;
        true
    }

    /// Moves what time and observations decide by themselves, before actions are planned.
    pub fn settle(&mut self, now: Timestamp) {
        self.check_deadline(now);
        if self.stopping_since.is_none() && self.must_stop() {
            self.stopping_since = Some(now);
        }
        let dead = self.sandbox.as_ref().is_some_and(|sandbox| !sandbox.ready);
        if dead
            && !self.must_stop()
            && !self.is_busy(&Slot::Sandbox)
            && let Some(sandbox) = self.sandbox.take()
        {
            self.next_sandbox_attempt = sandbox.attempt + 1;
            self.old_sandboxes.push(sandbox.id);
        }
    }

    fn check_deadline(&mut self, now: Timestamp) {
        if self.verdict.is_none()
            && self.active_deadline().is_some_and(|deadline| deadline <= now)
            && self.outcome().is_none()
        {
            self.verdict = Some(Verdict {
                reason: "DeadlineExceeded".to_owned(),
                message: "Pod was active on the node longer than the specified deadline".to_owned(),
            });
        }
    }

    /// When `activeDeadlineSeconds` ends the pod.
    pub fn active_deadline(&self) -> Option<Timestamp> {
        let seconds = self.pod.spec().active_deadline_seconds?;
        let start = self.pod.start_time().unwrap_or(self.accepted_at);
        start.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    /// Whether nothing of the pod may run any more.
    pub fn must_stop(&self) -> bool {
        self.vanished
            || self.pod.is_deleted()
            || self.verdict.is_some()
            || api::is_pod_finished(&self.pod.pod)
            || self.outcome().is_some()
    }

    /// Seconds the containers get to end, counted from [`State::stopping_since`].
    pub fn stop_grace(&self) -> i64 {
        if self.vanished || self.pod.is_deleted() {
            let asked = self.pod.pod.metadata.deletion_grace_period_seconds;
            return asked.unwrap_or_else(|| self.pod.grace_seconds()).max(1);
        }
        self.pod.grace_seconds()
    }

    /// How the pod ended by itself: `Some(true)` when every container succeeded.
    pub fn outcome(&self) -> Option<bool> {
        let initialized = self.initialized();
        if !initialized {
            let failed = self.pod.init_containers().any(|(role, container)| {
                role == Role::Init && self.ended(role, container).is_some_and(|exit_code| exit_code != 0)
            });
            return failed.then_some(false);
        }
        let mut succeeded = true;
        for container in self.pod.regular() {
            succeeded &= self.ended(Role::Regular, container)? == 0;
        }
        Some(succeeded)
    }

    /// Exit code of a container that ended and will not be started again.
    fn ended(&self, role: Role, container: &Container) -> Option<i32> {
        let view = self.view(&container.name)?;
        let current = view.current.as_ref().filter(|current| current.is_exited())?;
        let again = view.forced || should_restart(&self.pod, role, container, current.exit_code);
        (!again && !self.is_busy(&Slot::Container(container.name.clone()))).then_some(current.exit_code)
    }

    /// Whether initialisation is over: a regular container was made, or every init container is done.
    pub fn initialized(&self) -> bool {
        let sandbox = self.sandbox_id();
        let regular = self.pod.regular().any(|container| {
            self.view(&container.name).is_some_and(|view| match sandbox {
                Some(_) => view.within(sandbox).is_some(),
                None => view.current.is_some(),
            })
        });
        // Each was begun because those before it were done, so the last one speaks for all.
        regular
            || self.pod.init_containers().next_back().is_none_or(|(role, container)| {
                let Some(view) = self.view(&container.name) else { return false };
                match role {
                    Role::Sidecar => view.within(sandbox).is_some() && view.is_started(),
                    _ => view.within(sandbox).is_some_and(|c| c.is_exited() && c.exit_code == 0),
                }
            })
    }
}

/// Whether a container that ended with `exit_code` is started again.
pub(crate) fn should_restart(pod: &PodInfo, role: Role, container: &Container, exit_code: i32) -> bool {
    if role == Role::Ephemeral {
        return false;
    }
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        let matches = if codes.operator == "NotIn" { !listed } else { listed };
        if matches && rule.action.starts_with("Restart") {
            return true;
        }
    }
    let policy = container.restart_policy.as_deref().unwrap_or(pod.restart_policy());
    match (role, policy) {
        (Role::Sidecar, _) => true,
        (_, "Never") => false,
        (Role::Init, _) | (_, "OnFailure") => exit_code != 0,
        _ => true,
    }
}

/// Fingerprint of what makes a running container out of date when it changes.
pub(crate) fn container_hash(container: &Container) -> String {
    let text = format!("{}\0{}", container.name, container.image.as_deref().unwrap_or_default());
    // FNV-1a, 32 bits: short, stable across versions, and not a secret.
    let hash =
        text.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}
