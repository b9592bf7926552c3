//! `fsGroup`: files of a volume belong to the pod's group.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use super::VolumeError;
use crate::pod::PodInfo;

/// Entries of one volume that are changed at most; a larger tree is an error rather than a hang.
const DEPTH_MAX: usize = 256;

/// The group that owns the pod's volumes, if one is asked for.
pub(crate) fn fs_group(pod: &PodInfo) -> Option<u32> {
    let group = pod.spec().security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

/// The user all containers run as, if it is the same one for all.
pub(crate) fn fs_user(pod: &PodInfo) -> Option<u32> {
    let of_pod = pod.spec().security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = pod.containers().map(|(_, container)| {
        container.security_context.as_ref().and_then(|context| context.run_as_user).or(of_pod)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first).and_then(|user| u32::try_from(user).ok())
}

/// Gives a tree to the group: readable, writable unless `read_only`, directories passing the group on.
pub(crate) fn apply(path: &Path, group: u32, read_only: bool) -> Result<(), VolumeError> {
    walk(path, group, read_only, 0)
}

/// Whether the root of the tree already looks as [`apply`] leaves it.
pub(crate) fn is_applied(path: &Path, group: u32) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.gid() == group && meta.mode() & 0o2770 == 0o2770)
}

fn walk(path: &Path, group: u32, read_only: bool, depth: usize) -> Result<(), VolumeError> {
    if depth > DEPTH_MAX {
        return Err(VolumeError::Refused(format!("directories nested too deep at {}", path.display())));
    }
    let meta = std::fs::symlink_metadata(path).map_err(VolumeError::io("inspect", path))?;
    lchown(path, None, Some(group)).map_err(VolumeError::io("change the group of", path))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mut mode = meta.mode() | if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))
        .map_err(VolumeError::io("change the mode of", path))?;
    if meta.is_dir() {
        for entry in std::fs::read_dir(path).map_err(VolumeError::io("read", path))? {
            let entry = entry.map_err(VolumeError::io("read", path))?;
            walk(&entry.path(), group, read_only, depth + 1)?;
        }
    }
    Ok(())
}
