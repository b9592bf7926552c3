//! The pod worker: one actor a pod.
//!
//! It folds what it hears (the object, the runtime, probes, ends of actions) into [`state::State`], asks
//! [`decide::decide`] what to do, begins that as tasks and waits for the next news. Nothing here ticks.

mod actions;
pub(crate) mod decide;
mod hooks;
mod outcome;
pub(crate) mod shared;
pub(crate) mod spec;
pub(crate) mod state;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api::Pod;
use client::EventType;
use container::{RuntimeError, SandboxState, SandboxStatus};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::events::PodEvents;
use crate::pod::PodInfo;
use crate::probes::{ProbeKind, ProbeReport, ProbeSet};
use actions::Task;
pub(crate) use actions::remove_sandbox;
use actions::with_message;
use decide::{Action, decide};
use outcome::Outcome;
use shared::Shared;
use state::{Observed, Phase, Sandbox, Slot, State, Verdict};

/// What has reached a worker since it last looked: only the latest of each kind, so it cannot grow without bound.
#[derive(Debug, Default)]
struct Mail {
    pod: Option<Arc<Pod>>,
    vanished: bool,
    verdict: Option<Verdict>,
    containers: BTreeSet<String>,
    sandbox: bool,
    everything: bool,
    objects: bool,
    probes: BTreeMap<(String, ProbeKind), ProbeReport>,
}

/// Where news for a worker is left.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    mail: Mutex<Mail>,
    notify: Notify,
}

impl Inbox {
    fn put(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail.lock());
        self.notify.notify_one();
    }

    /// A newer state of the object.
    pub fn pod(&self, pod: Arc<Pod>) {
        self.put(|mail| mail.pod = Some(pod));
    }

    /// The object is gone.
    pub fn vanished(&self) {
        self.put(|mail| mail.vanished = true);
    }

    /// Something happened to a container, or to the sandbox when `None`.
    pub fn runtime(&self, container: Option<String>) {
        self.put(|mail| match container {
            Some(id) => {
                mail.containers.insert(id);
            }
            None => mail.sandbox = true,
        });
    }

    /// Events of the runtime were missed.
    pub fn look_at_everything(&self) {
        self.put(|mail| mail.everything = true);
    }

    /// A config map or secret of the pod changed.
    pub fn objects(&self) {
        self.put(|mail| mail.objects = true);
    }

    /// The node ends the pod.
    pub fn fail(&self, verdict: Verdict) {
        self.put(|mail| mail.verdict = Some(verdict));
    }

    fn probe(&self, report: ProbeReport) {
        self.put(|mail| {
            mail.probes.insert((report.container.clone(), report.kind), report);
        });
    }
}

/// What others may read of a worker's state, for the node's own API.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub pod: Option<Arc<Pod>>,
    pub sandbox: Option<String>,
    /// Log files of the newest and of the former attempt by container.
    pub logs: HashMap<String, (Option<std::path::PathBuf>, Option<std::path::PathBuf>)>,
    /// Ids of containers that run.
    pub running: HashMap<String, String>,
}

/// One pod's worker.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    state: State,
    events: PodEvents,
    inbox: Arc<Inbox>,
    view: Arc<RwLock<View>>,
    probes: ProbeSet,
    tasks: JoinSet<Outcome>,
    slots: HashMap<Id, Slot>,
    /// Ids of which news came while the container of the name was being started.
    unseen: BTreeMap<String, String>,
    reported: BTreeMap<String, String>,
}

/// A sandbox in the worker's terms.
pub(crate) fn sandbox_of(status: SandboxStatus) -> Sandbox {
    Sandbox {
        id: status.id,
        ready: status.state == SandboxState::Ready,
        ips: status.ips,
        attempt: status.config.attempt,
    }
}

impl Worker {
    /// A worker for `pod`; `sandboxes` and `containers` are what the runtime has of it already.
    pub fn new(
        shared: Arc<Shared>,
        pod: Arc<Pod>,
        sandboxes: Vec<Sandbox>,
        containers: Vec<(String, Observed)>,
        inbox: Arc<Inbox>,
        view: Arc<RwLock<View>>,
    ) -> Self {
        let pod = PodInfo::new(pod);
        let events = PodEvents::new(shared.recorder.as_ref(), &pod);
        let mut state = State::new(pod, shared.node.clone(), Timestamp::now());
        adopt(&mut state, sandboxes);
        for (name, seen) in containers {
            let view = state.view_mut(&name);
            if seen.phase == Phase::Created {
                // Its start was cut off; it is made anew.
                view.old.push(seen);
                continue;
            }
            let seen = with_message(&shared, &state.pod, &name, seen);
            state.view_mut(&name).observe(seen);
        }
        let news = inbox.clone();
        let probes = ProbeSet::new(shared.runtime.clone(), Arc::new(move |report| news.probe(report)));
        Self {
            shared,
            state,
            events,
            inbox,
            view,
            probes,
            tasks: JoinSet::new(),
            slots: HashMap::new(),
            unseen: BTreeMap::new(),
            reported: BTreeMap::new(),
        }
    }

    /// Refuses the pod before anything is begun.
    pub fn refuse(&mut self, verdict: Verdict) {
        self.events.pod(EventType::Warning, &verdict.reason, &verdict.message);
        self.state.verdict = Some(verdict);
    }

    /// Works until nothing of the pod is left, or until the program stops.
    pub async fn run(mut self, token: CancellationToken) {
        loop {
            let now = Timestamp::now();
            self.state.arm_probes();
            self.state.settle(now);
            let decision = decide(&self.state, now);
            self.tell_backoffs(now);
            for action in decision.actions {
                if action == Action::Finish {
                    return;
                }
                self.begin(action, now);
            }
            self.probes.reconcile(&self.state, &self.events);
            self.publish();
            let pause = decision.wake_at.map(|at| at.duration_since(Timestamp::now()));
            let pause = pause.map(|pause| std::time::Duration::try_from(pause).unwrap_or_default());
            tokio::select! {
                () = token.cancelled() => return,
                () = self.inbox.notify.notified() => self.read_mail().await,
                Some(done) = self.tasks.join_next_with_id() => self.finish(done),
                // Rounded up by a millisecond: a timer that fires early would only find it is too early.
                () = sleep(pause) => {}
            }
        }
    }

    fn begin(&mut self, action: Action, now: Timestamp) {
        let Some(slot) = action.slot() else { return };
        tracing::debug!(pod = self.state.pod.formatted(), ?slot, "begin");
        let task = Task::new(&self.shared, &self.state, &self.events);
        self.state.begin(&action, now);
        let handle = self.tasks.spawn(task.perform(action));
        self.slots.insert(handle.id(), slot);
    }

    fn finish(&mut self, done: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(pod = self.state.pod.formatted(), %error, "an action was interrupted");
                (error.id(), Outcome::Failed)
            }
        };
        let Some(slot) = self.slots.remove(&id) else { return };
        self.state.apply(&slot, outcome, Timestamp::now());
        // It may have ended after the action has looked at it.
        if let Slot::Container(name) = &slot
            && let Some(container) = self.unseen.remove(name)
        {
            self.inbox.runtime(Some(container));
        }
    }

    async fn read_mail(&mut self) {
        let mail = std::mem::take(&mut *self.inbox.mail.lock());
        if let Some(pod) = mail.pod
            && self.state.take_pod(PodInfo::new(pod))
        {
            self.events = PodEvents::new(self.shared.recorder.as_ref(), &self.state.pod);
        }
        self.state.vanished |= mail.vanished;
        if let Some(verdict) = mail.verdict
            && self.state.verdict.is_none()
        {
            self.state.verdict = Some(verdict);
        }
        if mail.objects {
            self.objects_changed();
        }
        if mail.everything {
            self.look_at_everything().await;
        } else {
            self.look_at_containers(mail.containers).await;
            if mail.sandbox {
                self.look_at_sandboxes().await;
            }
        }
        for report in mail.probes.values() {
            self.state.hear(report);
        }
    }

    /// Whatever waited for an object tries again at once.
    fn objects_changed(&mut self) {
        self.state.volumes.stale = true;
        self.state.volumes.retry_at = None;
        for view in self.state.containers.values_mut() {
            if view.waiting.as_ref().is_some_and(|waiting| waiting.reason == "CreateContainerConfigError") {
                view.retry_at = None;
            }
        }
    }

    async fn look_at_containers(&mut self, ids: BTreeSet<String>) {
        for id in ids {
            match self.shared.runtime.container_status(&id).await {
                Ok(status) => {
                    let name = status.config.name.clone();
                    self.see(name, Observed::new(status));
                }
                Err(RuntimeError::NotFound { .. }) => {
                    for view in self.state.containers.values_mut() {
                        view.forget(&id);
                    }
                }
                Err(error) => tracing::warn!(id, %error, "failed to look at a container"),
            }
        }
    }

    /// A container that is being started is left to the action that starts it, which knows its hooks.
    fn see(&mut self, name: String, seen: Observed) {
        let starting = self.state.is_busy(&Slot::Container(name.clone()));
        let known = self
            .state
            .view(&name)
            .is_some_and(|view| view.current.iter().chain(&view.previous).any(|known| known.id == seen.id));
        if starting && !known {
            self.unseen.insert(name, seen.id);
            return;
        }
        let seen = with_message(&self.shared, &self.state.pod, &name, seen);
        self.state.view_mut(&name).observe(seen);
    }

    async fn look_at_sandboxes(&mut self) {
        let Some(id) = self.state.sandbox_id().map(str::to_owned) else { return };
        match self.shared.runtime.list_sandboxes().await {
            Ok(list) => {
                let found = list.into_iter().find(|status| status.id == id).map(sandbox_of);
                if let Some(sandbox) = self.state.sandbox.as_mut().filter(|sandbox| sandbox.id == id) {
                    match found {
                        Some(found) => *sandbox = found,
                        None => sandbox.ready = false,
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "failed to list sandboxes"),
        }
    }

    async fn look_at_everything(&mut self) {
        self.look_at_sandboxes().await;
        let ids: BTreeSet<String> = self
            .state
            .containers
            .values()
            .flat_map(|view| view.current.iter().chain(&view.previous))
            .filter(|seen| seen.phase != Phase::Exited)
            .map(|seen| seen.id.clone())
            .collect();
        self.look_at_containers(ids).await;
    }

    /// Reports each delay once, not at every look.
    fn tell_backoffs(&mut self, now: Timestamp) {
        if self.state.must_stop() {
            return;
        }
        let pod = self.state.pod.clone();
        for (_, container) in pod.containers() {
            let Some(view) = self.state.view(&container.name) else { continue };
            let Some(until) = decide::crash_blocked(view, now) else { continue };
            let Some(id) = view.current.as_ref().map(|current| format!("{}@{until}", current.id)) else {
                continue;
            };
            if self.reported.get(&container.name) != Some(&id) {
                self.reported.insert(container.name.clone(), id);
                let message = format!(
                    "Back-off restarting failed container {} in pod {}",
                    container.name,
                    pod.formatted()
                );
                self.events.container(container, EventType::Warning, "BackOff", &message);
            }
        }
        self.tell_pull_backoffs(&pod, now);
    }

    fn tell_pull_backoffs(&mut self, pod: &PodInfo, now: Timestamp) {
        for (_, container) in pod.containers() {
            let Some(view) = self.state.view(&container.name) else { continue };
            let state::ImageState::Failed { reason, at, .. } = &view.image else { continue };
            let shown = at.checked_add(decide::PULL_ERROR_SHOWN).is_ok_and(|until| until > now);
            let id = format!("image@{at}");
            if reason != "ErrImagePull" || shown || self.reported.get(&container.name) == Some(&id) {
                continue;
            }
            let image = container.image.clone().unwrap_or_default();
            self.reported.insert(container.name.clone(), id);
            self.events.container(
                container,
                EventType::Normal,
                "BackOff",
                &format!("Back-off pulling image {image:?}"),
            );
            self.events.container(container, EventType::Warning, "Failed", "Error: ImagePullBackOff");
        }
    }

    fn publish(&self) {
        let path = |seen: &Option<Observed>| seen.as_ref().map(|seen| seen.log_path.clone());
        let views = &self.state.containers;
        let running = views.iter().filter_map(|(name, view)| {
            let current = view.current.as_ref().filter(|current| current.is_running())?;
            Some((name.clone(), current.id.clone()))
        });
        *self.view.write() = View {
            pod: Some(self.state.pod.pod.clone()),
            sandbox: self.state.ready_sandbox().map(|sandbox| sandbox.id.clone()),
            logs: views
                .iter()
                .map(|(name, view)| (name.clone(), (path(&view.current), path(&view.previous))))
                .collect(),
            running: running.collect(),
        };
    }
}

async fn sleep(pause: Option<std::time::Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause + std::time::Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}

/// Takes over the sandboxes that an earlier run of the program made: the newest is the pod's, the others go.
fn adopt(state: &mut State, mut sandboxes: Vec<Sandbox>) {
    sandboxes.sort_by_key(|sandbox| sandbox.attempt);
    if let Some(newest) = sandboxes.pop() {
        state.next_sandbox_attempt = newest.attempt + 1;
        state.sandbox = Some(newest);
    }
    state.old_sandboxes = sandboxes.into_iter().map(|sandbox| sandbox.id).collect();
}
