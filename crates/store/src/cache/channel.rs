//! How changes reach watchers: one bounded queue per watched scope, read by any number of watchers at their own pace.
//!
//! A change is pushed once per scope that has watchers (a handful), not once per watcher. The queue of the cache's own
//! scope always exists: it is the history from which a watch can start in the past. A watcher whose place in its queue
//! has been evicted has lost changes and is told so.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::{CacheOptions, Change};
use crate::scope::scopes_of;

/// Queues keep at least this many changes, however large they are.
const KEPT_MIN: usize = 16;

pub(super) struct Queue<M> {
    changes: VecDeque<Arc<Change<M>>>,
    /// How many changes have been evicted: the number of the front one.
    first: u64,
    cost: usize,
    /// Every change after this revision is in the queue.
    start: u64,
    closed: bool,
}

/// The queue of one scope.
pub(super) struct Channel<M> {
    queue: RwLock<Queue<M>>,
    pub(super) wake: Notify,
    /// How many places there are in it; changes under the lock of the queues. Counted, because others hold the queue for a
    /// moment too.
    places: AtomicUsize,
}

type ByScope<M> = Arc<Mutex<HashMap<Arc<str>, Arc<Channel<M>>>>>;

/// What a watcher finds at its place in the queue.
pub(super) enum Taken<M> {
    Changes(Vec<Arc<Change<M>>>),
    Nothing,
    Lagged,
    Closed,
}

impl<M> Channel<M> {
    fn new(start: u64) -> Arc<Channel<M>> {
        let queue = Queue { changes: VecDeque::new(), first: 0, cost: 0, start, closed: false };
        Arc::new(Channel { queue: RwLock::new(queue), wake: Notify::new(), places: AtomicUsize::new(0) })
    }

    /// At most `max` changes from number `next` on.
    pub(super) fn take(&self, next: u64, max: usize) -> Taken<M> {
        let queue = self.queue.read();
        let Some(from) = next.checked_sub(queue.first) else { return Taken::Lagged };
        let from = (from as usize).min(queue.changes.len());
        let changes: Vec<_> = queue.changes.range(from..).take(max).cloned().collect();
        match changes.is_empty() {
            false => Taken::Changes(changes),
            true if queue.closed => Taken::Closed,
            true => Taken::Nothing,
        }
    }

    /// How many watchers read it.
    pub(super) fn watchers(&self) -> usize {
        self.places.load(Ordering::Relaxed)
    }

    /// The number the next change will get.
    pub(super) fn end(&self) -> u64 {
        let queue = self.queue.read();
        queue.first + queue.changes.len() as u64
    }

    fn push(&self, change: Arc<Change<M>>, limits: &CacheOptions) {
        let now = change.at;
        let mut evicted = Vec::new();
        let mut queue = self.queue.write();
        queue.cost += change.cost();
        queue.changes.push_back(change);
        while queue.changes.len() > KEPT_MIN.min(limits.history_changes_max) {
            let over =
                queue.changes.len() > limits.history_changes_max || queue.cost > limits.history_bytes_max;
            let old =
                |front: &Arc<Change<M>>| now.saturating_duration_since(front.at) > limits.history_age_max;
            if !over && !queue.changes.front().is_some_and(old) {
                break;
            }
            let Some(front) = queue.changes.pop_front() else { break };
            queue.first += 1;
            queue.cost -= front.cost();
            queue.start = front.revision();
            evicted.push(front);
        }
        drop(queue);
        // Freeing objects takes longer than the lock should be held.
        drop(evicted);
    }

    fn close(&self) {
        self.queue.write().closed = true;
        self.wake.notify_waiters();
    }
}

/// A watcher's place: the changes it gets at once, and where in which queue it goes on.
pub(super) struct Subscription<M> {
    pub(super) backlog: Vec<Arc<Change<M>>>,
    pub(super) place: Place<M>,
}

/// A place in a queue. The queue of a scope goes with its last place.
pub(super) struct Place<M> {
    scope: Arc<str>,
    pub(super) channel: Arc<Channel<M>>,
    pub(super) next: u64,
    by_scope: ByScope<M>,
}

impl<M> Drop for Place<M> {
    fn drop(&mut self) {
        let mut by_scope = self.by_scope.lock();
        if self.channel.places.fetch_sub(1, Ordering::Relaxed) == 1 {
            // The history is not in the map, and stays.
            by_scope.remove(&self.scope);
        }
    }
}

/// All queues of a cache.
pub(super) struct Channels<M> {
    scope: Arc<str>,
    limits: CacheOptions,
    history: Arc<Channel<M>>,
    /// Narrower scopes that have watchers.
    by_scope: ByScope<M>,
}

impl<M> Channels<M> {
    pub(super) fn new(scope: &str, limits: CacheOptions) -> Channels<M> {
        Channels { scope: scope.into(), limits, history: Channel::new(0), by_scope: Arc::default() }
    }

    /// The history starts after this revision.
    pub(super) fn begin(&self, revision: u64) {
        self.history.queue.write().start = revision;
    }

    /// Brings the changes of one revision to all queues.
    pub(super) fn publish(&self, changes: &[Arc<Change<M>>]) {
        let mut pushed = Vec::new();
        // The lock keeps a watcher from subscribing between the history and its own queue, or between two of the changes.
        let by_scope = self.by_scope.lock();
        for change in changes.iter().filter(|_| !by_scope.is_empty()) {
            let narrower = scopes_of(&change.item.entry.key).filter(|scope| scope.len() > self.scope.len());
            for channel in narrower.filter_map(|scope| by_scope.get(scope)) {
                channel.push(Arc::clone(change), &self.limits);
                pushed.push(Arc::clone(channel));
            }
        }
        changes.iter().for_each(|change| self.history.push(Arc::clone(change), &self.limits));
        drop(by_scope);
        // Waking a thousand watchers takes longer than the lock should be held.
        pushed.iter().chain([&self.history]).for_each(|channel| channel.wake.notify_waiters());
    }

    /// A place at the end of the queue of `scope`, with the changes after `after` that the history has, and the revision
    /// after which the history is complete.
    pub(super) fn subscribe(&self, scope: &str, after: u64) -> (Subscription<M>, u64) {
        let mut by_scope = self.by_scope.lock();
        let history = self.history.queue.read();
        // Of a revision whose first changes are gone, the history has no more than a part.
        let whole = after.max(history.start);
        let from = history.changes.partition_point(|change| change.revision() <= whole);
        let backlog: Vec<_> =
            history.changes.range(from..).filter(|change| change.is_in(scope)).cloned().collect();
        let (start, closed) = (history.start, history.closed);
        drop(history);
        let channel = match scope == &*self.scope {
            true => Arc::clone(&self.history),
            false => Arc::clone(by_scope.entry(scope.into()).or_insert_with(|| Channel::new(start))),
        };
        channel.places.fetch_add(1, Ordering::Relaxed);
        let next = channel.end();
        drop(by_scope);
        if closed {
            channel.close();
        }
        let place = Place { scope: scope.into(), channel, next, by_scope: Arc::clone(&self.by_scope) };
        (Subscription { backlog, place }, start)
    }

    #[cfg(test)]
    pub(super) fn watched_scopes(&self) -> usize {
        self.by_scope.lock().len()
    }

    pub(super) fn close(&self) {
        self.history.close();
        self.by_scope.lock().values().for_each(|channel| channel.close());
    }
}
