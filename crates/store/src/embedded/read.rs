//! Reads: what is wanted is looked up in the index, then its bytes are read from the files without holding up anybody.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::error::ReadError;
use crate::scope::covers;
use crate::types::{Entry, Event, EventKind, ListOptions, Page};

use super::disk;
use super::index::{Files, Index, Version};
use super::record::{Record, damaged_record};

/// A state and where to read it.
pub(super) struct Located {
    pub(super) key: Arc<str>,
    pub(super) version: Version,
}

/// Reads records, with one buffer for all.
pub(super) struct Reader {
    files: Files,
    bytes: Vec<u8>,
}

impl Reader {
    pub(super) fn new(files: Files) -> Reader {
        Reader { files, bytes: Vec::new() }
    }

    /// The record's bytes, which are checked, and what they say.
    pub(super) fn record(&mut self, located: &Located) -> Result<(&[u8], Record<'_>), ReadError> {
        let Version { revision, place, .. } = located.version;
        let file = self.files.get(&place.file).ok_or_else(|| damaged_record(revision, "is missing"))?;
        self.bytes.resize(place.length as usize, 0);
        disk::read_exact(&**file, &mut self.bytes, place.at)?;
        let record = Record::decode(&self.bytes, revision)?;
        match record.revision == revision && record.key == &*located.key {
            true => Ok((&self.bytes, record)),
            false => Err(damaged_record(revision, "is another one's")),
        }
    }

    /// The object, shown at its own revision.
    pub(super) fn entry(&mut self, located: &Located) -> Result<Entry, ReadError> {
        self.entry_at(located, located.version.revision)
    }

    /// The object, shown at another revision.
    pub(super) fn entry_at(&mut self, located: &Located, revision: u64) -> Result<Entry, ReadError> {
        let (_, record) = self.record(located)?;
        Ok(record.entry_at(Arc::clone(&located.key), revision))
    }
}

/// The newest state of a key.
pub(super) fn get(index: &RwLock<Index>, key: &str) -> Result<Option<Entry>, ReadError> {
    let (located, files) = {
        let index = index.read();
        let Some((key, version)) = index.head(key) else { return Ok(None) };
        (Located { key: Arc::clone(key), version }, index.files())
    };
    Reader::new(files).entry(&located).map(Some)
}

/// Whether `revision` can be read, for lists and as the start of a watch.
fn check_kept(index: &Index, revision: u64) -> Result<(), ReadError> {
    let (oldest, current) = (index.compacted(), index.revision());
    if revision < oldest {
        return Err(ReadError::Compacted { oldest });
    }
    if revision > current {
        return Err(ReadError::Future { current });
    }
    Ok(())
}

/// The entries of a scope at a revision, found but not yet read.
pub(super) struct Found {
    located: Vec<Located>,
    files: Files,
    revision: u64,
    remaining: u64,
}

impl Found {
    /// Whether there is so little to read that it may be done where nothing should wait.
    pub(super) fn is_short(&self) -> bool {
        const BYTES: u64 = 64 * 1024;
        self.located.iter().map(|located| u64::from(located.version.place.length)).sum::<u64>() <= BYTES
    }

    pub(super) fn read(self) -> Result<Page, ReadError> {
        let Found { located, files, revision, remaining } = self;
        let mut reader = Reader::new(files);
        let entries = located.iter().map(|located| reader.entry(located)).collect::<Result<_, _>>()?;
        Ok(Page { entries, revision, more: remaining > 0, remaining })
    }
}

/// Looks up the entries of a scope at a revision.
pub(super) fn find(index: &RwLock<Index>, scope: &str, options: &ListOptions) -> Result<Found, ReadError> {
    let index = index.read();
    let revision = options.at.unwrap_or_else(|| index.revision());
    check_kept(&index, revision)?;
    let mut rest = index.range(scope, options.after.as_deref(), revision);
    let located = rest
        .by_ref()
        .take(options.limit.unwrap_or(usize::MAX))
        .map(|(key, version)| Located { key: Arc::clone(key), version })
        .collect();
    let remaining = rest.count() as u64;
    Ok(Found { located, files: index.files(), revision, remaining })
}

/// Events of a scope, and up to which revision they are complete.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) events: Vec<Event>,
    pub(super) until: u64,
}

/// A write with the state before.
struct Change {
    written: Located,
    previous: Option<Located>,
}

/// The events of a scope after a revision: at most `writes` are looked at.
pub(super) fn events(
    index: &RwLock<Index>,
    scope: &str,
    after: u64,
    writes: usize,
) -> Result<Events, ReadError> {
    let (changes, files, until) = {
        let index = index.read();
        check_kept(&index, after)?;
        let mut changes = Vec::new();
        for logged in index.log(after).take(writes).filter(|logged| covers(scope, &logged.key)) {
            let located = |version| Located { key: Arc::clone(&logged.key), version };
            let previous = match logged.previous {
                0 => None,
                previous => {
                    let version = index.version(&logged.key, previous);
                    Some(version.ok_or_else(|| damaged_record(previous, "is missing"))?)
                }
            };
            changes.push(Change { written: located(logged.version), previous: previous.map(located) });
        }
        let until = index.revision().min(after.saturating_add(writes as u64));
        (changes, index.files(), until)
    };
    let mut reader = Reader::new(files);
    let events = changes.iter().map(|change| event(&mut reader, change)).collect::<Result<_, _>>()?;
    Ok(Events { events, until })
}

fn event(reader: &mut Reader, change: &Change) -> Result<Event, ReadError> {
    let Version { revision, live, .. } = change.written.version;
    let previous = change.previous.as_ref().map(|previous| reader.entry(previous)).transpose()?;
    let (kind, entry) = match (live, &previous) {
        (true, None) => (EventKind::Created, reader.entry(&change.written)?),
        (true, Some(_)) => (EventKind::Modified, reader.entry(&change.written)?),
        (false, Some(previous)) => (EventKind::Deleted, previous.at_revision(revision)),
        (false, None) => return Err(damaged_record(revision, "deletes what never existed")),
    };
    Ok(Event { kind, entry, previous })
}

/// Reads everything that is kept once and checks every record.
pub(super) fn verify(index: &RwLock<Index>) -> Result<(), ReadError> {
    const PIECE: usize = 1_024;
    let (mut after, at) = (None::<Arc<str>>, index.read().revision());
    loop {
        let (piece, files) = {
            let index = index.read();
            // What compaction has forgotten meanwhile need not be read.
            let newest = index.range("", after.as_deref(), at.max(index.compacted()));
            let piece = newest.take(PIECE).map(|(key, version)| Located { key: Arc::clone(key), version });
            (piece.collect::<Vec<_>>(), index.files())
        };
        let Some(last) = piece.last() else { break };
        after = Some(Arc::clone(&last.key));
        let mut reader = Reader::new(files);
        piece.iter().try_for_each(|located| reader.record(located).map(drop))?;
    }
    let mut after = index.read().compacted();
    while after < at {
        after = match events(index, "", after, PIECE) {
            Ok(events) => events.until,
            Err(ReadError::Compacted { oldest }) => oldest,
            Err(error) => return Err(error),
        };
    }
    Ok(())
}
