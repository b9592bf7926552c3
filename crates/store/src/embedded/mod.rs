//! The store that needs nothing installed: one LMDB file in a directory of its own.
//!
//! One thread owns the write transactions. It takes what is waiting, carries all of it out in one transaction, each write's
//! condition judged in order, syncs once, publishes the events to the [`Feed`] and then acknowledges (`writer.rs`). Reads
//! work on LMDB's snapshots and wait for nobody.

mod directory;
mod extent;
mod lmdb;
mod queue;
mod watch;
mod window;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch as latest};

use crate::driver::{Store, Watch};
use crate::error::{CompactError, ReadError, WriteError};
use crate::feed::Feed;
use crate::revisions::{self, Engine, KEY_MAX, MemoryEngine, Snapshot};
use crate::types::{Entry, ListOptions, Page, Write};

pub use directory::OpenError;
use queue::{Job, Queue};

/// How an embedded store behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes the store may use; puts beyond it are refused. Default 8 GiB.
    pub quota_bytes: u64,
    /// A revision is compacted when it is older than this … Default 5 minutes.
    pub keep_for: Duration,
    /// … and not among this many newest. When half of the quota is used, age no longer counts. Default 10,000.
    pub keep_revisions: u64,
    /// Bytes an object may have. Default 1.5 MiB, as in etcd.
    pub object_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            quota_bytes: 8 << 30,
            keep_for: Duration::from_secs(300),
            keep_revisions: 10_000,
            object_bytes_max: 3 << 19,
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
    engine: Arc<dyn Engine>,
    options: Options,
    queue: Queue,
    feed: Arc<Feed>,
    revision: AtomicU64,
    compacted: AtomicU64,
    health: latest::Sender<Health>,
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
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens the store in directory `path`, which is created if it does not exist. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`OpenError`], each of which names the path; nothing has been changed then.
    pub fn open(path: &Path, options: Options) -> Result<Embedded, OpenError> {
        let engine = directory::open(path, &options)?;
        Embedded::over(Arc::new(engine), options)
            .map_err(|reason| OpenError::Damaged { path: path.to_owned(), reason: reason.to_string() })
    }

    /// A store that is gone with the process, for tests.
    pub fn in_memory(options: Options) -> Embedded {
        let opened = Embedded::over(Arc::new(MemoryEngine::default()), options);
        opened.unwrap_or_else(|error| unreachable!("an empty memory engine answers: {error}"))
    }

    fn over(engine: Arc<dyn Engine>, options: Options) -> Result<Embedded, ReadError> {
        let snapshot = engine.snapshot()?;
        let revision = revisions::newest(&*snapshot)?;
        let compacted = revisions::compacted(&*snapshot)?;
        drop(snapshot);
        let shared = Arc::new(Shared {
            engine,
            options,
            queue: Queue::new(),
            feed: Feed::new(revision),
            revision: AtomicU64::new(revision),
            compacted: AtomicU64::new(compacted),
            health: latest::Sender::new(Health::Running),
        });
        let threads = writer::start(&shared).map_err(|error| ReadError::Io(error.to_string()))?;
        Ok(Embedded { shared, threads: Mutex::new(threads) })
    }

    /// Reads everything once and checks every record; takes as long as that takes, writers go on.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] names what was found first.
    pub async fn verify(&self) -> Result<(), ReadError> {
        self.read(|snapshot| Ok(revisions::verify(snapshot)?)).await
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

    /// Runs a read on a thread that may block: a page that is not in memory has to come from the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Snapshot) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let engine = Arc::clone(&self.shared.engine);
        let answer = tokio::task::spawn_blocking(move || read(&*engine.snapshot()?)).await;
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
        answer.await.unwrap_or_else(|_| Err(self.shared.refusal()))
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        let key = key.to_owned();
        self.read(move |snapshot| revisions::get(snapshot, &key)).await
    }

    async fn list(&self, scope: &str, options: ListOptions) -> Result<Page, ReadError> {
        let scope = scope.to_owned();
        self.read(move |snapshot| revisions::list(snapshot, &scope, &options)).await
    }

    async fn watch(&self, scope: &str, after: u64) -> Result<Watch, ReadError> {
        Ok(watch::start(Arc::clone(&self.shared), scope, after).await?.boxed())
    }

    fn revision(&self) -> u64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    fn compacted(&self) -> u64 {
        self.shared.compacted.load(Ordering::Acquire)
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
