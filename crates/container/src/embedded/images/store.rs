//! Which images are on the node, and the files they are made of.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::builtin::BuiltinImage;
use super::pull::InFlight;
use super::reference::Reference;
use super::unpack::{Whiteouts, hex, unpack};
use crate::embedded::state;

/// How much of a diff id names a layer's directory: short, so that mount options for many layers fit in a page.
const LAYER_NAME_CHARS: usize = 20;

/// Why an image could not be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    #[error("{0}")]
    Reference(String),
    #[error("image {0:?} not found")]
    NotFound(String),
    #[error("{0}")]
    Registry(String),
    #[error("digest mismatch: expected {expected}, got {actual}")]
    Digest { expected: String, actual: String },
    #[error("{0}")]
    Malformed(String),
    #[error("failed to {action}: {reason}")]
    Io { action: String, reason: String },
}

impl ImageError {
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |error| Self::Io { action, reason: error.to_string() }
    }
}

/// What an image says about the containers made from it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    pub user: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub cmd: Vec<String>,
    pub working_dir: String,
    pub stop_signal: Option<String>,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// An image's configuration blob, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct ConfigBlob {
    #[serde(default)]
    pub config: Option<ImageConfig>,
    pub rootfs: RootFs,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RootFs {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub diff_ids: Vec<String>,
}

/// One image on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Digest of the configuration.
    pub id: String,
    /// `name:tag`.
    pub tags: BTreeSet<String>,
    /// `name@digest`.
    pub digests: BTreeSet<String>,
    /// Digests of the kept manifests and the configuration.
    pub blobs: Vec<String>,
    /// Names of the layers' directories, lowest first.
    pub layers: Vec<String>,
    pub size_bytes: u64,
    pub config: ImageConfig,
}

/// What is known of an image before its layers are unpacked.
pub(super) struct Fetched {
    pub manifests: Vec<(String, Vec<u8>)>,
    pub config_digest: String,
    pub config_bytes: Vec<u8>,
    pub config: ConfigBlob,
    pub size_bytes: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    images: Vec<ImageRecord>,
}

/// The images of one runtime.
pub struct Images {
    root: PathBuf,
    pub(super) insecure: Vec<String>,
    pub(super) builtin: Vec<BuiltinImage>,
    pub(super) in_flight: InFlight,
    records: Mutex<BTreeMap<String, Arc<ImageRecord>>>,
    /// Layers and blobs that an operation under way relies on, with how many do.
    pinned: Mutex<HashMap<String, usize>>,
    counter: AtomicU64,
}

/// Keeps a layer or blob from being removed while it is held.
pub struct Pin {
    images: Arc<Images>,
    names: Vec<String>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.images.pinned.lock();
        for name in &self.names {
            if let Some(count) = pinned.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    pinned.remove(name);
                }
            }
        }
    }
}

impl Images {
    /// Opens the images below `root`, removing what an earlier run left half done.
    ///
    /// # Errors
    /// When the directory cannot be used or `images.json` is not readable.
    pub fn open(root: &Path, builtin: Vec<BuiltinImage>, insecure: Vec<String>) -> io::Result<Self> {
        let _ = state::remove_all(&root.join("tmp"));
        for directory in ["blobs/sha256", "layers", "tmp"] {
            std::fs::create_dir_all(root.join(directory))?;
        }
        let index: Index = state::read_json(&root.join("images.json"))?.unwrap_or_default();
        let usable =
            |record: &ImageRecord| record.layers.iter().all(|layer| root.join("layers").join(layer).is_dir());
        let records =
            index.images.into_iter().filter(usable).map(|record| (record.id.clone(), Arc::new(record)));
        Ok(Self {
            root: root.to_owned(),
            insecure,
            builtin,
            in_flight: InFlight::default(),
            records: Mutex::new(records.collect()),
            pinned: Mutex::default(),
            counter: AtomicU64::new(0),
        })
    }

    /// Directory that layers' names are relative to.
    pub fn layers_directory(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// A fresh path on the same file system, for work that is renamed into place.
    pub(super) fn scratch(&self, what: &str) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.root.join("tmp").join(format!("{what}-{}-{number}", std::process::id()))
    }

    /// All images.
    pub fn list(&self) -> Vec<Arc<ImageRecord>> {
        self.records.lock().values().cloned().collect()
    }

    /// The image that `text`, a reference or an id, names.
    pub fn find(&self, text: &str) -> Option<Arc<ImageRecord>> {
        let records = self.records.lock();
        if let Some(record) = records.get(text).or_else(|| records.get(&format!("sha256:{text}"))) {
            return Some(record.clone());
        }
        let reference = Reference::parse(text).ok()?;
        let by_digest = reference.digest.as_ref().map(|digest| reference.with_digest(digest));
        records
            .values()
            .find(|record| match (&by_digest, reference.tagged()) {
                (Some(digest), _) => record.digests.contains(digest),
                (None, Some(tagged)) => record.tags.contains(&tagged),
                (None, None) => false,
            })
            .cloned()
    }

    /// The image and a pin on its layers, taken together so that no removal comes between.
    pub fn find_pinned(self: &Arc<Self>, text: &str) -> Option<(Arc<ImageRecord>, Pin)> {
        let record = self.find(text)?;
        let pin = self.pin(record.layers.clone());
        self.records.lock().contains_key(&record.id).then_some((record, pin))
    }

    pub(super) fn pin(self: &Arc<Self>, names: Vec<String>) -> Pin {
        let mut pinned = self.pinned.lock();
        for name in &names {
            *pinned.entry(name.clone()).or_default() += 1;
        }
        drop(pinned);
        Pin { images: self.clone(), names }
    }

    /// The directory's name for a layer.
    pub(super) fn layer_name(diff_id: &str) -> String {
        diff_id.trim_start_matches("sha256:").chars().take(LAYER_NAME_CHARS).collect()
    }

    pub(super) fn has_layer(&self, name: &str) -> bool {
        self.layers_directory().join(name).is_dir()
    }

    /// Unpacks a layer unless it is there already. The whole archive is read and must hash to `diff_id`.
    pub(super) fn add_layer(&self, diff_id: &str, archive: impl io::Read) -> Result<(), ImageError> {
        let name = Self::layer_name(diff_id);
        if self.has_layer(&name) {
            return Ok(());
        }
        let scratch = self.scratch("layer");
        let result = self.fill_layer(&scratch, diff_id, archive).and_then(|()| {
            match std::fs::rename(&scratch, self.layers_directory().join(&name)) {
                // Another pull has just finished the same layer.
                Err(_) if self.has_layer(&name) => Ok(()),
                other => other.map_err(ImageError::io("put a layer in place")),
            }
        });
        let _ = state::remove_all(&scratch);
        result
    }

    fn fill_layer(&self, scratch: &Path, diff_id: &str, archive: impl io::Read) -> Result<(), ImageError> {
        std::fs::create_dir_all(scratch).map_err(ImageError::io("make a layer's directory"))?;
        let unpacked =
            unpack(archive, scratch, Whiteouts::Overlay).map_err(ImageError::io("unpack a layer"))?;
        if unpacked.diff_id != diff_id {
            return Err(ImageError::Digest { expected: diff_id.to_owned(), actual: unpacked.diff_id });
        }
        // One sync for all files: a layer that is in place is whole, also after power loss.
        sync_file_system(scratch).map_err(ImageError::io("sync a layer"))
    }

    /// Records an image whose layers are all in place, adding `tag` and `digest` to its names.
    pub(super) fn commit(
        &self,
        fetched: &Fetched,
        tag: Option<&str>,
        digest: Option<&str>,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        let mut blobs: Vec<String> = fetched.manifests.iter().map(|(digest, _)| digest.clone()).collect();
        blobs.push(fetched.config_digest.clone());
        for (digest, bytes) in &fetched.manifests {
            self.write_blob(digest, bytes)?;
        }
        self.write_blob(&fetched.config_digest, &fetched.config_bytes)?;
        let record = ImageRecord {
            id: fetched.config_digest.clone(),
            tags: BTreeSet::new(),
            digests: BTreeSet::new(),
            blobs,
            layers: fetched.config.rootfs.diff_ids.iter().map(|diff_id| Self::layer_name(diff_id)).collect(),
            size_bytes: fetched.size_bytes,
            config: fetched.config.config.clone().unwrap_or_default(),
        };
        self.insert(record, tag, digest)
    }

    pub(super) fn insert(
        &self,
        mut record: ImageRecord,
        tag: Option<&str>,
        digest: Option<&str>,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        let mut records = self.records.lock();
        if let Some(existing) = records.get(&record.id) {
            record.tags.extend(existing.tags.iter().cloned());
            record.digests.extend(existing.digests.iter().cloned());
            record.blobs.extend(existing.blobs.iter().cloned());
            record.blobs.sort();
            record.blobs.dedup();
        }
        if let Some(tag) = tag {
            for other in records.values_mut().filter(|other| other.tags.contains(tag)) {
                Arc::make_mut(other).tags.remove(tag);
            }
            record.tags.insert(tag.to_owned());
        }
        record.digests.extend(digest.map(str::to_owned));
        let record = Arc::new(record);
        records.insert(record.id.clone(), record.clone());
        self.save(&records).map_err(ImageError::io("record the image"))?;
        Ok(record)
    }

    fn save(&self, records: &BTreeMap<String, Arc<ImageRecord>>) -> io::Result<()> {
        let images = records.values().map(|record| record.as_ref().clone()).collect();
        state::write_json(&self.root.join("images.json"), &Index { images })
    }

    /// Checks `bytes` against `digest` and keeps them.
    pub(super) fn write_blob(&self, digest: &str, bytes: &[u8]) -> Result<(), ImageError> {
        verify(digest, bytes)?;
        let path = self.blob_path(digest);
        if path.exists() {
            return Ok(());
        }
        state::write_bytes(&path, bytes).map_err(ImageError::io("keep a blob"))
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        self.root.join("blobs").join(digest.replacen(':', "/", 1))
    }

    /// Removes a name of an image, or with an id all of them, then what no image and no container needs any more.
    ///
    /// `in_use` holds the layers of existing containers.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] when nothing has that name.
    pub fn remove(&self, text: &str, in_use: &HashSet<String>) -> Result<(), ImageError> {
        let record = self.find(text).ok_or_else(|| ImageError::NotFound(text.to_owned()))?;
        let mut records = self.records.lock();
        let mut left = record.as_ref().clone();
        if left.id.trim_start_matches("sha256:") != text.trim_start_matches("sha256:") {
            let reference = Reference::parse(text).map_err(ImageError::Reference)?;
            match &reference.digest {
                Some(digest) => drop(left.digests.remove(&reference.with_digest(digest))),
                None => drop(reference.tagged().map(|tagged| left.tags.remove(&tagged))),
            }
            // A digest alone that came with the removed tag does not keep the image.
            let name = reference.name();
            if !left.tags.iter().any(|tag| tag.rsplit_once(':').is_some_and(|(other, _)| other == name)) {
                left.digests.retain(|digest| !digest.starts_with(&format!("{name}@")));
            }
        } else {
            left.tags.clear();
            left.digests.clear();
        }
        if left.tags.is_empty() && left.digests.is_empty() {
            records.remove(&left.id);
        } else {
            records.insert(left.id.clone(), Arc::new(left));
        }
        self.save(&records).map_err(ImageError::io("record the removal"))?;
        self.sweep(&records, in_use);
        Ok(())
    }

    /// Removes unreferenced layers and blobs.
    fn sweep(&self, records: &BTreeMap<String, Arc<ImageRecord>>, in_use: &HashSet<String>) {
        let pinned = self.pinned.lock();
        let layers: HashSet<&String> = records.values().flat_map(|record| &record.layers).collect();
        let blobs: HashSet<&str> = records
            .values()
            .flat_map(|record| &record.blobs)
            .map(|digest| digest.trim_start_matches("sha256:"))
            .collect();
        let names = |directory: PathBuf| {
            std::fs::read_dir(directory)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        for name in names(self.layers_directory()) {
            if !layers.contains(&name) && !in_use.contains(&name) && !pinned.contains_key(&name) {
                // Renamed first: what is half removed must not be taken for a layer.
                let scratch = self.scratch("removed");
                if std::fs::rename(self.layers_directory().join(&name), &scratch).is_ok() {
                    let _ = state::remove_all(&scratch);
                }
            }
        }
        for name in names(self.root.join("blobs/sha256")) {
            if !blobs.contains(name.as_str()) && !pinned.contains_key(&name) {
                let _ = std::fs::remove_file(self.root.join("blobs/sha256").join(name));
            }
        }
    }
}

/// Checks that `bytes` hash to `digest`.
pub(super) fn verify(digest: &str, bytes: &[u8]) -> Result<(), ImageError> {
    let actual = format!("sha256:{}", hex(&Sha256::digest(bytes)));
    if actual == digest { Ok(()) } else { Err(ImageError::Digest { expected: digest.to_owned(), actual }) }
}

fn sync_file_system(path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let directory = std::fs::File::open(path)?;
    #[allow(unsafe_code)] // no wrapper for syncfs among the dependencies
    // SAFETY: syncfs takes an open descriptor and nothing else.
    let result = unsafe { libc::syncfs(directory.as_raw_fd()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
