//! Directories whose files change all at once: a container sees either the old content or the new one.
//!
//! The files are in a directory with the time in its name; the symbolic link `..data` points to it and is replaced by
//! one rename. The names that users see are links through `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

use super::{VolumeError, ownership};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// One file to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    pub user: Option<u32>,
}

/// Files by path relative to the volume.
pub(crate) type Files = BTreeMap<String, File>;

/// Makes the directory hold exactly `files`. Returns whether anything changed.
pub(crate) fn write(target: &Path, files: &Files, fs_group: Option<u32>) -> Result<bool, VolumeError> {
    for path in files.keys() {
        check_path(path)?;
    }
    let old = fs::read_link(target.join(DATA)).ok();
    if let Some(old) = &old
        && holds(&target.join(old), files)
    {
        link_names(target, files)?;
        return Ok(false);
    }
    let fresh = make_dir(target)?;
    write_files(&target.join(&fresh), files)?;
    if let Some(group) = fs_group {
        ownership::apply(&target.join(&fresh), group, true)?;
    }
    swap(target, &fresh)?;
    link_names(target, files)?;
    remove_stale(target, files)?;
    if let Some(old) = old.filter(|old| *old != fresh) {
        let old = target.join(old);
        match fs::remove_dir_all(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(VolumeError::io("remove", &old)(error));
            }
            _ => {}
        }
    }
    Ok(true)
}

fn check_path(path: &str) -> Result<(), VolumeError> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        return Err(VolumeError::Refused(format!("invalid path {path:?} in volume")));
    }
    Ok(())
}

/// Whether the directory has exactly these files with this content and mode.
fn holds(dir: &Path, files: &Files) -> bool {
    let mut found = BTreeSet::new();
    if list(dir, dir, &mut found).is_err() || !files.keys().map(PathBuf::from).eq(found) {
        return false;
    }
    files.iter().all(|(path, file)| {
        let path = dir.join(path);
        let mode = fs::metadata(&path).map(|meta| meta.permissions().mode() & 0o777);
        // Group bits may have been added for `fsGroup`.
        mode.is_ok_and(|mode| mode & !0o070 == file.mode & 0o707)
            && fs::read(&path).is_ok_and(|data| data == file.data)
    })
}

fn list(root: &Path, dir: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(root, &entry.path(), found)?;
        } else if let Ok(relative) = entry.path().strip_prefix(root) {
            found.insert(relative.to_owned());
        }
    }
    Ok(())
}

fn make_dir(target: &Path) -> Result<PathBuf, VolumeError> {
    let now = Timestamp::now();
    let stamp = now.strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let name = PathBuf::from(format!("{stamp}.{:09}", now.subsec_nanosecond()));
    let path = target.join(&name);
    fs::create_dir(&path).map_err(VolumeError::io("create", &path))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))
        .map_err(VolumeError::io("change the mode of", &path))?;
    Ok(name)
}

fn write_files(dir: &Path, files: &Files) -> Result<(), VolumeError> {
    for (relative, file) in files {
        let path = dir.join(relative);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(VolumeError::io("create", parent))?;
        }
        fs::write(&path, &file.data).map_err(VolumeError::io("write", &path))?;
        // Set afterwards: the process's umask must not matter.
        fs::set_permissions(&path, Permissions::from_mode(file.mode))
            .map_err(VolumeError::io("change the mode of", &path))?;
        if let Some(user) = file.user {
            chown(&path, Some(user), None).map_err(VolumeError::io("change the owner of", &path))?;
        }
    }
    Ok(())
}

fn swap(target: &Path, fresh: &Path) -> Result<(), VolumeError> {
    let new = target.join(DATA_NEW);
    let _ = fs::remove_file(&new);
    symlink(fresh, &new).map_err(VolumeError::io("link", &new))?;
    fs::rename(&new, target.join(DATA)).map_err(VolumeError::io("rename", &new))
}

/// First components of the files' paths: what a user of the volume sees.
fn visible(files: &Files) -> BTreeSet<&str> {
    files.keys().filter_map(|path| path.split('/').next()).collect()
}

fn link_names(target: &Path, files: &Files) -> Result<(), VolumeError> {
    for name in visible(files) {
        let link = target.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link).map_err(VolumeError::io("link", &link))?;
        }
    }
    Ok(())
}

fn remove_stale(target: &Path, files: &Files) -> Result<(), VolumeError> {
    let wanted = visible(files);
    for entry in fs::read_dir(target).map_err(VolumeError::io("read", target))? {
        let entry = entry.map_err(VolumeError::io("read", target))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(&*name) {
            fs::remove_file(entry.path()).map_err(VolumeError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter()
            .map(|(path, data)| {
                ((*path).to_owned(), File { data: data.as_bytes().to_vec(), mode: 0o640, user: None })
            })
            .collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .expect("read")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with(".."))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn content_is_swapped_whole() {
        let dir = crate::testing::temp_dir();
        let target = dir.path();
        assert!(write(target, &files(&[("a", "1"), ("d/x", "2"), ("d/y", "3")]), None).expect("first"));
        assert_eq!(fs::read_to_string(target.join("d/y")).expect("read"), "3");
        assert_eq!(names(target), ["a", "d"]);
        let mode = fs::metadata(target.join("a")).expect("meta").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);

        let before = fs::read_link(target.join(DATA)).expect("link");
        assert!(!write(target, &files(&[("a", "1"), ("d/x", "2"), ("d/y", "3")]), None).expect("same"));
        assert_eq!(fs::read_link(target.join(DATA)).expect("link"), before);

        assert!(write(target, &files(&[("a", "new"), ("b", "4")]), None).expect("second"));
        assert_eq!(fs::read_to_string(target.join("a")).expect("read"), "new");
        assert_eq!(names(target), ["a", "b"]);
        assert!(!target.join(before).exists(), "the old content is gone");
    }

    #[test]
    fn paths_stay_inside() {
        let dir = crate::testing::temp_dir();
        for path in ["", "../x", "/etc/x", "a/../../x", "..data", "..x/y"] {
            assert!(write(dir.path(), &files(&[(path, "1")]), None).is_err(), "{path:?}");
        }
    }
}
