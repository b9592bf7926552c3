//! The store that needs nothing installed: a log of all writes and an index in memory (`docs/store.md`).
//!
//! One at a time writes: it takes what is waiting, judges each write's condition in order, appends what holds as one batch, syncs once,
//! makes it visible, acknowledges and publishes the events to the [`Feed`] (`writer.rs`). That is a thread of its own, but for a write
//! that comes alone to a quick disk: its task does it. Reads look up in the index where
//! the bytes are, and read them without waiting for anybody. When more is on the disk than is needed, a thread writes all that is
//! kept anew (`rewrite.rs`).

mod base;
mod deliver;
mod directory;
mod disk;
mod header;
mod index;
mod load;
mod log;
mod memory;
mod plan;
mod queue;
mod read;
mod record;
mod rewrite;
mod segment;
mod snapshot;
mod watch;
mod window;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch as latest};

use crate::driver::{Store, Watch};
use crate::error::{CompactError, ReadError, WriteError};
use crate::feed::Feed;
use crate::types::{Entry, KEY_MAX, ListOptions, Page, Write};

pub use directory::OpenError;
use disk::Disk;
use index::Index;
use memory::MemoryDisk;
use queue::{Job, Queue};
pub use snapshot::{Restored, Snapshot, SnapshotError, restore};

/// The version of the format this program writes.
const FORMAT: u32 = 2;
/// The revision of a store nothing was ever written to. Not 0, which means "any" to clients.
const EMPTY: u64 = 1;

/// How an embedded store behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes that objects and their history may have; puts beyond it are refused. On the disk they may take up to three times as
    /// much for a while. Default 8 GiB.
    pub quota_bytes: u64,
    /// A revision is compacted when it is older than this … Default 5 minutes, as upstream's.
    pub keep_for: Duration,
    /// … and not among this many newest. When half of the quota is used, age no longer counts, but the newest 1,000 stay. Default 0.
    pub keep_revisions: u64,
    /// Bytes an object may have. Default 4 MiB, more than a request may have.
    pub object_bytes_max: usize,
    /// When so many bytes on the disk are no longer needed, and more than those that are, what is kept is written anew. Default 64 MiB.
    pub rewrite_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            quota_bytes: 8 << 30,
            keep_for: Duration::from_secs(300),
            keep_revisions: 0,
            object_bytes_max: 4 << 20,
            rewrite_bytes: 64 << 20,
        }
    }
}

/// Whether a store takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Running,
    Closed,
    Poisoned(String),
}

/// What the threads and the readers of a store have in common.
struct Shared {
    disk: Arc<dyn Disk>,
    cluster: [u8; 16],
    index: RwLock<Index>,
    options: Options,
    queue: Queue,
    feed: Arc<Feed>,
    /// The newest revision in `index`, known without its lock.
    revision: AtomicU64,
    health: latest::Sender<Health>,
    /// Locked while the store is open; none if it is in memory.
    _lock: Option<File>,
}

impl Shared {
    fn poison(&self, reason: &str) {
        let first = self.health.send_if_modified(|health| {
            let running = *health == Health::Running;
            if running {
                *health = Health::Poisoned(reason.to_owned());
            }
            running
        });
        if first {
            tracing::error!(reason, "the store takes no more writes");
        }
        self.queue.close();
    }

    /// The reason why there are no more writes.
    fn refusal(&self) -> WriteError {
        match &*self.health.borrow() {
            Health::Poisoned(reason) => WriteError::Poisoned(reason.clone()),
            Health::Running | Health::Closed => WriteError::Closed,
        }
    }
}

/// The embedded driver. Dropping it finishes the writes that wait and closes the files.
pub struct Embedded {
    shared: Arc<Shared>,
    lead: writer::Lead,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens the store in directory `path`, which is created if it does not exist. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`OpenError`], each of which names the path; nothing has been changed then.
    pub fn open(path: &Path, options: Options) -> Result<Embedded, OpenError> {
        let (disk, lock) = directory::open(path)?;
        Embedded::over(disk, Some(lock), options).map_err(|error| match error {
            ReadError::Io(reason) => OpenError::Io { path: path.to_owned(), reason },
            ReadError::Damaged(reason) => OpenError::Damaged { path: path.to_owned(), reason },
            ReadError::UnknownFormat(reason) => OpenError::UnknownFormat { path: path.to_owned(), reason },
            error => OpenError::Damaged { path: path.to_owned(), reason: error.to_string() },
        })
    }

    /// A store that is gone with the process, for tests.
    pub fn in_memory(options: Options) -> Embedded {
        let disk = Arc::new(MemoryDisk::default());
        let created = load::create(&*disk, [0; 16]).map_err(ReadError::from);
        let opened = created.and_then(|()| Embedded::over(disk, None, options));
        opened.unwrap_or_else(|error| unreachable!("memory takes everything: {error}"))
    }

    fn over(disk: Arc<dyn Disk>, lock: Option<File>, options: Options) -> Result<Embedded, ReadError> {
        let (index, opened) = writer::Opened::split(load::load(&*disk)?);
        let revision = index.revision();
        let shared = Arc::new(Shared {
            disk,
            cluster: opened.cluster,
            index: RwLock::new(index),
            options,
            queue: Queue::new(),
            feed: Feed::new(revision),
            revision: AtomicU64::new(revision),
            health: latest::Sender::new(Health::Running),
            _lock: lock,
        });
        let started = writer::start(&shared, opened);
        let (lead, threads) = started.map_err(|error| ReadError::Io(error.to_string()))?;
        Ok(Embedded { shared, lead, threads: Mutex::new(threads) })
    }

    /// Reads everything once and checks every record; takes as long as that takes, writers go on.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] names what was found first.
    pub async fn verify(&self) -> Result<(), ReadError> {
        self.read(read::verify).await
    }

    /// Finishes the writes that wait, ends the watches and stops the threads; blocks for as long as a commit takes. The files are closed
    /// when the last watch and read are gone, too.
    pub fn close(&self) {
        self.shared.health.send_if_modified(|health| {
            let running = *health == Health::Running;
            if running {
                *health = Health::Closed;
            }
            running
        });
        self.shared.queue.close();
        for thread in self.threads.lock().drain(..) {
            // A panic in a thread has been told by the poisoned state.
            let _ = thread.join();
        }
    }

    /// Runs a long read on a thread that may block: what is not in memory has to come from the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&RwLock<Index>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = Arc::clone(&self.shared);
        let answer = tokio::task::spawn_blocking(move || read(&shared.index)).await;
        answer.map_err(|panic| ReadError::Io(panic.to_string()))?
    }

    fn check(&self, write: &Write) -> Result<(), WriteError> {
        let key = write.key();
        if key.is_empty() || key.len() > KEY_MAX || key.contains('\0') || key.ends_with('/') {
            return Err(WriteError::InvalidKey { max: KEY_MAX });
        }
        let max = self.shared.options.object_bytes_max;
        match write {
            Write::Put { draft, .. } if draft.bytes.len() > max => {
                Err(WriteError::TooLarge { size: draft.bytes.len(), max })
            }
            _ => Ok(()),
        }
    }
}

/// Sees to it, when dropped, that what waits is written.
struct Leading<'a>(&'a Embedded);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.lead.take(&self.0.shared);
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for Embedded {
    async fn write(&self, write: Write) -> Result<Entry, WriteError> {
        self.check(&write)?;
        let (reply, answer) = oneshot::channel();
        if !self.shared.queue.push(Job::Write { write, reply }).await {
            return Err(self.shared.refusal());
        }
        // Also if the request is given up while it waits.
        let leading = Leading(self);
        // Those who are about to write, too, come into the same batch.
        tokio::task::yield_now().await;
        drop(leading);
        answer.await.unwrap_or_else(|_| Err(self.shared.refusal()))
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        // A single record, which mostly is in memory: a thread for it would cost many times as much.
        read::get(&self.shared.index, key)
    }

    async fn list(&self, scope: &str, options: ListOptions) -> Result<Page, ReadError> {
        let found = read::find(&self.shared.index, scope, &options)?;
        if found.is_short() { found.read() } else { self.read(move |_| found.read()).await }
    }

    async fn watch(&self, scope: &str, after: u64) -> Result<Watch, ReadError> {
        Ok(watch::start(Arc::clone(&self.shared), scope, after).await?.boxed())
    }

    fn revision(&self) -> u64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    fn compacted(&self) -> u64 {
        self.shared.index.read().compacted()
    }

    async fn compact(&self, before: u64) -> Result<(), CompactError> {
        let current = self.revision();
        if before > current {
            return Err(CompactError::Future { current });
        }
        let closed = || match self.shared.refusal() {
            WriteError::Poisoned(reason) => CompactError::Poisoned(reason),
            _ => CompactError::Closed,
        };
        let (reply, answer) = oneshot::channel();
        if !self.shared.queue.push(Job::Compact { before, reply }).await {
            return Err(closed());
        }
        self.shared.queue.wake();
        answer.await.map_err(|_| closed())
    }

    fn feed(&self) -> &Arc<Feed> {
        &self.shared.feed
    }

    async fn failed(&self) -> String {
        let mut health = self.shared.health.subscribe();
        loop {
            if let Health::Poisoned(reason) = &*health.borrow_and_update() {
                return reason.clone();
            }
            if health.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
