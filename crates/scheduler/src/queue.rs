//! Pods that wait for a node.
//!
//! A pod is in exactly one of four places: `active` (to be tried next, highest priority first), `backoff` (to be tried
//! when its time has come), `waiting` (nothing has changed since it could not be placed) or `gated`. A pod being
//! tried is in none; what happens meanwhile is noticed by comparing `moves` before and after.

use crate::framework::Unschedulable;
use api::{Key, Pod};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Pause after the first failed attempt; doubles up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A pod that waited this long is tried again even though nothing seems to have changed.
const WAITING_MAX: Duration = Duration::from_secs(300);

/// What changed in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A node came or offers something else.
    Node,
    /// A pod left a node.
    PodGone,
    /// A pod came to a node, or its labels changed.
    PodPlaced,
    /// A claim or volume changed.
    Volume,
    /// A namespace's labels changed.
    Namespace,
}

impl Event {
    /// Whether the event can help a pod that this plugin refused.
    fn concerns(self, plugin: &str) -> bool {
        match self {
            Self::Node => true,
            Self::PodGone => {
                matches!(plugin, "NodeResourcesFit" | "NodePorts" | "PodTopologySpread" | "InterPodAffinity")
            }
            Self::PodPlaced => matches!(plugin, "PodTopologySpread" | "InterPodAffinity"),
            Self::Volume => plugin == "VolumeBinding",
            Self::Namespace => plugin == "InterPodAffinity",
        }
    }
}

/// A pod in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub pod: Arc<Pod>,
    attempts: u32,
    /// When it entered the queue; earlier ones go first within a priority.
    since: Instant,
    /// When its last attempt failed.
    failed_at: Option<Instant>,
    /// `moves` when the attempt began.
    moves: u64,
    refused_by: Vec<&'static str>,
}

impl Entry {
    pub(crate) fn key(&self) -> Key {
        Key::of(&*self.pod)
    }

    /// How often a node was looked for, and how long ago that began.
    pub(crate) fn history(&self) -> (u32, Duration) {
        (self.attempts, self.since.elapsed())
    }

    fn backoff_ends(&self) -> Option<Instant> {
        let pause = BACKOFF_FIRST.saturating_mul(1 << self.attempts.saturating_sub(1).min(16));
        self.failed_at.map(|at| at + pause.min(BACKOFF_MAX))
    }
}

type Rank = (Reverse<i32>, Instant, u64);

enum Place {
    Active(Rank),
    Backoff(Instant, u64),
    Waiting,
    Gated,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, (Place, Entry)>,
    active: BTreeMap<Rank, Key>,
    backoff: BTreeMap<(Instant, u64), Key>,
    next: u64,
    moves: u64,
}

/// The queue; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Queue {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn take(&mut self, key: &Key) -> Option<Entry> {
        let (place, entry) = self.entries.remove(key)?;
        match place {
            Place::Active(rank) => drop(self.active.remove(&rank)),
            Place::Backoff(at, number) => drop(self.backoff.remove(&(at, number))),
            Place::Waiting | Place::Gated => {}
        }
        Some(entry)
    }

    fn activate(&mut self, entry: Entry) {
        let key = entry.key();
        let priority = entry.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        let rank = (Reverse(priority), entry.since, self.number());
        self.active.insert(rank, key.clone());
        self.entries.insert(key, (Place::Active(rank), entry));
    }

    /// To `active` when its pause is over, else to `backoff`.
    fn activate_later(&mut self, entry: Entry, now: Instant) {
        let Some(at) = entry.backoff_ends().filter(|at| *at > now) else { return self.activate(entry) };
        let key = entry.key();
        let number = self.number();
        self.backoff.insert((at, number), key.clone());
        self.entries.insert(key, (Place::Backoff(at, number), entry));
    }

    fn promote(&mut self, now: Instant) {
        while let Some((&(at, _), key)) = self.backoff.first_key_value() {
            if at > now {
                break;
            }
            let key = key.clone();
            if let Some(entry) = self.take(&key) {
                self.activate(entry);
            }
        }
        let stale = |(place, entry): &(Place, Entry)| {
            matches!(place, Place::Waiting)
                && entry.failed_at.is_some_and(|at| now.duration_since(at) >= WAITING_MAX)
        };
        let keys: Vec<Key> =
            self.entries.iter().filter(|(_, held)| stale(held)).map(|(key, _)| key.clone()).collect();
        for entry in keys.iter().filter_map(|key| self.take(key)).collect::<Vec<_>>() {
            self.activate(entry);
        }
    }

    /// When [`State::promote`] has something to do next.
    fn next_deadline(&self) -> Option<Instant> {
        let backoff = self.backoff.first_key_value().map(|((at, _), _)| *at);
        let waiting = self.entries.values().filter(|(place, _)| matches!(place, Place::Waiting));
        let waiting = waiting.filter_map(|(_, entry)| entry.failed_at).min().map(|at| at + WAITING_MAX);
        [backoff, waiting].into_iter().flatten().min()
    }
}

impl Queue {
    /// A pod without a node was created or changed. `changed` says whether the change could matter to placing it.
    pub(crate) fn offer(&self, pod: Arc<Pod>, gated: bool, changed: bool) {
        let key = Key::of(&*pod);
        let mut state = self.state.lock();
        let held = state.entries.get_mut(&key);
        if let Some((place, entry)) = held
            && entry.pod.metadata.uid == pod.metadata.uid
        {
            let stays = match place {
                Place::Active(_) | Place::Backoff(..) => true,
                Place::Waiting => !changed,
                Place::Gated => gated,
            };
            entry.pod = pod.clone();
            if stays {
                return;
            }
        }
        let now = Instant::now();
        let old = state.take(&key).filter(|old| old.pod.metadata.uid == pod.metadata.uid);
        let mut entry = old.unwrap_or(Entry {
            pod: pod.clone(),
            attempts: 0,
            since: now,
            failed_at: None,
            moves: 0,
            refused_by: Vec::new(),
        });
        entry.pod = pod;
        if gated {
            state.entries.insert(key, (Place::Gated, entry));
            return;
        }
        state.activate_later(entry, now);
        drop(state);
        self.wake.notify_one();
    }

    /// Pods that are active, that pause, that wait and that are gated.
    pub(crate) fn pending(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for (place, _) in self.state.lock().entries.values() {
            let at = match place {
                Place::Active(_) => 0,
                Place::Backoff(..) => 1,
                Place::Waiting => 2,
                Place::Gated => 3,
            };
            counts[at] += 1;
        }
        counts
    }

    /// The pod needs no node any more.
    pub(crate) fn remove(&self, key: &Key) {
        self.state.lock().take(key);
    }

    /// The next pod to try.
    pub(crate) async fn next(&self) -> Entry {
        loop {
            let notified = self.wake.notified();
            let deadline = {
                let mut state = self.state.lock();
                state.promote(Instant::now());
                if let Some((_, key)) = state.active.first_key_value() {
                    let key = key.clone();
                    if let Some(mut entry) = state.take(&key) {
                        entry.attempts += 1;
                        entry.moves = state.moves;
                        return entry;
                    }
                }
                state.next_deadline()
            };
            match deadline {
                Some(at) => drop(tokio::time::timeout_at(at, notified).await),
                None => notified.await,
            }
        }
    }

    /// The pod could not be placed: it waits for an event that concerns it, or, when one came meanwhile, for its pause.
    pub(crate) fn refuse(&self, mut entry: Entry, why: &Unschedulable) {
        let now = Instant::now();
        entry.failed_at = Some(now);
        entry.refused_by.clone_from(&why.plugins);
        let mut state = self.state.lock();
        let key = entry.key();
        if state.entries.contains_key(&key) {
            return;
        }
        if entry.moves == state.moves {
            state.entries.insert(key, (Place::Waiting, entry));
        } else {
            state.activate_later(entry, now);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Binding failed: the pod is tried again after its pause.
    pub(crate) fn retry(&self, mut entry: Entry) {
        let now = Instant::now();
        entry.failed_at = Some(now);
        let mut state = self.state.lock();
        if !state.entries.contains_key(&entry.key()) {
            state.activate_later(entry, now);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Something changed: pods it may help are tried again.
    pub(crate) fn moved(&self, event: Event) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.moves += 1;
        let helped = |(place, entry): &(Place, Entry)| {
            matches!(place, Place::Waiting)
                && (entry.refused_by.is_empty()
                    || entry.refused_by.iter().any(|plugin| event.concerns(plugin)))
        };
        let keys: Vec<Key> =
            state.entries.iter().filter(|(_, held)| helped(held)).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            if let Some(entry) = state.take(key) {
                state.activate_later(entry, now);
            }
        }
        drop(state);
        if !keys.is_empty() {
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::json;

    fn pod(name: &str, priority: i32) -> Arc<Pod> {
        let value = json!({"metadata": {"name": name, "namespace": "a", "uid": name}, "spec": {"priority": priority, "containers": []}});
        Arc::new(Pod::from_value(value).unwrap())
    }

    fn refusal(plugin: &'static str) -> Unschedulable {
        Unschedulable { nodes: 1, plugins: vec![plugin], ..Unschedulable::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn priority_goes_before_age() {
        let queue = Queue::default();
        for (name, priority) in [("old", 0), ("young", 0), ("important", 5)] {
            queue.offer(pod(name, priority), false, true);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        for want in ["important", "old", "young"] {
            assert_eq!(queue.next().await.key().name, want);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_pod_waits_for_what_concerns_it() {
        let queue = Queue::default();
        queue.offer(pod("p", 0), false, true);
        assert_eq!(queue.pending(), [1, 0, 0, 0]);
        let entry = queue.next().await;
        queue.refuse(entry, &refusal("NodeAffinity"));
        assert_eq!(queue.pending(), [0, 0, 1, 0]);
        queue.moved(Event::PodGone);
        let early = tokio::time::timeout(Duration::from_secs(10), queue.next()).await;
        assert!(early.is_err(), "a pod that left does not change labels");
        queue.moved(Event::Node);
        assert_eq!(queue.next().await.key().name, "p");
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_during_an_attempt_is_not_lost() {
        let queue = Queue::default();
        queue.offer(pod("p", 0), false, true);
        let entry = queue.next().await;
        queue.moved(Event::Node);
        queue.refuse(entry, &refusal("NodeAffinity"));
        let again = tokio::time::timeout(Duration::from_secs(1), queue.next()).await;
        assert_eq!(again.expect("tried again").key().name, "p");
    }

    #[tokio::test(start_paused = true)]
    async fn gated_pods_wait_for_their_gates() {
        let queue = Queue::default();
        queue.offer(pod("p", 0), true, true);
        assert_eq!(queue.pending(), [0, 0, 0, 1]);
        queue.moved(Event::Node);
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await.is_err());
        queue.offer(pod("p", 0), false, true);
        assert_eq!(queue.next().await.key().name, "p");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_for_ever() {
        let queue = Queue::default();
        queue.offer(pod("p", 0), false, true);
        let entry = queue.next().await;
        queue.refuse(entry, &refusal("NodeAffinity"));
        let start = Instant::now();
        assert_eq!(queue.next().await.key().name, "p");
        assert_eq!(start.elapsed(), WAITING_MAX);
    }
}
