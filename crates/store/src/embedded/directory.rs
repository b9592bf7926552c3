//! The directory of a store: who may use it, what is in it, and whether that is a store at all.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::disk::{Directory, Disk};
use super::{FORMAT, load};

const LOCK: &str = "lock";
const DATA: &str = "v2";
const CREATING: &str = "v2.creating";
/// What versions before the first release made.
const OLD: &str = "v1";
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
    /// It was written by a version before the first release.
    #[error("the store in {} has format 1, which is no longer read: move {} away", path.display(), path.join(OLD).display())]
    OlderFormat {
        /// The directory.
        path: PathBuf,
    },
    /// A file of it was written by another version of the program.
    #[error("the store in {} cannot be read by this version of the program: {reason}", path.display())]
    UnknownFormat {
        /// The directory.
        path: PathBuf,
        /// Which file, and its format.
        reason: String,
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

/// Locks the store in `path`, which is created where there is none, for as long as the file is open.
pub(super) fn open(path: &Path) -> Result<(Arc<dyn Disk>, File), OpenError> {
    let lock = claim(path)?;
    let data = path.join(DATA);
    let made = if data.exists() {
        clear(path)
    } else {
        let create = |disk: &Directory| load::create(disk, identity()?);
        prepare(path, create).and_then(|()| publish(path))
    };
    made.map_err(failed(path))?;
    Ok((Arc::new(Directory(data)), lock))
}

/// What tells one store from another.
pub(super) fn identity() -> io::Result<[u8; 16]> {
    let mut cluster = [0; 16];
    getrandom::fill(&mut cluster).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(cluster)
}

/// Locks the directory of a store, which need not have one yet.
pub(super) fn claim(path: &Path) -> Result<File, OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))?;
    look(path)?;
    lock(path)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |error| OpenError::Io { path: path.to_owned(), reason: error.to_string() }
}

/// Refuses a directory that is not a store's.
fn look(path: &Path) -> Result<(), OpenError> {
    let io = failed(path);
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(&io)? {
        entries.push(entry.map_err(&io)?.file_name().to_string_lossy().into_owned());
    }
    let versions = entries.iter().filter_map(|entry| entry.strip_prefix('v')?.parse::<u32>().ok());
    if let Some(found) = versions.max().filter(|found| *found > FORMAT) {
        return Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT });
    }
    if entries.iter().any(|entry| entry == DATA) {
        return Ok(());
    }
    if entries.iter().any(|entry| entry == OLD) {
        return Err(OpenError::OlderFormat { path: path.to_owned() });
    }
    let own = [LOCK, CREATING, LOST_AND_FOUND];
    match entries.into_iter().find(|entry| !own.contains(&entry.as_str())) {
        Some(entry) => Err(OpenError::Foreign { path: path.to_owned(), entry }),
        None => Ok(()),
    }
}

/// Takes the lock for as long as the file is open. The kernel gives it back when the process dies.
fn lock(path: &Path) -> Result<File, OpenError> {
    let io = failed(path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path.join(LOCK)).map_err(&io)?;
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
    file.set_len(0).and_then(|()| file.rewind()).map_err(&io)?;
    writeln!(file, "{}", std::process::id()).map_err(&io)?;
    Ok(file)
}

/// Makes a store beside, so that half a store never looks like one.
pub(super) fn prepare(path: &Path, fill: impl FnOnce(&Directory) -> io::Result<()>) -> io::Result<()> {
    let creating = path.join(CREATING);
    clear(path)?;
    DirBuilder::new().mode(0o700).create(&creating)?;
    let disk = Directory(creating);
    fill(&disk)?;
    disk.sync_names()
}

/// Moves what has been prepared into place, in exchange for the store that may be there, which is removed.
pub(super) fn publish(path: &Path) -> io::Result<()> {
    let (creating, data) = (path.join(CREATING), path.join(DATA));
    if data.exists() {
        renameat2(AT_FDCWD, &creating, AT_FDCWD, &data, RenameFlags::RENAME_EXCHANGE)?;
    } else {
        fs::rename(&creating, &data)?;
        sync_above(path)?;
    }
    clear(path)
}

/// Removes what was begun and not finished, or was exchanged for something new.
fn clear(path: &Path) -> io::Result<()> {
    // First of all, what it may have been exchanged for must be sure to stay.
    File::open(path)?.sync_all()?;
    let creating = path.join(CREATING);
    match creating.exists() {
        true => fs::remove_dir_all(&creating),
        false => Ok(()),
    }
}

/// Sees to it that a new store's directory, and those of the same file system that it is in, are found again. Those that may not
/// be read are older than it.
fn sync_above(path: &Path) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let device = path.metadata()?.dev();
    for above in path.ancestors().skip(1) {
        match File::open(above) {
            Ok(directory) if directory.metadata()?.dev() == device => directory.sync_all()?,
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => break,
        }
    }
    Ok(())
}
