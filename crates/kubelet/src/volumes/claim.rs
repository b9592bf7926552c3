//! `persistentVolumeClaim`: the volume a claim is bound to.

use std::path::{Path, PathBuf};

use api::{PersistentVolume, PersistentVolumeClaim};
use client::{Objects, Rest};

use super::{Mounted, VolumeError, host_path, nfs, ownership};
use crate::pod::PodInfo;

/// Finds the volume behind the claim and makes it available; `path` is where it is mounted if it has to be.
pub(crate) async fn set_up(
    rest: &Rest,
    pod: &PodInfo,
    claim: &str,
    path: &Path,
) -> Result<Mounted, VolumeError> {
    let namespace = pod.namespace();
    let failed = |error: client::kube::Error| VolumeError::Refused(error.to_string());
    let claims = Objects::<PersistentVolumeClaim>::over(rest.clone());
    let found = claims.get_opt(namespace, claim).await.map_err(failed)?;
    let found =
        found.ok_or_else(|| VolumeError::Refused(format!("persistentvolumeclaim {claim:?} not found")))?;
    if found.metadata.deletion_timestamp.is_some() && found.status.is_none() {
        return Err(VolumeError::Refused(format!("PVC {namespace}/{claim} is being deleted")));
    }
    let bound = found.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let volume = found.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).filter(|_| bound);
    let Some(volume) = volume else {
        return Err(VolumeError::Refused(format!("PVC {namespace}/{claim} is not bound")));
    };
    let volumes = Objects::<PersistentVolume>::over(rest.clone());
    let found = volumes.get_opt("", volume).await.map_err(failed)?;
    let found =
        found.ok_or_else(|| VolumeError::Refused(format!("persistentvolume {volume:?} not found")))?;
    from_volume(pod, &found, path).await
}

async fn from_volume(pod: &PodInfo, volume: &PersistentVolume, path: &Path) -> Result<Mounted, VolumeError> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let Some(spec) = &volume.spec else {
        return Err(VolumeError::Refused(format!("persistentvolume {name:?} has no source")));
    };
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let read_only = !modes.is_empty() && modes.iter().all(|mode| mode == "ReadOnlyMany");
    if let Some(source) = &spec.host_path {
        host_path::check(Path::new(&source.path), source.type_.as_deref().unwrap_or_default())?;
        return owned(pod, PathBuf::from(&source.path), read_only, false);
    }
    if let Some(source) = &spec.local {
        let local = PathBuf::from(&source.path);
        if !local.exists() {
            return Err(VolumeError::Refused(format!("path {:?} does not exist", source.path)));
        }
        return owned(pod, local, read_only, true);
    }
    if let Some(source) = &spec.nfs {
        let read_only = read_only || source.read_only == Some(true);
        nfs::set_up(path, &source.server, &source.path, read_only).await?;
        return Ok(Mounted { path: path.to_owned(), read_only });
    }
    Err(VolumeError::Refused(format!(
        "the source of persistentvolume {name:?} is not supported by this node"
    )))
}

fn owned(pod: &PodInfo, path: PathBuf, read_only: bool, group_owned: bool) -> Result<Mounted, VolumeError> {
    if let Some(group) = ownership::fs_group(pod).filter(|_| group_owned && !read_only)
        && !ownership::is_applied(&path, group)
    {
        ownership::apply(&path, group, false)?;
    }
    Ok(Mounted { path, read_only })
}
