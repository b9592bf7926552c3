//! Metadata-only watches of any resource, for the garbage collector.

use crate::reflector::{Sink, Source, reflect};
use crate::tasks::Tasks;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

/// What the owner graph needs to know of an object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectHeader {
    /// Name.
    pub name: String,
    /// Namespace, empty for cluster scope.
    pub namespace: String,
    /// Unique id.
    pub uid: String,
    /// Revision of this state.
    pub resource_version: String,
    /// When deletion began, if it has.
    pub deletion_timestamp: Option<String>,
    /// What must be removed before the object goes.
    pub finalizers: Vec<String>,
    /// Owners.
    pub owner_references: Vec<api::OwnerReference>,
}

/// One change of a watched collection.
#[derive(Debug)]
pub enum MetadataChange {
    /// Created, changed, or there at the start.
    Applied(ObjectHeader),
    /// Gone; the last known state.
    Deleted(ObjectHeader),
    /// The first list has been reported completely.
    Synced,
}

impl ObjectHeader {
    /// Reads the metadata of an object's JSON.
    ///
    /// # Errors
    /// When the text is not an object with metadata.
    pub fn decode(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<HeaderOf>(json).map(|of| of.metadata)
    }

    /// Whether the object waits for this finalizer.
    #[must_use]
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|own| own == finalizer)
    }
}

#[derive(Deserialize)]
struct HeaderOf {
    metadata: ObjectHeader,
}

struct Headers<F> {
    /// uid to (namespace, name): all that is kept, to report what vanished between two lists.
    known: Mutex<HashMap<String, (String, String)>>,
    synced: AtomicBool,
    handler: F,
}

fn decode(raw: &RawValue) -> Option<ObjectHeader> {
    ObjectHeader::decode(raw.get())
        .inspect_err(|error| tracing::warn!(%error, "failed to decode metadata"))
        .ok()
}

impl<F: Fn(MetadataChange) + Send + Sync> Headers<F> {
    fn apply(&self, header: ObjectHeader) {
        let place = (header.namespace.clone(), header.name.clone());
        self.known.lock().insert(header.uid.clone(), place);
        (self.handler)(MetadataChange::Applied(header));
    }
}

impl<F: Fn(MetadataChange) + Send + Sync> Sink for Headers<F> {
    fn replace(&self, items: &[&RawValue]) {
        let mut gone = std::mem::take(&mut *self.known.lock());
        for header in items.iter().filter_map(|raw| decode(raw)) {
            gone.remove(&header.uid);
            self.apply(header);
        }
        for (uid, (namespace, name)) in gone {
            let header = ObjectHeader { name, namespace, uid, ..ObjectHeader::default() };
            (self.handler)(MetadataChange::Deleted(header));
        }
        if !self.synced.swap(true, Ordering::Relaxed) {
            (self.handler)(MetadataChange::Synced);
        }
    }

    fn applied(&self, object: &RawValue) {
        if let Some(header) = decode(object) {
            self.apply(header);
        }
    }

    fn deleted(&self, object: &RawValue) {
        if let Some(header) = decode(object) {
            self.known.lock().remove(&header.uid);
            (self.handler)(MetadataChange::Deleted(header));
        }
    }
}

/// Watches the metadata of the collection at `path` (e.g. `/apis/apps/v1/deployments`) until `token` is cancelled.
pub fn watch_metadata(
    client: kube::Client,
    path: String,
    tasks: &Tasks,
    token: CancellationToken,
    handler: impl Fn(MetadataChange) + Send + Sync + 'static,
) {
    let name = format!("metadata {path}");
    let source = Source { client, path, field_selector: None, metadata_only: true };
    let sink: Arc<dyn Sink> =
        Arc::new(Headers { known: Mutex::default(), synced: AtomicBool::new(false), handler });
    tasks.spawn(name, move || Box::pin(reflect(source.clone(), sink.clone(), token.clone())));
}
