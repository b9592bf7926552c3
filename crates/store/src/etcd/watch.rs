//! Watches: one reader of etcd's events that goes on after lost connections, for the feed and for [`crate::Store::watch`].
//!
//! The reader always watches the whole key space. Every revision then has an event, which makes three things exact that
//! etcd's progress notifications are not (before 3.4.25 and 3.5.8 they may run ahead of events): up to which revision the
//! events are complete, that none is missing, and where to go on after a lost connection.
//!
//! A transaction of another program may change several keys at one revision (upstream's events that expire together are an
//! example). Whoever is told of such a revision is told the whole.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;

use crate::driver::Update;
use crate::error::{ReadError, WatchError};
use crate::scope::covers;
use crate::types::{Entry, EventKind};

use super::client::{Client, PAUSE_MAX, PAUSE_MIN};
use super::grpc::{Messages, RpcError};
use super::wire::{WatchCreateRequest, WatchEvent, WatchRequest, WatchResponse, signed, unsigned};
use super::{Shared, object};

/// So often in a row may revisions be missing: a member that has just been restarted may have lost events, another one not.
const GAPS_MAX: u32 = 3;
/// Events handed to the feed before other tasks of the program get a turn.
const TURN: usize = 64;

/// Why a reader cannot go on.
#[derive(Debug, Clone)]
pub(super) enum Lost {
    /// The next events are compacted; the oldest revision that can be read.
    Compacted(u64),
    /// Events are missing after this revision.
    Gap(u64),
    Closed,
}

/// Reads events in order.
pub(super) struct Reader {
    client: Arc<Client>,
    messages: Option<Messages>,
    /// Every event up to here has been read.
    pub until: u64,
    /// Events up to here are not wanted: where the present watch was asked to start.
    from: u64,
    /// Events of a revision that the next part of a long answer may have more of.
    begun: Vec<WatchEvent>,
    gaps: u32,
}

impl Reader {
    /// Reads what comes after a revision that can be read.
    pub fn new(client: Arc<Client>, after: u64) -> Reader {
        Reader { client, messages: None, until: after, from: after, begun: Vec::new(), gaps: 0 }
    }

    /// The next events, at least one, of whole revisions.
    pub async fn next(&mut self) -> Result<Vec<WatchEvent>, Lost> {
        let token = self.client.token.clone();
        token.run_until_cancelled(self.persist()).await.unwrap_or(Err(Lost::Closed))
    }

    async fn persist(&mut self) -> Result<Vec<WatchEvent>, Lost> {
        let mut pause = PAUSE_MIN;
        loop {
            match self.read().await {
                Ok(response) if response.compact_revision > 0 => {
                    return Err(Lost::Compacted(unsigned(response.compact_revision)));
                }
                Ok(response) if response.canceled => {
                    tracing::warn!(reason = response.cancel_reason, "etcd ended a watch");
                    self.client.watch_ended().await;
                }
                Ok(response) => {
                    pause = PAUSE_MIN;
                    match self.accept(response)? {
                        Some(events) => return Ok(events),
                        None => continue,
                    }
                }
                Err(RpcError::Closed) => return Err(Lost::Closed),
                Err(error) => tracing::warn!(%error, "a watch of etcd was interrupted"),
            }
            self.messages = None;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn read(&mut self) -> Result<WatchResponse, RpcError> {
        let messages = match &mut self.messages {
            Some(messages) => messages,
            None => {
                self.from = self.until;
                self.begun.clear();
                let messages = self.client.watch(&everything_from(self.until)).await?;
                self.messages.insert(messages)
            }
        };
        let ended = || RpcError::Lost("the watch ended".to_owned());
        let response: WatchResponse = messages.next().await?.ok_or_else(ended)?;
        self.client.note(response.header.unwrap_or_default())?;
        Ok(response)
    }

    /// The new events of an answer; none if it has none, or if some are missing before and have to be asked for again.
    fn accept(&mut self, response: WatchResponse) -> Result<Option<Vec<WatchEvent>>, Lost> {
        let mut events = std::mem::take(&mut self.begun);
        events.extend(response.events.into_iter().filter(|event| revision(event) > self.from));
        if response.fragment {
            self.begun = events.split_off(last_revision(&events));
        }
        let Some(last) = events.last().map(revision) else { return Ok(None) };
        let mut expected = self.until;
        for event in &events {
            if revision(event) > expected + 1 {
                return self.gap().map(|()| None);
            }
            expected = expected.max(revision(event));
        }
        self.gaps = 0;
        self.until = last;
        Ok(Some(events))
    }

    fn gap(&mut self) -> Result<(), Lost> {
        self.gaps += 1;
        self.messages = None;
        tracing::warn!(after = self.until, "etcd left out revisions in a watch");
        if self.gaps < GAPS_MAX { Ok(()) } else { Err(Lost::Gap(self.until)) }
    }
}

/// Where the events of the last revision begin.
fn last_revision(events: &[WatchEvent]) -> usize {
    let last = events.last().map(revision);
    events.iter().rposition(|event| Some(revision(event)) != last).map_or(0, |before| before + 1)
}

fn revision(event: &WatchEvent) -> u64 {
    event.kv.as_ref().map_or(0, |pair| unsigned(pair.mod_revision))
}

/// The watch starts at the revision that is known already: etcd refuses it exactly when anything after that is compacted. If it
/// started one later, the event of a deletion at the compacted revision could be missing.
fn everything_from(revision: u64) -> WatchRequest {
    let all = Bytes::from_static(&[0]);
    WatchRequest {
        create: Some(WatchCreateRequest {
            key: all.clone(),
            range_end: all,
            start_revision: signed(revision),
            prev_kv: true,
            fragment: true,
        }),
    }
}

/// Brings all events to the feed, until the store is closed or cannot be followed.
pub(super) async fn pump(shared: Arc<Shared>, after: u64) {
    let mut reader = Reader::new(Arc::clone(&shared.client), after);
    let reason = loop {
        let events = match reader.next().await {
            Ok(events) => events,
            Err(Lost::Closed) => return shared.feed.close(),
            Err(Lost::Compacted(oldest)) => {
                break format!(
                    "the connection was lost for so long that changes have been compacted: revisions up to {} are known, \
                     the oldest that etcd has is {oldest}",
                    reader.until
                );
            }
            Err(Lost::Gap(after)) => break format!("etcd does not tell what changed after revision {after}"),
        };
        if let Err(reason) = publish(&shared, &events, reader.until).await {
            break reason;
        }
    };
    shared.client.fail(reason);
    shared.feed.close();
}

async fn publish(shared: &Shared, events: &[WatchEvent], until: u64) -> Result<(), String> {
    let mut ready: Vec<(EventKind, Entry)> = Vec::with_capacity(events.len().min(TURN));
    for together in events.chunk_by(|one, next| revision(one) == revision(next)) {
        for event in together.iter().filter(|event| is_object(event)) {
            let revision = revision(event);
            match object::change(&shared.client.values, event) {
                Ok(Some(change)) => ready.push(change),
                Ok(None) => return Err(format!("the state before revision {revision} has been compacted")),
                Err(error) => tracing::error!(%error, revision, "an object in etcd is passed over"),
            }
        }
        if ready.len() >= TURN {
            let told = together.first().map_or(0, revision);
            shared.feed.publish(ready.iter().map(|(kind, entry)| (*kind, entry)), told);
            ready.clear();
            tokio::task::yield_now().await;
        }
    }
    shared.feed.publish(ready.iter().map(|(kind, entry)| (*kind, entry)), until);
    Ok(())
}

/// Other programs may keep other things in the same etcd. Objects have keys that are paths.
fn is_object(event: &WatchEvent) -> bool {
    event.kv.as_ref().is_some_and(|pair| pair.key.starts_with(b"/"))
}

/// The events of a scope.
struct Scoped {
    reader: Reader,
    scope: String,
    ready: VecDeque<Update>,
}

/// A watch after a revision that can be read.
pub(super) fn scoped(
    client: Arc<Client>,
    scope: &str,
    after: u64,
) -> impl Stream<Item = Result<Update, WatchError>> + Send + use<> {
    let reader = Reader::new(client, after);
    let scoped = Scoped { reader, scope: scope.to_owned(), ready: [Update::Progress(after)].into() };
    futures::stream::unfold(Some(scoped), |scoped| async move {
        let mut scoped = scoped?;
        match scoped.next().await {
            Ok(update) => Some((Ok(update), Some(scoped))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl Scoped {
    async fn next(&mut self) -> Result<Update, WatchError> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Ok(update);
            }
            let before = self.reader.until;
            let events = self.reader.next().await.map_err(|lost| match lost {
                Lost::Compacted(oldest) => WatchError::Lagged { oldest },
                Lost::Gap(_) => WatchError::Read(ReadError::Io("etcd leaves out revisions".to_owned())),
                Lost::Closed => WatchError::Closed,
            })?;
            for event in &events {
                if !self.covers(event) {
                    continue;
                }
                let event = object::event(&self.reader.client.values, event).map_err(WatchError::Read)?;
                let compacted = || WatchError::Lagged { oldest: before.saturating_add(1) };
                self.ready.push_back(Update::Event(event.ok_or_else(compacted)?));
            }
            self.ready.push_back(Update::Progress(self.reader.until));
        }
    }

    fn covers(&self, event: &WatchEvent) -> bool {
        let key = event.kv.as_ref().and_then(|pair| std::str::from_utf8(&pair.key).ok());
        is_object(event) && key.is_some_and(|key| covers(&self.scope, key))
    }
}
