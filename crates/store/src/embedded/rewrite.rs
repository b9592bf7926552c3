//! Writing a base anew beside the running store, so that the space of what has been compacted is free again. Snapshots are
//! written in the same way.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::RwLock;

use crate::error::ReadError;

use super::base::{self, Header};
use super::disk::DiskFile;
use super::index::{Index, Place};
use super::log::UNFINISHED;
use super::read::{Located, Reader};
use super::{Health, Shared};

/// Keys looked up, and places changed, while the index is locked.
const PIECE: usize = 1_024;

/// Keeps a revision readable while it is copied.
pub(super) struct Hold<'a> {
    index: &'a RwLock<Index>,
    pub(super) revision: u64,
}

impl<'a> Hold<'a> {
    /// Of the revision that `choose` takes.
    pub(super) fn new(index: &'a RwLock<Index>, choose: impl FnOnce(&Index) -> u64) -> Hold<'a> {
        let mut locked = index.write();
        let revision = choose(&locked);
        locked.hold(revision);
        drop(locked);
        Hold { index, revision }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.index.write().release(self.revision);
    }
}

/// Copies every object at the revision held, each checked. `copied` is told where each went.
pub(super) fn copy(
    shared: &Shared,
    hold: &Hold<'_>,
    to: &mut base::Writer<'_>,
    mut copied: impl FnMut(Located, u64),
) -> Result<(), ReadError> {
    let mut after: Option<Arc<str>> = None;
    loop {
        if *shared.health.borrow() != Health::Running {
            return Err(ReadError::Closed);
        }
        let (piece, files) = {
            let index = hold.index.read();
            let piece = index.range("", after.as_deref(), hold.revision).take(PIECE);
            let located = piece.map(|(key, version)| Located { key: Arc::clone(key), version });
            (located.collect::<Vec<_>>(), index.files())
        };
        let Some(last) = piece.last() else { return Ok(()) };
        after = Some(Arc::clone(&last.key));
        let mut reader = Reader::new(files);
        for located in piece {
            let (bytes, _) = reader.record(&located)?;
            let at = to.add(bytes)?;
            copied(located, at);
        }
    }
}

/// A base that is complete, and where everything is in it.
pub(super) struct Rewritten {
    pub(super) header: Header,
    file: Arc<dyn DiskFile>,
    /// Places have no file yet.
    moved: Vec<(Arc<str>, u64, Place)>,
}

/// A base that is being written on a thread of its own.
pub(super) struct Rewriting(JoinHandle<Result<Rewritten, ReadError>>);

impl Rewriting {
    /// Begins a base of the oldest revision that can be read.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Rewriting> {
        let shared = Arc::clone(shared);
        let rewrite = move || {
            let hold = Hold::new(&shared.index, Index::compacted);
            rewrite(&shared, &hold)
        };
        thread::Builder::new().name("store-rewrite".into()).spawn(rewrite).map(Rewriting)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    pub(super) fn join(self) -> Result<Rewritten, ReadError> {
        self.0.join().unwrap_or_else(|_| Err(ReadError::Io("the thread has panicked".to_owned())))
    }
}

fn rewrite(shared: &Shared, hold: &Hold<'_>) -> Result<Rewritten, ReadError> {
    let name = base::name(hold.revision);
    let unfinished = format!("{name}{UNFINISHED}");
    let written = write(shared, hold, &unfinished);
    let finished = written.and_then(|rewritten| {
        shared.disk.rename(&unfinished, &name)?;
        shared.disk.sync_names()?;
        Ok(rewritten)
    });
    finished.inspect_err(|_| {
        // What is left is removed at the latest by the next open.
        let _ = shared.disk.remove(&unfinished);
    })
}

fn write(shared: &Shared, hold: &Hold<'_>, name: &str) -> Result<Rewritten, ReadError> {
    let file = shared.disk.create(name)?;
    let mut moved = Vec::new();
    let mut writer = base::Writer::new(&*file, shared.cluster, hold.revision);
    copy(shared, hold, &mut writer, |located, at| {
        let Located { key, version } = located;
        moved.push((key, version.revision, Place { at, ..version.place }));
    })?;
    let header = writer.finish()?;
    Ok(Rewritten { header, file, moved })
}

impl Rewritten {
    /// Has everything read from the new base from now on. Returns its number.
    pub(super) fn take_over(self, index: &RwLock<Index>) -> u32 {
        let file = index.write().open(self.file);
        for piece in self.moved.chunks(PIECE) {
            let mut index = index.write();
            for (key, revision, place) in piece {
                index.relocate(key, *revision, Place { file, ..*place });
            }
        }
        file
    }
}
