//! How an action ended, and what that changes in the worker's state.

use container::Image;
use jiff::{SignedDuration, Timestamp};

use super::decide::Action;
use super::state::{
    ContainerView, ImageState, Killing, Observed, Phase, ProbeView, Sandbox, Slot, State, Waiting,
};
use crate::backoff::{CrashBackoff, doubling};
use crate::images::ImageError;
use crate::pod::PodInfo;
use crate::probes::{ProbeKind, ProbeReport, failure_of};
use crate::volumes::SetUp;

const PULL_FIRST: SignedDuration = SignedDuration::from_secs(10);
const PULL_MAX: SignedDuration = SignedDuration::from_secs(300);
const MOUNT_FIRST: SignedDuration = SignedDuration::from_millis(500);
const MOUNT_MAX: SignedDuration = SignedDuration::from_secs(122);
const SANDBOX_FIRST: SignedDuration = SignedDuration::from_secs(1);
const SANDBOX_MAX: SignedDuration = SignedDuration::from_secs(30);
const START_FIRST: SignedDuration = SignedDuration::from_secs(10);
const START_MAX: SignedDuration = SignedDuration::from_secs(60);
const WRITE_RETRY: SignedDuration = SignedDuration::from_secs(1);
/// The API keeps something else than it was sent; writing faster would not help.
const WRITE_STUBBORN: SignedDuration = SignedDuration::from_secs(10);
const DELETE_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// The end of an action.
#[derive(Debug)]
pub(crate) enum Outcome {
    VolumesReady(SetUp),
    VolumesFailed,
    VolumesGone,
    SandboxRunning(Sandbox),
    SandboxFailed,
    SandboxStopped {
        id: String,
    },
    SandboxDropped {
        id: String,
    },
    CleanedUp,
    ImageReady {
        container: String,
        image: Image,
    },
    ImageFailed {
        container: String,
        error: ImageError,
    },
    Started {
        container: String,
        seen: Observed,
    },
    /// `seen`: what was created before it failed.
    StartFailed {
        container: String,
        waiting: Waiting,
        seen: Option<Observed>,
    },
    Killed {
        container: String,
        id: String,
        seen: Option<Observed>,
    },
    Removed {
        id: String,
    },
    StatusWritten(Box<PodInfo>),
    StatusRefused {
        gone: bool,
    },
    DeleteSent,
    /// The action failed in a way that only trying again can mend.
    Failed,
}

fn after(now: Timestamp, delay: SignedDuration) -> Option<Timestamp> {
    now.checked_add(delay).ok()
}

impl State {
    /// Notes that an action is under way.
    pub fn begin(&mut self, action: &Action, now: Timestamp) {
        if let Some(slot) = action.slot() {
            self.busy.insert(slot);
        }
        match action {
            Action::MountVolumes => self.volumes.stale = false,
            Action::StartContainer { container, .. } => {
                let view = self.view_mut(container);
                if let Some(current) = view.current.as_ref().filter(|current| current.is_exited()) {
                    let finished = current.finished_at.or(current.created_at).unwrap_or(now);
                    view.backoff = Some(CrashBackoff::next(view.backoff, finished, now));
                }
                view.forced = false;
            }
            Action::KillContainer { container, grace, why, .. } => {
                let deadline = after(now, SignedDuration::from_secs(*grace)).unwrap_or(now);
                let view = self.view_mut(container);
                view.killing = Some(Killing { deadline });
                view.forced = *why == super::decide::KillReason::DefinitionChanged;
            }
            Action::HastenKill { container, grace, .. } => {
                let deadline = after(now, SignedDuration::from_secs(*grace)).unwrap_or(now);
                self.view_mut(container).killing = Some(Killing { deadline });
            }
            _ => {}
        }
    }

    /// Notes how an action ended.
    pub fn apply(&mut self, slot: &Slot, outcome: Outcome, now: Timestamp) {
        self.busy.remove(slot);
        if let Slot::Container(name) = slot
            && let Some(view) = self.containers.get_mut(name)
        {
            view.killing = None;
        }
        match outcome {
            Outcome::VolumesReady(_) | Outcome::VolumesFailed | Outcome::VolumesGone => {
                self.apply_volumes(outcome, now);
            }
            Outcome::SandboxRunning(_)
            | Outcome::SandboxFailed
            | Outcome::SandboxStopped { .. }
            | Outcome::SandboxDropped { .. }
            | Outcome::CleanedUp => self.apply_sandbox(outcome, now),
            Outcome::ImageReady { container, image } => {
                let view = self.view_mut(&container);
                view.image = ImageState::Present(image.id);
                view.image_failures = 0;
            }
            Outcome::ImageFailed { container, error } => self.view_mut(&container).image_failed(&error, now),
            Outcome::Started { container, seen } => self.view_mut(&container).started(seen),
            Outcome::StartFailed { container, waiting, seen } => {
                self.view_mut(&container).start_failed(waiting, seen, now);
            }
            Outcome::Killed { container, id, seen } => match seen {
                Some(seen) => self.view_mut(&container).observe(seen),
                None => self.view_mut(&container).forget(&id),
            },
            Outcome::Removed { id } => {
                for view in self.containers.values_mut() {
                    view.old.retain(|old| old.id != id);
                }
            }
            Outcome::StatusWritten(pod) => {
                self.take_pod(*pod);
                let settled =
                    crate::status::is_same(self.pod.pod.status.as_ref(), &crate::status::compute(self, now));
                self.status_retry_at = None;
                if !settled && self.pod.pod.status.as_ref() == self.last_answer.as_ref() {
                    self.status_retry_at = after(now, WRITE_STUBBORN);
                }
                self.last_answer.clone_from(&self.pod.pod.status);
            }
            Outcome::StatusRefused { gone } => {
                self.status_retry_at = after(now, if gone { WRITE_STUBBORN } else { WRITE_RETRY });
            }
            Outcome::DeleteSent => self.delete_retry_at = after(now, DELETE_AGAIN),
            Outcome::Failed => self.apply_failure(slot, now),
        }
    }

    fn apply_volumes(&mut self, outcome: Outcome, now: Timestamp) {
        let volumes = &mut self.volumes;
        match outcome {
            Outcome::VolumesReady(ready) => {
                volumes.mounts = Some(ready.mounts);
                volumes.refresh_at = ready.refresh_at;
                volumes.retry_at = None;
                volumes.failures = 0;
                volumes.torn_down = false;
            }
            Outcome::VolumesFailed => {
                volumes.failures += 1;
                volumes.retry_at = after(now, doubling(volumes.failures, MOUNT_FIRST, MOUNT_MAX));
                // Volumes that were there before stay as they were.
                volumes.stale = volumes.mounts.is_some();
            }
            _ => {
                volumes.mounts = None;
                volumes.torn_down = true;
                volumes.retry_at = None;
            }
        }
    }

    fn apply_sandbox(&mut self, outcome: Outcome, now: Timestamp) {
        match outcome {
            Outcome::SandboxRunning(sandbox) => {
                self.next_sandbox_attempt = sandbox.attempt + 1;
                self.sandbox = Some(sandbox);
                self.sandbox_retry_at = None;
                self.sandbox_failures = 0;
            }
            Outcome::SandboxFailed => {
                self.sandbox_failures += 1;
                self.next_sandbox_attempt += 1;
                self.sandbox_retry_at =
                    after(now, doubling(self.sandbox_failures, SANDBOX_FIRST, SANDBOX_MAX));
            }
            Outcome::SandboxStopped { id } => {
                self.sandbox_retry_at = None;
                if let Some(sandbox) = self.sandbox.as_mut().filter(|sandbox| sandbox.id == id) {
                    sandbox.ready = false;
                }
            }
            Outcome::SandboxDropped { id } => self.old_sandboxes.retain(|old| *old != id),
            _ => {
                self.cleaned = true;
                self.old_sandboxes.clear();
            }
        }
    }

    fn apply_failure(&mut self, slot: &Slot, now: Timestamp) {
        match slot {
            Slot::Volumes => {
                self.volumes.failures += 1;
                self.volumes.retry_at = after(now, doubling(self.volumes.failures, MOUNT_FIRST, MOUNT_MAX));
            }
            Slot::Sandbox => {
                self.sandbox_failures += 1;
                self.sandbox_retry_at =
                    after(now, doubling(self.sandbox_failures, SANDBOX_FIRST, SANDBOX_MAX));
            }
            Slot::Image(name) | Slot::Container(name) => {
                let view = self.view_mut(name);
                view.failures += 1;
                view.retry_at = after(now, doubling(view.failures, START_FIRST, START_MAX));
            }
            Slot::Status => self.status_retry_at = after(now, WRITE_RETRY),
            Slot::Delete => self.delete_retry_at = after(now, WRITE_RETRY),
            Slot::Hasten(_) => {}
            Slot::Remove(id) => {
                // Left behind: the sandbox's removal takes it along.
                for view in self.containers.values_mut() {
                    view.old.retain(|old| old.id != *id);
                }
                self.old_sandboxes.retain(|old| old != id);
            }
        }
    }

    /// Takes what a probe found.
    pub fn hear(&mut self, report: &ProbeReport) {
        let Some(container) = self.pod.container(&report.container).map(|(_, container)| container.clone())
        else {
            return;
        };
        let view = self.view_mut(&report.container);
        if view.current.as_ref().is_none_or(|current| current.id != report.container_id) {
            return;
        }
        if view.probe.container_id != report.container_id {
            view.probe = ContainerView::fresh_probe(&container, &report.container_id);
        }
        match report.kind {
            ProbeKind::Readiness => view.probe.ready = Some(report.success),
            ProbeKind::Startup => view.probe.started = Some(report.success),
            ProbeKind::Liveness => {}
        }
        view.probe.failed = if report.success { None } else { failure_of(report.kind).or(view.probe.failed) };
    }

    /// Gives every running container its unproven probes.
    pub fn arm_probes(&mut self) {
        let pod = self.pod.clone();
        for (_, container) in pod.containers() {
            let Some(view) = self.containers.get_mut(&container.name) else { continue };
            if let Some(current) = view.current.as_ref().filter(|current| current.is_running())
                && view.probe.container_id != current.id
            {
                view.probe = ContainerView::fresh_probe(container, &current.id);
            }
            // What an earlier run of the program reported holds only for probes that exist.
            if container.readiness_probe.is_none() {
                view.probe.ready = None;
            }
            if container.startup_probe.is_none() {
                view.probe.started = None;
            }
        }
    }
}

impl ContainerView {
    fn fresh_probe(container: &api::Container, id: &str) -> ProbeView {
        ProbeView {
            container_id: id.to_owned(),
            started: container.startup_probe.is_some().then_some(false),
            ready: container.readiness_probe.is_some().then_some(false),
            failed: None,
        }
    }

    fn image_failed(&mut self, error: &ImageError, now: Timestamp) {
        self.image_failures += 1;
        let delay = doubling(self.image_failures, PULL_FIRST, PULL_MAX);
        self.image = ImageState::Failed {
            reason: error.reason.to_owned(),
            message: error.message.clone(),
            at: now,
            retry_at: after(now, delay).unwrap_or(now),
        };
    }

    fn started(&mut self, seen: Observed) {
        self.waiting = None;
        self.retry_at = None;
        self.failures = 0;
        self.image = ImageState::Unknown;
        self.observe(seen);
    }

    fn start_failed(&mut self, waiting: Waiting, seen: Option<Observed>, now: Timestamp) {
        match seen {
            // It was created: from here on it is a container that ended, with its own delay.
            Some(mut seen) => {
                if seen.phase == Phase::Created {
                    seen.phase = Phase::Exited;
                    seen.exit_code = 128;
                    seen.reason = "StartError".to_owned();
                    seen.message = waiting.message;
                    seen.finished_at = Some(now);
                }
                self.image = ImageState::Unknown;
                self.retry_at = None;
                self.waiting = None;
                self.observe(seen);
            }
            None => {
                self.failures += 1;
                self.waiting = Some(waiting);
                self.retry_at = after(now, doubling(self.failures, START_FIRST, START_MAX));
            }
        }
    }
}
