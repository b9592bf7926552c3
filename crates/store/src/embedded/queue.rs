//! What waits for the writer: bounded, filled by tasks, emptied by one thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::WriteError;
use crate::types::{Entry, Write};

/// So many jobs may wait; whoever comes then waits outside.
const WAITING_MAX: usize = 1_024;
/// So many jobs, and bytes of objects, go into one transaction at most.
const BATCH_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 16 << 20;

pub(super) type WriteReply = oneshot::Sender<Result<Entry, WriteError>>;

/// Something for the writer to do.
pub(super) enum Job {
    Write { write: Write, reply: WriteReply },
    Compact { before: u64, reply: oneshot::Sender<()> },
}

impl Job {
    fn size(&self) -> usize {
        match self {
            Job::Write { write: Write::Put { draft, .. }, .. } => draft.bytes.len(),
            _ => 0,
        }
    }
}

/// A job with its place in the bound; the place is free when the writer has taken the job.
type Waiting = (Job, OwnedSemaphorePermit);

struct State {
    jobs: VecDeque<Waiting>,
    closed: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    room: Arc<Semaphore>,
}

/// What the writer finds.
pub(super) enum Batch {
    Jobs(Vec<Job>),
    Idle,
    Closed,
}

impl Queue {
    pub(super) fn new() -> Queue {
        let state = State { jobs: VecDeque::new(), closed: false };
        Queue {
            state: Mutex::new(state),
            filled: Condvar::new(),
            room: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// Waits for room and adds a job, which is not told to anybody before [`Queue::wake`]. False: the queue is closed.
    pub(super) async fn push(&self, job: Job) -> bool {
        let Ok(room) = Arc::clone(&self.room).acquire_owned().await else { return false };
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.jobs.push_back((job, room));
        true
    }

    /// Lets the thread that waits for jobs look.
    pub(super) fn wake(&self) {
        self.filled.notify_one();
    }

    /// What waits, if that is a single write of an object with less than so many bytes.
    pub(super) fn take_lone(&self, bytes: usize) -> Option<Job> {
        let jobs = &mut self.state.lock().jobs;
        let small = |job: &Job| matches!(job, Job::Write { .. }) && job.size() < bytes;
        let lone = jobs.len() == 1 && jobs.front().is_some_and(|(job, _)| small(job));
        if lone { jobs.pop_front().map(|(job, _)| job) } else { None }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().jobs.is_empty()
    }

    /// What waits, or what comes within `patience`.
    pub(super) fn take(&self, patience: Duration) -> Batch {
        let mut state = self.state.lock();
        if state.jobs.is_empty() && !state.closed {
            self.filled.wait_for(&mut state, patience);
        }
        if state.jobs.is_empty() {
            return if state.closed { Batch::Closed } else { Batch::Idle };
        }
        let mut bytes = 0;
        let mut jobs = Vec::new();
        while let Some((job, room)) = state.jobs.pop_front() {
            bytes += job.size();
            jobs.push(job);
            drop(room);
            if jobs.len() == BATCH_MAX || bytes > BATCH_BYTES_MAX {
                break;
            }
        }
        Batch::Jobs(jobs)
    }

    /// Drops what waits.
    pub(super) fn clear(&self) {
        drop(std::mem::take(&mut self.state.lock().jobs));
    }

    /// Takes no more jobs; those that wait are still handed out.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.filled.notify_all();
    }
}
