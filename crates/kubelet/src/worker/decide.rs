//! What to do next for a pod: a pure function from the worker's state and the time to a list of actions.

use api::{Container, PodStatus};
use jiff::{SignedDuration, Timestamp};

use super::state::{
    ContainerView, ImageState, Observed, ProbeFailure, Slot, State, container_hash, should_restart,
};
use crate::pod::Role;
use crate::status;

/// Sidecars get at least this long to end, however much of the grace period the others used.
const SIDECAR_GRACE_MIN: i64 = 2;
/// The first status of a pod that is being started waits this long, so that a quick start costs one write.
const START_SETTLE: SignedDuration = SignedDuration::from_millis(150);
/// How long a failed pull reads `ErrImagePull` before it reads `ImagePullBackOff`.
pub(crate) const PULL_ERROR_SHOWN: SignedDuration = SignedDuration::from_secs(2);

/// One thing to do. Each occupies its [`Slot`] until it is done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Makes or refreshes the volumes.
    MountVolumes,
    UnmountVolumes,
    RunSandbox {
        attempt: u32,
    },
    /// Stops and forgets a sandbox that is not the current one.
    DropSandbox {
        id: String,
    },
    StopSandbox {
        id: String,
    },
    /// Removes sandboxes, containers and logs of a pod that is over.
    CleanUp,
    PullImage {
        container: String,
    },
    StartContainer {
        container: String,
        attempt: u32,
    },
    KillContainer {
        container: String,
        id: String,
        grace: i64,
        why: KillReason,
    },
    /// Shortens the grace of a kill under way.
    HastenKill {
        container: String,
        id: String,
        grace: i64,
    },
    RemoveContainer {
        id: String,
        log_path: std::path::PathBuf,
    },
    WriteStatus(Box<PodStatus>),
    /// Removes the object from the API.
    DeletePod,
    /// Nothing is left to do, ever.
    Finish,
}

/// Why a container is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillReason {
    PodStopping,
    Liveness,
    Startup,
    DefinitionChanged,
}

impl KillReason {
    /// The words of the `Killing` event.
    pub fn message(self, name: &str) -> String {
        match self {
            Self::PodStopping => format!("Stopping container {name}"),
            Self::Liveness => format!("Container {name} failed liveness probe, will be restarted"),
            Self::Startup => format!("Container {name} failed startup probe, will be restarted"),
            Self::DefinitionChanged => format!("Container {name} definition changed, will be restarted"),
        }
    }
}

impl Action {
    /// The slot this action occupies.
    pub fn slot(&self) -> Option<Slot> {
        Some(match self {
            Self::MountVolumes | Self::UnmountVolumes => Slot::Volumes,
            Self::RunSandbox { .. } | Self::StopSandbox { .. } | Self::CleanUp => Slot::Sandbox,
            Self::DropSandbox { id } | Self::RemoveContainer { id, .. } => Slot::Remove(id.clone()),
            Self::PullImage { container } => Slot::Image(container.clone()),
            Self::StartContainer { container, .. } | Self::KillContainer { container, .. } => {
                Slot::Container(container.clone())
            }
            Self::HastenKill { container, .. } => Slot::Hasten(container.clone()),
            Self::WriteStatus(_) => Slot::Status,
            Self::DeletePod => Slot::Delete,
            Self::Finish => return None,
        })
    }
}

/// What to do now, and when to look again at the latest if nothing happens before.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    pub actions: Vec<Action>,
    pub wake_at: Option<Timestamp>,
}

/// Decides the next actions. [`State::settle`] has run for the same `now`.
pub(crate) fn decide(state: &State, now: Timestamp) -> Decision {
    let mut plan = Plan { state, now, decision: Decision::default() };
    let current = plan.status();
    if state.must_stop() {
        plan.stop(current);
    } else {
        plan.run();
    }
    plan.tidy();
    plan.decision
}

struct Plan<'a> {
    state: &'a State,
    now: Timestamp,
    decision: Decision,
}

impl Plan<'_> {
    fn act(&mut self, action: Action) {
        let free = action.slot().is_none_or(|slot| !self.state.is_busy(&slot));
        if free {
            self.decision.actions.push(action);
        }
    }

    fn wake(&mut self, at: Timestamp) {
        let earliest = self.decision.wake_at.map_or(at, |known| known.min(at));
        self.decision.wake_at = Some(earliest);
    }

    /// Whether `at` has passed; if not, the worker looks again then.
    fn due(&mut self, at: Option<Timestamp>) -> bool {
        match at {
            Some(at) if at > self.now => {
                self.wake(at);
                false
            }
            _ => true,
        }
    }

    fn run(&mut self) {
        if let Some(deadline) = self.state.active_deadline() {
            self.wake(deadline);
        }
        self.mount();
        if self.state.sandbox.is_none() && self.due(self.state.sandbox_retry_at) {
            self.act(Action::RunSandbox { attempt: self.state.next_sandbox_attempt });
        }
        self.kill_strays();
        self.ephemeral();
        if self.state.initialized() {
            self.sidecars();
            self.regular();
        } else {
            self.initialize();
        }
    }

    fn mount(&mut self) {
        let volumes = &self.state.volumes;
        if volumes.mounts.is_some() && !volumes.stale {
            if let Some(at) = volumes.refresh_at
                && self.due(Some(at))
            {
                self.act(Action::MountVolumes);
            }
            return;
        }
        if self.due(volumes.retry_at) {
            self.act(Action::MountVolumes);
        }
    }

    /// Containers that run in a sandbox of the past.
    fn kill_strays(&mut self) {
        let Some(sandbox) = self.state.sandbox_id() else { return };
        for (name, view) in &self.state.containers {
            if let Some(current) = &view.current
                && current.is_running()
                && current.sandbox_id != sandbox
            {
                self.kill(name, current, self.state.pod.grace_seconds(), KillReason::PodStopping);
            }
        }
    }

    fn ephemeral(&mut self) {
        for container in self.state.pod.ephemeral() {
            let known = self.state.view(&container.name).is_some_and(|view| view.current.is_some());
            if !known {
                self.start(container);
            }
        }
    }

    /// Init containers in order; the first that is not done blocks what comes after it.
    fn initialize(&mut self) {
        let sandbox = self.state.sandbox_id();
        let list: Vec<_> = self.state.pod.init_containers().collect();
        let touched = |index: usize| {
            list[index + 1..].iter().any(|(_, later)| {
                self.state.view(&later.name).is_some_and(|view| view.within(sandbox).is_some())
            })
        };
        let passed: Vec<bool> = (0..list.len()).map(touched).collect();
        for (index, (role, container)) in list.iter().enumerate() {
            let done = match role {
                Role::Sidecar => self.sidecar(container) || passed[index],
                _ => passed[index] || self.init(container),
            };
            if !done {
                return;
            }
        }
    }

    /// Moves one plain init container on; returns whether it is done.
    fn init(&mut self, container: &Container) -> bool {
        let view = self.state.view(&container.name);
        match view.and_then(|view| view.within(self.state.sandbox_id())) {
            Some(current) if current.is_exited() && current.exit_code == 0 => return true,
            Some(current) if current.is_exited() => {
                if should_restart(&self.state.pod, Role::Init, container, current.exit_code) {
                    self.start(container);
                }
            }
            Some(_) => {}
            None => self.start(container),
        }
        false
    }

    /// Keeps one sidecar running; returns whether it counts as started.
    fn sidecar(&mut self, container: &Container) -> bool {
        let Some(view) = self.state.view(&container.name) else {
            self.start(container);
            return false;
        };
        match view.within(self.state.sandbox_id()) {
            Some(current) if current.is_running() => {
                self.check_running(container, view, current);
                view.is_started()
            }
            Some(current) if !current.is_exited() => false,
            _ => {
                self.start(container);
                false
            }
        }
    }

    fn sidecars(&mut self) {
        let list: Vec<_> = self.state.pod.init_containers().collect();
        for (role, container) in list {
            if role == Role::Sidecar {
                self.sidecar(container);
            }
        }
    }

    fn regular(&mut self) {
        for container in self.state.pod.regular() {
            let Some(view) = self.state.view(&container.name) else {
                self.start(container);
                continue;
            };
            match view.within(self.state.sandbox_id()) {
                Some(current) if current.is_running() => self.check_running(container, view, current),
                Some(current) if current.is_exited() => {
                    let again = view.forced
                        || should_restart(&self.state.pod, Role::Regular, container, current.exit_code);
                    if again {
                        self.start(container);
                    }
                }
                Some(_) => {}
                None => {
                    // In a new sandbox a container that ended for good stays ended.
                    let ended =
                        view.current.as_ref().filter(|current| current.is_exited()).is_some_and(|current| {
                            !should_restart(&self.state.pod, Role::Regular, container, current.exit_code)
                        });
                    if !ended {
                        self.start(container);
                    }
                }
            }
        }
    }

    /// Kills a running container whose probes failed or whose definition changed.
    fn check_running(&mut self, container: &Container, view: &ContainerView, current: &Observed) {
        let grace = self.state.pod.grace_seconds();
        if !current.hash.is_empty() && current.hash != container_hash(container) {
            self.kill(&container.name, current, grace, KillReason::DefinitionChanged);
            return;
        }
        let own = |probe: &Option<api::Probe>| {
            probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds).unwrap_or(grace)
        };
        match view.probe_of_current().and_then(|probe| probe.failed) {
            Some(ProbeFailure::Liveness) => {
                self.kill(&container.name, current, own(&container.liveness_probe), KillReason::Liveness);
            }
            Some(ProbeFailure::Startup) => {
                self.kill(&container.name, current, own(&container.startup_probe), KillReason::Startup);
            }
            None => {}
        }
    }

    /// The next step towards a running container: wait, pull or start.
    fn start(&mut self, container: &Container) {
        let name = &container.name;
        if self.state.is_busy(&Slot::Container(name.clone())) {
            return;
        }
        let unseen = ContainerView::default();
        let view = self.state.view(name).unwrap_or(&unseen);
        if let Some(until) = crash_blocked(view, self.now) {
            self.wake(until);
            return;
        }
        if !self.due(view.retry_at) {
            return;
        }
        match &view.image {
            ImageState::Unknown => self.act(Action::PullImage { container: name.clone() }),
            ImageState::Failed { at, retry_at, .. } => {
                if let Ok(shown) = at.checked_add(PULL_ERROR_SHOWN)
                    && shown > self.now
                {
                    self.wake(shown);
                }
                if self.due(Some(*retry_at)) {
                    self.act(Action::PullImage { container: name.clone() });
                }
            }
            ImageState::Present(_) => {
                if self.state.ready_sandbox().is_some() && self.state.volumes.mounts.is_some() {
                    self.act(Action::StartContainer {
                        container: name.clone(),
                        attempt: view.next_attempt(),
                    });
                }
            }
        }
    }

    fn kill(&mut self, name: &str, current: &Observed, grace: i64, why: KillReason) {
        let killing = self.state.view(name).and_then(|view| view.killing);
        match killing {
            Some(killing) => {
                let left = killing.deadline.duration_since(self.now).as_secs();
                if grace + 1 < left {
                    let (container, id) = (name.to_owned(), current.id.clone());
                    self.act(Action::HastenKill { container, id, grace });
                }
            }
            None => self.act(Action::KillContainer {
                container: name.to_owned(),
                id: current.id.clone(),
                grace,
                why,
            }),
        }
    }

    /// Everything ends: containers, then sandbox and volumes, then the object.
    fn stop(&mut self, status_written: bool) {
        if self.stop_containers() {
            return;
        }
        let state = self.state;
        let mut down = true;
        if let Some(sandbox) = &state.sandbox
            && sandbox.ready
        {
            down = false;
            if self.due(state.sandbox_retry_at) {
                self.act(Action::StopSandbox { id: sandbox.id.clone() });
            }
        }
        if !state.volumes.torn_down {
            down = false;
            if self.due(state.volumes.retry_at) {
                self.act(Action::UnmountVolumes);
            }
        }
        let over = state.vanished || state.pod.is_deleted();
        if !over || !down || state.is_busy(&Slot::Sandbox) {
            return;
        }
        if !state.cleaned {
            if self.due(state.sandbox_retry_at) {
                self.act(Action::CleanUp);
            }
        } else if state.vanished {
            if state.busy.is_empty() {
                self.decision.actions.push(Action::Finish);
            }
        } else if status_written && !state.is_busy(&Slot::Status) && self.due(state.delete_retry_at) {
            self.act(Action::DeletePod);
        }
    }

    /// Kills what runs, sidecars last and in reverse order. Returns whether something still runs.
    fn stop_containers(&mut self) -> bool {
        let state = self.state;
        let since = state.stopping_since.unwrap_or(self.now);
        let spent = self.now.duration_since(since).as_secs().max(0);
        let left = (state.stop_grace() - spent).max(0);
        let is_sidecar = |name: &str| {
            state
                .pod
                .init_containers()
                .any(|(role, container)| role == Role::Sidecar && container.name == name)
        };
        let mut alive = false;
        for (name, view) in state.containers.iter().filter(|(name, _)| !is_sidecar(name)) {
            alive |= self.stop_one(name, view, left);
        }
        let sidecars: Vec<_> =
            state.pod.init_containers().filter(|(role, _)| *role == Role::Sidecar).collect();
        for (_, container) in sidecars.into_iter().rev() {
            let Some(view) = state.view(&container.name) else { continue };
            if alive && view.is_running() {
                return true;
            }
            alive |= self.stop_one(&container.name, view, left.max(SIDECAR_GRACE_MIN));
        }
        alive
    }

    fn stop_one(&mut self, name: &str, view: &ContainerView, grace: i64) -> bool {
        let running = [&view.current, &view.previous].into_iter().flatten().find(|seen| seen.is_running());
        if let Some(current) = running {
            self.kill(name, current, grace, KillReason::PodStopping);
            return true;
        }
        // A start under way ends by itself and is then killed.
        self.state.is_busy(&Slot::Container(name.to_owned()))
    }

    /// Removes what is kept for nothing: sandboxes of the past and containers before the last two.
    fn tidy(&mut self) {
        if self.state.cleaned {
            return;
        }
        for id in &self.state.old_sandboxes {
            let inhabited = self
                .state
                .containers
                .values()
                .any(|view| view.current.as_ref().is_some_and(|c| c.is_running() && c.sandbox_id == *id));
            if !inhabited {
                self.act(Action::DropSandbox { id: id.clone() });
            }
        }
        for view in self.state.containers.values() {
            for old in &view.old {
                let (id, log_path) = (old.id.clone(), old.log_path.clone());
                self.act(Action::RemoveContainer { id, log_path });
            }
        }
    }

    /// Writes the status if it differs from the API's. Returns whether the API has it already.
    fn status(&mut self) -> bool {
        if self.state.vanished {
            return true;
        }
        let new = status::compute(self.state, self.now);
        if status::is_same(self.state.pod.pod.status.as_ref(), &new) {
            return true;
        }
        let settled = self.state.accepted_at.checked_add(START_SETTLE).unwrap_or(self.now);
        let starting = new.phase.as_deref() == Some("Pending") && !self.state.must_stop();
        let hold = starting && !status::has_trouble(&new);
        if hold && settled > self.now {
            self.wake(settled);
        } else if self.due(self.state.status_retry_at) {
            self.act(Action::WriteStatus(Box::new(new)));
        }
        false
    }
}

/// Until when a container that ended has to wait before it is started again.
pub(crate) fn crash_blocked(view: &ContainerView, now: Timestamp) -> Option<Timestamp> {
    let current = view.current.as_ref().filter(|current| current.is_exited())?;
    if view.forced {
        return None;
    }
    let finished = current.finished_at.or(current.started_at).or(current.created_at)?;
    view.backoff?.blocked_until(finished, now)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
