//! The node agent as a whole: starts everything and hands news to the pod workers.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::{Kind, Lease, Node, Pod};
use client::{Change, ChangeKind, Informer, Informers, Objects, Recorder, Rest, Tasks};
use container::{Runtime, RuntimeError};
use futures::FutureExt;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{Room, admit};
use crate::config::Config;
use crate::images::Images;
use crate::node::{Machine, Registrar, allocatable_amounts};
use crate::pod::PodInfo;
use crate::resources::{Amounts, pod_requests};
use crate::volumes::{VolumeError, Volumes, mounts};
use crate::watched::WatchedObjects;
use crate::worker::shared::Shared;
use crate::worker::state::{
    CONTAINER_NAME_LABEL, GRACE_ANNOTATION, NodeFacts, Observed, POD_UID_LABEL, Sandbox,
};
use crate::worker::{Inbox, View, Worker, remove_sandbox, sandbox_of, spec};
use crate::{eviction, lease, logs, server};

/// Pause before a worker that panicked is made anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long the runtime may take to answer at the start.
const LIST_RETRY: Duration = Duration::from_millis(200);

/// Why the node agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// Its directories cannot be prepared.
    #[error("failed to prepare the kubelet's directories: {0}")]
    Directories(String),
    /// Its API's address is taken or not its own.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// Where it was to listen.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The node agent.
pub struct Kubelet {
    config: Config,
    client: client::kube::Client,
    runtime: Arc<dyn Runtime>,
}

impl std::fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubelet").field("node", &self.config.node_name).finish_non_exhaustive()
    }
}

impl Kubelet {
    /// A node agent that acts as `system:node:<name>` through `client`.
    #[must_use]
    pub fn new(config: Config, client: client::kube::Client, runtime: Arc<dyn Runtime>) -> Self {
        Self { config, client, runtime }
    }

    /// Runs until the token is cancelled. Containers go on running and are taken over by the next run.
    ///
    /// # Errors
    /// See [`KubeletError`]; nothing that happens later ends it.
    pub async fn run(self, token: CancellationToken) -> Result<(), KubeletError> {
        let tasks = Tasks::new(token.child_token());
        let listener = tokio::net::TcpListener::bind(self.config.listen)
            .await
            .map_err(|source| KubeletError::Listen { address: self.config.listen, source })?;
        let machine = Machine::read(&self.config.root_dir, &self.runtime.version());
        self.start_node(&machine, &tasks);
        let informers = Informers::with_token(self.client.clone(), tasks.token());
        let manager = self.manager(&machine, &informers, tasks.token())?;
        server::start(manager.clone(), Rest::new(self.client.clone(), "kubelet"), listener, &tasks);
        let (runtime, stop) = (self.runtime.clone(), tasks.token().clone());
        tasks.spawn("log rotation", move || Box::pin(logs::rotate_all(runtime.clone(), stop.clone())));
        let watcher = manager.clone();
        tasks.spawn("runtime events", move || Box::pin(watcher.clone().follow_runtime()));
        let (measurer, stop) = (manager.clone(), tasks.token().clone());
        tasks.spawn("eviction", move || Box::pin(eviction::run(measurer.clone(), stop.clone())));
        manager.adopt_and_follow(&informers).await;
        token.cancelled().await;
        tasks.shut_down().await;
        manager.tracker.close();
        manager.tracker.wait().await;
        informers.shut_down().await;
        Ok(())
    }

    /// Registers the node at once and keeps its status and lease.
    fn start_node(&self, machine: &Machine, tasks: &Tasks) {
        let registrar = Arc::new(Registrar {
            config: self.config.clone(),
            machine: machine.clone(),
            nodes: Objects::new(self.client.clone(), "kubelet"),
            runtime: self.runtime.clone(),
        });
        let leases = Objects::<Lease>::new(self.client.clone(), "kubelet");
        let token = tasks.token().clone();
        tasks.spawn("node status", move || {
            let (registrar, leases, token) = (registrar.clone(), leases.clone(), token.clone());
            Box::pin(async move {
                let Some(node) = registrar.register(&token).await else { return };
                tracing::info!(node = registrar.config.node_name, "node is registered");
                let owner = api::owner_ref(&node);
                let lease = lease::keep(leases, registrar.config.node_name.clone(), owner, token.clone());
                futures::future::join(registrar.keep(node, token.clone()), lease).await;
            })
        });
    }

    fn manager(
        &self,
        machine: &Machine,
        informers: &Informers,
        token: &CancellationToken,
    ) -> Result<Arc<Manager>, KubeletError> {
        let config = self.config.clone();
        let rest = Rest::new(self.client.clone(), "kubelet");
        let objects = Arc::new(WatchedObjects::new(informers, &rest));
        let failed = |error: &dyn std::fmt::Display| KubeletError::Directories(error.to_string());
        std::fs::create_dir_all(&config.log_dir).map_err(|error| failed(&error))?;
        let volumes = Volumes::new(&config.root_dir, config.secrets_in_memory, objects.clone(), rest.clone())
            .map_err(|error: VolumeError| failed(&error))?;
        let version = self.runtime.version();
        let scheme = version.split("://").next().unwrap_or("knarr").to_owned();
        let selector = format!("metadata.name={}", config.node_name);
        let shared = Shared {
            images: Images::new(self.runtime.clone(), config.builtin_repositories.clone()),
            runtime: self.runtime.clone(),
            volumes,
            objects: objects.clone(),
            recorder: Some(Recorder::new(self.client.clone(), "kubelet", "kubelet", &config.instance)),
            pods: Objects::over(rest),
            services: informers.of::<api::Service>(),
            node: NodeFacts { host_ips: vec![ip_text(config.node_ip)], scheme },
            hostname: config.node_name.clone(),
            allocatable: RwLock::new(allocatable_amounts(&config, machine)),
            memory_capacity: machine.memory_bytes,
            config,
        };
        let manager = Arc::new(Manager {
            shared: Arc::new(shared),
            nodes: informers.of_selected::<Node>(&selector),
            handles: Mutex::default(),
            known: Mutex::default(),
            tracker: TaskTracker::new(),
            token: token.clone(),
        });
        let weak = Arc::downgrade(&manager);
        objects.on_change(move |uid| {
            if let Some(manager) = weak.upgrade() {
                manager.tell(uid, Inbox::objects);
            }
        });
        Ok(manager)
    }
}

fn ip_text(ip: IpAddr) -> String {
    ip.to_string()
}

/// Unmounts everything below a kubelet's root directory and removes what pods left there.
///
/// # Errors
/// When something stays mounted or cannot be removed; nothing mounted is ever deleted through.
pub fn clean_up(root_dir: &Path) -> std::io::Result<()> {
    mounts::unmount_below(root_dir)?;
    for dir in ["pods", "secure"] {
        match std::fs::remove_dir_all(root_dir.join(dir)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// How to reach one worker.
struct Handle {
    inbox: Arc<Inbox>,
    view: Arc<RwLock<View>>,
    requests: Amounts,
}

/// What the runtime has of a pod.
#[derive(Default)]
struct Found {
    sandboxes: Vec<Sandbox>,
    containers: Vec<(String, Observed)>,
    grace: Option<i64>,
}

/// Hands news to the pod workers and makes them.
pub(crate) struct Manager {
    pub shared: Arc<Shared>,
    nodes: Informer<Node>,
    handles: Mutex<HashMap<String, Handle>>,
    /// What the runtime had when the program started, until a pod claims it.
    known: Mutex<HashMap<String, Found>>,
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Manager {
    /// Takes over what runs, then follows the pods bound to this node.
    async fn adopt_and_follow(self: &Arc<Self>, informers: &Informers) {
        let found = loop {
            match self.list_runtime().await {
                Ok(found) => break found,
                Err(error) => tracing::warn!(%error, "failed to list what the runtime has"),
            }
            if self.token.run_until_cancelled(tokio::time::sleep(LIST_RETRY)).await.is_none() {
                return;
            }
        };
        let any = !found.is_empty();
        *self.known.lock() = found;
        let pods = informers.of_selected::<Pod>(&format!("spec.nodeName={}", self.shared.config.node_name));
        if any {
            // A running pod must not be taken for an orphan, nor admitted anew, because the list is not here yet.
            let _ = self.token.run_until_cancelled(self.nodes.synced()).await;
        }
        let manager = self.clone();
        pods.on_change(move |change| manager.pod_changed(change));
        if self.token.run_until_cancelled(pods.synced()).await.is_some() {
            self.kill_orphans();
        }
    }

    async fn list_runtime(&self) -> Result<HashMap<String, Found>, RuntimeError> {
        let mut found: HashMap<String, Found> = HashMap::new();
        let mut pod_of = BTreeMap::new();
        for sandbox in self.shared.runtime.list_sandboxes().await? {
            let uid = sandbox.config.uid.clone();
            pod_of.insert(sandbox.id.clone(), uid.clone());
            let entry = found.entry(uid).or_default();
            entry.grace = sandbox.config.annotations.get(GRACE_ANNOTATION).and_then(|text| text.parse().ok());
            entry.sandboxes.push(sandbox_of(sandbox));
        }
        for container in self.shared.runtime.list_containers().await? {
            let labels = &container.config.labels;
            let uid = pod_of.get(&container.sandbox_id).or_else(|| labels.get(POD_UID_LABEL)).cloned();
            let name = labels.get(CONTAINER_NAME_LABEL).unwrap_or(&container.config.name).clone();
            if let Some(uid) = uid {
                found.entry(uid).or_default().containers.push((name, Observed::new(container)));
            }
        }
        for entry in found.values_mut() {
            entry.containers.sort_by_key(|(_, seen)| (seen.attempt, seen.created_at));
        }
        Ok(found)
    }

    fn pod_changed(self: &Arc<Self>, change: &Change<Pod>) {
        let uid = change.object.metadata.uid.as_deref().unwrap_or_default();
        let previous = change.previous.as_ref().and_then(|pod| pod.metadata.uid.as_deref());
        if let Some(previous) = previous.filter(|previous| *previous != uid) {
            // Deleted and made again under the same name between two looks.
            self.tell(previous, Inbox::vanished);
        }
        match change.kind {
            ChangeKind::Deleted => self.tell(uid, |inbox| {
                // The last state says how long a pod that was removed by force may still take.
                inbox.pod(change.object.clone());
                inbox.vanished();
            }),
            ChangeKind::Applied => {
                let known = self.handles.lock().get(uid).map(|handle| handle.inbox.clone());
                match known {
                    Some(inbox) => inbox.pod(change.object.clone()),
                    None => self.start_worker(uid, change.object.clone()),
                }
            }
        }
    }

    /// Leaves something for the worker of a pod, if it has one.
    pub fn tell(&self, uid: &str, news: impl FnOnce(&Inbox)) {
        let inbox = self.handles.lock().get(uid).map(|handle| handle.inbox.clone());
        if let Some(inbox) = inbox {
            news(&inbox);
        }
    }

    fn start_worker(self: &Arc<Self>, uid: &str, pod: Arc<Pod>) {
        let found = self.known.lock().remove(uid);
        let info = PodInfo::new(pod.clone());
        let fresh = found.is_none() && !info.is_deleted() && !api::is_pod_finished(&pod);
        let verdict = if fresh && info.start_time().is_none() { self.admit(&info) } else { None };
        let handle = Handle {
            inbox: Arc::default(),
            view: Arc::new(RwLock::new(View { pod: Some(pod.clone()), ..View::default() })),
            requests: pod_requests(&info),
        };
        let (inbox, view) = (handle.inbox.clone(), handle.view.clone());
        self.handles.lock().insert(uid.to_owned(), handle);
        let (manager, uid) = (self.clone(), uid.to_owned());
        self.tracker.spawn(async move {
            let mut found = found.unwrap_or_default();
            loop {
                let latest = view.read().pod.clone().unwrap_or_else(|| pod.clone());
                let mut worker = Worker::new(
                    manager.shared.clone(),
                    latest,
                    found.sandboxes,
                    found.containers,
                    inbox.clone(),
                    view.clone(),
                );
                if let Some(verdict) = verdict.clone() {
                    worker.refuse(verdict);
                }
                let run = AssertUnwindSafe(worker.run(manager.token.clone())).catch_unwind().await;
                if run.is_ok() || manager.token.is_cancelled() {
                    break;
                }
                tracing::error!(uid, "a pod worker panicked, making it anew");
                tokio::time::sleep(RESTART_PAUSE).await;
                found = manager
                    .list_runtime()
                    .await
                    .ok()
                    .and_then(|mut all| all.remove(&uid))
                    .unwrap_or_default();
            }
            manager.handles.lock().remove(&uid);
        });
    }

    fn admit(&self, pod: &PodInfo) -> Option<crate::worker::state::Verdict> {
        let others = self
            .handles
            .lock()
            .values()
            .filter(|handle| is_active(handle))
            .map(|handle| handle.requests.clone())
            .collect();
        let node = self.nodes.get("", &self.shared.config.node_name);
        let room = Room {
            allocatable: self.shared.allocatable.read().clone(),
            max_pods: i64::from(self.shared.config.max_pods),
            others,
            node: node.as_deref(),
        };
        admit(pod, &room)
    }

    /// Ends what runs for pods that no longer exist.
    fn kill_orphans(self: &Arc<Self>) {
        let orphans = std::mem::take(&mut *self.known.lock());
        let mut uids: Vec<String> = self.shared.volumes.known_uids();
        uids.retain(|uid| !orphans.contains_key(uid) && !self.handles.lock().contains_key(uid));
        for uid in uids {
            let manager = self.clone();
            self.tracker.spawn(async move { manager.remove_dirs(&uid).await });
        }
        for (uid, found) in orphans {
            let manager = self.clone();
            self.tracker.spawn(async move { manager.kill_orphan(&uid, found).await });
        }
    }

    async fn kill_orphan(&self, uid: &str, found: Found) {
        tracing::info!(uid, "ending a pod that no longer exists");
        let grace =
            Duration::from_secs(found.grace.and_then(|grace| u64::try_from(grace).ok()).unwrap_or(30));
        let runtime = &self.shared.runtime;
        let running = found.containers.iter().filter(|(_, seen)| seen.is_running());
        let stops = running.map(|(_, seen)| runtime.stop_container(&seen.id, grace));
        for result in futures::future::join_all(stops).await {
            if let Err(error) = result {
                tracing::warn!(uid, %error, "failed to stop an orphaned container");
            }
        }
        for sandbox in &found.sandboxes {
            if let Err(error) = remove_sandbox(&self.shared, &sandbox.id).await {
                tracing::warn!(uid, %error, "failed to remove an orphaned sandbox");
            }
        }
        for (_, seen) in &found.containers {
            logs::remove(&seen.log_path);
        }
        self.remove_log_dir(uid);
        self.remove_dirs(uid).await;
    }

    fn remove_log_dir(&self, uid: &str) {
        let entries = std::fs::read_dir(&self.shared.config.log_dir).into_iter().flatten().flatten();
        let suffix = format!("_{uid}");
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(&suffix)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }

    async fn remove_dirs(&self, uid: &str) {
        if let Err(error) = self.shared.volumes.tear_down(uid).await {
            tracing::warn!(uid, %error, "failed to remove the volumes of a pod that no longer exists");
        }
    }

    async fn follow_runtime(self: Arc<Self>) {
        use tokio::sync::broadcast::error::RecvError;
        let mut events = self.shared.runtime.events();
        loop {
            match events.recv().await {
                Ok(event) => self.tell(&event.pod_uid, |inbox| inbox.runtime(event.container_id.clone())),
                Err(RecvError::Lagged(_)) => {
                    let all: Vec<Arc<Inbox>> =
                        self.handles.lock().values().map(|h| h.inbox.clone()).collect();
                    all.iter().for_each(|inbox| inbox.look_at_everything());
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// The pod of that name, by uid when one is given.
    pub fn view(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<View> {
        let handles = self.handles.lock();
        let mut found: Vec<View> = handles
            .iter()
            .filter(|(known, _)| uid.is_none_or(|uid| uid == known.as_str()))
            .map(|(_, handle)| handle.view.read().clone())
            .filter(|view| {
                view.pod.as_ref().is_some_and(|pod| {
                    pod.metadata.name.as_deref() == Some(name)
                        && pod.metadata.namespace.as_deref() == Some(namespace)
                })
            })
            .collect();
        // Of two namesakes the one that is not being deleted is meant.
        found.sort_by_key(|view| {
            view.pod.as_ref().is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
        });
        found.into_iter().next()
    }

    /// Every pod of this node.
    pub fn views(&self) -> Vec<View> {
        self.handles.lock().values().map(|handle| handle.view.read().clone()).collect()
    }

    /// Directory of a pod's logs.
    pub fn log_dir(&self, pod: &Pod) -> std::path::PathBuf {
        let meta = &pod.metadata;
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        spec::log_directory(
            self.shared.log_root(),
            &part(&meta.namespace),
            &part(&meta.name),
            &part(&meta.uid),
        )
    }

    /// The list of pods as the API writes it.
    pub fn pod_list(&self) -> serde_json::Value {
        let items: Vec<serde_json::Value> =
            self.views().into_iter().filter_map(|view| view.pod).map(|pod| pod.to_value()).collect();
        serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
    }
}

fn is_active(handle: &Handle) -> bool {
    handle.view.read().pod.as_ref().is_some_and(|pod| !api::is_pod_finished(pod))
}
