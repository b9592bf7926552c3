//! Caches made on first use.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::{Cache, CacheOptions, Index};
use crate::driver::Store;
use crate::error::ReadError;

type Slot<M> = Arc<OnceCell<Arc<Cache<M>>>>;

/// The caches of a store by scope, each made when it is first asked for. Resources nobody reads cost nothing.
pub struct Caches<M> {
    store: Arc<dyn Store>,
    index: Index<M>,
    options: CacheOptions,
    token: CancellationToken,
    slots: Mutex<HashMap<Arc<str>, Slot<M>>>,
}

impl<M: Send + Sync + 'static> Caches<M> {
    /// No cache yet. For `index` and `token` see [`Cache::start`].
    pub fn new(
        store: Arc<dyn Store>,
        index: impl Fn(&str, &[u8]) -> M + Send + Sync + 'static,
        token: CancellationToken,
    ) -> Caches<M> {
        Caches {
            store,
            index: Arc::new(index),
            options: CacheOptions::default(),
            token,
            slots: Mutex::default(),
        }
    }

    /// The cache of `scope`, loaded. Whoever asks while it loads waits for the same one.
    ///
    /// # Errors
    /// Those of [`Cache::start`]; the next caller tries again.
    pub async fn get(&self, scope: &str) -> Result<Arc<Cache<M>>, ReadError> {
        let slot = self.slot(scope);
        let start = || {
            Cache::start_with(
                Arc::clone(&self.store),
                scope,
                Arc::clone(&self.index),
                self.token.clone(),
                self.options,
            )
        };
        slot.get_or_try_init(start).await.cloned()
    }

    fn slot(&self, scope: &str) -> Slot<M> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(scope) {
            return Arc::clone(slot);
        }
        Arc::clone(slots.entry(scope.into()).or_default())
    }

    /// Drops the cache of a scope that is no longer served. Its watches end with the last owner of the cache.
    pub fn remove(&self, scope: &str) {
        self.slots.lock().remove(scope);
    }
}
