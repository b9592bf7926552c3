//! Importing images from archives: OCI layouts (a directory, or a tar of one) and `docker save`.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::pull::{Descriptor, Manifest, assemble, choose};
use super::reference::Reference;
use super::store::{ImageError, ImageRecord, Images, verify};
use super::unpack::{Whiteouts, hex, open_beneath, unpack};
use crate::embedded::state;

/// Largest manifest, index or configuration accepted.
const METADATA_MAX_BYTES: u64 = 16 << 20;
/// Annotations that name an image in a layout's index, best first.
const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Images {
    /// Loads every image of an archive or layout directory. Returns the names they now have (ids of those without).
    ///
    /// # Errors
    /// When the file is neither kind of archive, or is damaged.
    pub fn import(self: &Arc<Self>, archive: &Path) -> Result<Vec<String>, ImageError> {
        if archive.is_dir() {
            return self.import_directory(archive);
        }
        let file = File::open(archive).map_err(ImageError::io(format!("read {}", archive.display())))?;
        let scratch = self.scratch("import");
        let result = std::fs::create_dir_all(&scratch)
            .map_err(ImageError::io("make a directory"))
            .and_then(|()| {
                unpack(file, &scratch, Whiteouts::Literal).map_err(ImageError::io("read it as an archive"))
            })
            .and_then(|_| self.import_directory(&scratch));
        let _ = state::remove_all(&scratch);
        result
    }

    fn import_directory(self: &Arc<Self>, directory: &Path) -> Result<Vec<String>, ImageError> {
        let source = Source::open(directory)?;
        if source.exists("index.json") {
            self.import_layout(&source)
        } else if source.exists("manifest.json") {
            self.import_docker(&source)
        } else {
            Err(ImageError::Malformed("neither an OCI layout nor a docker archive".to_owned()))
        }
    }

    fn import_layout(self: &Arc<Self>, source: &Source) -> Result<Vec<String>, ImageError> {
        let index: Manifest = source.json("index.json")?;
        let mut names = Vec::new();
        for entry in &index.manifests {
            let record = self.import_manifest(source, entry)?;
            names.push(record);
        }
        if names.is_empty() {
            return Err(ImageError::Malformed("the archive holds no image".to_owned()));
        }
        Ok(names)
    }

    fn import_manifest(self: &Arc<Self>, source: &Source, entry: &Descriptor) -> Result<String, ImageError> {
        let mut manifests = vec![(entry.digest.clone(), source.blob(&entry.digest)?)];
        let mut manifest: Manifest = parse(&manifests[0].1)?;
        if !manifest.manifests.is_empty() {
            let chosen = choose(&manifest.manifests)?.digest.clone();
            let bytes = source.blob(&chosen)?;
            manifest = parse(&bytes)?;
            manifests.push((chosen, bytes));
        }
        let config = manifest
            .config
            .as_ref()
            .ok_or_else(|| ImageError::Malformed("manifest without configuration".to_owned()))?;
        let fetched = assemble(manifests, &config.digest, source.blob(&config.digest)?, &manifest.layers)?;
        let _pin = self.pin(fetched.config.rootfs.diff_ids.iter().map(|id| Self::layer_name(id)).collect());
        for (layer, diff_id) in manifest.layers.iter().zip(&fetched.config.rootfs.diff_ids) {
            self.add_layer(diff_id, source.open_blob(&layer.digest)?)?;
        }
        let reference = name_of(entry);
        let digest = reference.as_ref().map(|reference| reference.with_digest(&entry.digest));
        let tag = reference.as_ref().and_then(Reference::tagged);
        let record = self.commit(&fetched, tag.as_deref(), digest.as_deref())?;
        Ok(tag.unwrap_or_else(|| record.id.clone()))
    }

    fn import_docker(self: &Arc<Self>, source: &Source) -> Result<Vec<String>, ImageError> {
        let entries: Vec<DockerEntry> = source.json("manifest.json")?;
        let mut names = Vec::new();
        for entry in entries {
            names.extend(self.import_docker_entry(source, &entry)?);
        }
        Ok(names)
    }

    fn import_docker_entry(
        self: &Arc<Self>,
        source: &Source,
        entry: &DockerEntry,
    ) -> Result<Vec<String>, ImageError> {
        let config_bytes = source.read(&entry.config)?;
        let config_digest = format!("sha256:{}", hex(&<sha2::Sha256 as sha2::Digest>::digest(&config_bytes)));
        let layers: Vec<Descriptor> =
            entry.layers.iter().map(|path| source.layer(path)).collect::<Result<_, _>>()?;
        let fetched = assemble(Vec::new(), &config_digest, config_bytes, &layers)?;
        let _pin = self.pin(fetched.config.rootfs.diff_ids.iter().map(|id| Self::layer_name(id)).collect());
        for (path, diff_id) in entry.layers.iter().zip(&fetched.config.rootfs.diff_ids) {
            self.add_layer(diff_id, source.file(path)?)?;
        }
        let mut names = Vec::new();
        let mut record: Option<Arc<ImageRecord>> = None;
        for tag in entry.repo_tags.iter().flatten() {
            let tag = Reference::parse(tag).map_err(ImageError::Reference)?.tagged();
            record = Some(self.commit(&fetched, tag.as_deref(), None)?);
            names.extend(tag);
        }
        if record.is_none() {
            names.push(self.commit(&fetched, None, None)?.id.clone());
        }
        Ok(names)
    }
}

fn name_of(entry: &Descriptor) -> Option<Reference> {
    let named = |annotation: &&str| entry.annotations.get(*annotation);
    // A bare tag, as some tools write, names nothing.
    NAME_ANNOTATIONS
        .iter()
        .filter_map(named)
        .filter(|name| name.contains(['/', ':']))
        .find_map(|name| Reference::parse(name).ok())
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ImageError::Malformed(format!("the archive is damaged: {error}")))
}

/// A directory whose files are read without leaving it.
struct Source {
    root: File,
}

impl Source {
    fn open(directory: &Path) -> Result<Self, ImageError> {
        let root = File::open(directory).map_err(ImageError::io(format!("read {}", directory.display())))?;
        Ok(Self { root })
    }

    fn file(&self, path: &str) -> Result<File, ImageError> {
        open_beneath(self.root.as_fd(), &PathBuf::from(path), libc::O_RDONLY | libc::O_NONBLOCK, 0)
            .map(File::from)
            .map_err(ImageError::io(format!("read {path} of the archive")))
    }

    fn exists(&self, path: &str) -> bool {
        self.file(path).is_ok()
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let read = self.file(path)?.take(METADATA_MAX_BYTES).read_to_end(&mut bytes);
        read.map_err(ImageError::io(format!("read {path} of the archive")))?;
        Ok(bytes)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ImageError> {
        parse(&self.read(path)?)
    }

    fn open_blob(&self, digest: &str) -> Result<File, ImageError> {
        let digest = super::reference::check_digest(digest).map_err(ImageError::Malformed)?;
        self.file(&format!("blobs/{}", digest.replacen(':', "/", 1)))
    }

    fn blob(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let read = self.open_blob(digest)?.take(METADATA_MAX_BYTES).read_to_end(&mut bytes);
        read.map_err(ImageError::io(format!("read {digest} of the archive")))?;
        verify(digest, &bytes)?;
        Ok(bytes)
    }

    fn layer(&self, path: &str) -> Result<Descriptor, ImageError> {
        let size =
            self.file(path)?.metadata().map_err(ImageError::io(format!("read {path} of the archive")))?.len();
        Ok(Descriptor {
            digest: String::new(),
            size,
            media_type: String::new(),
            platform: None,
            annotations: std::collections::HashMap::new(),
        })
    }
}
