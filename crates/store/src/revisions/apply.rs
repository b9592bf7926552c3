//! One conditional write inside a transaction.

use crate::types::{Entry, EventKind, Expect, Write};

use super::engine::{Batch, EngineError, Snapshot, Table};
use super::record::{self, Logged, index_end, index_key, index_parts, index_value, log_key};

/// What a write did.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) kind: EventKind,
    pub(crate) entry: Entry,
}

/// Why a write was not applied.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The condition does not hold; the transaction is as it was.
    Conflict(Option<Entry>),
    /// The present state cannot be read; the transaction is as it was.
    Unreadable(EngineError),
    /// The transaction has to be given up.
    Engine(EngineError),
}

/// Carries out `write` as `revision`, if its condition holds in the state the transaction has reached.
pub(crate) fn apply(batch: &mut dyn Batch, write: &Write, revision: u64) -> Result<Applied, Refused> {
    let key = write.key();
    let head = head(batch, key).map_err(Refused::Unreadable)?;
    let (Write::Put { expect, .. } | Write::Delete { expect, .. }) = write;
    let holds = match (expect, head) {
        (Expect::Absent, head) => head.is_none() && matches!(write, Write::Put { .. }),
        (Expect::Revision(expected), head) => head == Some(*expected),
        (Expect::Any, head) => head.is_some() || matches!(write, Write::Put { .. }),
    };
    if !holds {
        let current = head.map(|revision| entry(batch, revision)).transpose().map_err(Refused::Unreadable)?;
        return Err(Refused::Conflict(current));
    }
    let previous = head.unwrap_or(0);
    let applied = match write {
        Write::Put { draft, .. } => {
            let kind = if previous == 0 { EventKind::Created } else { EventKind::Modified };
            let logged = Logged::of_draft(kind, revision, previous, key, draft);
            batch.append(Table::Log, &log_key(revision), &logged.encode()).map_err(Refused::Engine)?;
            Applied { kind, entry: logged.entry() }
        }
        Write::Delete { .. } => {
            let last = logged(batch, previous).map_err(Refused::Unreadable)?;
            let entry = last.entry_at(revision);
            let record = Logged { kind: EventKind::Deleted, revision, previous, draft: &[], ..last }.encode();
            batch.append(Table::Log, &log_key(revision), &record).map_err(Refused::Engine)?;
            Applied { kind: EventKind::Deleted, entry }
        }
    };
    let live = index_value(applied.kind != EventKind::Deleted);
    batch.put(Table::Index, &index_key(key, revision), &live).map_err(Refused::Engine)?;
    Ok(applied)
}

/// The revision of a key's newest state, if it exists.
pub(crate) fn head(snapshot: &(impl Snapshot + ?Sized), key: &str) -> Result<Option<u64>, EngineError> {
    let Some((found, value)) = snapshot.before(Table::Index, &index_end(key))? else { return Ok(None) };
    let (found, revision) = index_parts(found)?;
    Ok((found == key && value == index_value(true)).then_some(revision))
}

/// The log's record of a revision that must exist.
pub(crate) fn logged<S: Snapshot + ?Sized>(snapshot: &S, revision: u64) -> Result<Logged<'_>, EngineError> {
    let bytes = snapshot.get(Table::Log, &log_key(revision))?;
    Logged::decode(revision, bytes.ok_or_else(|| record::damaged_record(revision, "is missing"))?)
}

/// The object a revision wrote.
pub(crate) fn entry<S: Snapshot + ?Sized>(snapshot: &S, revision: u64) -> Result<Entry, EngineError> {
    Ok(logged(snapshot, revision)?.entry())
}
