//! Images: whether to pull, with which credentials, and what to say about it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::{Container, Secret};
use base64::Engine;
use client::EventType;
use container::{Image, RegistryAuth, Runtime};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::backoff::go_millis;
use crate::events::PodEvents;

/// Pulls at the same time.
const PULLS_MAX: usize = 3;

/// Why an image is not there, in the words of the container's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageError {
    pub reason: &'static str,
    pub message: String,
}

/// Pulls images for the pods of this node.
pub(crate) struct Images {
    runtime: Arc<dyn Runtime>,
    /// Repositories whose images are part of the program.
    builtin: Vec<String>,
    permits: Semaphore,
    /// One pull a reference at a time; the second finds what the first brought.
    pulling: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images").field("builtin", &self.builtin).finish_non_exhaustive()
    }
}

impl Images {
    pub fn new(runtime: Arc<dyn Runtime>, builtin: Vec<String>) -> Self {
        Self { runtime, builtin, permits: Semaphore::new(PULLS_MAX), pulling: Mutex::default() }
    }

    /// Sees to it that the container's image is on the node; returns the image.
    pub async fn ensure(
        &self,
        container: &Container,
        secrets: &[Arc<Secret>],
        events: &PodEvents,
    ) -> Result<Image, ImageError> {
        let image = container.image.as_deref().unwrap_or_default();
        let Some(reference) = with_default_tag(image) else {
            let message = format!(
                "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
            );
            events.container(container, EventType::Warning, "InspectFailed", &message);
            return Err(ImageError { reason: "InvalidImageName", message });
        };
        let present = self.present(image, &reference, container, events).await?;
        let policy = container.image_pull_policy.as_deref().unwrap_or_else(|| default_policy(&reference));
        let pull = match policy {
            "Never" => false,
            "Always" => !self.is_builtin(&reference) || present.is_none(),
            _ => present.is_none(),
        };
        match (pull, present) {
            (false, Some(found)) => {
                let message = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                events.container(container, EventType::Normal, "Pulled", &message);
                Ok(found)
            }
            (false, None) => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                events.container(container, EventType::Warning, "ErrImageNeverPull", &message);
                Err(ImageError { reason: "ErrImageNeverPull", message })
            }
            (true, _) => self.pull(image, &reference, container, secrets, events).await,
        }
    }

    fn is_builtin(&self, reference: &str) -> bool {
        self.builtin.iter().any(|repository| {
            reference.strip_prefix(repository.as_str()).is_some_and(|rest| rest.starts_with([':', '@']))
        })
    }

    async fn present(
        &self,
        image: &str,
        reference: &str,
        container: &Container,
        events: &PodEvents,
    ) -> Result<Option<Image>, ImageError> {
        self.runtime.image_status(reference).await.map_err(|error| {
            let message = format!("Failed to inspect image {image:?}: {error}");
            events.container(container, EventType::Warning, "InspectFailed", &message);
            ImageError { reason: "ImageInspectError", message }
        })
    }

    async fn pull(
        &self,
        image: &str,
        reference: &str,
        container: &Container,
        secrets: &[Arc<Secret>],
        events: &PodEvents,
    ) -> Result<Image, ImageError> {
        events.container(container, EventType::Normal, "Pulling", &format!("Pulling image {image:?}"));
        let waiting = std::time::Instant::now();
        let lock = self.pulling.lock().entry(reference.to_owned()).or_default().clone();
        let result = {
            let _one = lock.lock().await;
            let _permit = self.permits.acquire().await;
            let started = std::time::Instant::now();
            let result = self.pull_with_any(reference, secrets).await;
            result.map(|found| (found, started.elapsed()))
        };
        drop(lock);
        // What only the map holds, nobody waits for.
        self.pulling.lock().retain(|_, lock| Arc::strong_count(lock) > 1);
        match result {
            Ok((found, took)) => {
                let message = format!(
                    "Successfully pulled image {image:?} in {} ({} including waiting). Image size: {} bytes.",
                    go_millis(took),
                    go_millis(waiting.elapsed()),
                    found.size_bytes
                );
                events.container(container, EventType::Normal, "Pulled", &message);
                Ok(found)
            }
            Err(reason) => {
                let message = format!("failed to pull and unpack image {reference:?}: {reason}");
                events.container(
                    container,
                    EventType::Warning,
                    "Failed",
                    &format!("Failed to pull image {image:?}: {message}"),
                );
                Err(ImageError { reason: "ErrImagePull", message })
            }
        }
    }

    /// Tries every credential that fits, or none.
    async fn pull_with_any(&self, reference: &str, secrets: &[Arc<Secret>]) -> Result<Image, String> {
        let found = credentials(reference, secrets);
        let mut tries: Vec<Option<RegistryAuth>> = found.into_iter().map(Some).collect();
        if tries.is_empty() {
            tries.push(None);
        }
        let mut last = String::new();
        for auth in tries {
            match self.runtime.pull_image(reference, auth).await {
                Ok(id) => return self.pulled(reference, &id).await,
                Err(container::RuntimeError::Pull { reason, .. }) => last = reason,
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    async fn pulled(&self, reference: &str, id: &str) -> Result<Image, String> {
        match self.runtime.image_status(reference).await {
            Ok(Some(image)) => Ok(image),
            Ok(None) => Err(format!("image {id} vanished after it was pulled")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The reference with `:latest` where it names neither tag nor digest; `None` when it is malformed.
fn with_default_tag(image: &str) -> Option<String> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let last_slash = name.rfind('/').map_or(0, |at| at + 1);
    let (repository, tag) = match name[last_slash..].rfind(':') {
        Some(at) => (&name[..last_slash + at], Some(&name[last_slash + at + 1..])),
        None => (name, None),
    };
    let valid_tag = tag.is_none_or(is_tag);
    let valid_digest = digest.is_none_or(|digest| {
        digest.split_once(':').is_some_and(|(algorithm, hex)| {
            !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    });
    if !is_repository(repository) || !valid_tag || !valid_digest {
        return None;
    }
    Some(if tag.is_none() && digest.is_none() { format!("{image}:latest") } else { image.to_owned() })
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_repository(name: &str) -> bool {
    let mut parts = name.split('/').peekable();
    let first = name.split('/').next().unwrap_or_default();
    let is_host =
        name.contains('/') && (first.contains(['.', ':']) || first == "localhost" || first.starts_with('['));
    if is_host {
        parts.next();
    }
    let component = |part: &str| {
        let edge =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
    };
    parts.peek().is_some() && parts.all(component)
}

fn default_policy(reference: &str) -> &'static str {
    if reference.ends_with(":latest") { "Always" } else { "IfNotPresent" }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "registrytoken")]
    registry_token: Option<String>,
}

impl DockerAuth {
    fn decode(&self) -> RegistryAuth {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(self.auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let (username, password) = pair.unwrap_or((&self.username, &self.password));
        RegistryAuth {
            username: username.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
            registry_token: self.registry_token.clone(),
        }
    }
}

/// Credentials in the secrets that fit the image, the most specific first.
pub(crate) fn credentials(reference: &str, secrets: &[Arc<Secret>]) -> Vec<RegistryAuth> {
    let target = qualified(reference);
    let mut found: Vec<(usize, RegistryAuth)> = Vec::new();
    for secret in secrets {
        for (key, auth) in auths(secret) {
            if let Some(length) = matches(&key, &target) {
                found.push((length, auth.decode()));
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn auths(secret: &Secret) -> BTreeMap<String, DockerAuth> {
    let data = secret.data.as_ref();
    let of = |key: &str| data.and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    if let Some(bytes) = of(".dockerconfigjson") {
        return serde_json::from_slice::<DockerConfig>(bytes).map(|config| config.auths).unwrap_or_default();
    }
    of(".dockercfg").and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
}

/// The image's name with its registry, without tag.
fn qualified(reference: &str) -> String {
    let name = reference.split('@').next().unwrap_or_default();
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let name = name[slash..].find(':').map_or(name, |at| &name[..slash + at]);
    let first = name.split('/').next().unwrap_or_default();
    if name.contains('/') && (first.contains(['.', ':']) || first == "localhost") {
        name.to_owned()
    } else {
        format!("index.docker.io/{name}")
    }
}

/// How much of the image's name a key of a docker configuration covers.
fn matches(key: &str, target: &str) -> Option<usize> {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let key = match key {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        other => other,
    };
    let (key_host, key_path) = key.split_once('/').unwrap_or((key, ""));
    let (host, path) = target.split_once('/').unwrap_or((target, ""));
    let host = if host == "docker.io" { "index.docker.io" } else { host };
    let host_fits = key_host == host
        || (key_host.contains('*')
            && key_host.split('.').count() == host.split('.').count()
            && key_host.split('.').zip(host.split('.')).all(|(pattern, part)| glob(pattern, part)));
    let path_fits = key_path.is_empty()
        || path == key_path
        || path.strip_prefix(key_path).is_some_and(|rest| rest.starts_with('/'));
    (host_fits && path_fits).then_some(key.len())
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::json;

    #[test]
    fn default_tags() {
        let digest = format!("img@sha256:{}", "a".repeat(64));
        let cases = [
            ("busybox", Some("busybox:latest")),
            ("busybox:1.36", Some("busybox:1.36")),
            ("localhost:5000/a/b", Some("localhost:5000/a/b:latest")),
            ("localhost:5000/a/b:t", Some("localhost:5000/a/b:t")),
            (digest.as_str(), Some(digest.as_str())),
            ("Bad", None),
            ("a b", None),
            ("", None),
            ("img:", None),
            ("img:bad tag", None),
            ("img@sha256:zz", None),
            ("http://x/y", None),
        ];
        for (image, want) in cases {
            assert_eq!(with_default_tag(image).as_deref(), want, "{image}");
        }
    }

    fn secret(auths: serde_json::Value) -> Arc<Secret> {
        let text = json!({"auths": auths}).to_string();
        let data = base64::engine::general_purpose::STANDARD.encode(text);
        Arc::new(Secret::from_value(json!({"data": {".dockerconfigjson": data}})).expect("secret"))
    }

    #[test]
    fn credentials_by_registry_and_path() {
        let secret = secret(json!({
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "reg.example:5000": {"username": "host", "password": "1"},
            "reg.example:5000/team": {"username": "team", "password": "2"},
            "*.wild.example": {"username": "wild", "password": "3"},
        }));
        let users = |image: &str| -> Vec<String> {
            credentials(image, std::slice::from_ref(&secret)).into_iter().map(|auth| auth.username).collect()
        };
        assert_eq!(users("nginx:1"), ["u"]);
        assert_eq!(users("reg.example:5000/x:1"), ["host"]);
        assert_eq!(users("reg.example:5000/team/x"), ["team", "host"]);
        assert_eq!(users("reg.example:5000/teams/x"), ["host"]);
        assert_eq!(users("a.wild.example/x"), ["wild"]);
        assert!(users("other.example/x").is_empty());
    }
}
