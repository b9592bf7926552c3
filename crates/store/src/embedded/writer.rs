//! What writes: one batch after the other, and what goes with it.

mod threads;
mod tidy;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::WriteError;
use crate::types::Write;

use super::index::{Logged, Place, Version};
use super::load::{Base, Loaded, Sealed};
use super::log::{self, Log, Segment};
use super::plan::{Applied, Plan, Planned};
use super::queue::{Job, WriteReply};
use super::rewrite::Rewriting;
use super::segment::{Draft, START};
use super::window::Window;
use super::{Health, Shared};
use threads::PoisonOnPanic;
pub(super) use threads::{Lead, start};

/// So many writes are compacted at a time when nothing else is to be done: about a millisecond.
const COMPACT_ALONE: usize = 4_096;
/// So many are compacted beside a commit, and twice as many as it writes at least, so that compaction keeps up.
const COMPACT_ALONG: usize = 64;
/// When history takes more than this, age no longer protects it.
const HISTORY_BYTES_MAX: u64 = 256 << 20;
/// A disk that syncs within this time is quick.
const QUICK_SYNC: Duration = Duration::from_millis(1);
/// Objects with at most so many bytes are written within about the same time …
const QUICK_BYTES: usize = 64 << 10;
/// … when the segment has room for them and for so much that goes with them.
const QUICK_REST: usize = 4 << 10;
/// How soon it is noticed that a base has been rewritten.
const REWRITE_POLL: Duration = Duration::from_millis(50);

/// What the writer takes over from opening.
pub(super) struct Opened {
    pub(super) cluster: [u8; 16],
    base: Base,
    sealed: Vec<Sealed>,
    current: Segment,
    current_file: u32,
}

impl Opened {
    /// Leaves the index to the readers.
    pub(super) fn split(loaded: Loaded) -> (super::Index, Opened) {
        let Loaded { cluster, index, base, sealed, current, current_file } = loaded;
        (index, Opened { cluster, base, sealed, current, current_file })
    }
}

fn publish(shared: &Shared, batch: &[Applied]) {
    if let Some(newest) = batch.last().map(|applied| applied.entry.revision) {
        shared.feed.publish(batch.iter().map(|applied| (applied.kind, &applied.entry)), newest);
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Leads to the thread that feeds the caches, until the end.
    committed: Option<SyncSender<Vec<Applied>>>,
    /// The revision up to which the caches have been given, or will be given, everything.
    handed: u64,
    window: Window,
    sampled: Option<Instant>,
    /// Up to where to compact.
    target: u64,
    /// Who waits for a compaction.
    compactions: Vec<(u64, oneshot::Sender<()>)>,
    /// The compaction that the newest batch on disk tells.
    recorded: u64,
    /// Used for one batch after the other.
    buffer: Vec<u8>,
    base: Base,
    /// Segments before the current one.
    sealed: Vec<Sealed>,
    log: Log,
    /// The current segment's number in the index.
    current_file: u32,
    rewriting: Option<Rewriting>,
    /// With so many bytes that are no longer needed on disk, the base is rewritten; more after a failure.
    rewrite_from: u64,
    /// Whether the disk was at the last sync.
    quick: bool,
}

/// What a batch is to do.
type Writes = Vec<(Write, WriteReply)>;

impl Writer {
    /// Writes what the jobs ask for, then looks after the rest.
    fn round(&mut self, jobs: Vec<Job>) {
        self.sample();
        let writes = self.sort(jobs);
        self.commit(writes);
        self.answer_compactions();
        self.tidy();
    }

    /// Writes what a job asks for on the thread of who asked.
    fn write_now(&mut self, job: Job) {
        let shared = Arc::clone(&self.shared);
        let _guard = PoisonOnPanic(&shared, "a write has panicked");
        let writes = self.sort(vec![job]);
        self.commit(writes);
    }

    /// An object of so many bytes can be written at once.
    fn quick_bytes(&self) -> usize {
        if self.quick { self.log.left().saturating_sub(QUICK_REST).min(QUICK_BYTES) } else { 0 }
    }

    fn idle(&mut self) {
        self.sample();
        self.compact(COMPACT_ALONE);
        self.answer_compactions();
        self.tidy();
    }

    fn patience(&self) -> Duration {
        match (self.behind(), &self.rewriting) {
            (true, _) => Duration::ZERO,
            (false, Some(_)) => REWRITE_POLL,
            (false, None) => self.window.interval(),
        }
    }

    /// Whether there is something to compact.
    fn behind(&self) -> bool {
        let index = self.shared.index.read();
        self.target.min(index.limit()) > index.compacted()
    }

    fn sample(&mut self) {
        let now = Instant::now();
        if self.sampled.is_some_and(|last| now.duration_since(last) < self.window.interval()) {
            return;
        }
        self.sampled = Some(now);
        let index = self.shared.index.read();
        let short = index.kept_bytes() > self.shared.options.quota_bytes / 2;
        let pressure = short || index.history_bytes() > HISTORY_BYTES_MAX;
        self.target = self.target.max(self.window.sample(now, index.revision(), pressure));
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

    fn compact(&mut self, writes: usize) {
        if self.behind() {
            self.shared.index.write().compact(self.target, writes);
        }
    }

    /// One batch: judge, write, sync, feed, answer.
    fn commit(&mut self, writes: Writes) {
        let shared = Arc::clone(&self.shared);
        if matches!(*shared.health.borrow(), Health::Poisoned(_)) {
            // What was planned before may be on the disk without being in the index.
            return writes.into_iter().for_each(|(_, reply)| drop(reply.send(Err(shared.refusal()))));
        }
        let (outcomes, draft, planned) = {
            let index = shared.index.read();
            let buffer = std::mem::take(&mut self.buffer);
            let mut plan = Plan::new(&index, shared.options.quota_bytes, buffer);
            let outcomes: Vec<_> = writes.iter().map(|(write, _)| plan.add(write)).collect();
            (outcomes, plan.draft, plan.planned)
        };
        let applied: Vec<Applied> = planned.iter().map(|planned| planned.applied.clone()).collect();
        let count = applied.len();
        let written = self.write(draft, planned);
        for ((_, reply), outcome) in writes.into_iter().zip(outcomes) {
            let answer = match (outcome, &written) {
                (Err(refused), _) => Err(refused),
                (Ok(at), Ok(())) => Ok(applied[at].entry.clone()),
                (Ok(_), Err(NotWritten::NoRoom(reason))) => Err(WriteError::DiskFull(reason.clone())),
                (Ok(_), Err(NotWritten::Poisoned)) => Err(shared.refusal()),
            };
            // Nobody waits any more: the write has happened all the same.
            let _ = reply.send(answer);
        }
        if written.is_ok() {
            self.feed(applied);
        }
        self.compact(COMPACT_ALONG.max(count * 2));
    }

    /// Brings a batch to the caches: at once when nobody waits to write, which spares waking a thread, else beside the next
    /// batch.
    fn feed(&mut self, applied: Vec<Applied>) {
        let Some(newest) = applied.last().map(|applied| applied.entry.revision) else { return };
        let fed = self.shared.feed.revision() == std::mem::replace(&mut self.handed, newest);
        if fed && self.shared.queue.is_empty() {
            publish(&self.shared, &applied);
        } else if self.committed.as_ref().is_none_or(|committed| committed.send(applied).is_err()) {
            self.shared.poison("the thread that feeds the caches has ended");
        }
    }

    /// Makes what is planned durable, then visible.
    fn write(&mut self, draft: Draft, planned: Vec<Planned>) -> Result<(), NotWritten> {
        let Some(newest) = planned.last().map(|planned| planned.logged.version.revision) else {
            return Ok(());
        };
        match self.log.room(draft.length()) {
            Ok(None) => {}
            Ok(Some(full)) => self.seal(full),
            Err(error) => return Err(NotWritten::NoRoom(error.to_string())),
        }
        let at = self.log.current().at;
        self.append(draft).map_err(|error| {
            self.shared.poison(&error.to_string());
            NotWritten::Poisoned
        })?;
        let mut index = self.shared.index.write();
        for Planned { logged: Logged { key, version, previous }, .. } in planned {
            let place = Place { file: self.current_file, at: at + version.place.at, ..version.place };
            index.append(Logged { key, version: Version { place, ..version }, previous });
        }
        drop(index);
        // Before the acknowledgements: who is told of a write must find its revision reached.
        self.shared.revision.store(newest, Ordering::Release);
        Ok(())
    }

    fn append(&mut self, draft: Draft) -> io::Result<()> {
        let compacted = self.shared.index.read().compacted();
        let batch = draft.finish(self.log.current().header.salt, compacted);
        let started = Instant::now();
        let appended = self.log.append(&batch);
        self.quick = started.elapsed() < QUICK_SYNC;
        self.recorded = compacted;
        self.buffer = batch;
        appended
    }

    /// Goes on in the segment that is now the current one.
    fn seal(&mut self, full: Segment) {
        let mut index = self.shared.index.write();
        let file =
            std::mem::replace(&mut self.current_file, index.open(Arc::clone(&self.log.current().file)));
        let (name, bytes) = (log::name(full.number), full.at - START);
        self.sealed.push(Sealed { name, file, last: index.revision(), bytes });
    }

    fn answer_compactions(&mut self) {
        if self.compactions.is_empty() {
            return;
        }
        let compacted = self.shared.index.read().compacted();
        for (before, reply) in self.compactions.extract_if(.., |(before, _)| *before <= compacted) {
            tracing::debug!(before, "compacted");
            let _ = reply.send(());
        }
    }

    /// Notes how far compaction has come.
    fn close(&mut self) {
        if let Some(rewriting) = self.rewriting.take() {
            // It is given up, unless it was complete already.
            let _ = rewriting.join();
        }
        let (revision, compacted) = {
            let index = self.shared.index.read();
            (index.revision(), index.compacted())
        };
        let closed = *self.shared.health.borrow() == Health::Closed;
        let draft = Draft::new(Vec::new(), revision);
        let fits = self.log.current().at + draft.length() as u64 <= self.log.current().header.length;
        if closed
            && fits
            && compacted != self.recorded
            && let Err(error) = self.append(draft)
        {
            tracing::warn!(%error, "what was compacted since the last write can be read again");
        }
    }
}

/// Why a batch was not written.
enum NotWritten {
    /// Nothing was tried.
    NoRoom(String),
    /// It is not known what is on disk.
    Poisoned,
}
