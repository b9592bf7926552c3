//! `emptyDir`: a directory that lives as long as the pod.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use api::EmptyDirVolumeSource;

use super::{VolumeError, mounts, ownership};
use crate::pod::PodInfo;
use crate::resources::value;

/// Makes the directory, on a tmpfs if its medium is memory.
pub(crate) fn set_up(path: &Path, source: &EmptyDirVolumeSource, pod: &PodInfo) -> Result<(), VolumeError> {
    let existed = path.is_dir();
    std::fs::create_dir_all(path).map_err(VolumeError::io("create", path))?;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => {
            if !mounts::is_mount_point(path) {
                let size = source.size_limit.as_ref().map(value).filter(|bytes| *bytes > 0);
                mounts::mount_tmpfs(path, size, 0o777).map_err(VolumeError::io("mount a tmpfs at", path))?;
            }
        }
        other => return Err(VolumeError::Refused(format!("medium {other:?} is not supported by this node"))),
    }
    if !existed {
        std::fs::set_permissions(path, Permissions::from_mode(0o777))
            .map_err(VolumeError::io("change the mode of", path))?;
    }
    if let Some(group) = ownership::fs_group(pod)
        && !ownership::is_applied(path, group)
    {
        ownership::apply(path, group, false)?;
    }
    Ok(())
}
