//! Small JSON files that survive a crash: written aside, synced, renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Replaces `path` by the JSON of `value`. After it returns the new content survives power loss.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, &serde_json::to_vec(value)?, true)
}

/// As [`write_json`], but only the death of processes is survived for sure: for records of what is running, which power
/// loss ends anyway.
pub fn write_json_unsynced<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, &serde_json::to_vec(value)?, false)
}

/// Replaces `path` by `bytes`, durably.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, true)
}

fn replace(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::other("path without a parent"))?;
    let name = path.file_name().ok_or_else(|| io::Error::other("path without a name"))?;
    let aside = parent.join(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&aside, path)?;
    if sync { File::open(parent)?.sync_all() } else { Ok(()) }
}

/// Reads what [`write_json`] wrote; `None` when the file does not exist.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| io::Error::other(format!("{} is not readable: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file or directory tree; what is gone already is fine.
pub fn remove_all(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
