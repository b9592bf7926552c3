//! Volumes whose files come from the API: config maps, secrets, tokens and the pod itself.

use std::collections::BTreeMap;

use api::{DownwardAPIVolumeFile, KeyToPath, ServiceAccountTokenProjection, Volume, VolumeProjection};
use jiff::Timestamp;

use super::atomic::{File, Files};
use super::{VolumeError, ownership};
use crate::fields::{self, PodFacts};
use crate::pod::PodInfo;
use crate::tokens::Tokens;
use crate::watched::{LookupError, WatchedObjects};

const DEFAULT_MODE: i32 = 0o644;
/// Seconds a projected token lives unless the pod says otherwise.
const TOKEN_SECONDS: i64 = 3600;

/// Where contents come from.
pub(crate) struct Sources<'a> {
    pub objects: &'a WatchedObjects,
    pub tokens: &'a Tokens,
    pub facts: &'a PodFacts,
}

/// The files of a volume.
#[derive(Debug, Default)]
pub(crate) struct Projected {
    pub files: Files,
    pub refresh_at: Option<Timestamp>,
}

/// Gathers what the volume shall hold.
pub(crate) async fn collect(
    sources: &Sources<'_>,
    pod: &PodInfo,
    volume: &Volume,
) -> Result<Projected, VolumeError> {
    let mut projected = Projected::default();
    if let Some(source) = &volume.config_map {
        let select = Select::new(source.items.as_deref(), source.default_mode, source.optional);
        projected.files = config_map(sources, pod, &source.name, &select).await?;
    } else if let Some(source) = &volume.secret {
        let select = Select::new(source.items.as_deref(), source.default_mode, source.optional);
        let name = source.secret_name.as_deref().unwrap_or_default();
        projected.files = secret(sources, pod, name, &select).await?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        projected.files = downward(sources, pod, source.items.as_deref().unwrap_or_default(), mode)?;
    } else if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for part in source.sources.iter().flatten() {
            add_part(sources, pod, part, mode, &mut projected).await?;
        }
    } else {
        return Err(VolumeError::Refused("the type of this volume is not supported by this node".to_owned()));
    }
    Ok(projected)
}

async fn add_part(
    sources: &Sources<'_>,
    pod: &PodInfo,
    part: &VolumeProjection,
    mode: i32,
    projected: &mut Projected,
) -> Result<(), VolumeError> {
    if let Some(source) = &part.config_map {
        let select = Select::new(source.items.as_deref(), Some(mode), source.optional);
        projected.files.extend(config_map(sources, pod, &source.name, &select).await?);
    } else if let Some(source) = &part.secret {
        let select = Select::new(source.items.as_deref(), Some(mode), source.optional);
        projected.files.extend(secret(sources, pod, &source.name, &select).await?);
    } else if let Some(source) = &part.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        projected.files.extend(downward(sources, pod, items, mode)?);
    } else if let Some(source) = &part.service_account_token {
        token(sources, pod, source, mode, projected).await?;
    } else if part.cluster_trust_bundle.is_some() {
        return Err(VolumeError::Refused("cluster trust bundles are not supported by this node".to_owned()));
    } else if part.pod_certificate.is_some() {
        return Err(VolumeError::Refused("pod certificates are not supported by this node".to_owned()));
    }
    Ok(())
}

/// Which keys become which files.
struct Select<'a> {
    items: Option<&'a [KeyToPath]>,
    mode: i32,
    optional: bool,
}

impl<'a> Select<'a> {
    fn new(items: Option<&'a [KeyToPath]>, mode: Option<i32>, optional: Option<bool>) -> Self {
        Self {
            items: items.filter(|items| !items.is_empty()),
            mode: mode.unwrap_or(DEFAULT_MODE),
            optional: optional == Some(true),
        }
    }

    fn files(
        &self,
        data: &BTreeMap<&str, &[u8]>,
        missing: impl Fn(&str) -> String,
    ) -> Result<Files, VolumeError> {
        let Some(items) = self.items else {
            return Ok(data.iter().map(|(key, data)| ((*key).to_owned(), file(data, self.mode))).collect());
        };
        let mut files = Files::new();
        for item in items {
            match data.get(item.key.as_str()) {
                Some(data) => {
                    files.insert(item.path.clone(), file(data, item.mode.unwrap_or(self.mode)));
                }
                None if self.optional => {}
                None => return Err(VolumeError::Refused(missing(&item.key))),
            }
        }
        Ok(files)
    }
}

fn file(data: &[u8], mode: i32) -> File {
    File { data: data.to_vec(), mode: u32::try_from(mode).unwrap_or(0o644) & 0o777, user: None }
}

async fn config_map(
    sources: &Sources<'_>,
    pod: &PodInfo,
    name: &str,
    select: &Select<'_>,
) -> Result<Files, VolumeError> {
    let Some(map) = sources.objects.config_map(pod.uid(), pod.namespace(), name).await? else {
        return absent(select, LookupError::ConfigMapNotFound(name.to_owned()));
    };
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    let data = text.chain(binary).collect();
    select.files(&data, |key| format!("configmap references non-existent config key: {key}"))
}

async fn secret(
    sources: &Sources<'_>,
    pod: &PodInfo,
    name: &str,
    select: &Select<'_>,
) -> Result<Files, VolumeError> {
    let Some(secret) = sources.objects.secret(pod.uid(), pod.namespace(), name).await? else {
        return absent(select, LookupError::SecretNotFound(name.to_owned()));
    };
    let data = secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect();
    select.files(&data, |key| format!("references non-existent secret key: {key}"))
}

fn absent(select: &Select<'_>, error: LookupError) -> Result<Files, VolumeError> {
    if select.optional { Ok(Files::new()) } else { Err(error.into()) }
}

fn downward(
    sources: &Sources<'_>,
    pod: &PodInfo,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
) -> Result<Files, VolumeError> {
    let mut files = Files::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            fields::field(pod, &field.field_path, sources.facts)?
        } else if let Some(selector) = &item.resource_field_ref {
            let name = selector.container_name.as_deref().unwrap_or_default();
            let (_, container) = pod
                .container(name)
                .ok_or_else(|| VolumeError::Refused(format!("container {name} not found")))?;
            fields::resource(container, selector, sources.facts)?
        } else {
            String::new()
        };
        files.insert(item.path.clone(), file(text.as_bytes(), item.mode.unwrap_or(mode)));
    }
    Ok(files)
}

async fn token(
    sources: &Sources<'_>,
    pod: &PodInfo,
    source: &ServiceAccountTokenProjection,
    mode: i32,
    projected: &mut Projected,
) -> Result<(), VolumeError> {
    let audience = source.audience.as_deref().unwrap_or_default();
    let token = sources.tokens.get(pod, audience, source.expiration_seconds.unwrap_or(TOKEN_SECONDS)).await?;
    let user = ownership::fs_user(pod);
    let private = user.is_some() || ownership::fs_group(pod).is_some();
    let mut file = file(token.text.as_bytes(), if private { 0o600 } else { mode });
    file.user = user;
    projected.files.insert(source.path.clone(), file);
    projected.refresh_at = Some(projected.refresh_at.map_or(token.refresh_at, |at| at.min(token.refresh_at)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_select_and_rename() {
        let items = [
            KeyToPath { key: "a".into(), path: "x/one".into(), mode: Some(0o400), ..KeyToPath::default() },
            KeyToPath { key: "none".into(), path: "y".into(), ..KeyToPath::default() },
        ];
        let data: BTreeMap<&str, &[u8]> = [("a", b"1".as_slice()), ("b", b"2")].into();
        let all = Select::new(None, None, None).files(&data, str::to_owned).expect("all");
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(all["a"].mode, 0o644);
        let some =
            Select::new(Some(&items), Some(0o600), Some(true)).files(&data, str::to_owned).expect("some");
        assert_eq!(some.len(), 1);
        assert_eq!(some["x/one"].mode, 0o400);
        let strict = Select::new(Some(&items), None, None).files(&data, |key| format!("no {key}"));
        assert_eq!(strict.expect_err("missing").to_string(), "no none");
    }
}
