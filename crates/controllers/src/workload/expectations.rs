//! What a controller has asked for and not yet seen.
//!
//! A controller that acts on a cache would act twice when its own writes have not come back yet. It therefore notes how
//! many creations and which deletions it awaits, and does nothing for that key until they were observed. (client-go's
//! `ControllerExpectations`.)

use api::Key;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// Expectations older than this are given up: an event was missed.
const TIMEOUT: Duration = Duration::from_secs(300);

struct Awaited {
    creations: usize,
    /// Uids of objects being deleted.
    deletions: HashSet<String>,
    since: Instant,
}

/// Expectations of one controller, by the key of the owning object.
#[derive(Default)]
pub(crate) struct Expectations(Mutex<HashMap<Key, Awaited>>);

impl Expectations {
    /// Whether everything asked for was seen (or waiting has taken too long).
    pub(crate) fn satisfied(&self, key: &Key) -> bool {
        self.0.lock().get(key).is_none_or(|awaited| {
            (awaited.creations == 0 && awaited.deletions.is_empty()) || awaited.since.elapsed() > TIMEOUT
        })
    }

    /// Notes what is about to be asked for, replacing what was noted before.
    pub(crate) fn expect(&self, key: &Key, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let awaited =
            Awaited { creations, deletions: deletions.into_iter().collect(), since: Instant::now() };
        self.0.lock().insert(key.clone(), awaited);
    }

    /// One awaited creation was seen, or failed.
    pub(crate) fn created(&self, key: &Key, count: usize) {
        if let Some(awaited) = self.0.lock().get_mut(key) {
            awaited.creations = awaited.creations.saturating_sub(count);
        }
    }

    /// One awaited deletion was seen, or failed.
    pub(crate) fn deleted(&self, key: &Key, uid: &str) {
        if let Some(awaited) = self.0.lock().get_mut(key) {
            awaited.deletions.remove(uid);
        }
    }

    /// The owner is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn satisfied_when_seen_or_too_old() {
        let (all, key) = (Expectations::default(), Key::new("a", "b"));
        assert!(all.satisfied(&key));
        all.expect(&key, 2, []);
        all.created(&key, 1);
        assert!(!all.satisfied(&key));
        all.created(&key, 1);
        assert!(all.satisfied(&key));
        all.expect(&key, 0, ["u".to_owned()]);
        all.deleted(&key, "other");
        assert!(!all.satisfied(&key));
        all.deleted(&key, "u");
        assert!(all.satisfied(&key));
        all.expect(&key, 1, []);
        tokio::time::advance(TIMEOUT + Duration::from_secs(1)).await;
        assert!(all.satisfied(&key));
    }
}
