//! What a batch of writes does: each write's condition is judged against the state that those before it leave.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{ReadError, WriteError};
use crate::types::{Entry, EventKind, Expect, Write};

use super::index::{Index, Logged, Place, Version};
use super::read::{Located, Reader};
use super::record::Record;
use super::segment::Draft;

/// What a write did.
#[derive(Debug, Clone)]
pub(super) struct Applied {
    pub(super) kind: EventKind,
    pub(super) entry: Entry,
}

/// A write that takes place, if the batch does.
pub(super) struct Planned {
    pub(super) applied: Applied,
    /// Its place is relative to the batch.
    pub(super) logged: Logged,
}

/// A batch in the making.
pub(super) struct Plan<'a> {
    index: &'a Index,
    reader: Reader,
    /// Bytes that may be kept, and that are.
    quota: u64,
    used: u64,
    pub(super) draft: Draft,
    pub(super) planned: Vec<Planned>,
    /// The last planned write of each key.
    by_key: HashMap<Arc<str>, usize>,
}

/// The state of a key that exists.
enum Present {
    Stored(Located),
    Planned(usize),
}

impl<'a> Plan<'a> {
    pub(super) fn new(index: &'a Index, quota: u64, buffer: Vec<u8>) -> Plan<'a> {
        Plan {
            index,
            reader: Reader::new(index.files()),
            quota,
            used: index.kept_bytes(),
            draft: Draft::new(buffer, index.revision()),
            planned: Vec::new(),
            by_key: HashMap::new(),
        }
    }

    /// Adds a write, if its condition holds. Tells its place in `planned`.
    pub(super) fn add(&mut self, write: &Write) -> Result<usize, WriteError> {
        let present = self.present(write.key());
        let head = present.as_ref().map(|present| self.revision_of(present));
        let (Write::Put { expect, .. } | Write::Delete { expect, .. }) = write;
        let put = matches!(write, Write::Put { .. });
        let holds = match expect {
            Expect::Absent => head.is_none() && put,
            Expect::Revision(expected) => head == Some(*expected),
            Expect::Any => head.is_some() || put,
        };
        if !holds {
            let current = present.map(|present| self.entry(&present)).transpose();
            return Err(
                current.map_or_else(WriteError::Unreadable, |current| WriteError::Conflict { current })
            );
        }
        let revision = self.index.revision() + self.planned.len() as u64 + 1;
        let previous = head.unwrap_or(0);
        match (write, present) {
            (Write::Put { key, draft, .. }, present) => {
                let kind = if present.is_some() { EventKind::Modified } else { EventKind::Created };
                let record = Record::of_draft(kind, revision, previous, key, draft);
                self.charge(record.length())?;
                let entry = draft.at_revision(self.index.known(key), revision);
                Ok(self.push(&record, entry))
            }
            // A deletion of what does not exist has been refused.
            (Write::Delete { .. }, None) => Err(WriteError::Conflict { current: None }),
            (Write::Delete { key, .. }, Some(present)) => {
                let last = self.entry(&present).map_err(WriteError::Unreadable)?;
                let kind = EventKind::Deleted;
                let record =
                    Record { kind, revision, previous, revision_at: last.revision_at, key, draft: &[] };
                Ok(self.push(&record, last.at_revision(revision)))
            }
        }
    }

    fn present(&self, key: &str) -> Option<Present> {
        if let Some(at) = self.by_key.get(key) {
            return self.planned[*at].logged.version.live.then_some(Present::Planned(*at));
        }
        let (key, version) = self.index.head(key)?;
        Some(Present::Stored(Located { key: Arc::clone(key), version }))
    }

    fn revision_of(&self, present: &Present) -> u64 {
        match present {
            Present::Stored(located) => located.version.revision,
            Present::Planned(at) => self.planned[*at].logged.version.revision,
        }
    }

    fn entry(&mut self, present: &Present) -> Result<Entry, ReadError> {
        match present {
            Present::Stored(located) => self.reader.entry(located),
            Present::Planned(at) => Ok(self.planned[*at].applied.entry.clone()),
        }
    }

    /// Refuses what is too much. Deletions are not asked for it.
    fn charge(&mut self, bytes: usize) -> Result<(), WriteError> {
        let (used, quota) = (self.used, self.quota);
        if used + bytes as u64 > quota {
            return Err(WriteError::QuotaExceeded { used, quota });
        }
        self.used += bytes as u64;
        Ok(())
    }

    fn push(&mut self, record: &Record<'_>, entry: Entry) -> usize {
        let at = self.draft.add(record) as u64;
        let place = Place { file: 0, length: record.length() as u32, at };
        let key = Arc::clone(&entry.key);
        let version = Version { revision: record.revision, place, live: record.kind != EventKind::Deleted };
        self.by_key.insert(Arc::clone(&key), self.planned.len());
        let logged = Logged { key, version, previous: record.previous };
        self.planned.push(Planned { applied: Applied { kind: record.kind, entry }, logged });
        self.planned.len() - 1
    }
}
