//! The work queue: three sets under one lock, with delays and retries.
//!
//! `dirty` holds every item that needs work, `processing` every item a worker has in hand, `ready` the order of the
//! items that are dirty and not in hand. So an item added while it is worked on comes back when it is done, an
//! item added twice is worked on once, and no two workers ever hold the same item.

use crate::metrics::QueueMetrics;
use machinery::metrics::Registry;
use parking_lot::Mutex;
use rand::Rng as _;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Delay of an item's first retry; doubles with each failure up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_secs(60);

struct State<T> {
    ready: VecDeque<T>,
    /// With the time since when.
    dirty: HashMap<T, Instant>,
    /// With the time since when.
    processing: HashMap<T, Instant>,
    /// Items to add later, by time; the number keeps equal times apart.
    delayed: BTreeMap<(Instant, u64), T>,
    /// Where each delayed item stands in `delayed`, which is the truth.
    delayed_at: HashMap<T, (Instant, u64)>,
    failures: HashMap<T, u32>,
    next_number: u64,
    shut_down: bool,
    /// None until somebody wants to know.
    metrics: Option<QueueMetrics>,
}

/// A queue of keys for reconcilers; clones share it. Memory is bounded by the number of distinct keys.
pub struct WorkQueue<T> {
    state: Arc<Mutex<State<T>>>,
    wake: Arc<Notify>,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), wake: self.wake.clone() }
    }
}

impl<T> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("WorkQueue")
            .field("ready", &state.ready.len())
            .field("processing", &state.processing.len())
            .field("delayed", &state.delayed.len())
            .finish()
    }
}

impl<T: Clone + Eq + Hash> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            processing: HashMap::new(),
            delayed: BTreeMap::new(),
            delayed_at: HashMap::new(),
            failures: HashMap::new(),
            next_number: 0,
            shut_down: false,
            metrics: None,
        };
        Self { state: Arc::new(Mutex::new(state)), wake: Arc::new(Notify::new()) }
    }

    /// Reports under this name from now on.
    pub fn report(&self, registry: &Registry, name: &str)
    where
        T: Send + Sync + 'static,
    {
        self.state.lock().metrics = Some(QueueMetrics::new(registry, name));
        let look = |read: fn(&State<T>) -> f64| {
            let state = Arc::downgrade(&self.state);
            // A queue that is gone has nothing in it.
            move || state.upgrade().map_or(0.0, |state| read(&state.lock()))
        };
        QueueMetrics::look(
            registry,
            name,
            look(|state| state.ready.len() as f64),
            look(|state| state.under_way().fold(0.0, |sum, time| sum + time)),
            look(|state| state.under_way().fold(0.0, f64::max)),
        );
    }

    /// Marks an item as needing work.
    pub fn add(&self, item: T) {
        if self.state.lock().add(item) {
            self.wake.notify_one();
        }
    }

    /// Adds an item after a delay; of several delays the earliest counts.
    pub fn add_after(&self, item: T, delay: Duration) {
        if let Some(metrics) = &self.state.lock().metrics {
            metrics.retries.increment();
        }
        if delay.is_zero() {
            return self.add(item);
        }
        self.state.lock().delay(item, Instant::now() + delay);
        self.wake.notify_one();
    }

    /// Adds an item after a delay that grows with its failures.
    pub fn retry(&self, item: T) {
        let failures = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(item.clone()).or_default();
            *failures = failures.saturating_add(1);
            *failures
        };
        let delay = RETRY_FIRST.saturating_mul(1 << (failures - 1).min(14)).min(RETRY_MAX);
        self.add_after(item, delay.mul_f64(rand::rng().random_range(1.0..1.1)));
    }

    /// How often the item has failed since it was last forgotten.
    #[must_use]
    pub fn failures(&self, item: &T) -> u32 {
        self.state.lock().failures.get(item).copied().unwrap_or(0)
    }

    /// Clears an item's failures.
    pub fn forget(&self, item: &T) {
        self.state.lock().failures.remove(item);
    }

    /// The next item, which is the caller's until [`WorkQueue::done`]. `None` when the queue is shut down.
    pub async fn next(&self) -> Option<T> {
        loop {
            let notified = self.wake.notified();
            let deadline = {
                let mut state = self.state.lock();
                if state.shut_down {
                    return None;
                }
                state.promote(Instant::now());
                if let Some(item) = state.take() {
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return Some(item);
                }
                state.delayed.first_key_value().map(|((at, _), _)| *at)
            };
            match deadline {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, notified).await;
                }
                None => notified.await,
            }
        }
    }

    /// Gives an item back; when it was added meanwhile it is queued again.
    pub fn done(&self, item: &T) {
        let mut state = self.state.lock();
        if let (Some(since), Some(metrics)) = (state.processing.remove(item), &state.metrics) {
            metrics.worked.add(since.elapsed().as_secs_f64());
        }
        if state.dirty.contains_key(item) {
            state.ready.push_back(item.clone());
            self.wake.notify_one();
        }
    }

    /// Number of items ready for a worker.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    /// Whether no item is ready for a worker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every [`WorkQueue::next`].
    pub fn shut_down(&self) {
        self.state.lock().shut_down = true;
        self.wake.notify_waiters();
        self.wake.notify_one();
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    /// Returns whether a worker should wake.
    fn add(&mut self, item: T) -> bool {
        if self.shut_down || self.dirty.contains_key(&item) {
            return false;
        }
        if let Some(metrics) = &self.metrics {
            metrics.adds.increment();
        }
        self.dirty.insert(item.clone(), Instant::now());
        if self.processing.contains_key(&item) {
            return false;
        }
        self.ready.push_back(item);
        true
    }

    fn delay(&mut self, item: T, at: Instant) {
        if let Some(planned) = self.delayed_at.get(&item) {
            if planned.0 <= at {
                return;
            }
            let planned = *planned;
            self.delayed.remove(&planned);
        }
        let place = (at, self.next_number);
        self.next_number += 1;
        self.delayed.insert(place, item.clone());
        self.delayed_at.insert(item, place);
    }

    /// Moves what is due from `delayed` to `ready`.
    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let item = entry.remove();
            self.delayed_at.remove(&item);
            self.add(item);
        }
    }

    fn take(&mut self) -> Option<T> {
        let item = self.ready.pop_front()?;
        let since = self.dirty.remove(&item);
        if let (Some(since), Some(metrics)) = (since, &self.metrics) {
            metrics.waited.add(since.elapsed().as_secs_f64());
        }
        self.processing.insert(item.clone(), Instant::now());
        Some(item)
    }

    /// Seconds that each item in hand has been there.
    fn under_way(&self) -> impl Iterator<Item = f64> + '_ {
        self.processing.values().map(|since| since.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_item_added_twice_is_worked_on_once() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn an_item_added_while_in_hand_comes_back_when_done() {
        let queue = WorkQueue::new();
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        assert!(queue.is_empty(), "no second worker may have it");
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delay_counts() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(20));
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.done(&"a");
        assert!(queue.state.lock().delayed.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn retries_grow_and_are_forgotten() {
        let queue = WorkQueue::new();
        let mut last = Duration::ZERO;
        for _ in 0..5 {
            let start = Instant::now();
            queue.retry("a");
            assert_eq!(queue.next().await, Some("a"));
            queue.done(&"a");
            assert!(start.elapsed() > last);
            last = start.elapsed();
        }
        assert_eq!(queue.failures(&"a"), 5);
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_is_reported() {
        let (queue, registry) = (WorkQueue::new(), Registry::default());
        queue.report(&registry, "things");
        for item in ["a", "b", "a"] {
            queue.add(item);
        }
        tokio::time::advance(Duration::from_millis(500)).await;
        let item = queue.next().await.expect("an item");
        tokio::time::advance(Duration::from_secs(2)).await;
        let page = || {
            let mut page = machinery::metrics::Page::new();
            registry.write(&mut page);
            page.finish()
        };
        let has = |page: &str, line: &str| assert!(page.lines().any(|have| have == line), "{line}\n{page}");
        let now = page();
        for (metric, value) in [
            ("adds_total", "2"),
            ("depth", "1"),
            ("queue_duration_seconds_sum", "0.5"),
            ("unfinished_work_seconds", "2"),
            ("longest_running_processor_seconds", "2"),
            ("work_duration_seconds_count", "0"),
        ] {
            has(&now, &format!("workqueue_{metric}{{name=\"things\"}} {value}"));
        }
        queue.done(&item);
        queue.retry(item);
        let now = page();
        for (metric, value) in
            [("retries_total", "1"), ("work_duration_seconds_sum", "2"), ("unfinished_work_seconds", "0")]
        {
            has(&now, &format!("workqueue_{metric}{{name=\"things\"}} {value}"));
        }
    }

    #[tokio::test]
    async fn shutting_down_ends_waiting_workers() {
        let queue = WorkQueue::<u8>::new();
        let waiting = queue.clone();
        let worker = tokio::task::spawn(async move { waiting.next().await });
        tokio::task::yield_now().await;
        queue.shut_down();
        assert_eq!(worker.await.expect("worker"), None);
    }

    #[tokio::test]
    async fn several_workers_share_a_burst() {
        let queue = WorkQueue::new();
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let queue = queue.clone();
            workers.spawn(async move {
                let mut count = 0;
                while let Some(item) = queue.next().await {
                    count += 1;
                    if item == 99u32 {
                        queue.shut_down();
                    }
                    queue.done(&item);
                    tokio::task::yield_now().await;
                }
                count
            });
        }
        for item in 0..100 {
            queue.add(item);
        }
        let total: u32 = workers.join_all().await.into_iter().sum();
        assert!((98..=100).contains(&total), "{total}");
    }
}
