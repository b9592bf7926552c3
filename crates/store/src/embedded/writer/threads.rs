//! Who writes and who feeds the caches: two threads, and tasks that have a single write on a quick disk.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use super::super::Shared;
use super::super::log::Log;
use super::super::queue::Batch;
use super::super::window::Window;
use super::{Applied, Opened, Writer, publish};

/// Committed batches that may wait for the feed; then the writer waits.
const UNFED_MAX: usize = 64;

/// Starts both threads.
pub(in super::super) fn start(
    shared: &Arc<Shared>,
    loaded: Opened,
) -> io::Result<(Lead, Vec<JoinHandle<()>>)> {
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
pub(in super::super) struct Lead(pub(super) Arc<Mutex<Writer>>);

impl Lead {
    /// Has what waits written: at once and here when it is a single write, nobody writes and the disk is quick, which spares two
    /// threads waking each other; else by the thread. Blocks no longer than a quick disk takes: what may take longer is left to
    /// the thread, which looks after it when it has waited in vain for something to write.
    pub(in super::super) fn take(&self, shared: &Shared) {
        // Who takes back a request because something has panicked must not write: a second panic would end the program.
        let free = if thread::panicking() { None } else { self.0.try_lock() };
        let lone = free.and_then(|writer| {
            let job = shared.queue.take_lone(writer.quick_bytes())?;
            Some((writer, job))
        });
        match lone {
            Some((mut writer, job)) => writer.write_now(job),
            None => shared.queue.wake(),
        }
    }
}

/// Ends the store if its thread panics.
pub(super) struct PoisonOnPanic<'a>(pub(super) &'a Shared, pub(super) &'static str);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison(self.1);
            // Nobody takes these any more.
            self.0.queue.clear();
            self.0.feed.close();
        }
    }
}

/// Lets go of who waits for the writer when its thread ends, in whatever way: the writer itself stays as long as the store.
struct Release<'a>(&'a Mutex<Writer>);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        let mut writer = self.0.lock();
        writer.committed = None;
        writer.compactions.clear();
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
    let _release = Release(writer);
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
}
