//! Shared, typed caches of collections with synchronous change handlers.

use crate::reflector::{Sink, Source, reflect};
use crate::tasks::Tasks;
use api::{Key, Kind};
use parking_lot::{Mutex, RwLock};
use serde_json::value::RawValue;
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created or changed, or was there when the handler was added.
    Applied,
    /// It is gone.
    Deleted,
}

/// One change of an informer's cache.
#[derive(Debug)]
pub struct Change<K> {
    /// What happened.
    pub kind: ChangeKind,
    /// The new state, or the last one when deleted.
    pub object: Arc<K>,
    /// The state before, when the cache had one.
    pub previous: Option<Arc<K>>,
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

struct Shared<K> {
    objects: RwLock<BTreeMap<Key, Arc<K>>>,
    /// Held while a change is stored and handed out, so that a new handler sees every object exactly once.
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

/// A cache of every object of kind `K` (that the selector selects), kept current by one watch.
pub struct Informer<K>(Arc<Shared<K>>);

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> std::fmt::Debug for Informer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informer").field("objects", &self.0.objects.read().len()).finish()
    }
}

impl<K: Kind> Informer<K> {
    /// A cache without a watch; tests fill it by [`Informer::apply`] and [`Informer::remove`].
    #[must_use]
    pub fn detached() -> Self {
        Self(Arc::new(Shared {
            objects: RwLock::default(),
            handlers: Mutex::default(),
            synced: watch::Sender::new(false),
        }))
    }

    /// One object; `namespace` is empty for cluster-scoped kinds.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.0.objects.read().get(&Key::new(namespace, name)).cloned()
    }

    /// Every object, in the order of namespace and name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.objects.read().values().cloned().collect()
    }

    /// Every object of a namespace, in the order of names.
    #[must_use]
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = Key::new(namespace, "");
        let objects = self.0.objects.read();
        let within = objects.range(first..).take_while(|(key, _)| key.namespace == namespace);
        within.map(|(_, object)| object.clone()).collect()
    }

    /// Whether the first list is in the cache.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Waits until the first list is in the cache and its handlers have run.
    pub async fn synced(&self) {
        // The sender lives as long as this handle, so waiting cannot fail.
        let _ = self.0.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Adds a handler. It is called for every object already there, then for every change, in order, after the cache
    /// holds the change. Handlers run on the watch's own task: they add keys to queues and return. A handler must
    /// not add handlers to the same informer.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let mut handlers = self.0.handlers.lock();
        for object in self.list() {
            handler(&Change { kind: ChangeKind::Applied, object, previous: None });
        }
        handlers.push(Box::new(handler));
    }

    /// Puts an object into the cache and tells the handlers.
    pub fn apply(&self, object: K) {
        let handlers = self.0.handlers.lock();
        self.store(&handlers, Arc::new(object));
    }

    /// Takes an object out of the cache and tells the handlers.
    pub fn remove(&self, object: K) {
        let handlers = self.0.handlers.lock();
        let previous = self.0.objects.write().remove(&Key::of(&object));
        tell(&handlers, &Change { kind: ChangeKind::Deleted, object: Arc::new(object), previous });
    }

    fn store(&self, handlers: &[Handler<K>], object: Arc<K>) {
        let previous = self.0.objects.write().insert(Key::of(&*object), object.clone());
        tell(handlers, &Change { kind: ChangeKind::Applied, object, previous });
    }

    fn replace_all(&self, objects: Vec<K>) {
        let handlers = self.0.handlers.lock();
        let present: HashSet<Key> = objects.iter().map(Key::of).collect();
        let gone: Vec<Arc<K>> = {
            let mut cache = self.0.objects.write();
            cache.extract_if(.., |key, _| !present.contains(key)).map(|(_, object)| object).collect()
        };
        for object in gone {
            tell(&handlers, &Change { kind: ChangeKind::Deleted, previous: Some(object.clone()), object });
        }
        for object in objects {
            let known = self.0.objects.read().get(&Key::of(&object)).is_some_and(|old| {
                old.metadata().resource_version == object.metadata().resource_version
                    && old.metadata().uid == object.metadata().uid
            });
            if !known {
                self.store(&handlers, Arc::new(object));
            }
        }
        self.0.synced.send_replace(true);
    }
}

fn tell<K>(handlers: &[Handler<K>], change: &Change<K>) {
    for handler in handlers {
        handler(change);
    }
}

/// Decodes for an informer. What cannot be decoded is skipped with a warning: one odd object must not stop a component.
struct Decoder<K>(Informer<K>);

fn decode<K: Kind>(raw: &RawValue) -> Option<K> {
    K::decode(raw.get().as_bytes())
        .inspect_err(|error| tracing::warn!(kind = K::KIND, %error, "failed to decode a watched object"))
        .ok()
}

impl<K: Kind> Sink for Decoder<K> {
    fn replace(&self, items: &[&RawValue]) {
        self.0.replace_all(items.iter().filter_map(|raw| decode(raw)).collect());
    }

    fn applied(&self, object: &RawValue) {
        if let Some(object) = decode(object) {
            self.0.apply(object);
        }
    }

    fn deleted(&self, object: &RawValue) {
        if let Some(object) = decode(object) {
            self.0.remove(object);
        }
    }
}

type Registry = HashMap<(TypeId, Option<String>), Box<dyn Any + Send + Sync>>;

/// The informers of one program under one identity, each started when first asked for.
#[derive(Clone)]
pub struct Informers {
    client: kube::Client,
    tasks: Tasks,
    registry: Arc<Mutex<Registry>>,
}

impl std::fmt::Debug for Informers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informers").field("started", &self.registry.lock().len()).finish_non_exhaustive()
    }
}

impl Informers {
    /// Informers that run until [`Informers::shut_down`].
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self::with_token(client, &CancellationToken::new())
    }

    /// Informers that also end when `token` is cancelled.
    #[must_use]
    pub fn with_token(client: kube::Client, token: &CancellationToken) -> Self {
        Self { client, tasks: Tasks::new(token.child_token()), registry: Arc::default() }
    }

    /// The cache of every object of a kind in all namespaces. Must be called inside a tokio runtime.
    #[must_use]
    pub fn of<K: Kind>(&self) -> Informer<K> {
        self.selected(None)
    }

    /// As [`Informers::of`], of objects that a field selector such as `spec.nodeName=n1` selects.
    #[must_use]
    pub fn of_selected<K: Kind>(&self, field_selector: &str) -> Informer<K> {
        self.selected(Some(field_selector.to_owned()))
    }

    fn selected<K: Kind>(&self, field_selector: Option<String>) -> Informer<K> {
        let mut registry = self.registry.lock();
        let key = (TypeId::of::<K>(), field_selector.clone());
        if let Some(informer) = registry.get(&key).and_then(|any| any.downcast_ref::<Informer<K>>()) {
            return informer.clone();
        }
        let informer = Informer::<K>::detached();
        registry.insert(key, Box::new(informer.clone()));
        let source = Source {
            client: self.client.clone(),
            path: K::collection(None),
            field_selector,
            metadata_only: false,
        };
        let sink: Arc<dyn Sink> = Arc::new(Decoder(informer.clone()));
        let token = self.tasks.token().clone();
        self.tasks.spawn(format!("informer {}", K::URL_PATH_SEGMENT), move || {
            Box::pin(reflect(source.clone(), sink.clone(), token.clone()))
        });
        informer
    }

    /// A cache of the one object of that name, for callers that may not see the rest of its namespace. It is not
    /// shared; its watch ends with `token`. Must be called inside a tokio runtime.
    #[must_use]
    pub fn of_object<K: Kind>(&self, namespace: &str, name: &str, token: &CancellationToken) -> Informer<K> {
        let informer = Informer::<K>::detached();
        let source = Source {
            client: self.client.clone(),
            path: K::collection(Some(namespace)),
            field_selector: Some(format!("metadata.name={name}")),
            metadata_only: false,
        };
        let sink: Arc<dyn Sink> = Arc::new(Decoder(informer.clone()));
        let token = token.clone();
        self.tasks.spawn(format!("watch of {} {namespace}/{name}", K::KIND), move || {
            Box::pin(reflect(source.clone(), sink.clone(), token.clone()))
        });
        informer
    }

    /// Ends every watch and waits for its task.
    pub async fn shut_down(&self) {
        self.tasks.shut_down().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, version: &str) -> api::Pod {
        api::Pod::from_value(
            json!({"metadata": {"name": name, "namespace": "a", "resourceVersion": version}}),
        )
        .expect("pod")
    }

    #[test]
    fn replacing_reports_what_vanished_and_what_changed() {
        let informer = Informer::<api::Pod>::detached();
        informer.apply(pod("same", "1"));
        informer.apply(pod("changed", "1"));
        informer.apply(pod("gone", "1"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        informer.on_change(move |change| {
            let name = change.object.metadata.name.clone().unwrap_or_default();
            seen.lock().push((change.kind, name, change.previous.is_some()));
        });
        assert_eq!(log.lock().drain(..).count(), 3);
        informer.replace_all(vec![pod("same", "1"), pod("changed", "2"), pod("new", "3")]);
        let want = [
            (ChangeKind::Deleted, "gone".to_owned(), true),
            (ChangeKind::Applied, "changed".to_owned(), true),
            (ChangeKind::Applied, "new".to_owned(), false),
        ];
        assert_eq!(*log.lock(), want);
        assert_eq!(informer.list_namespace("a").len(), 3);
        assert!(informer.list_namespace("b").is_empty());
    }
}
