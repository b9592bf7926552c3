//! The directory of a store: who may use it, what is in it, and whether that is a store at all.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::revisions::{self, Engine, EngineError, META_CLUSTER, META_COMPACTED, META_FORMAT, Table};

use super::lmdb::{self, LmdbEngine};
use super::{Options, extent};

/// The version of the format this program writes.
const FORMAT: u32 = 1;
const LOCK: &str = "lock";
const DATA: &str = "v1";
const CREATING: &str = "v1.creating";
const FILE: &str = "data.mdb";
/// In the root of a file system of its own.
const LOST_AND_FOUND: &str = "lost+found";

/// Why a store was not opened. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store of this one, has it open.
    #[error("the store in {} is in use{}", path.display(), owner(*pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, if it is known.
        pid: Option<u32>,
    },
    /// The directory holds something else.
    #[error("{} is not a store: it has the entry {entry:?}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// An entry that does not belong to a store.
        entry: String,
    },
    /// It was written by a newer version of the program.
    #[error("the store in {} has format {found}, this program knows formats up to {known}", path.display())]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// What is there is not what was written.
    #[error("the store in {} is damaged: {reason}", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The files cannot be used.
    #[error("cannot use the store in {}: {reason}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The operating system's word on it.
        reason: String,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

/// Opens the store in `path`, creating it where there is none.
pub(super) fn open(path: &Path, options: &Options) -> Result<LmdbEngine, OpenError> {
    let io = |error: io::Error| OpenError::Io { path: path.to_owned(), reason: error.to_string() };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
    look(path)?;
    let lock = lock(path)?;
    // Four times the quota: pages that readers still see and the list of free ones do not count as used.
    let map_bytes = options.quota_bytes.saturating_mul(4).max(1 << 30);
    let data = path.join(DATA);
    if !data.exists() {
        create(path, map_bytes)?;
    }
    let engine = open_data(path, &data.join(FILE), map_bytes, lock)?;
    check_meta(path, &engine)?;
    Ok(engine)
}

/// Refuses a directory that is not a store's.
fn look(path: &Path) -> Result<(), OpenError> {
    let io = |error: io::Error| OpenError::Io { path: path.to_owned(), reason: error.to_string() };
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        entries.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    let versions = entries.iter().filter_map(|entry| entry.strip_prefix('v')?.parse::<u32>().ok());
    if let Some(found) = versions.max().filter(|found| *found > FORMAT) {
        return Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT });
    }
    if entries.iter().any(|entry| entry == DATA) {
        return Ok(());
    }
    let own = [LOCK, CREATING, LOST_AND_FOUND];
    match entries.into_iter().find(|entry| !own.contains(&entry.as_str())) {
        Some(entry) => Err(OpenError::Foreign { path: path.to_owned(), entry }),
        None => Ok(()),
    }
}

/// Takes the lock for as long as the file is open. The kernel gives it back when the process dies.
fn lock(path: &Path) -> Result<File, OpenError> {
    let io = |error: io::Error| OpenError::Io { path: path.to_owned(), reason: error.to_string() };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path.join(LOCK)).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let read = file.read_to_string(&mut pid);
            let pid = read.ok().and_then(|_| pid.trim().parse().ok());
            return Err(OpenError::InUse { path: path.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    // Only for the other's error message.
    file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

/// Makes an empty store beside and moves it into place, so that half a store never looks like one.
fn create(path: &Path, map_bytes: u64) -> Result<(), OpenError> {
    let failed = |reason: String| OpenError::Io { path: path.to_owned(), reason };
    let creating = path.join(CREATING);
    let prepare = || -> io::Result<[u8; 16]> {
        if creating.exists() {
            fs::remove_dir_all(&creating)?;
        }
        DirBuilder::new().mode(0o700).create(&creating)?;
        let mut cluster = [0; 16];
        getrandom::fill(&mut cluster).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(cluster)
    };
    let cluster = prepare().map_err(|error| failed(error.to_string()))?;
    let meta: [(&[u8], &[u8]); 3] = [
        (META_FORMAT, &FORMAT.to_be_bytes()),
        (META_CLUSTER, &cluster),
        (META_COMPACTED, &revisions::EMPTY.to_be_bytes()),
    ];
    lmdb::create(&creating, map_bytes, &meta).map_err(|error| failed(error.to_string()))?;
    let publish = || -> io::Result<()> {
        File::open(&creating)?.sync_all()?;
        fs::rename(&creating, path.join(DATA))?;
        File::open(path)?.sync_all()
    };
    publish().map_err(|error| failed(error.to_string()))
}

/// Opens the environment, if its file is whole.
fn open_data(path: &Path, file: &Path, map_bytes: u64, lock: File) -> Result<LmdbEngine, OpenError> {
    let damaged = |reason: String| OpenError::Damaged { path: path.to_owned(), reason };
    extent::check(file).map_err(|reason| damaged(format!("{FILE}: {reason}")))?;
    LmdbEngine::open(file.parent().unwrap_or(path), map_bytes, lock).map_err(|error| match error {
        EngineError::Damaged(reason) => damaged(format!("{FILE}: {reason}")),
        error => OpenError::Io { path: path.to_owned(), reason: error.to_string() },
    })
}

/// The meta table tells a store from another program's environment.
fn check_meta(path: &Path, engine: &LmdbEngine) -> Result<(), OpenError> {
    let damaged = |reason: String| OpenError::Damaged { path: path.to_owned(), reason };
    let snapshot = engine.snapshot().map_err(|error| damaged(error.to_string()))?;
    let format = snapshot.get(Table::Meta, META_FORMAT).map_err(|error| damaged(error.to_string()))?;
    let format = format.and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)));
    match format {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => {
            Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT })
        }
        _ => Err(damaged("its format is not recorded".to_owned())),
    }
}
