//! The thread that owns the write transactions, and the one that feeds the caches.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::error::{ReadError, WriteError};
use crate::revisions::{self, Applied, Batch as Transaction, EngineError, Refused};
use crate::types::Write;

use super::Shared;
use super::queue::{Batch, Job, WriteReply};
use super::window::Window;

/// Committed batches that may wait for the feed; then the writer waits.
const UNFED_MAX: usize = 64;
/// A transaction that only compacts looks at so many records: some milliseconds.
const COMPACT_ALONE: usize = 512;
/// A transaction with writes compacts this many records on top, twice as many as it writes at least, so that
/// compaction keeps up without syncs of its own.
const COMPACT_ALONG: usize = 64;

/// Starts both threads.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let (committed, unfed) = sync_channel(UNFED_MAX);
    let fed = Arc::clone(shared);
    let feeder = thread::Builder::new().name("store-feed".into()).spawn(move || feed(&fed, &unfed))?;
    let window = Window::new(shared.options.keep_for, shared.options.keep_revisions);
    let mut writer = Writer {
        shared: Arc::clone(shared),
        committed,
        window,
        sampled: None,
        target: 0,
        compactions: Vec::new(),
        compacting: true,
    };
    let writer = thread::Builder::new().name("store-write".into()).spawn(move || writer.run())?;
    Ok(vec![writer, feeder])
}

/// Ends the store if its thread panics.
struct PoisonOnPanic<'a>(&'a Shared, &'static str);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison(self.1);
        }
        self.0.feed.close();
    }
}

fn feed(shared: &Shared, unfed: &Receiver<Vec<Applied>>) {
    let _guard = PoisonOnPanic(shared, "the thread that feeds the caches has panicked");
    for batch in unfed {
        let Some(newest) = batch.last().map(|applied| applied.entry.revision) else { continue };
        shared.feed.publish(batch.iter().map(|applied| (applied.kind, &applied.entry)), newest);
    }
}

struct Writer {
    shared: Arc<Shared>,
    committed: SyncSender<Vec<Applied>>,
    window: Window,
    sampled: Option<Instant>,
    /// Up to where to compact.
    target: u64,
    /// Who waits for a compaction.
    compactions: Vec<(u64, oneshot::Sender<()>)>,
    /// Off once a compaction has found damage: what is damaged should not be made less.
    compacting: bool,
}

/// What a transaction is to do and the answers to it, in the same order.
type Writes = Vec<(Write, WriteReply)>;
type Outcomes = Vec<Result<Applied, WriteError>>;

impl Writer {
    fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        let _guard = PoisonOnPanic(&shared, "the thread that writes has panicked");
        loop {
            self.sample();
            let busy = self.behind();
            let patience = if busy { std::time::Duration::ZERO } else { self.window.interval() };
            let writes = match shared.queue.take(patience) {
                Batch::Jobs(jobs) => self.sort(jobs),
                Batch::Idle => Vec::new(),
                Batch::Closed => return,
            };
            if !writes.is_empty() || self.behind() {
                self.commit(writes);
            }
            self.answer_compactions();
        }
    }

    /// Whether there is something to compact.
    fn behind(&self) -> bool {
        self.compacting && self.target > self.shared.compacted.load(Ordering::Relaxed)
    }

    fn sample(&mut self) {
        let now = Instant::now();
        if self.sampled.is_some_and(|last| now.duration_since(last) < self.window.interval()) {
            return;
        }
        self.sampled = Some(now);
        let used = self.shared.engine.batch().and_then(|transaction| transaction.used()).unwrap_or(0);
        let newest = self.shared.revision.load(Ordering::Relaxed);
        let target = self.window.sample(now, newest, used > self.shared.options.quota_bytes / 2);
        self.target = self.target.max(target);
    }

    fn sort(&mut self, jobs: Vec<Job>) -> Writes {
        let mut writes = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job {
                Job::Write { write, reply } => writes.push((write, reply)),
                Job::Compact { before, reply } => {
                    self.target = self.target.max(before);
                    self.compactions.push((before, reply));
                }
            }
        }
        writes
    }

    /// One transaction: compaction, writes, sync, feed, answers.
    fn commit(&mut self, writes: Writes) {
        let mut outcomes = match self.transact(&writes) {
            Ok(outcomes) => outcomes,
            Err(EngineError::Full) => self.refuse_full(&writes),
            Err(error) => {
                self.shared.poison(&error.to_string());
                writes.iter().map(|_| Err(self.shared.refusal())).collect()
            }
        };
        let applied: Vec<Applied> =
            outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).cloned().collect();
        if let Some(last) = applied.last() {
            // Before the acknowledgements: who is told of a write must find its revision reached.
            self.shared.revision.store(last.entry.revision, Ordering::Release);
            if self.committed.send(applied).is_err() {
                self.shared.poison("the thread that feeds the caches has ended");
                outcomes = writes.iter().map(|_| Err(self.shared.refusal())).collect();
            }
        }
        for ((_, reply), outcome) in writes.into_iter().zip(outcomes) {
            // Nobody waits any more: the write has happened all the same.
            let _ = reply.send(outcome.map(|applied| applied.entry));
        }
    }

    fn transact(&mut self, writes: &Writes) -> Result<Outcomes, EngineError> {
        let shared = Arc::clone(&self.shared);
        let mut transaction = shared.engine.batch()?;
        let mut compacted = None;
        if self.behind() {
            let records = if writes.is_empty() { COMPACT_ALONE } else { COMPACT_ALONG.max(writes.len() * 2) };
            match revisions::compact(&mut *transaction, self.target, records) {
                Ok(reached) => compacted = Some(reached),
                Err(error) => {
                    tracing::error!(%error, "compaction is off: the store cannot be compacted");
                    self.compacting = false;
                    drop(transaction);
                    transaction = shared.engine.batch()?;
                }
            }
        }
        let outcomes = self.apply(&mut *transaction, writes)?;
        if compacted.is_some() || outcomes.iter().any(Result::is_ok) {
            transaction.commit()?;
        }
        if let Some(reached) = compacted {
            shared.compacted.store(reached, Ordering::Release);
        }
        Ok(outcomes)
    }

    fn apply(&self, transaction: &mut dyn Transaction, writes: &Writes) -> Result<Outcomes, EngineError> {
        let quota = self.shared.options.quota_bytes;
        let mut used = transaction.used()?;
        let mut revision = self.shared.revision.load(Ordering::Relaxed);
        let mut outcomes = Vec::with_capacity(writes.len());
        for (write, _) in writes {
            if let Write::Put { key, draft, .. } = write {
                let more = (key.len() * 2 + draft.bytes.len()) as u64;
                if used + more > quota {
                    outcomes.push(Err(WriteError::QuotaExceeded { used, quota }));
                    continue;
                }
                used += more;
            }
            outcomes.push(match revisions::apply(transaction, write, revision + 1) {
                Ok(applied) => {
                    revision += 1;
                    Ok(applied)
                }
                Err(Refused::Conflict(current)) => Err(WriteError::Conflict { current }),
                Err(Refused::Unreadable(error)) => Err(WriteError::Unreadable(ReadError::from(error))),
                Err(Refused::Engine(error)) => return Err(error),
            });
        }
        Ok(outcomes)
    }

    /// The engine had no room although the quota was not reached: readers hold much of what was freed.
    fn refuse_full(&self, writes: &Writes) -> Outcomes {
        let quota = self.shared.options.quota_bytes;
        writes.iter().map(|_| Err(WriteError::QuotaExceeded { used: quota, quota })).collect()
    }

    fn answer_compactions(&mut self) {
        let compacted = self.shared.compacted.load(Ordering::Relaxed);
        if !self.compacting {
            self.compactions.clear();
        }
        for (before, reply) in self.compactions.extract_if(.., |(before, _)| *before <= compacted) {
            tracing::debug!(before, "compacted");
            let _ = reply.send(());
        }
    }
}
