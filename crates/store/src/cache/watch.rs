//! A watcher of a cache.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::channel::{Place, Subscription, Taken};
use super::{Cache, Change, Item};
use crate::driver::Update;
use crate::error::{ReadError, WatchError};
use crate::feed::Feed;
use crate::types::Event;

/// A watch may start so many events (of its scope) before the cache's history at most; then listing again is cheaper.
const CATCH_UP_EVENTS_MAX: usize = 10_000;
/// Changes taken from the shared queue at a time.
const BATCH: usize = 128;
/// Bringing a change to one more watcher takes about so much of a processor, whatever else the change brings with it. Watchers
/// of a scope rest so long for each that there is: what comes meanwhile is brought to them together.
const REST_PER_WATCHER: Duration = Duration::from_micros(50);
/// Rests shorter than this are left out, and none is longer than that. Changes that follow each other faster are taken together
/// by a single watcher, too: most of what the first would cost is waking it.
const REST_MIN: Duration = Duration::from_millis(2);
const REST_MAX: Duration = Duration::from_millis(50);

/// A watch cannot start where it was asked to: the events in between are gone. The API's answer is 410.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {after} ({oldest})")]
pub struct Expired {
    /// The revision after which the watch was to start.
    pub after: u64,
    /// The oldest revision after which one can start.
    pub oldest: u64,
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The watcher did not keep up and changes are lost to it: it has to list again.
    #[error("the watch fell behind")]
    Lagged,
    /// The cache or its store ends.
    #[error("the store is closed")]
    Closed,
}

/// The changes of a scope, in revision order. Its memory is bounded by the cache's history, which all watchers share.
pub struct CacheWatch<M> {
    backlog: VecDeque<Arc<Change<M>>>,
    place: Place<M>,
    feed: Arc<Feed>,
    /// Kept across waits, so that waiting does not register with the token each time.
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Changes up to this revision are not wanted.
    from: u64,
    /// The revision of the last change handed out.
    after: u64,
    /// When changes were last taken from the queue.
    taken: Option<Instant>,
    /// Whether those came soon after others.
    busy: bool,
}

impl<M> CacheWatch<M> {
    pub(super) fn new(
        subscription: Subscription<M>,
        feed: Arc<Feed>,
        token: &CancellationToken,
        after: u64,
    ) -> CacheWatch<M> {
        let Subscription { backlog, place } = subscription;
        let cancelled = Box::pin(token.clone().cancelled_owned());
        CacheWatch {
            backlog: backlog.into(),
            place,
            feed,
            cancelled,
            from: after,
            after,
            taken: None,
            busy: false,
        }
    }

    /// Puts older changes before what is already waiting.
    pub(super) fn prepend(&mut self, changes: Vec<Arc<Change<M>>>) {
        let known = std::mem::take(&mut self.backlog);
        self.backlog = changes.into_iter().chain(known).collect();
    }

    /// The next change. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`WatchEnd`]; the watch is over then.
    pub async fn next(&mut self) -> Result<Arc<Change<M>>, WatchEnd> {
        loop {
            if self.backlog.is_empty() {
                self.rest().await?;
            }
            if let Some(change) = self.next_waiting()? {
                return Ok(change);
            }
            self.wait().await?;
        }
    }

    /// The next change if there is one already.
    ///
    /// # Errors
    /// [`WatchEnd`]; the watch is over then.
    pub fn try_next(&mut self) -> Result<Option<Arc<Change<M>>>, WatchEnd> {
        self.next_waiting()
    }

    /// Waits for a change and returns it with those that follow it already, at most `max`: one write to the socket instead
    /// of many. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`WatchEnd`]; the watch is over then.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<Arc<Change<M>>>, WatchEnd> {
        let mut batch = vec![self.next().await?];
        while batch.len() < max {
            // An end that is found now is found again by the next call.
            let Ok(Some(change)) = self.next_waiting() else { break };
            batch.push(change);
        }
        Ok(batch)
    }

    /// A revision up to which this watcher has been handed every change of its scope, for a bookmark; absent while changes wait
    /// to be taken.
    pub fn progress(&self) -> Option<u64> {
        // In this order: what the feed had delivered by then is in the queue.
        let revision = self.feed.revision();
        let drained = self.backlog.is_empty() && self.place.channel.end() == self.place.next;
        drained.then(|| revision.max(self.after))
    }

    /// The same as a stream; it ends after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Arc<Change<M>>, WatchEnd>> + Send
    where
        M: Send + Sync + 'static,
    {
        futures::stream::unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(change) => Some((Ok(change), Some(watch))),
                Err(end) => Some((Err(end), None)),
            }
        })
    }

    fn next_waiting(&mut self) -> Result<Option<Arc<Change<M>>>, WatchEnd> {
        loop {
            if let Some(change) = self.backlog.pop_front() {
                // A watch may start after a revision that the cache has not reached yet.
                if change.revision() <= self.from {
                    continue;
                }
                self.after = change.revision();
                return Ok(Some(change));
            }
            match self.place.channel.take(self.place.next, BATCH) {
                Taken::Changes(changes) => {
                    self.place.next += changes.len() as u64;
                    let now = Instant::now();
                    let last = self.taken.replace(now);
                    self.busy = changes.len() > 1 || last.is_some_and(|last| now - last < REST_MIN);
                    self.backlog.extend(changes);
                }
                Taken::Nothing => return Ok(None),
                Taken::Lagged => return Err(WatchEnd::Lagged),
                Taken::Closed => return Err(WatchEnd::Closed),
            }
        }
    }

    /// Leaves what has come to the others of a crowd for a while.
    async fn rest(&mut self) -> Result<(), WatchEnd> {
        let Some(until) = self.rests_until().filter(|until| *until > Instant::now()) else { return Ok(()) };
        tokio::select! {
            () = tokio::time::sleep_until(until) => Ok(()),
            () = self.cancelled.as_mut() => Err(WatchEnd::Closed),
        }
    }

    /// Waits until the queue may have more.
    async fn wait(&mut self) -> Result<(), WatchEnd> {
        let channel = Arc::clone(&self.place.channel);
        let mut woken = pin!(channel.wake.notified());
        // Registered before looking once more, so that a change in between is not slept through.
        woken.as_mut().enable();
        if !matches!(channel.take(self.place.next, 1), Taken::Nothing) {
            return Ok(());
        }
        tokio::select! {
            () = woken => Ok(()),
            () = self.cancelled.as_mut() => Err(WatchEnd::Closed),
        }
    }
}

impl<M> CacheWatch<M> {
    /// Until when a watcher takes nothing more whose scope has many others or many changes.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let watchers = u32::try_from(self.place.channel.watchers()).unwrap_or(u32::MAX);
        let crowd = REST_PER_WATCHER.saturating_mul(watchers).min(REST_MAX);
        let rest = if self.busy { crowd.max(REST_MIN) } else { crowd };
        self.taken.filter(|_| rest >= REST_MIN).map(|taken| taken + rest)
    }
}

impl<M: Send + Sync + 'static> Cache<M> {
    /// The changes after `after` up to and including `until`, from the store.
    pub(super) async fn before(
        &self,
        scope: &str,
        after: u64,
        until: u64,
    ) -> Result<Vec<Arc<Change<M>>>, Expired> {
        let expired = |oldest| Expired { after, oldest };
        let mut events = match self.store.watch(scope, after).await {
            Ok(events) => events,
            Err(ReadError::Compacted { oldest }) => return Err(expired(oldest)),
            Err(_) => return Err(expired(until)),
        };
        let mut changes = Vec::new();
        loop {
            match events.next().await {
                Some(Ok(Update::Event(event))) if event.entry.revision > until => return Ok(changes),
                Some(Ok(Update::Event(event))) if changes.len() < CATCH_UP_EVENTS_MAX => {
                    changes.push(Arc::new(self.change(event)));
                }

                Some(Ok(Update::Progress(revision))) if revision >= until => return Ok(changes),
                Some(Ok(Update::Progress(_))) => {}
                Some(Err(WatchError::Lagged { oldest })) => return Err(expired(oldest)),
                Some(Ok(Update::Event(_)) | Err(_)) | None => return Err(expired(until)),
            }
        }
    }

    fn change(&self, event: Event) -> Change<M> {
        let previous: Option<Arc<Item<M>>> = event.previous.map(|previous| self.item(previous));
        Change::new(event.kind, self.item(event.entry), previous)
    }
}
