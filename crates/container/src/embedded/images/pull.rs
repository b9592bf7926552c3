//! Pulling from registries that speak the OCI distribution protocol.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::{self, StreamExt, TryStreamExt};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth as Secret;
use oci_client::{Reference as OciReference, RegistryOperation};
use parking_lot::Mutex;
use serde::Deserialize;

use super::reference::Reference;
use super::store::{ConfigBlob, Fetched, ImageError, Images, verify};
use crate::RegistryAuth;

/// Layers of one image fetched at a time.
const LAYERS_AT_ONCE: usize = 3;
/// Largest manifest or configuration accepted.
const METADATA_MAX_BYTES: u64 = 8 << 20;
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);
const READ_LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

type Pull = Shared<BoxFuture<'static, Result<String, ImageError>>>;

/// Pulls under way, by reference and credentials.
pub(super) type InFlight = Mutex<HashMap<String, Pull>>;

/// A manifest or an index of manifests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    #[serde(default)]
    pub config: Option<Descriptor>,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    #[serde(default)]
    pub media_type: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub digest: String,
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub media_type: String,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: HashMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub variant: String,
}

/// This machine's architecture in the words of images.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The entry of an index for this machine.
pub(super) fn choose(manifests: &[Descriptor]) -> Result<&Descriptor, ImageError> {
    let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture();
    let plain = |platform: &Platform| platform.variant.is_empty() || platform.variant == "v8";
    let candidates = || manifests.iter().filter(|entry| entry.platform.as_ref().is_some_and(fits));
    candidates()
        .find(|entry| entry.platform.as_ref().is_some_and(plain))
        .or_else(|| candidates().next())
        .or_else(|| manifests.iter().find(|entry| entry.platform.is_none()))
        .ok_or_else(|| {
            ImageError::Malformed(format!("no match for platform linux/{} in manifest", architecture()))
        })
}

impl Images {
    /// Pulls an image; callers that ask for the same at once share one pull. Returns the image's id.
    ///
    /// # Errors
    /// Says what the registry answered, in words that fit after `failed to pull image`.
    pub async fn pull(
        self: &Arc<Self>,
        text: &str,
        auth: Option<RegistryAuth>,
    ) -> Result<String, ImageError> {
        let reference = Reference::parse(text)
            .map_err(|why| ImageError::Reference(format!("couldn't parse image name {text:?}: {why}")))?;
        if let Some(record) = self.builtin(&reference)? {
            return Ok(record.id.clone());
        }
        let auth = auth.unwrap_or_default();
        let key = format!("{reference}\n{}\n{}\n{:?}", auth.username, auth.password, auth.registry_token);
        let shared = {
            let mut in_flight = self.in_flight.lock();
            match in_flight.get(&key) {
                Some(pull) => pull.clone(),
                None => {
                    let images = self.clone();
                    let own_key = key.clone();
                    let pull = async move {
                        let result = images.pull_alone(&reference, &auth).await;
                        images.in_flight.lock().remove(&own_key);
                        result
                    }
                    .boxed()
                    .shared();
                    in_flight.insert(key.clone(), pull.clone());
                    pull
                }
            }
        };
        let _forget = ForgetWhenAbandoned { images: self, key: &key };
        shared.await
    }

    async fn pull_alone(
        self: &Arc<Self>,
        reference: &Reference,
        auth: &RegistryAuth,
    ) -> Result<String, ImageError> {
        let session = Session::open(reference, auth, &self.insecure).await?;
        let (fetched, layers) = session.fetch_metadata().await?;
        let names: Vec<String> =
            fetched.config.rootfs.diff_ids.iter().map(|id| Self::layer_name(id)).collect();
        let _pin = self.pin(names);
        let work: Vec<_> = layers
            .iter()
            .zip(&fetched.config.rootfs.diff_ids)
            .map(|(layer, diff_id)| self.fetch_layer(&session, layer, diff_id))
            .collect();
        stream::iter(work).buffer_unordered(LAYERS_AT_ONCE).try_collect::<Vec<()>>().await?;
        let top = fetched.manifests.first().map(|(digest, _)| reference.with_digest(digest));
        let images = self.clone();
        let tag = reference.tagged().filter(|_| reference.digest.is_none());
        blocking(move || images.commit(&fetched, tag.as_deref(), top.as_deref()))
            .await
            .map(|record| record.id.clone())
    }

    async fn fetch_layer(
        self: &Arc<Self>,
        session: &Session<'_>,
        layer: &Descriptor,
        diff_id: &str,
    ) -> Result<(), ImageError> {
        if self.has_layer(&Self::layer_name(diff_id)) {
            return Ok(());
        }
        let path = self.scratch("blob");
        let result = match session.download(layer, &path).await {
            Ok(()) => {
                let (images, path, diff_id) = (self.clone(), path.clone(), diff_id.to_owned());
                blocking(move || {
                    let file =
                        std::fs::File::open(&path).map_err(ImageError::io("read a downloaded layer"))?;
                    images.add_layer(&diff_id, file)
                })
                .await
            }
            Err(error) => Err(error),
        };
        let _ = std::fs::remove_file(&path);
        result
    }
}

/// Takes a pull out of the table when the last one waiting for it goes away before it ends.
struct ForgetWhenAbandoned<'a> {
    images: &'a Images,
    key: &'a str,
}

impl Drop for ForgetWhenAbandoned<'_> {
    fn drop(&mut self) {
        let mut in_flight = self.images.in_flight.lock();
        // The table's own handle and the one being dropped right after this.
        if in_flight.get(self.key).is_some_and(|pull| pull.strong_count().is_none_or(|count| count <= 2)) {
            in_flight.remove(self.key);
        }
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ImageError::Io { action: "run image work".to_owned(), reason: error.to_string() }),
    }
}

/// One pull's conversation with a registry.
struct Session<'a> {
    client: Client,
    reference: &'a Reference,
    secret: Secret,
}

impl<'a> Session<'a> {
    async fn open(
        reference: &'a Reference,
        auth: &RegistryAuth,
        insecure: &[String],
    ) -> Result<Self, ImageError> {
        let secret = match (&auth.registry_token, auth.username.as_str()) {
            (Some(token), _) => Secret::Bearer(token.clone()),
            (None, "") => Secret::Anonymous,
            (None, user) => Secret::Basic(user.to_owned(), auth.password.clone()),
        };
        let protocol = if is_plain(&reference.registry, insecure) {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT_LIMIT),
            read_timeout: Some(READ_LIMIT),
            user_agent: concat!("knarr/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| ImageError::Registry(chain(&error)))?;
        let session = Self { client, reference, secret };
        session
            .client
            .auth(&session.oci(None), &session.secret, RegistryOperation::Pull)
            .await
            .map_err(|error| session.explain(&error))?;
        Ok(session)
    }

    fn oci(&self, digest: Option<&str>) -> OciReference {
        let (registry, repository) = (self.reference.registry.clone(), self.reference.repository.clone());
        match digest.or(self.reference.digest.as_deref()) {
            Some(digest) => OciReference::with_digest(registry, repository, digest.to_owned()),
            None => {
                let tag = self.reference.tag.clone().unwrap_or_else(|| "latest".to_owned());
                OciReference::with_tag(registry, repository, tag)
            }
        }
    }

    async fn manifest(&self, digest: Option<&str>) -> Result<(String, Vec<u8>, Manifest), ImageError> {
        let (bytes, found) = self
            .client
            .pull_manifest_raw(&self.oci(digest), &self.secret, &MANIFEST_TYPES)
            .await
            .map_err(|error| self.explain(&error))?;
        verify(&found, &bytes)?;
        let manifest = serde_json::from_slice(&bytes)
            .map_err(|error| ImageError::Malformed(format!("the manifest is not readable: {error}")))?;
        Ok((found, bytes.to_vec(), manifest))
    }

    /// Manifest and configuration, chosen for this machine, and the layers to fetch.
    async fn fetch_metadata(&self) -> Result<(Fetched, Vec<Descriptor>), ImageError> {
        let (digest, bytes, mut manifest) = self.manifest(None).await?;
        let mut manifests = vec![(digest, bytes)];
        if !manifest.manifests.is_empty() {
            let chosen = choose(&manifest.manifests)?.digest.clone();
            let (digest, bytes, inner) = self.manifest(Some(&chosen)).await?;
            manifests.push((digest, bytes));
            manifest = inner;
        }
        let Some(config) = manifest.config else {
            let kind = manifest.media_type.unwrap_or_else(|| "of unknown type".to_owned());
            return Err(ImageError::Malformed(format!("the manifest ({kind}) has no configuration")));
        };
        if config.size > METADATA_MAX_BYTES {
            return Err(ImageError::Malformed("the image's configuration is too large".to_owned()));
        }
        let mut config_bytes = Vec::new();
        self.client
            .pull_blob(&self.oci(None), config.digest.as_str(), &mut config_bytes)
            .await
            .map_err(|error| self.explain(&error))?;
        let fetched = assemble(manifests, &config.digest, config_bytes, &manifest.layers)?;
        Ok((fetched, manifest.layers))
    }

    async fn download(&self, layer: &Descriptor, path: &Path) -> Result<(), ImageError> {
        let file = tokio::fs::File::create(path).await.map_err(ImageError::io("write a layer"))?;
        let file = tokio::io::BufWriter::with_capacity(256 * 1024, file);
        self.client
            .pull_blob(&self.oci(None), layer.digest.as_str(), file)
            .await
            .map_err(|error| self.explain(&error))
    }

    /// The registry's answer in a sentence.
    fn explain(&self, error: &OciDistributionError) -> ImageError {
        let denied = || {
            ImageError::Registry(format!(
                "pull access denied for {}, the repository does not exist or may require authorization",
                self.reference.name()
            ))
        };
        match error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => denied(),
            OciDistributionError::ImageManifestNotFoundError(_) => self.not_found(),
            OciDistributionError::ServerError { code: 404, .. } => self.not_found(),
            OciDistributionError::ServerError { code, message, .. } => ImageError::Registry(format!(
                "{} answered {code}: {}",
                self.reference.registry,
                message.trim()
            )),
            OciDistributionError::RegistryError { envelope, .. } => match envelope.errors.first() {
                Some(first) => match first.code {
                    OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound => {
                        self.not_found()
                    }
                    OciErrorCode::Unauthorized | OciErrorCode::Denied => denied(),
                    _ => ImageError::Registry(format!(
                        "{} answered: {}",
                        self.reference.registry, first.message
                    )),
                },
                None => ImageError::Registry(error.to_string()),
            },
            OciDistributionError::DigestError(digest) => ImageError::Registry(digest.to_string()),
            other => ImageError::Registry(chain(other)),
        }
    }

    fn not_found(&self) -> ImageError {
        ImageError::Registry(format!("{}: not found", self.reference))
    }
}

/// Checks configuration and layers against each other.
pub(super) fn assemble(
    manifests: Vec<(String, Vec<u8>)>,
    config_digest: &str,
    config_bytes: Vec<u8>,
    layers: &[Descriptor],
) -> Result<Fetched, ImageError> {
    verify(config_digest, &config_bytes)?;
    let config: ConfigBlob = serde_json::from_slice(&config_bytes).map_err(|error| {
        ImageError::Malformed(format!("the image's configuration is not readable: {error}"))
    })?;
    if config.rootfs.diff_ids.len() != layers.len() {
        return Err(ImageError::Malformed(format!(
            "the manifest has {} layers, the configuration {}",
            layers.len(),
            config.rootfs.diff_ids.len()
        )));
    }
    for diff_id in &config.rootfs.diff_ids {
        super::reference::check_digest(diff_id).map_err(ImageError::Malformed)?;
    }
    if let Some(strange) = layers.iter().find(|layer| layer.media_type.contains("foreign")) {
        return Err(ImageError::Malformed(format!(
            "layers of type {} are not supported",
            strange.media_type
        )));
    }
    if !config.os.is_empty() && config.os != "linux" {
        return Err(ImageError::Malformed(format!("the image is for {}/{}", config.os, config.architecture)));
    }
    let size_bytes = config_bytes.len() as u64 + layers.iter().map(|layer| layer.size).sum::<u64>();
    Ok(Fetched { manifests, config_digest: config_digest.to_owned(), config_bytes, config, size_bytes })
}

/// Registries on this machine and those configured so are spoken to without TLS.
fn is_plain(registry: &str, insecure: &[String]) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { registry }
    });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        || insecure.iter().any(|entry| entry == registry || entry == host)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_configured_registries_are_plain() {
        let insecure = ["registry.test:5000".to_owned(), "other.test".to_owned()];
        for registry in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
            "registry.test:5000",
            "other.test:1",
        ] {
            assert!(is_plain(registry, &insecure), "{registry}");
        }
        for registry in ["docker.io", "registry.test", "10.0.0.1:5000"] {
            assert!(!is_plain(registry, &insecure), "{registry}");
        }
    }

    #[test]
    fn the_entry_for_this_machine_is_chosen() {
        let entry = |architecture: &str, os: &str, variant: &str| Descriptor {
            digest: format!("{os}/{architecture}/{variant}"),
            size: 0,
            media_type: String::new(),
            platform: Some(Platform {
                architecture: architecture.to_owned(),
                os: os.to_owned(),
                variant: variant.to_owned(),
            }),
            annotations: HashMap::new(),
        };
        let mine = architecture();
        let index = [
            entry("other", "linux", ""),
            entry(mine, "windows", ""),
            entry(mine, "linux", "v9"),
            entry(mine, "linux", ""),
        ];
        assert_eq!(choose(&index).map(|found| found.digest.clone()).ok(), Some(format!("linux/{mine}/")));
        assert!(choose(&index[..2]).is_err());
    }
}
