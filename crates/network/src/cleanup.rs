//! Leaving the host as it was found.

use crate::cni::{self, CniError};
use crate::proxy;

/// What belongs to one cluster on this host.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster's name, which the nftables table carries.
    pub cluster: String,
    pub cni: cni::Config,
}

/// Why something was left on the host.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    #[error(transparent)]
    Proxy(#[from] proxy::ApplyError),
    #[error(transparent)]
    Cni(#[from] CniError),
    #[error("failed to finish: the clean-up thread panicked")]
    Panicked,
}

/// Removes everything the network put on this host: nftables table, pods' interfaces, bridge, routes; and puts kernel
/// parameters back. Needs no running daemon. Returns what was removed, in words; nothing when nothing was there.
///
/// # Errors
/// The first failure. What can be removed is removed all the same.
pub async fn cleanup(config: &Config) -> Result<Vec<String>, CleanupError> {
    let rules = proxy::remove_table(&config.cluster).await;
    let cni = config.cni.clone();
    let host = tokio::task::spawn_blocking(move || cni::remove_host(&cni)).await;
    let mut removed = rules?;
    removed.extend(host.map_err(|_| CleanupError::Panicked)??);
    Ok(removed)
}
