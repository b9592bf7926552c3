//! Reads of one snapshot.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::ReadError;
use crate::scope::covers;
use crate::types::{Entry, Event, EventKind, ListOptions, Page};

use super::EMPTY;
use super::apply::{entry, head, logged};
use super::engine::{EngineError, Snapshot, Table};
use super::record::{
    self, Logged, META_COMPACTED, index_end, index_parts, index_value, log_key, log_revision,
};

impl From<EngineError> for ReadError {
    fn from(error: EngineError) -> ReadError {
        match error {
            EngineError::Damaged(what) => ReadError::Damaged(what),
            EngineError::Full | EngineError::Io(_) => ReadError::Io(error.to_string()),
        }
    }
}

/// The newest revision.
pub(crate) fn newest<S: Snapshot + ?Sized>(snapshot: &S) -> Result<u64, EngineError> {
    // No revision ever comes near the greatest number.
    let last = snapshot.before(Table::Log, &log_key(u64::MAX))?;
    last.map_or(Ok(EMPTY), |(key, _)| log_revision(key))
}

/// The oldest revision that can be read.
pub(crate) fn compacted<S: Snapshot + ?Sized>(snapshot: &S) -> Result<u64, EngineError> {
    snapshot.get(Table::Meta, META_COMPACTED)?.map_or(Ok(EMPTY), log_revision)
}

/// The newest state of a key.
pub(crate) fn get<S: Snapshot + ?Sized>(snapshot: &S, key: &str) -> Result<Option<Entry>, ReadError> {
    let head = head(snapshot, key)?;
    Ok(head.map(|revision| entry(snapshot, revision)).transpose()?)
}

/// Whether `revision` can be read, for lists and as the start of a watch.
fn check_kept<S: Snapshot + ?Sized>(snapshot: &S, revision: u64) -> Result<(), ReadError> {
    let (oldest, current) = (compacted(snapshot)?, newest(snapshot)?);
    if revision < oldest {
        return Err(ReadError::Compacted { oldest });
    }
    if revision > current {
        return Err(ReadError::Future { current });
    }
    Ok(())
}

/// The entries of a scope at a revision.
pub(crate) fn list<S: Snapshot + ?Sized>(
    snapshot: &S,
    scope: &str,
    options: &ListOptions,
) -> Result<Page, ReadError> {
    let at = match options.at {
        Some(at) => check_kept(snapshot, at).map(|()| at)?,
        None => newest(snapshot)?,
    };
    let mut found = Found { revisions: Vec::new(), limit: options.limit.unwrap_or(usize::MAX), rest: 0 };
    let from = match &options.after {
        Some(after) if after.as_str() >= scope => index_end(after),
        _ => scope.as_bytes().to_vec(),
    };
    // The newest record of a key that is not newer than `at`; the next key's first record tells that it was the last.
    let mut pending: Option<(Vec<u8>, u64, bool)> = None;
    snapshot.scan(Table::Index, &from, &mut |bytes, value| {
        let (key, revision) = index_parts(bytes)?;
        if !covers(scope, key) {
            return Ok(ControlFlow::Break(()));
        }
        if revision > at {
            return Ok(ControlFlow::Continue(()));
        }
        match &mut pending {
            Some((current, ..)) if current == key.as_bytes() => {}
            _ => {
                found.take(pending.take());
                pending = Some((key.as_bytes().to_vec(), 0, false));
            }
        }
        if let Some((_, newest, live)) = &mut pending {
            (*newest, *live) = (revision, value == index_value(true));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    found.take(pending);
    let entries =
        found.revisions.iter().map(|revision| entry(snapshot, *revision)).collect::<Result<_, _>>()?;
    Ok(Page { entries, revision: at, more: found.rest > 0, remaining: found.rest })
}

struct Found {
    revisions: Vec<u64>,
    limit: usize,
    rest: u64,
}

impl Found {
    fn take(&mut self, key: Option<(Vec<u8>, u64, bool)>) {
        match key {
            Some((_, revision, true)) if self.revisions.len() < self.limit => self.revisions.push(revision),
            Some((_, _, true)) => self.rest += 1,
            _ => {}
        }
    }
}

/// Events of a scope, and up to which revision they are complete.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) events: Vec<Event>,
    pub(crate) until: u64,
}

/// The events of a scope after a revision: at most `records` of the log are looked at.
pub(crate) fn events<S>(snapshot: &S, scope: &str, after: u64, records: usize) -> Result<Events, ReadError>
where
    S: Snapshot + ?Sized,
{
    check_kept(snapshot, after)?;
    let mut result = Events { events: Vec::new(), until: after };
    let mut seen = 0;
    snapshot.scan(Table::Log, &log_key(after + 1), &mut |key, value| {
        if seen == records {
            return Ok(ControlFlow::Break(()));
        }
        seen += 1;
        let revision = log_revision(key)?;
        let record = Logged::decode(revision, value)?;
        if covers(scope, record.key) {
            result.events.push(event(snapshot, &record)?);
        }
        result.until = revision;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(result)
}

fn event<S: Snapshot + ?Sized>(snapshot: &S, record: &Logged<'_>) -> Result<Event, EngineError> {
    let before = match record.previous {
        0 => None,
        previous => Some(logged(snapshot, previous)?),
    };
    let entry = match (record.kind, &before) {
        (EventKind::Deleted, Some(before)) => before.entry_at(record.revision),
        (EventKind::Deleted, None) => {
            return Err(record::damaged_record(record.revision, "deletes what never existed"));
        }
        _ => record.entry(),
    };
    let key = Arc::clone(&entry.key);
    let previous = before.map(|before| Entry { key, ..before.entry() });
    Ok(Event { kind: record.kind, entry, previous })
}
