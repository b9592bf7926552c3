//! The contract of a store.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::error::{CompactError, ReadError, WatchError, WriteError};
use crate::feed::Feed;
use crate::types::{Entry, Event, ListOptions, Page, Write};

/// One item of a [`Watch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// A committed write.
    Event(Event),
    /// Every event up to and including this revision has been delivered.
    Progress(u64),
}

/// The events of a scope in revision order. It is pulled: an idle reader costs nothing, and a slow one is ended with
/// [`WatchError::Lagged`] when compaction overtakes it. After an error it ends.
pub type Watch = BoxStream<'static, Result<Update, WatchError>>;

/// A revisioned key-value store with watch.
///
/// # Guarantees
/// - A write that was acknowledged survives `kill -9` and loss of power.
/// - Writes are serialised: each gets the next revision of one counter for the whole store (refused ones get none), and
///   its condition is judged against the state all earlier writes left.
/// - A read sees one state exactly, the newest or that of the revision asked for, and never waits for a writer.
/// - An empty store is at revision 1.
/// - A write is in the [`Store::feed`] at the latest shortly after its acknowledgement: after
///   `feed().wait_for(revision())` every cache has seen all writes acknowledged before.
///
/// # Errors
/// See the error types. After [`WriteError::Poisoned`] the program should end: [`Store::failed`] tells it to.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Carries out one write. The entry is the new state; a delete returns the last state, carrying the revision of the deletion.
    async fn write(&self, write: Write) -> Result<Entry, WriteError>;

    /// The newest state of one key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError>;

    /// The entries of a scope in key order.
    async fn list(&self, scope: &str, options: ListOptions) -> Result<Page, ReadError>;

    /// The events of a scope with a revision greater than `after`. `after` may be any revision from
    /// [`Store::compacted`] to the newest.
    async fn watch(&self, scope: &str, after: u64) -> Result<Watch, ReadError>;

    /// The revision of the newest write this process knows to be acknowledged.
    fn revision(&self) -> u64;

    /// The revision of the newest write of anybody. What a consistent read has to wait for; the same as
    /// [`Store::revision`] where there is only one writing process.
    async fn current(&self) -> Result<u64, ReadError> {
        Ok(self.revision())
    }

    /// The oldest revision that can be read, and after which a watch may start.
    fn compacted(&self) -> u64;

    /// Forgets what only revisions before `before` need. Compacting what is already compacted does nothing.
    async fn compact(&self, before: u64) -> Result<(), CompactError>;

    /// The ordered broadcast of all committed writes.
    fn feed(&self) -> &Arc<Feed>;

    /// Whether the store removes by itself what was written to last only for a time.
    fn expires(&self) -> bool {
        false
    }

    /// Waits until the store can take no more writes, and says why. Never returns while all is well, nor after a proper close.
    async fn failed(&self) -> String;
}
