//! Mounts the runtime itself makes on the node.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

const NONE: Option<&str> = None;

/// Mount points of this process, in the order they were made.
pub fn mount_points() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .collect()
}

/// `mountinfo` writes blanks and backslashes in octal.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, code) = rest.split_at(at);
        plain.push_str(before);
        match code.get(1..4).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &code[4..];
            }
            None => {
                plain.push('\\');
                rest = &code[1..];
            }
        }
    }
    plain + rest
}

/// Makes `path` a mount of its own that shares nothing with other mount namespaces, so that what is mounted below
/// does not leak into them.
pub fn make_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let path = path.canonicalize()?;
    if !mount_points().contains(&path) {
        mount(Some(&path), &path, NONE, MsFlags::MS_BIND, NONE)?;
    }
    mount(NONE, &path, NONE, MsFlags::MS_PRIVATE, NONE)?;
    Ok(())
}

/// Makes the program visible at `at` in a way that no container can use to write to it: a process inside a container
/// reaches its own executable by `/proc/self/exe`, and this mount is read-only. Returns the path to start.
pub fn expose_program(program: &Path, at: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let wanted = fs::metadata(program)?;
    let same = |meta: &fs::Metadata| meta.ino() == wanted.ino() && meta.dev() == wanted.dev();
    if fs::metadata(at).is_ok_and(|meta| same(&meta)) {
        return Ok(at.to_owned());
    }
    unmount(at);
    fs::write(at, b"")?;
    mount(Some(program), at, NONE, MsFlags::MS_BIND, NONE)?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(NONE, at, NONE, flags, NONE)?;
    Ok(at.to_owned())
}

/// Unmounts all layers at `path`; nothing mounted is fine.
pub fn unmount(path: &Path) {
    while umount2(path, MntFlags::MNT_DETACH).is_ok() {}
}

/// Unmounts everything at and below `path`.
pub fn unmount_below(path: &Path) {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for point in mount_points().iter().rev().filter(|point| point.starts_with(&path)) {
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_is_undone() {
        assert_eq!(unescape(r"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescape(r"/plain\"), r"/plain\");
        assert!(mount_points().contains(&PathBuf::from("/")));
    }
}
