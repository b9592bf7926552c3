//! Config maps and secrets that pods of this node refer to, each watched by itself while some pod needs it.
//!
//! A node may read only the objects its pods name, so there is no watch over whole namespaces. The cost is one watch
//! an object; it ends when the last pod that asked for the object is gone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api::{ConfigMap, Kind, Secret};
use client::{ChangeKind, Informer, Informers, Objects, Rest};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// How long a first read may take before the object is asked for directly, which tells what is wrong.
const SYNC_TIMEOUT: Duration = Duration::from_secs(2);

/// Why an object cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("configmap {0:?} not found")]
    ConfigMapNotFound(String),
    #[error("secret {0:?} not found")]
    SecretNotFound(String),
    #[error("failed to read {kind} {name:?}: {reason}")]
    Failed { kind: &'static str, name: String, reason: String },
}

type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// The watches of one node.
pub(crate) struct WatchedObjects {
    config_maps: Watches<ConfigMap>,
    secrets: Watches<Secret>,
}

impl std::fmt::Debug for WatchedObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchedObjects").finish_non_exhaustive()
    }
}

impl WatchedObjects {
    pub fn new(informers: &Informers, rest: &Rest) -> Self {
        Self { config_maps: Watches::new(informers, rest), secrets: Watches::new(informers, rest) }
    }

    /// Sets who is told the uid of a pod when an object it refers to changes. The first call counts.
    pub fn on_change(&self, listener: impl Fn(&str) + Send + Sync + 'static) {
        let listener: Listener = Arc::new(listener);
        let _ = self.config_maps.listener.set(listener.clone());
        let _ = self.secrets.listener.set(listener);
    }

    /// The config map, `None` when it is not there; the pod is told of its changes from now on.
    pub async fn config_map(
        &self,
        uid: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<ConfigMap>>, LookupError> {
        self.config_maps.get(uid, namespace, name).await
    }

    /// The secret, as [`WatchedObjects::config_map`].
    pub async fn secret(
        &self,
        uid: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Secret>>, LookupError> {
        self.secrets.get(uid, namespace, name).await
    }

    /// The pod needs nothing any more.
    pub fn release(&self, uid: &str) {
        self.config_maps.release(uid);
        self.secrets.release(uid);
    }
}

struct Watch<K> {
    informer: Informer<K>,
    users: Arc<Mutex<HashSet<String>>>,
    token: CancellationToken,
}

struct Watches<K> {
    informers: Informers,
    objects: Objects<K>,
    list: Mutex<HashMap<(String, String), Watch<K>>>,
    listener: Arc<OnceLock<Listener>>,
}

impl<K: Kind> Watches<K> {
    fn new(informers: &Informers, rest: &Rest) -> Self {
        Self {
            informers: informers.clone(),
            objects: Objects::over(rest.clone()),
            list: Mutex::default(),
            listener: Arc::default(),
        }
    }

    async fn get(&self, uid: &str, namespace: &str, name: &str) -> Result<Option<Arc<K>>, LookupError> {
        let informer = self.subscribe(uid, namespace, name);
        if tokio::time::timeout(SYNC_TIMEOUT, informer.synced()).await.is_ok() {
            return Ok(informer.get(namespace, name));
        }
        let direct = self.objects.get_opt(namespace, name).await;
        direct.map(|found| found.map(Arc::new)).map_err(|error| LookupError::Failed {
            kind: K::KIND,
            name: name.to_owned(),
            reason: error.to_string(),
        })
    }

    fn subscribe(&self, uid: &str, namespace: &str, name: &str) -> Informer<K> {
        let mut list = self.list.lock();
        let key = (namespace.to_owned(), name.to_owned());
        let watch = list.entry(key).or_insert_with(|| self.start(namespace, name));
        watch.users.lock().insert(uid.to_owned());
        watch.informer.clone()
    }

    fn start(&self, namespace: &str, name: &str) -> Watch<K> {
        let token = CancellationToken::new();
        let informer = self.informers.of_object::<K>(namespace, name, &token);
        let users: Arc<Mutex<HashSet<String>>> = Arc::default();
        let (told, listener, synced) = (users.clone(), self.listener.clone(), informer.clone());
        informer.on_change(move |change| {
            // The first list is what the asking pod is waiting for; only later changes are news.
            let news = synced.is_synced() || change.kind == ChangeKind::Deleted;
            let Some(listener) = listener.get().filter(|_| news) else { return };
            let uids: Vec<String> = told.lock().iter().cloned().collect();
            for uid in uids {
                listener(&uid);
            }
        });
        Watch { informer, users, token }
    }

    fn release(&self, uid: &str) {
        self.list.lock().retain(|_, watch| {
            let mut users = watch.users.lock();
            users.remove(uid);
            if users.is_empty() {
                watch.token.cancel();
            }
            !users.is_empty()
        });
    }
}
