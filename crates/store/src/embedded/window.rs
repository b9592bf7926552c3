//! Which revisions are kept.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many of the newest revisions stay when space is short.
const PRESSED_KEEP: u64 = 1_000;

/// Remembers which revision was the newest when.
///
/// Times are not stored on disk: after a restart all that is retained counts as new.
pub(super) struct Window {
    keep_for: Duration,
    keep_revisions: u64,
    /// (when, newest revision then), oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl Window {
    pub(super) fn new(keep_for: Duration, keep_revisions: u64) -> Window {
        Window { keep_for, keep_revisions, samples: VecDeque::new() }
    }

    /// How often [`Window::sample`] should be called.
    pub(super) fn interval(&self) -> Duration {
        (self.keep_for / 16).clamp(Duration::from_millis(100), Duration::from_secs(15))
    }

    /// Notes the newest revision, and returns up to where may be compacted. Under pressure (space is short) age does not count.
    pub(super) fn sample(&mut self, now: Instant, newest: u64, pressure: bool) -> u64 {
        self.samples.push_back((now, newest));
        let old = |sample: &(Instant, u64)| now.saturating_duration_since(sample.0) >= self.keep_for;
        // The newest of the old samples is the one that counts.
        while self.samples.len() > 1 && self.samples.get(1).is_some_and(old) {
            self.samples.pop_front();
        }
        let by_age = self.samples.front().filter(|sample| old(sample)).map_or(0, |sample| sample.1);
        let but = |kept| newest.saturating_sub(kept);
        let by_age = by_age.min(but(self.keep_revisions));
        if pressure { by_age.max(but(self.keep_revisions.max(PRESSED_KEEP))) } else { by_age }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_age_and_count_protect_a_revision() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::new(Duration::from_secs(300), 100);
        assert_eq!(window.sample(at(0), 1_000, false), 0, "too young");
        assert_eq!(window.sample(at(200), 2_000, false), 0);
        assert_eq!(window.sample(at(300), 2_050, false), 1_000);
        assert_eq!(window.sample(at(310), 2_060, true), 1_060, "short of space");
        assert_eq!(window.sample(at(500), 2_060, false), 1_960, "of the newest 100 none goes");
        assert_eq!(window.sample(at(900), 2_060, false), 1_960);
        assert!(window.samples.len() < 4);
    }
}
