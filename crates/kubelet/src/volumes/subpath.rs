//! `subPath`: one file or directory of a volume, found without ever leaving the volume.
//!
//! A container can replace directories by links while the path is resolved, so every step is taken by the kernel with
//! `RESOLVE_BENEATH`, and what was found is bound by its descriptor to a path that only the node can write.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};

use super::{VolumeError, mounts};

/// Makes `sub` of the volume available below `dir` as entry `index`; returns the path to mount.
pub(crate) fn prepare(volume: &Path, sub: &str, dir: &Path, index: usize) -> Result<PathBuf, VolumeError> {
    let found = open(volume, sub)?;
    let is_dir = fs::metadata(proc_path(&found)).map_err(VolumeError::io("inspect", volume))?.is_dir();
    let target = dir.join(index.to_string());
    fs::create_dir_all(dir).map_err(VolumeError::io("create", dir))?;
    if mounts::is_mount_point(&target) {
        mounts::detach(&target).map_err(VolumeError::io("unmount", &target))?;
    }
    if is_dir {
        fs::create_dir_all(&target).map_err(VolumeError::io("create", &target))?;
    } else {
        fs::File::create(&target).map_err(VolumeError::io("create", &target))?;
    }
    mounts::bind(&proc_path(&found), &target).map_err(VolumeError::io("bind", &target))?;
    Ok(target)
}

fn proc_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Opens `sub` within the volume; directories that are missing are made.
fn open(volume: &Path, sub: &str) -> Result<OwnedFd, VolumeError> {
    let path = Path::new(sub);
    if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(VolumeError::Refused(format!(
            "subPath {sub:?} must be relative and must not contain '..'"
        )));
    }
    let root = nix::fcntl::open(volume, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| VolumeError::io("open", volume)(errno.into()))?;
    let failed = |errno: Errno| VolumeError::io("open", &volume.join(path))(errno.into());
    match resolve(&root, path) {
        Ok(found) => return Ok(found),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let mut parent = root;
    for part in path.components() {
        let part = Path::new(part.as_os_str());
        let next = match resolve(&parent, part) {
            Err(Errno::ENOENT) => {
                mkdirat(&parent, part, Mode::from_bits_truncate(0o777)).map_err(failed)?;
                resolve(&parent, part)
            }
            other => other,
        };
        parent = next.map_err(failed)?;
    }
    Ok(parent)
}

fn resolve(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolution_stays_in_the_volume() {
        let dir = crate::testing::temp_dir();
        let volume = dir.path().join("v");
        fs::create_dir_all(volume.join("data")).expect("dirs");
        fs::write(volume.join("data/key"), "x").expect("write");
        std::os::unix::fs::symlink("data/key", volume.join("key")).expect("link");
        std::os::unix::fs::symlink("/etc", volume.join("escape")).expect("link");
        std::os::unix::fs::symlink("../..", volume.join("up")).expect("link");
        for (sub, ok) in [
            ("data", true),
            ("key", true),
            ("new/deeper", true),
            ("escape", false),
            ("escape/passwd", false),
            ("up", false),
            ("../x", false),
            ("/etc", false),
        ] {
            assert_eq!(open(&volume, sub).is_ok(), ok, "{sub}");
        }
        assert!(volume.join("new/deeper").is_dir());
    }
}
