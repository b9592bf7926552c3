//! Copies of a store in one file, made while it runs, and stores made from them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::ReadError;

use super::deliver::Undelivered;
use super::disk::{Directory, Disk};
use super::index::Index;
use super::rewrite::{self, Hold};
use super::{Embedded, OpenError, base, directory, load, log};

/// A restored store goes on so many revisions after its snapshot: no client has seen a later one, so each that did see one after
/// the snapshot finds it compacted (410) and lists again, and does not wait for events that never come.
const REVISIONS_SKIPPED: u64 = 1_000_000_000;

/// A snapshot that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision whose state it is, exactly.
    pub revision: u64,
    /// How many objects it has.
    pub objects: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A store made from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The revision of the snapshot.
    pub taken_at: u64,
    /// The revision at which the store goes on. Everything before is compacted.
    pub revision: u64,
    /// How many objects it has.
    pub objects: u64,
}

/// Why there is no snapshot, or it was not restored. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is a file already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The file cannot be written or read.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's word on it.
        reason: io::Error,
    },
    /// What was to be copied cannot be read.
    #[error("the store cannot be copied: {0}")]
    Read(ReadError),
    /// The file is not a snapshot, or not whole.
    #[error("{} is not a whole snapshot: {reason}", path.display())]
    NotASnapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file is a snapshot of another version of the program.
    #[error("{} cannot be read by this version of the program: {reason}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        reason: String,
    },
    /// The directory cannot take the store.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Embedded {
    /// Writes all objects as they are now to `file`, which must not exist. Writers and readers go on meanwhile; blocks as long as copying
    /// takes. The file is durable when this returns.
    ///
    /// # Errors
    /// [`SnapshotError`]; there is no file then.
    pub fn snapshot(&self, file: &Path) -> Result<Snapshot, SnapshotError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => SnapshotError::Exists(file.to_owned()),
            _ => SnapshotError::File { path: file.to_owned(), reason: source },
        };
        let to = Undelivered::new(file).map_err(failed)?;
        let header = self.copy_to(&to.file).map_err(|failure| match failure {
            Failure::Io(source) => failed(source),
            Failure::Read(error) => SnapshotError::Read(error),
        })?;
        to.deliver().map_err(failed)?;
        Ok(Snapshot { revision: header.revision, objects: header.records, bytes: header.length() })
    }

    fn copy_to(&self, file: &File) -> Result<base::Header, Failure> {
        let hold = Hold::new(&self.shared.index, Index::revision);
        let mut writer = base::Writer::new(file, self.shared.cluster, hold.revision);
        rewrite::copy(&self.shared, &hold, &mut writer, |_, _| {})?;
        Ok(writer.finish()?)
    }
}

enum Failure {
    Io(io::Error),
    Read(ReadError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        Failure::Read(error)
    }
}

/// Makes the store in directory `path` from a snapshot, of which every byte is checked. A store that is there already, and not in use, is
/// replaced.
///
/// The objects keep their revisions; the store itself goes on far beyond the snapshot's, with all before compacted, and has an identity of
/// its own.
///
/// # Errors
/// [`SnapshotError`]; nothing has been changed then.
pub fn restore(file: &Path, path: &Path) -> Result<Restored, SnapshotError> {
    let unreadable = |reason| SnapshotError::File { path: file.to_owned(), reason };
    let damaged = |error: ReadError| {
        let path = file.to_owned();
        match error {
            ReadError::UnknownFormat(reason) => SnapshotError::UnknownFormat { path, reason },
            ReadError::Damaged(reason) => SnapshotError::NotASnapshot { path, reason },
            error => SnapshotError::NotASnapshot { path, reason: error.to_string() },
        }
    };
    let snapshot = File::open(file).map_err(unreadable)?;
    let from = base::Header::read(&snapshot).map_err(damaged)?;
    // Before anything is touched. Reading twice costs less than half a store would.
    base::verify(&snapshot, &from, &mut |_| Ok(())).map_err(damaged)?;
    let _lock = directory::claim(path)?;
    let revision = from.revision.saturating_add(REVISIONS_SKIPPED);
    let fill = |disk: &Directory| {
        let other = |error: ReadError| io::Error::other(error.to_string());
        let cluster = directory::identity()?;
        let file = disk.create(&base::name(revision))?;
        let mut writer = base::Writer::new(&*file, cluster, revision);
        base::verify(&snapshot, &from, &mut |bytes| Ok(writer.add(bytes).map(drop)?)).map_err(other)?;
        writer.finish()?;
        log::create(disk, 1, cluster, log::FIRST_BYTES)?;
        // What cannot be opened must not replace what can.
        load::load(disk).map(drop).map_err(other)
    };
    let filled = directory::prepare(path, fill).and_then(|()| directory::publish(path));
    filled.map_err(|error| OpenError::Io { path: path.to_owned(), reason: error.to_string() })?;
    Ok(Restored { taken_at: from.revision, revision, objects: from.records })
}
