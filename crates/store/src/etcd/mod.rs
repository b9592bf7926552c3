//! The store in an etcd cluster, 3.4 to 3.6: for several servers, and for reading what upstream's API server has written.
//!
//! etcd's revision is the store's. Keys and values are those of upstream's API server (`value.rs`); the `resourceVersion` is not
//! in the value but spliced in when it is read. Reads are linearizable, each write is one transaction (`write.rs`), one
//! watch feeds the caches (`watch.rs`), and servers take turns in compacting (`compact.rs`).

mod client;
mod compact;
mod grpc;
mod lease;
mod login;
mod object;
mod options;
mod read;
mod transport;
mod value;
mod watch;
mod wire;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::driver::{Store, Watch};
use crate::error::{CompactError, ReadError, WriteError};
use crate::feed::Feed;
use crate::types::{Entry, ListOptions, Page, Write};

use client::{Client, Repeat};
use grpc::RpcError;
use lease::Leases;
pub use login::EtcdUser;
pub use options::{Endpoint, EtcdOptions, EtcdOptionsError, EtcdTls};
pub use value::Completion;

/// Why a store in etcd was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// The options make no sense.
    #[error(transparent)]
    Options(#[from] EtcdOptionsError),
    /// No endpoint answers as etcd does. It may do so later.
    #[error("etcd cannot be used: {reason}")]
    Unreachable {
        /// What each of them says.
        reason: String,
    },
    /// It is too old or too new.
    #[error("etcd has version {found}; 3.4, 3.5 and 3.6 can be used")]
    Version {
        /// What it says it is.
        found: String,
    },
}

/// What calls and tasks of a store have in common.
struct Shared {
    client: Arc<Client>,
    feed: Arc<Feed>,
    /// The oldest revision that can be read, as far as is known.
    compacted: AtomicU64,
    leases: Leases,
}

/// The driver for etcd. Its tasks end when it is dropped.
pub struct Etcd {
    shared: Arc<Shared>,
    tracker: TaskTracker,
}

impl Etcd {
    /// Connects to etcd; tries each endpoint once. Has to be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`EtcdError`]; only [`EtcdError::Unreachable`] may be worth another try.
    pub async fn open(options: EtcdOptions) -> Result<Etcd, EtcdError> {
        let token = CancellationToken::new();
        // Ends the connection if the store does not come to be.
        let guard = token.clone().drop_guard();
        let client = Arc::new(Client::new(&options, token)?);
        let status = client.attempt(&wire::StatusRequest::default(), Repeat::Always).await;
        let hint = match &options.tls {
            None => " (no TLS is used; a CA file turns it on)",
            // etcd only closes the connection then, and the reason may be lost with it.
            Some(EtcdTls { identity: None, .. }) => " (no client certificate is shown)",
            Some(_) => "",
        };
        let unreachable = |error: String| EtcdError::Unreachable { reason: format!("{error}{hint}") };
        let status = status.map_err(|error| {
            unreachable(match error {
                RpcError::NotSent(reason) => reason,
                error => error.to_string(),
            })
        })?;
        if !is_supported(&status.version) {
            return Err(EtcdError::Version { found: status.version });
        }
        let (compacted, leases) = (AtomicU64::new(1), Leases::default());
        let mut shared = Shared { client, feed: Feed::new(0), compacted, leases };
        let revision = shared.check(0).await.map_err(|error| unreachable(error.to_string()))?;
        shared.feed = Feed::new(revision);
        if let Err(ReadError::Compacted { oldest }) = shared.check(1).await {
            tracing::debug!(oldest, revision, "etcd has been compacted");
        }
        let shared = Arc::new(shared);
        let tracker = TaskTracker::new();
        tracker.spawn(watch::pump(Arc::clone(&shared), revision));
        if let Some(every) = options.compact_every {
            tracker.spawn(compact::run(Arc::clone(&shared), every));
        }
        guard.disarm();
        Ok(Etcd { shared, tracker })
    }

    /// Ends the watches, the tasks and the connections.
    pub async fn close(&self) {
        self.shared.client.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

fn is_supported(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next().flatten(), parts.next().flatten());
    major == Some(3) && minor.is_some_and(|minor| (4..=6).contains(&minor))
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.shared.client.token.cancel();
        self.shared.feed.close();
    }
}

#[async_trait]
impl Store for Etcd {
    async fn write(&self, write: Write) -> Result<Entry, WriteError> {
        self.shared.write(write).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        self.shared.get(key).await
    }

    async fn list(&self, scope: &str, options: ListOptions) -> Result<Page, ReadError> {
        self.shared.list(scope, &options).await
    }

    async fn watch(&self, scope: &str, after: u64) -> Result<Watch, ReadError> {
        let oldest = self.compacted();
        if after < oldest {
            return Err(ReadError::Compacted { oldest });
        }
        self.shared.check(after).await?;
        Ok(watch::scoped(Arc::clone(&self.shared.client), scope, after).boxed())
    }

    fn revision(&self) -> u64 {
        self.shared.client.revision()
    }

    async fn current(&self) -> Result<u64, ReadError> {
        self.shared.check(0).await
    }

    fn compacted(&self) -> u64 {
        self.shared.compacted.load(Ordering::Acquire)
    }

    async fn compact(&self, before: u64) -> Result<(), CompactError> {
        match compact::compact(&self.shared, before).await {
            Ok(()) => Ok(()),
            Err(RpcError::Closed) => Err(CompactError::Closed),
            Err(RpcError::Refused { message, .. }) if message.contains("future revision") => {
                Err(CompactError::Future { current: self.revision() })
            }
            Err(error) => Err(CompactError::Failed(error.to_string())),
        }
    }

    fn feed(&self) -> &Arc<Feed> {
        &self.shared.feed
    }

    fn expires(&self) -> bool {
        true
    }

    async fn failed(&self) -> String {
        self.shared.client.failed().await
    }
}
