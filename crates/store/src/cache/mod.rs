//! The objects of one resource in memory: what every read of the API is served from.
//!
//! The bytes of an object exist once and are shared by the store's answer, the cache, its history and every watcher.
//! A change is one shared value for all watchers, and so is its encoded frame.

mod change;
mod channel;
mod set;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::driver::Store;
use crate::error::ReadError;
use crate::feed::{Feed, Sink};
use crate::scope::{covers, is_tree};
use crate::types::{Entry, EventKind, ListOptions, Page};

pub use change::{Change, Item};
use channel::Channels;
pub use set::Caches;
pub use watch::{CacheWatch, Expired, WatchEnd};

/// While a cache loads, so many events may arrive before it gives up and loads again.
const LOADING_EVENTS_MAX: usize = 65_536;

/// So few objects are parsed without a thread of their own.
const LOADED_AT_ONCE_MAX: usize = 64;

/// How much history a cache keeps. A watcher that is further behind than this is ended.
#[derive(Debug, Clone, Copy)]
pub struct CacheOptions {
    /// Changes kept for watches that start in the past, and for slow watchers.
    pub history_changes_max: usize,
    /// Bytes those changes may hold.
    pub history_bytes_max: usize,
    /// Older changes are dropped when new ones come.
    pub history_age_max: Duration,
}

impl Default for CacheOptions {
    fn default() -> CacheOptions {
        CacheOptions {
            history_changes_max: 10_000,
            history_bytes_max: 8 << 20,
            history_age_max: Duration::from_secs(300),
        }
    }
}

/// Derives what selectors need from a key and an object's JSON.
pub type Index<M> = Arc<dyn Fn(&str, &[u8]) -> M + Send + Sync>;

/// Objects in key order, with the revision whose state they are.
#[derive(Debug)]
pub struct Listing<M> {
    /// The objects.
    pub items: Vec<Arc<Item<M>>>,
    /// The revision whose state this is, exactly; a watch after it misses nothing.
    pub revision: u64,
    /// How many objects follow that the limit kept out.
    pub remaining: u64,
}

struct State<M> {
    items: BTreeMap<Arc<str>, Arc<Item<M>>>,
    /// What the bytes of all items add up to.
    bytes: usize,
    /// The newest revision applied to `items`; the feed's may be ahead of it.
    revision: u64,
    /// Events that came while loading; absent once loaded.
    loading: Option<Vec<(EventKind, Entry)>>,
}

/// The objects of one scope, kept up to date by the store's feed.
pub struct Cache<M> {
    scope: Arc<str>,
    store: Arc<dyn Store>,
    feed: Arc<Feed>,
    index: Index<M>,
    state: RwLock<State<M>>,
    channels: Channels<M>,
    token: CancellationToken,
}

impl<M: Send + Sync + 'static> Cache<M> {
    /// Loads every object of `scope` and follows the store from there; loaded when it returns. `index` runs once an
    /// object, on the feed's thread: it should parse no more than selectors need. Cancelling `token` ends all watches.
    ///
    /// # Errors
    /// Those of [`Store::list`].
    pub async fn start(
        store: Arc<dyn Store>,
        scope: &str,
        index: impl Fn(&str, &[u8]) -> M + Send + Sync + 'static,
        token: CancellationToken,
    ) -> Result<Arc<Cache<M>>, ReadError> {
        Cache::start_with(store, scope, Arc::new(index), token, CacheOptions::default()).await
    }

    /// [`Cache::start`] with limits other than the default ones.
    ///
    /// # Errors
    /// Those of [`Store::list`].
    pub async fn start_with(
        store: Arc<dyn Store>,
        scope: &str,
        index: Index<M>,
        token: CancellationToken,
        options: CacheOptions,
    ) -> Result<Arc<Cache<M>>, ReadError> {
        loop {
            let feed = Arc::clone(store.feed());
            let cache = Arc::new(Cache {
                scope: scope.into(),
                store: Arc::clone(&store),
                feed: Arc::clone(&feed),
                index: Arc::clone(&index),
                state: RwLock::new(State {
                    items: BTreeMap::new(),
                    bytes: 0,
                    revision: 0,
                    loading: Some(Vec::new()),
                }),
                channels: Channels::new(scope, options),
                token: token.clone(),
            });
            feed.attach(scope, &cache);
            let page = store.list(scope, ListOptions::default()).await?;
            if cache.load_aside(page).await? {
                return Ok(cache);
            }
            tracing::warn!(scope, "too many writes while a cache was loading, loading again");
        }
    }

    /// [`Cache::load`], on a thread of its own when there is much to parse.
    async fn load_aside(self: &Arc<Self>, page: Page) -> Result<bool, ReadError> {
        if page.entries.len() <= LOADED_AT_ONCE_MAX {
            return Ok(self.load(page.entries, page.revision));
        }
        let loader = Arc::clone(self);
        let loaded = tokio::task::spawn_blocking(move || loader.load(page.entries, page.revision)).await;
        loaded.map_err(|panic| ReadError::Io(format!("failed to load the cache of {}: {panic}", self.scope)))
    }

    /// Takes over the listed entries and the events that came meanwhile. False: too many came to be kept.
    fn load(&self, entries: Vec<Entry>, revision: u64) -> bool {
        let bytes = entries.iter().map(|entry| entry.bytes.len()).sum();
        let indexed: Vec<_> = entries.into_iter().map(|entry| self.item(entry)).collect();
        let items = indexed.into_iter().map(|item| (Arc::clone(&item.entry.key), item)).collect();
        let mut state = self.state.write();
        let Some(late) = state.loading.take() else { return false };
        if late.len() >= LOADING_EVENTS_MAX {
            state.loading = Some(Vec::new());
            return false;
        }
        state.items = items;
        state.bytes = bytes;
        state.revision = revision;
        self.channels.begin(revision);
        let late: Vec<_> = late.into_iter().filter(|(_, entry)| entry.revision > revision).collect();
        for writes in late.chunk_by(|(_, one), (_, next)| one.revision == next.revision) {
            let items = writes.iter().map(|(kind, entry)| (*kind, self.item(entry.clone()))).collect();
            self.channels.publish(&advance(&mut state, items));
        }
        true
    }

    fn item(&self, entry: Entry) -> Arc<Item<M>> {
        let meta = (self.index)(&entry.key, &entry.bytes);
        Arc::new(Item { entry, meta })
    }

    /// The scope this cache keeps.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.state.read().items.len()
    }

    /// How many bytes of JSON the objects are together.
    pub fn bytes(&self) -> usize {
        self.state.read().bytes
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One object, as new as [`Cache::revision`] or newer.
    pub fn get(&self, key: &str) -> Option<Arc<Item<M>>> {
        self.state.read().items.get(key).cloned()
    }

    /// The objects of a scope within the cache's, from the first key greater than `after`, at most `limit`.
    pub fn list(&self, scope: &str, after: Option<&str>, limit: Option<usize>) -> Listing<M> {
        let state = self.state.read();
        let revision = self.reached(&state);
        if !is_tree(scope) {
            let past = after.is_some_and(|after| scope <= after);
            let items = state.items.get(scope).filter(|_| !past).cloned().into_iter().collect();
            return Listing { items, revision, remaining: 0 };
        }
        let from = match after {
            Some(after) if after >= scope => Bound::Excluded(after),
            _ => Bound::Included(scope),
        };
        let mut rest =
            state.items.range::<str, _>((from, Bound::Unbounded)).take_while(|(key, _)| covers(scope, key));
        let items =
            rest.by_ref().take(limit.unwrap_or(usize::MAX)).map(|(_, item)| Arc::clone(item)).collect();
        Listing { items, revision, remaining: rest.count() as u64 }
    }

    /// Everything up to this revision is in the cache.
    pub fn revision(&self) -> u64 {
        self.reached(&self.state.read())
    }

    /// The feed goes on for writes to other scopes, the state may have got an event the feed has not finished delivering
    /// elsewhere: both mean that all of this scope up to there is known.
    fn reached(&self, state: &State<M>) -> u64 {
        self.feed.revision().max(state.revision)
    }

    /// Waits until everything up to `revision` is in the cache. A consistent read waits for [`Store::current`].
    ///
    /// # Errors
    /// [`ReadError::Closed`] when the store ends first.
    pub async fn wait_for(&self, revision: u64) -> Result<(), ReadError> {
        self.feed.wait_for(revision).await
    }

    /// Waits until the cache is as new as the newest write.
    ///
    /// # Errors
    /// Those of [`Store::current`], and [`ReadError::Closed`].
    pub async fn wait_current(&self) -> Result<(), ReadError> {
        let current = self.store.current().await?;
        self.wait_for(current).await
    }

    /// The changes of a scope within the cache's, with revisions greater than `after`. What the cache's own history no longer
    /// has is read from the store.
    ///
    /// # Errors
    /// [`Expired`] when the store no longer has it either, or it is too much.
    pub async fn watch(&self, scope: &str, after: u64) -> Result<CacheWatch<M>, Expired> {
        let (subscription, start) = self.channels.subscribe(scope, after);
        let mut watch = CacheWatch::new(subscription, Arc::clone(&self.feed), &self.token, after);
        if after < start {
            watch.prepend(self.before(scope, after, start).await?);
        }
        Ok(watch)
    }
}

impl<M: Send + Sync + 'static> Sink for Cache<M> {
    fn apply(&self, writes: &[(EventKind, &Entry)]) {
        let mut state = self.state.write();
        if let Some(late) = &mut state.loading {
            if late.len() < LOADING_EVENTS_MAX {
                late.extend(writes.iter().map(|(kind, entry)| (*kind, (*entry).clone())));
            }
            return;
        }
        if writes.iter().all(|(_, entry)| entry.revision <= state.revision) {
            return;
        }
        drop(state);
        // Only the feed's thread changes a loaded state, so parsing need not be done under the lock.
        let items = writes.iter().map(|(kind, entry)| (*kind, self.item((*entry).clone()))).collect();
        let changes = advance(&mut self.state.write(), items);
        // After the state: a watcher filters by revision what its list had already.
        self.channels.publish(&changes);
    }

    fn closed(&self) {
        self.channels.close();
    }
}

/// Applies the events of one revision, which is newer than the state's.
fn advance<M>(state: &mut State<M>, items: Vec<(EventKind, Arc<Item<M>>)>) -> Vec<Arc<Change<M>>> {
    let apply = |(kind, item): (EventKind, Arc<Item<M>>)| {
        state.revision = item.entry.revision;
        let previous = match kind {
            EventKind::Deleted => state.items.remove(&item.entry.key),
            EventKind::Created | EventKind::Modified => {
                state.bytes += item.entry.bytes.len();
                state.items.insert(Arc::clone(&item.entry.key), Arc::clone(&item))
            }
        };
        state.bytes -= previous.as_ref().map_or(0, |previous| previous.entry.bytes.len());
        Arc::new(Change::new(kind, item, previous))
    };
    items.into_iter().map(apply).collect()
}
