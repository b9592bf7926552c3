//! One ordered broadcast of all committed writes to the caches.
//!
//! The revision counter is global, but a cache only gets the events of its own scope; how far it has been brought is
//! therefore a fact about the feed, not about the cache: when [`Feed::revision`] says `r`, every attached sink has been
//! given every event of its scope up to `r`. So one number serves all caches, and waking them for revisions that are
//! none of their business is not needed.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::error::ReadError;
use crate::scope::{covers, scopes_of};
use crate::types::{Entry, EventKind};

/// A receiver of committed writes.
///
/// Its methods are called on the feed's thread, in revision order, and must neither block nor wait: back-pressure is
/// the sink's own affair (a cache drops watchers that do not keep up).
pub trait Sink: Send + Sync + 'static {
    /// All writes of one revision to keys of the sink's scope: one, but for other programs' transactions in a shared store. For a
    /// deletion the entry is the last state, carrying the deletion's revision.
    fn apply(&self, writes: &[(EventKind, &Entry)]);

    /// No more writes will come: the store was closed or has failed.
    fn closed(&self);
}

/// How far a feed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    revision: u64,
    closed: bool,
}

type Sinks = Vec<Weak<dyn Sink>>;

/// The ordered broadcast of a store. Drivers publish, sinks attach.
pub struct Feed {
    sinks: RwLock<HashMap<Arc<str>, Sinks>>,
    position: watch::Sender<Position>,
}

impl Feed {
    /// A feed of a store that is at `revision`.
    pub fn new(revision: u64) -> Arc<Feed> {
        let (position, _) = watch::channel(Position { revision, closed: false });
        Arc::new(Feed { sinks: RwLock::default(), position })
    }

    /// Every sink has been given all events up to this revision.
    pub fn revision(&self) -> u64 {
        self.position.borrow().revision
    }

    /// Whether the store was closed or has failed.
    pub fn is_closed(&self) -> bool {
        self.position.borrow().closed
    }

    /// Waits until [`Feed::revision`] is at least `revision`.
    ///
    /// # Errors
    /// [`ReadError::Closed`] when the feed ends before.
    pub async fn wait_for(&self, revision: u64) -> Result<(), ReadError> {
        if self.revision() >= revision {
            return Ok(());
        }
        let mut position = self.position.subscribe();
        match position.wait_for(|position| position.revision >= revision || position.closed).await {
            Ok(reached) if reached.revision >= revision => Ok(()),
            _ => Err(ReadError::Closed),
        }
    }

    /// Gives `sink` every event of `scope` from now on, until it is dropped. Returns the revision up to which events are
    /// *not* delivered; whoever lists the store after attaching therefore misses nothing.
    pub fn attach(&self, scope: &str, sink: &Arc<impl Sink>) -> u64 {
        let sink: Weak<dyn Sink> = Arc::downgrade(&(Arc::clone(sink) as Arc<dyn Sink>));
        let mut sinks = self.sinks.write();
        sinks.retain(|_, sinks| {
            sinks.retain(|sink| sink.strong_count() > 0);
            !sinks.is_empty()
        });
        sinks.entry(scope.into()).or_default().push(sink.clone());
        let position = *self.position.borrow();
        drop(sinks);
        if position.closed
            && let Some(sink) = sink.upgrade()
        {
            sink.closed();
        }
        position.revision
    }

    /// Delivers writes, then declares `revision` reached. For drivers: calls must come in revision order from one place at
    /// a time, after the writes are readable in the store, and with all writes of a revision.
    pub fn publish<'a>(&self, events: impl IntoIterator<Item = (EventKind, &'a Entry)>, revision: u64) {
        let sinks = self.sinks.read();
        if !sinks.is_empty() {
            let events: Vec<_> = events.into_iter().collect();
            events
                .chunk_by(|(_, one), (_, next)| one.revision == next.revision)
                .for_each(|writes| deliver(&sinks, writes));
        }
        // Still under the lock, so that a sink that attaches is told a revision that fits what it will be given.
        self.position.send_if_modified(|position| {
            let newer = revision > position.revision;
            position.revision = position.revision.max(revision);
            newer
        });
    }

    /// Ends the feed. For drivers.
    pub fn close(&self) {
        self.position.send_modify(|position| position.closed = true);
        let sinks: Vec<_> = self.sinks.read().values().flatten().filter_map(Weak::upgrade).collect();
        sinks.iter().for_each(|sink| sink.closed());
    }
}

/// Brings the writes of one revision to the sinks of their scopes.
fn deliver(sinks: &HashMap<Arc<str>, Sinks>, writes: &[(EventKind, &Entry)]) {
    let apply = |sinks: &Sinks, writes: &[_]| {
        sinks.iter().filter_map(Weak::upgrade).for_each(|sink| sink.apply(writes))
    };
    if let [(_, entry)] = writes {
        return scopes_of(&entry.key)
            .filter_map(|scope| sinks.get(scope))
            .for_each(|sinks| apply(sinks, writes));
    }
    for (scope, sinks) in sinks {
        let theirs: Vec<_> = writes.iter().filter(|(_, entry)| covers(scope, &entry.key)).copied().collect();
        if !theirs.is_empty() {
            apply(sinks, &theirs);
        }
    }
}
