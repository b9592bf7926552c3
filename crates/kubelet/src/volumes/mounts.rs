//! The mount table and mount calls.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mount points of this mount namespace, in the order they were made.
pub(crate) fn mount_points() -> Vec<PathBuf> {
    parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

fn parse(table: &str) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .collect()
}

/// Resolves the `\040` style escapes of the mount table.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| byte == b'\\');
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether something is mounted exactly there.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else { return false };
    mount_points().contains(&real)
}

/// Mounts a tmpfs; `size` in bytes, `None` for the kernel's default of half the memory.
pub(crate) fn mount_tmpfs(path: &Path, size: Option<i64>, mode: u32) -> io::Result<()> {
    let size = size.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
    let options = format!("mode={mode:o}{size}");
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))
        .map_err(io::Error::from)
}

/// Makes `source` visible at `target`.
pub(crate) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(io::Error::from)
}

/// Takes the topmost mount at a path away, also when it is in use.
pub(crate) fn detach(path: &Path) -> io::Result<()> {
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).map_err(io::Error::from)
}

/// Unmounts everything at or below a directory; an error if something stays.
pub(crate) fn unmount_below(dir: &Path) -> io::Result<()> {
    let Ok(real) = dir.canonicalize() else { return Ok(()) };
    for point in mount_points().iter().rev().filter(|point| point.starts_with(&real)) {
        detach(point)?;
    }
    match mount_points().into_iter().find(|point| point.starts_with(&real)) {
        Some(point) => Err(io::Error::other(format!("{} is still mounted", point.display()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_with_escapes() {
        let table = "22 1 0:20 / /proc rw - proc proc rw\n\
                     40 22 0:30 / /var/a\\040b\\134c rw,relatime shared:1 - tmpfs tmpfs rw\n";
        assert_eq!(parse(table), [PathBuf::from("/proc"), PathBuf::from("/var/a b\\c")]);
    }
}
