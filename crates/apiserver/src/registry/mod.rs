//! The generic engine: every kind, built-in or custom, is served by the same code.
//!
//! A request comes in as an [`ApiRequest`] and leaves as an [`Answer`]. The resource it names is found as a
//! [`ResourceHandle`], and the verb picks the file: [`create`], [`read`], [`watch`], [`update`], [`patch`], [`apply`], [`delete`]; what
//! is below a resource has [`scale`], [`binding`], [`eviction`]. What is special about a kind is its [`Strategy`]
//! (`kinds/<group>/<kind>.rs`); what looks across kinds is a plugin of [`admission`].
//!
//! Every write takes the same way: decode → default → convert to the stored version → mutating admission → prepare →
//! validate → validating admission → store. Reads are answered from the watch cache with the stored bytes.

pub mod admission;
pub(crate) mod allocator;
mod answer;
mod apply;
mod binding;
mod body;
mod bookmark;
mod bootstrap;
mod budget;
mod call;
mod column_texts;
pub(crate) mod components;
mod convert;
mod create;
mod delete;
mod delete_options;
mod deprecations;
mod dispatch;
pub(crate) mod event_expiry;
mod eviction;
mod fields;
mod handle;
mod keys;
pub mod kinds;
mod list;
pub(crate) mod list_counts;
mod meta;
mod metadata;
mod options;
mod own;
mod patch;
pub(crate) mod presence;
mod published;
mod read;
mod record;
mod scale;
mod seam;
mod status;
pub(crate) mod steps;
mod stored;
pub mod strategy;
pub mod table;
mod token;
mod update;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use machinery::resources::{Resource, Resources};
use machinery::status::Status;
use parking_lot::RwLock;
use serde_json::Value;
use store::{Cache, ListOptions, Store};
use tokio_util::sync::CancellationToken;

pub(crate) use answer::without_table;
pub(crate) use apply::{manager, owned_by_poster};
pub(crate) use body::{Body, Expected, read as read_body};
pub(crate) use handle::go_type;
pub use handle::{Column, ResourceHandle, Storage};
pub(crate) use keys::{prefix, resource};
pub use meta::Meta;
pub(crate) use options::WriteOptions;
pub use seam::{Answer, AnswerBody, ApiRequest};
pub use stored::Stored;
pub use strategy::Strategy;

/// An object as the cache holds it.
pub type CachedObject = Arc<store::Item<Meta>>;

/// Why the registry did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A cache could not be filled.
    #[error("failed to load {resource} from the store: {source}")]
    Cache {
        /// Plural name.
        resource: String,
        /// The reason.
        source: store::ReadError,
    },
    /// The store was written by a version that kept objects elsewhere in it.
    #[error(
        "the store has the layout of an earlier version, which is no longer read: start with an empty one"
    )]
    FormerLayout,
    /// The configuration makes no sense.
    #[error("failed to read the configuration: {0}")]
    Config(String),
    /// An object that has to be there could not be written.
    #[error("failed to create {what}: {status}")]
    Bootstrap {
        /// Which object.
        what: String,
        /// The refusal.
        status: Status,
    },
}

/// Decides what shows only within a request: that an apply or a replacement creates.
pub trait Authorizer: Send + Sync + 'static {
    /// # Errors
    /// The 403 that the client gets.
    fn allow(&self, attributes: &auth::Attributes<'_>) -> Result<(), Status>;
}

/// All served resources over one store.
pub struct Registry {
    store: Arc<dyn Store>,
    authorizer: Arc<dyn Authorizer>,
    config: crate::Config,
    /// By plural name; the few entries of one name differ in group and version.
    handles: RwLock<HashMap<String, Vec<Arc<ResourceHandle>>>>,
    plugins: admission::Plugins,
    metrics: machinery::metrics::Registry,
    allocators: allocator::Allocators,
    steps: steps::Steps,
    token: CancellationToken,
}

impl Registry {
    /// Asks whether something within a request is allowed.
    ///
    /// # Errors
    /// The 403 that says what is not.
    pub(crate) fn allow(&self, attributes: &auth::Attributes<'_>) -> Result<(), Status> {
        self.authorizer.allow(attributes)
    }

    /// Loads the caches of all built-in resources and creates what every cluster has. Writes nothing that is there already.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        config: &crate::Config,
        store: Arc<dyn Store>,
        authorizer: Arc<dyn Authorizer>,
        token: CancellationToken,
    ) -> Result<Arc<Registry>, StartError> {
        let allocators = allocator::Allocators::new(config).map_err(StartError::Config)?;
        let metrics = machinery::metrics::Registry::default();
        let registry = Arc::new(Registry {
            store,
            authorizer,
            config: config.clone(),
            handles: RwLock::default(),
            plugins: admission::Plugins::new(&metrics),
            metrics,
            allocators,
            steps: steps::Steps::default(),
            token,
        });
        registry.check_layout().await?;
        registry.load().await?;
        registry.steps.done(steps::Step::Informers);
        bootstrap::run(&registry).await?;
        Ok(registry)
    }

    async fn check_layout(&self) -> Result<(), StartError> {
        let one = ListOptions { limit: Some(1), ..ListOptions::default() };
        let former = self.store.list(keys::FORMER_LAYOUT, one).await;
        let former = former.map_err(|source| StartError::Cache { resource: "objects".to_owned(), source })?;
        if former.entries.is_empty() { Ok(()) } else { Err(StartError::FormerLayout) }
    }

    async fn load(&self) -> Result<(), StartError> {
        let resources = Resources::builtin();
        let mut storages: HashMap<(&str, &str), Arc<Storage>> = HashMap::new();
        for resource in resources.iter().filter(|r| r.is_stored()) {
            let stored = storage_of(resources, resource);
            let place = (stored.group, stored.plural);
            let storage = match storages.get(&place) {
                Some(storage) => storage.clone(),
                None => {
                    let storage = self.open(stored).await?;
                    storages.insert(place, storage.clone());
                    storage
                }
            };
            self.serve(Arc::new(ResourceHandle::of(resource, storage)));
        }
        Ok(())
    }

    async fn open(&self, stored: &Resource) -> Result<Arc<Storage>, StartError> {
        let strategy = kinds::strategy(stored.group, stored.plural);
        let prefix = prefix(stored.group, stored.plural);
        let index = {
            let strategy = strategy.clone();
            move |_: &str, bytes: &[u8]| Meta::read(bytes, strategy.as_ref())
        };
        let cache = Cache::start(self.store.clone(), &prefix, index, self.token.clone())
            .await
            .map_err(|source| StartError::Cache { resource: stored.plural.to_owned(), source })?;
        Ok(Arc::new(Storage {
            api_version: stored.api_version(),
            kind: stored.kind.to_owned(),
            prefix,
            group: stored.group.to_owned(),
            plural: stored.plural.to_owned(),
            type_id: stored.type_id,
            strategy,
            cache,
            cached_lists: list_counts::ListCounts::default(),
            stored_lists: list_counts::ListCounts::default(),
        }))
    }

    /// Begins to serve a resource; one of the same group, version and name is replaced.
    pub fn serve(&self, handle: Arc<ResourceHandle>) {
        let mut handles = self.handles.write();
        let versions = handles.entry(handle.plural.clone()).or_default();
        versions.retain(|have| (&have.group, &have.version) != (&handle.group, &handle.version));
        versions.push(handle);
    }

    /// Ends serving a resource.
    pub fn withdraw(&self, group: &str, version: &str, plural: &str) {
        if let Some(versions) = self.handles.write().get_mut(plural) {
            versions.retain(|have| have.group != group || have.version != version);
        }
    }

    /// The resource served under these names.
    pub fn lookup(&self, group: &str, version: &str, plural: &str) -> Option<Arc<ResourceHandle>> {
        let handles = self.handles.read();
        handles.get(plural)?.iter().find(|h| h.group == group && h.version == version).cloned()
    }

    /// A resource in any version, for reading its cache.
    pub fn resource(&self, group: &str, plural: &str) -> Option<Arc<ResourceHandle>> {
        self.handles.read().get(plural)?.iter().find(|h| h.group == group).cloned()
    }

    /// Whether any resource of a group is served.
    pub fn serves_group(&self, group: &str) -> bool {
        self.handles.read().values().flatten().any(|handle| handle.group == group)
    }

    /// Whether there is an answer to this method at the path; true also where there is no such path.
    pub fn has_route(&self, method: &Method, info: &crate::http::RequestInfo) -> bool {
        // Paths below `/watch/` are of watches, whatever the method.
        if info.verb == "watch" && method != Method::GET {
            return false;
        }
        match self.lookup(&info.group, &info.version, &info.resource) {
            Some(handle) if info.subresource.is_empty() || handle.has_subresource(&info.subresource) => {
                dispatch::has_route(&handle, info)
            }
            _ => (info.group.as_str(), info.resource.as_str()) != ("", "bindings") || info.verb == "create",
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// The Status that the client gets.
    pub async fn handle(&self, request: ApiRequest, body: Bytes) -> Result<Answer, Status> {
        dispatch::run(self, &request, body).await
    }

    /// All objects of a resource as they are cached, in key order.
    pub fn objects(&self, group: &str, plural: &str) -> Vec<CachedObject> {
        self.resource(group, plural)
            .map(|h| h.storage.cache.list(&h.storage.prefix, None, None).items)
            .unwrap_or_default()
    }

    /// One object as it is cached.
    pub fn object(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<CachedObject> {
        let handle = self.resource(group, plural)?;
        handle.storage.cache.get(&handle.key(namespace, name))
    }

    /// One object, parsed.
    pub fn object_value(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        serde_json::from_slice(&self.object(group, plural, namespace, name)?.entry.bytes).ok()
    }

    /// The parsed objects of one namespace (all namespaces when empty).
    pub fn values(&self, group: &str, plural: &str, namespace: &str) -> Vec<Value> {
        let Some(handle) = self.resource(group, plural) else { return Vec::new() };
        let items = handle.storage.cache.list(&handle.scope(namespace), None, None).items;
        items.iter().filter_map(|item| serde_json::from_slice(&item.entry.bytes).ok()).collect()
    }

    /// The configuration the server was started with.
    pub fn config(&self) -> &crate::Config {
        &self.config
    }

    /// Where parts of the program report what the page of metrics shows.
    pub fn metrics(&self) -> &machinery::metrics::Registry {
        &self.metrics
    }

    /// What of the start is done.
    pub(crate) fn steps(&self) -> &steps::Steps {
        &self.steps
    }

    /// Cluster IPs and node ports.
    pub fn allocators(&self) -> &allocator::Allocators {
        &self.allocators
    }

    /// Waits until the caches have seen every write that was acknowledged before the call.
    ///
    /// # Errors
    /// 503 when the store is gone.
    pub async fn fresh(&self) -> Result<(), Status> {
        let revision = self.store.current().await.map_err(|error| call::read_error(&error))?;
        self.store.feed().wait_for(revision).await.map_err(|error| call::read_error(&error))
    }

    /// Waits until the caches show every write that this server has acknowledged. Unlike [`Registry::fresh`] it asks nobody.
    ///
    /// # Errors
    /// 503 when the store is gone.
    pub async fn caught_up(&self) -> Result<(), Status> {
        let revision = self.store.revision();
        self.store.feed().wait_for(revision).await.map_err(|error| call::read_error(&error))
    }
}

/// The version and place in which a resource is kept: the most preferred version of its group, except that both kinds of
/// events are one.
fn storage_of<'a>(resources: &'a Resources, resource: &'a Resource) -> &'a Resource {
    let group = if resource.group == "events.k8s.io" { "" } else { resource.group };
    resources.preferred(group, resource.plural).unwrap_or(resource)
}

#[cfg(test)]
mod tests;
