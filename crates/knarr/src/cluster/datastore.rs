//! Where a cluster's objects are: in its data directory, or in etcd.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use store::{Embedded, Etcd, EtcdError, EtcdOptions, EtcdTls, EtcdUser, Store};
use tokio::time::Instant;

use super::{Paths, Settings};

/// So long etcd may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);

/// An etcd that objects are kept in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Datastore {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Certificate and key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name, and a file with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<(String, PathBuf)>,
}

impl Datastore {
    /// Reads the files.
    pub(crate) fn options(&self) -> anyhow::Result<EtcdOptions> {
        let read = |file: &Path| {
            std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))
        };
        let mut options = EtcdOptions::from_url(&self.url)?;
        options.completion = Some(Arc::new(apiserver::registry::Stored::new()));
        if let Some(ca_file) = &self.ca_file {
            let identity =
                self.identity.as_ref().map(|(certificate, key)| anyhow::Ok((read(certificate)?, read(key)?)));
            options.tls = Some(EtcdTls { ca_pem: read(ca_file)?, identity: identity.transpose()? });
        }
        if let Some((name, file)) = &self.user {
            // Files end with a newline, passwords do not.
            let password = read(file)?.trim_end_matches(['\r', '\n']).to_owned();
            options.user = Some(EtcdUser { name: name.clone(), password });
        }
        Ok(options)
    }
}

/// A store that is open.
pub(super) struct Opened {
    pub store: Arc<dyn Store>,
    /// The same if it is in the data directory.
    pub embedded: Option<Arc<Embedded>>,
}

/// Opens the cluster's store. `waiting` is told when etcd does not answer at once.
pub(super) async fn open(
    paths: &Paths,
    settings: &Settings,
    waiting: impl Fn(String),
) -> anyhow::Result<Opened> {
    let Some(datastore) = &settings.datastore else {
        let embedded = Arc::new(Embedded::open(&paths.store(), settings.store_options())?);
        return Ok(Opened { store: embedded.clone(), embedded: Some(embedded) });
    };
    let options = datastore.options()?;
    let deadline = Instant::now() + PATIENCE;
    let mut told = false;
    loop {
        match Etcd::open(options.clone()).await {
            Ok(store) => return Ok(Opened { store: Arc::new(store), embedded: None }),
            Err(error @ EtcdError::Unreachable { .. }) if Instant::now() < deadline => {
                if !std::mem::replace(&mut told, true) {
                    waiting(format!("{error}; trying for {PATIENCE:?}"));
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
