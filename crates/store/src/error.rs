//! Why an operation on a store did not happen.

use crate::types::Entry;

/// Why a write was not carried out. Except for [`WriteError::Unknown`], nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The key's state is not the one expected.
    #[error("the key is not in the expected state")]
    Conflict {
        /// The present state; absent when the key does not exist.
        current: Option<Entry>,
    },
    /// The object is larger than the store accepts.
    #[error("the object has {size} bytes, more than the {max} the store accepts")]
    TooLarge {
        /// Bytes of the object.
        size: usize,
        /// Bytes accepted.
        max: usize,
    },
    /// The key is empty, longer than the store accepts or has a zero byte.
    #[error("the key is empty, has a zero byte or more than {max} bytes")]
    InvalidKey {
        /// Bytes accepted.
        max: usize,
    },
    /// The store has reached its quota. Deletes still work, and compaction frees space. Begins with etcd's words for it, which clients
    /// and people look for.
    #[error(
        "etcdserver: mvcc: database space exceeded: the store has {used} of at most {quota} bytes; delete what is not needed, \
         or start the cluster with a greater --datastore-quota"
    )]
    QuotaExceeded {
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        quota: u64,
    },
    /// The database behind the store is full, in its own words.
    #[error("the store is full: {0}; compact and defragment etcd, then disarm its alarm")]
    Full(String),
    /// The database behind the store could not be asked.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// The disk has no room for a further piece of the log. Writes work again when there is some.
    #[error("the disk has no room for the store: {0}")]
    DiskFull(String),
    /// The present state of the key, on which the write depends, cannot be read.
    #[error("the present state of the key cannot be read: {0}")]
    Unreadable(ReadError),
    /// An earlier commit failed, so what is on disk is not certain: the store takes no more writes until it has been opened again.
    #[error("the store takes no writes since a commit failed: {0}")]
    Poisoned(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The driver lost contact while the write was under way: it may or may not have happened.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
}

/// Why a read was not answered.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The revision asked for is no longer kept.
    #[error("the revision has been compacted: the oldest kept is {oldest}")]
    Compacted {
        /// The oldest revision that can be read, and after which a watch may start.
        oldest: u64,
    },
    /// The revision asked for does not exist yet.
    #[error("the revision is in the future: the newest is {current}")]
    Future {
        /// The newest revision.
        current: u64,
    },
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It was written in a format that this program does not know.
    #[error("the store cannot be read by this version of the program: {0}")]
    UnknownFormat(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The driver could not read.
    #[error("the store cannot be read: {0}")]
    Io(String),
}

/// Why a watch ended.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchError {
    /// The watcher was so slow that compaction overtook it: events are lost to it, and it has to list again.
    #[error("the watch fell behind: the oldest revision kept is {oldest}")]
    Lagged {
        /// The oldest revision kept.
        oldest: u64,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The events could not be read.
    #[error("the events cannot be read: {0}")]
    Read(ReadError),
}

/// Why a compaction did not take place.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompactError {
    /// The revision does not exist yet.
    #[error("the revision is in the future: the newest is {current}")]
    Future {
        /// The newest revision.
        current: u64,
    },
    /// The store takes no writes.
    #[error("the store takes no writes since a commit failed: {0}")]
    Poisoned(String),
    /// The driver could not compact.
    #[error("the store cannot be compacted: {0}")]
    Failed(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
