//! What writes, the thread that does it when there is much to write, and the one that feeds the caches.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::WriteError;
use crate::types::Write;

use super::index::{Logged, Place, Version};
use super::load::{Base, Loaded, Sealed};
use super::log::{self, Log, Segment};
use super::plan::{Applied, Plan, Planned};
use super::queue::{Batch, Job, WriteReply};
use super::rewrite::{Rewriting, Rewritten};
use super::segment::{Draft, START};
use super::window::Window;
use super::{Health, Shared, base};

/// Committed batches that may wait for the feed; then the writer waits.
const UNFED_MAX: usize = 64;
/// So many writes are compacted at a time when nothing else is to be done: about a millisecond.
const COMPACT_ALONE: usize = 4_096;
/// So many are compacted beside a commit, and twice as many as it writes at least, so that compaction keeps up.
const COMPACT_ALONG: usize = 64;
/// When history takes more than this, age no longer protects it.
const HISTORY_BYTES_MAX: u64 = 256 << 20;
/// A disk that syncs within this time is quick.
const QUICK_SYNC: Duration = Duration::from_millis(1);
/// How soon it is noticed that a base has been rewritten.
const REWRITE_POLL: Duration = Duration::from_millis(50);

/// Starts both threads.
pub(super) fn start(shared: &Arc<Shared>, loaded: Opened) -> io::Result<(Lead, Vec<JoinHandle<()>>)> {
    let (committed, unfed) = sync_channel(UNFED_MAX);
    let fed = Arc::clone(shared);
    let feeder = thread::Builder::new().name("store-feed".into()).spawn(move || feed(&fed, &unfed))?;
    let window = Window::new(shared.options.keep_for, shared.options.keep_revisions);
    let compacted = shared.index.read().compacted();
    let writer = Writer {
        shared: Arc::clone(shared),
        committed: Some(committed),
        handed: shared.feed.revision(),
        window,
        sampled: None,
        target: 0,
        compactions: Vec::new(),
        recorded: compacted,
        buffer: Vec::new(),
        base: loaded.base,
        sealed: loaded.sealed,
        log: Log::new(Arc::clone(&shared.disk), loaded.current),
        current_file: loaded.current_file,
        rewriting: None,
        rewrite_from: shared.options.rewrite_bytes,
        quick: false,
    };
    let lead = Lead(Arc::new(Mutex::new(writer)));
    let (writer, run) = (Arc::clone(&lead.0), Arc::clone(shared));
    let writer = thread::Builder::new().name("store-write".into()).spawn(move || write(&run, &writer))?;
    Ok((lead, vec![writer, feeder]))
}

/// The writer, for those who have something to write.
pub(super) struct Lead(Arc<Mutex<Writer>>);

impl Lead {
    /// Has what waits written: at once and here when it is a single write, nobody writes and the disk is quick, which spares two
    /// threads waking each other; else by the thread. Blocks no longer than a quick disk takes.
    pub(super) fn take(&self, shared: &Shared) {
        let lone = self.0.try_lock().filter(|writer| writer.quick);
        match lone.and_then(|writer| Some((writer, shared.queue.take_lone()?))) {
            Some((mut writer, job)) => writer.round(vec![job]),
            None => shared.queue.wake(),
        }
    }
}

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

/// Ends the store if its thread panics.
struct PoisonOnPanic<'a>(&'a Shared, &'static str);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison(self.1);
            self.0.feed.close();
        }
    }
}

fn feed(shared: &Shared, unfed: &Receiver<Vec<Applied>>) {
    let _guard = PoisonOnPanic(shared, "the thread that feeds the caches has panicked");
    for batch in unfed {
        publish(shared, &batch);
    }
    shared.feed.close();
}

fn write(shared: &Shared, writer: &Mutex<Writer>) {
    let _guard = PoisonOnPanic(shared, "the thread that writes has panicked");
    // A crash may have come between a new base and this.
    writer.lock().remove_passed();
    loop {
        let patience = writer.lock().patience();
        match shared.queue.take(patience) {
            Batch::Jobs(jobs) => writer.lock().round(jobs),
            Batch::Idle => writer.lock().idle(),
            Batch::Closed => break,
        }
    }
    writer.lock().close();
    shared.feed.close();
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
        let shared = Arc::clone(&self.shared);
        let _guard = PoisonOnPanic(&shared, "a write has panicked");
        self.sample();
        let writes = self.sort(jobs);
        self.commit(writes);
        self.answer_compactions();
        self.tidy();
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

    /// Rewrites the base when more than half of the disk's space is for nothing.
    fn tidy(&mut self) {
        if *self.shared.health.borrow() != Health::Running {
            return;
        }
        if self.rewriting.as_ref().is_some_and(Rewriting::is_finished) {
            match self.rewriting.take().map(Rewriting::join) {
                Some(Ok(rewritten)) => self.replace_base(rewritten),
                Some(Err(error)) => {
                    tracing::error!(%error, "the space of what was compacted cannot be made free");
                    self.rewrite_from = self.unneeded().saturating_add(self.shared.options.rewrite_bytes);
                }
                None => {}
            }
        }
        let kept = self.shared.index.read().kept_bytes();
        let due = self.unneeded() > kept.max(self.rewrite_from);
        if due && self.rewriting.is_none() && self.shared.index.read().compacted() > self.base.revision {
            self.rewriting = Rewriting::start(&self.shared).ok();
        }
    }

    /// Bytes on disk of records that are not kept.
    fn unneeded(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|sealed| sealed.bytes).sum();
        let all = self.base.bytes + sealed + self.log.current().at - START;
        all.saturating_sub(self.shared.index.read().kept_bytes())
    }

    fn replace_base(&mut self, rewritten: Rewritten) {
        let shared = Arc::clone(&self.shared);
        let header = rewritten.header;
        let file = rewritten.take_over(&shared.index);
        let new = Base { file, revision: header.revision, bytes: header.bytes };
        let old = std::mem::replace(&mut self.base, new);
        self.remove(old.file, &base::name(old.revision));
        self.remove_passed();
        self.rewrite_from = shared.options.rewrite_bytes;
        tracing::debug!(revision = header.revision, bytes = header.bytes, "the base has been rewritten");
    }

    /// Removes the segments of which the base has everything.
    fn remove_passed(&mut self) {
        let revision = self.base.revision;
        let passed: Vec<_> = self.sealed.extract_if(.., |sealed| sealed.last <= revision).collect();
        passed.iter().for_each(|sealed| self.remove(sealed.file, &sealed.name));
    }

    fn remove(&self, file: u32, name: &str) {
        self.shared.index.write().close(file);
        if let Err(error) = self.shared.disk.remove(name) {
            // The next open tries again.
            tracing::warn!(%error, name, "a file that is no longer needed cannot be removed");
        }
    }

    /// Ends the feeding of caches, and notes how far compaction has come.
    fn close(&mut self) {
        self.committed = None;
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
