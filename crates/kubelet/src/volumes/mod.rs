//! Volumes of pods: made, kept current and taken down.
//!
//! Each pod has a directory `<root>/pods/<uid>` with its volumes; contents of secrets, tokens and other projections
//! live below `<root>/secure`, a tmpfs, so that they never reach a disk.

mod atomic;
mod claim;
mod empty_dir;
mod host_path;
pub(crate) mod mounts;
mod nfs;
mod ownership;
mod projection;
pub(crate) mod subpath;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::Volume;
use jiff::Timestamp;

use crate::fields::PodFacts;
use crate::pod::PodInfo;
use crate::tokens::{TokenError, Tokens};
use crate::watched::{LookupError, WatchedObjects};

/// Where a volume is on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub path: PathBuf,
    /// Read-only whatever the container's mount says.
    pub read_only: bool,
}

/// Volumes by name.
pub(crate) type Mounts = Arc<BTreeMap<String, Mounted>>;

/// Why a volume is not there; the text follows `MountVolume.SetUp failed for volume "x" : `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("failed to fetch token: {0}")]
    Token(#[from] TokenError),
    #[error("{0}")]
    Refused(String),
    #[error("hostPath type check failed: {path} is not a {wanted}")]
    HostPathType { path: String, wanted: &'static str },
    #[error("failed to {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Field(#[from] crate::fields::FieldError),
}

impl VolumeError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// A volume that failed.
#[derive(Debug)]
pub(crate) struct FailedVolume {
    pub name: String,
    pub error: VolumeError,
}

/// Volumes that are ready.
#[derive(Debug)]
pub(crate) struct SetUp {
    pub mounts: Mounts,
    /// When the volumes have to be written again although nothing they refer to changed.
    pub refresh_at: Option<Timestamp>,
}

/// Makes volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    secure: PathBuf,
    objects: Arc<WatchedObjects>,
    tokens: Tokens,
    rest: client::Rest,
}

impl Volumes {
    /// Prepares the root directory, with a tmpfs for secrets if they are to stay in memory.
    pub fn new(
        root: &Path,
        secrets_in_memory: bool,
        objects: Arc<WatchedObjects>,
        rest: client::Rest,
    ) -> Result<Self, VolumeError> {
        let secure = root.join("secure");
        std::fs::create_dir_all(root.join("pods")).map_err(VolumeError::io("create", root))?;
        std::fs::create_dir_all(&secure).map_err(VolumeError::io("create", &secure))?;
        if secrets_in_memory
            && !mounts::is_mount_point(&secure)
            && let Err(error) = mounts::mount_tmpfs(&secure, None, 0o711)
        {
            tracing::warn!(%error, path = %secure.display(), "failed to mount a tmpfs for secrets; they are kept on disk");
        }
        Ok(Self { root: root.to_owned(), secure, objects, tokens: Tokens::new(rest.clone()), rest })
    }

    /// The pod's own directory.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// UIDs of the pods that have a directory.
    pub fn known_uids(&self) -> Vec<String> {
        let mut uids = Vec::new();
        for dir in [self.root.join("pods"), self.secure.clone()] {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            uids.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()));
        }
        uids.sort();
        uids.dedup();
        uids
    }

    /// Makes every volume of the pod, or writes it again; what is right already is left alone.
    pub async fn set_up(&self, pod: &PodInfo, facts: &PodFacts) -> Result<SetUp, Vec<FailedVolume>> {
        let volumes = pod.spec().volumes.as_deref().unwrap_or_default();
        let each = volumes.iter().map(|volume| async move {
            self.set_up_one(pod, volume, facts)
                .await
                .map_err(|error| FailedVolume { name: volume.name.clone(), error })
        });
        let mut ready = BTreeMap::new();
        let mut failed = Vec::new();
        let mut refresh_at: Option<Timestamp> = None;
        for (volume, result) in volumes.iter().zip(futures::future::join_all(each).await) {
            match result {
                Ok((mounted, refresh)) => {
                    ready.insert(volume.name.clone(), mounted);
                    refresh_at = match (refresh_at, refresh) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                }
                Err(error) => failed.push(error),
            }
        }
        if failed.is_empty() { Ok(SetUp { mounts: Arc::new(ready), refresh_at }) } else { Err(failed) }
    }

    async fn set_up_one(
        &self,
        pod: &PodInfo,
        volume: &Volume,
        facts: &PodFacts,
    ) -> Result<(Mounted, Option<Timestamp>), VolumeError> {
        let writable = |path: PathBuf| (Mounted { path, read_only: false }, None);
        if let Some(source) = &volume.empty_dir {
            let path = self.plain_dir(pod, "empty-dir", &volume.name);
            empty_dir::set_up(&path, source, pod)?;
            return Ok(writable(path));
        }
        if let Some(source) = &volume.host_path {
            host_path::check(Path::new(&source.path), source.type_.as_deref().unwrap_or_default())?;
            return Ok(writable(PathBuf::from(&source.path)));
        }
        if let Some(source) = &volume.nfs {
            let path = self.plain_dir(pod, "nfs", &volume.name);
            let read_only = source.read_only == Some(true);
            nfs::set_up(&path, &source.server, &source.path, read_only).await?;
            return Ok((Mounted { path, read_only }, None));
        }
        if let Some(source) = &volume.persistent_volume_claim {
            let read_only = source.read_only == Some(true);
            return self.set_up_claim(pod, volume, &source.claim_name, read_only).await;
        }
        if volume.ephemeral.is_some() {
            let claim = format!("{}-{}", pod.name(), volume.name);
            return self.set_up_claim(pod, volume, &claim, false).await;
        }
        self.set_up_projection(pod, volume, facts).await
    }

    async fn set_up_claim(
        &self,
        pod: &PodInfo,
        volume: &Volume,
        claim: &str,
        read_only: bool,
    ) -> Result<(Mounted, Option<Timestamp>), VolumeError> {
        let path = self.plain_dir(pod, "claim", &volume.name);
        let mounted = claim::set_up(&self.rest, pod, claim, &path).await?;
        let read_only = read_only || mounted.read_only;
        Ok((Mounted { read_only, ..mounted }, None))
    }

    async fn set_up_projection(
        &self,
        pod: &PodInfo,
        volume: &Volume,
        facts: &PodFacts,
    ) -> Result<(Mounted, Option<Timestamp>), VolumeError> {
        let sources = projection::Sources { objects: &self.objects, tokens: &self.tokens, facts };
        let projected = projection::collect(&sources, pod, volume).await?;
        let path = self.secure.join(pod.uid()).join(&volume.name);
        let target = path.clone();
        let fs_group = ownership::fs_group(pod);
        let written = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&target).map_err(VolumeError::io("create", &target))?;
            atomic::write(&target, &projected.files, fs_group)
        });
        written
            .await
            .map_err(|error| VolumeError::Refused(format!("writing was interrupted: {error}")))??;
        Ok((Mounted { path, read_only: true }, projected.refresh_at))
    }

    fn plain_dir(&self, pod: &PodInfo, kind: &str, name: &str) -> PathBuf {
        self.pod_dir(pod.uid()).join("volumes").join(format!("kubernetes.io~{kind}")).join(name)
    }

    /// Unmounts and removes everything of a pod.
    pub async fn tear_down(&self, uid: &str) -> Result<(), VolumeError> {
        self.objects.release(uid);
        self.tokens.forget(uid);
        let dirs = [self.pod_dir(uid), self.secure.join(uid)];
        let removed = tokio::task::spawn_blocking(move || {
            for dir in &dirs {
                mounts::unmount_below(dir).map_err(VolumeError::io("unmount below", dir))?;
                match std::fs::remove_dir_all(dir) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(VolumeError::io("remove", dir)(error));
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        removed.await.map_err(|error| VolumeError::Refused(format!("removal was interrupted: {error}")))?
    }
}
