//! Which states of which keys there are and where they lie: the whole index is in memory, the objects are in files.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::scope::covers;

use super::disk::DiskFile;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) length: u32,
    pub(super) at: u64,
}

/// One state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) revision: u64,
    pub(super) place: Place,
    /// False: the key was deleted by this revision.
    pub(super) live: bool,
}

/// The states of a key that are kept.
struct Versions {
    newest: Version,
    /// Those before, oldest first. Mostly empty, which takes no memory of its own.
    older: Vec<Version>,
}

impl Versions {
    fn at(&self, revision: u64) -> Option<Version> {
        if self.newest.revision <= revision {
            return Some(self.newest);
        }
        self.older.iter().rev().find(|version| version.revision <= revision).copied()
    }

    fn find(&mut self, revision: u64) -> Option<&mut Version> {
        std::iter::once(&mut self.newest).chain(&mut self.older).find(|version| version.revision == revision)
    }
}

/// A write that watches can still ask for.
#[derive(Debug, Clone)]
pub(super) struct Logged {
    pub(super) key: Arc<str>,
    pub(super) version: Version,
    /// The revision of the key's state before; 0 if it did not exist.
    pub(super) previous: u64,
}

/// Open files by number.
pub(super) type Files = Arc<BTreeMap<u32, Arc<dyn DiskFile>>>;

/// Everything that is known of a store without reading its files.
pub(super) struct Index {
    keys: BTreeMap<Arc<str>, Versions>,
    /// The writes after `compacted` in order: that of revision `compacted + 1` is the first.
    log: VecDeque<Logged>,
    compacted: u64,
    /// Reads of a state that takes longer, which compaction must not overtake.
    holds: Vec<u64>,
    files: Files,
    files_opened: u32,
    /// Bytes of all records that are kept, and of those that are the newest of their keys.
    kept_bytes: u64,
    live_bytes: u64,
}

impl Index {
    /// Nothing, at a revision.
    pub(super) fn new(revision: u64) -> Index {
        Index {
            keys: BTreeMap::new(),
            log: VecDeque::new(),
            compacted: revision,
            holds: Vec::new(),
            files: Files::default(),
            files_opened: 0,
            kept_bytes: 0,
            live_bytes: 0,
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.compacted + self.log.len() as u64
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Bytes of all records that are kept.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Bytes of the records that are kept only for their history.
    pub(super) fn history_bytes(&self) -> u64 {
        self.kept_bytes - self.live_bytes
    }

    pub(super) fn files(&self) -> Files {
        Arc::clone(&self.files)
    }

    pub(super) fn open(&mut self, file: Arc<dyn DiskFile>) -> u32 {
        self.files_opened += 1;
        Arc::make_mut(&mut self.files).insert(self.files_opened, file);
        self.files_opened
    }

    /// Forgets a file. Reads that are under way keep it open.
    pub(super) fn close(&mut self, file: u32) {
        Arc::make_mut(&mut self.files).remove(&file);
    }

    /// A state the store starts from.
    pub(super) fn insert(&mut self, key: &str, version: Version) -> bool {
        self.kept_bytes += u64::from(version.place.length);
        self.live_bytes += u64::from(version.place.length);
        self.keys.insert(key.into(), Versions { newest: version, older: Vec::new() }).is_none()
    }

    /// The next write.
    pub(super) fn append(&mut self, logged: Logged) {
        let Logged { key, version, .. } = &logged;
        let length = |version: &Version| u64::from(version.place.length);
        self.kept_bytes += length(version);
        self.live_bytes += length(version);
        match self.keys.get_mut(key) {
            Some(versions) => {
                self.live_bytes -= length(&versions.newest);
                versions.older.push(std::mem::replace(&mut versions.newest, *version));
            }
            None => {
                self.keys.insert(Arc::clone(key), Versions { newest: *version, older: Vec::new() });
            }
        }
        self.log.push_back(logged);
    }

    /// The key as other states of it have it, or anew.
    pub(super) fn known(&self, key: &str) -> Arc<str> {
        self.keys.get_key_value(key).map_or_else(|| key.into(), |(key, _)| Arc::clone(key))
    }

    /// The key as it is known, and its newest state if it exists.
    pub(super) fn head(&self, key: &str) -> Option<(&Arc<str>, Version)> {
        let (key, versions) = self.keys.get_key_value(key)?;
        versions.newest.live.then_some((key, versions.newest))
    }

    /// A state of a key that is kept.
    pub(super) fn version(&self, key: &str, revision: u64) -> Option<Version> {
        self.keys.get(key)?.at(revision).filter(|version| version.revision == revision)
    }

    /// The keys of a scope greater than `after` that exist at a revision, in order.
    pub(super) fn range<'a>(
        &'a self,
        scope: &'a str,
        after: Option<&'a str>,
        at: u64,
    ) -> impl Iterator<Item = (&'a Arc<str>, Version)> {
        let from = match after {
            Some(after) if after >= scope => Bound::Excluded(after),
            _ => Bound::Included(scope),
        };
        self.keys
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(move |(key, _)| covers(scope, key))
            .filter_map(move |(key, versions)| Some((key, versions.at(at)?)))
            .filter(|(_, version)| version.live)
    }

    /// The writes after a revision that is not before [`Index::compacted`].
    pub(super) fn log(&self, after: u64) -> impl Iterator<Item = &Logged> {
        let from = after.saturating_sub(self.compacted).min(self.log.len() as u64) as usize;
        self.log.range(from..)
    }

    /// Keeps everything from a revision on until it is released.
    pub(super) fn hold(&mut self, revision: u64) {
        self.holds.push(revision);
    }

    pub(super) fn release(&mut self, revision: u64) {
        if let Some(at) = self.holds.iter().position(|held| *held == revision) {
            self.holds.swap_remove(at);
        }
    }

    /// How far [`Index::compact`] gets at present.
    pub(super) fn limit(&self) -> u64 {
        self.holds.iter().copied().min().unwrap_or(u64::MAX).min(self.revision())
    }

    /// Forgets what only revisions before `before` need, at most so many writes. Stopping anywhere leaves a consistent index.
    pub(super) fn compact(&mut self, before: u64, writes: usize) {
        let before = before.min(self.limit());
        for _ in 0..writes {
            if self.compacted >= before {
                return;
            }
            let Some(Logged { key, version, .. }) = self.log.pop_front() else { return };
            self.compacted += 1;
            self.forget(&key, version);
        }
    }

    /// What a write replaced goes, and, if it is a deletion, the write itself.
    fn forget(&mut self, key: &str, written: Version) {
        let Some(versions) = self.keys.get_mut(key) else { return };
        let superseded = |version: &Version| {
            version.revision < written.revision || version.revision == written.revision && !version.live
        };
        let mut freed = 0;
        versions.older.retain(|version| {
            freed += if superseded(version) { u64::from(version.place.length) } else { 0 };
            !superseded(version)
        });
        if versions.older.is_empty() && versions.older.capacity() > 0 {
            versions.older = Vec::new();
        }
        if superseded(&versions.newest) {
            freed += u64::from(versions.newest.place.length);
            self.live_bytes -= u64::from(versions.newest.place.length);
            self.keys.remove(key);
        }
        self.kept_bytes -= freed;
    }

    /// Notes that a state lies elsewhere now.
    pub(super) fn relocate(&mut self, key: &str, revision: u64, place: Place) {
        if let Some(version) = self.keys.get_mut(key).and_then(|versions| versions.find(revision)) {
            version.place = place;
        }
    }
}
