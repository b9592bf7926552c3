//! What is derived from the objects of a scope and kept up to date by the store's feed.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use store::{Entry, EventKind, ListOptions, ReadError, Sink, Store};

/// What is derived.
pub(crate) trait Mirrored: Send + Sync + 'static {
    /// An object is new, or another than before.
    fn put(&self, entry: &Entry);
    /// An object is gone.
    fn remove(&self, entry: &Entry);
}

/// Follows the objects of a scope for as long as it lives.
pub(crate) struct Mirror<M> {
    derived: M,
    /// Keys that changed while the list was under way: the list must not bring back older states.
    early: Mutex<Option<HashSet<Arc<str>>>>,
}

impl<M: Mirrored> Mirror<M> {
    /// Loads the objects there are and follows them.
    ///
    /// # Errors
    /// Those of [`Store::list`].
    pub async fn start(store: &dyn Store, scope: &str, derived: M) -> Result<Arc<Mirror<M>>, ReadError> {
        let mirror = Arc::new(Mirror { derived, early: Mutex::new(Some(HashSet::new())) });
        store.feed().attach(scope, &mirror);
        let page = store.list(scope, ListOptions::default()).await?;
        mirror.load(&page.entries);
        Ok(mirror)
    }

    fn load(&self, entries: &[Entry]) {
        let mut early = self.early.lock();
        let known = early.take().unwrap_or_default();
        entries.iter().filter(|entry| !known.contains(&entry.key)).for_each(|entry| self.derived.put(entry));
    }
}

impl<M: Mirrored> Sink for Mirror<M> {
    fn apply(&self, writes: &[(EventKind, &Entry)]) {
        // Held while applying, so that loading cannot come in between.
        let mut early = self.early.lock();
        for (kind, entry) in writes {
            if let Some(keys) = early.as_mut() {
                keys.insert(Arc::clone(&entry.key));
            }
            match kind {
                EventKind::Created | EventKind::Modified => self.derived.put(entry),
                EventKind::Deleted => self.derived.remove(entry),
            }
        }
    }

    fn closed(&self) {}
}
