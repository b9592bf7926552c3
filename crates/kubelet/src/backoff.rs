//! Delays between attempts.

use jiff::{SignedDuration, Timestamp};

/// First delay of a crashing container.
const CRASH_FIRST: SignedDuration = SignedDuration::from_secs(10);
/// Longest delay of a crashing container.
const CRASH_MAX: SignedDuration = SignedDuration::from_secs(300);
/// A container that ran this long starts afresh.
const CRASH_RESET: SignedDuration = SignedDuration::from_secs(600);

/// Restart delay of one container, as upstream's `flowcontrol.Backoff` keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CrashBackoff {
    pub delay: SignedDuration,
    updated: Timestamp,
}

impl CrashBackoff {
    /// The entry after one more restart of a container that ended at `finished`.
    pub fn next(entry: Option<Self>, finished: Timestamp, now: Timestamp) -> Self {
        let delay = match entry {
            Some(entry) if !entry.expired(finished) => CRASH_MAX.min(entry.delay.saturating_add(entry.delay)),
            _ => CRASH_FIRST,
        };
        Self { delay, updated: now }
    }

    /// Until when a container that ended at `finished` has to wait, if that is after `now`.
    pub fn blocked_until(&self, finished: Timestamp, now: Timestamp) -> Option<Timestamp> {
        if self.expired(finished) {
            return None;
        }
        let until = finished.checked_add(self.delay).ok()?;
        (until > now).then_some(until)
    }

    fn expired(&self, finished: Timestamp) -> bool {
        finished.duration_since(self.updated) > CRASH_RESET
    }
}

/// A delay that doubles with each failure in a row, from `first` up to `max`.
pub(crate) fn doubling(failures: u32, first: SignedDuration, max: SignedDuration) -> SignedDuration {
    let factor = 1i32.checked_shl(failures.saturating_sub(1).min(20)).unwrap_or(i32::MAX);
    first.checked_mul(factor).unwrap_or(max).min(max)
}

/// A duration as Go prints it in messages, in whole seconds: `10s`, `1m20s`, `5m0s`.
pub(crate) fn go_seconds(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// A duration as Go prints it with milliseconds: `253ms`, `1.5s`, `1m2.345s`.
pub(crate) fn go_millis(duration: std::time::Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let mut fraction = format!("{}.{:03}", rest / 1000, rest % 1000);
    fraction.truncate(fraction.trim_end_matches('0').trim_end_matches('.').len());
    if minutes > 0 { format!("{minutes}m{fraction}s") } else { format!("{fraction}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
    }

    #[test]
    fn crashes_double_to_five_minutes() {
        let mut entry = None;
        let mut now = 0;
        let mut delays = Vec::new();
        for _ in 0..7 {
            let next = CrashBackoff::next(entry, at(now), at(now));
            delays.push(next.delay.as_secs());
            entry = Some(next);
            now += next.delay.as_secs() + 1;
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_long_run_resets() {
        let entry = CrashBackoff { delay: CRASH_MAX, updated: at(0) };
        assert_eq!(entry.blocked_until(at(100), at(101)), Some(at(400)));
        assert_eq!(entry.blocked_until(at(100), at(400)), None);
        assert_eq!(entry.blocked_until(at(601), at(602)), None);
        assert_eq!(CrashBackoff::next(Some(entry), at(601), at(602)).delay, CRASH_FIRST);
    }

    #[test]
    fn doubling_is_bounded() {
        let (first, max) = (SignedDuration::from_secs(1), SignedDuration::from_secs(30));
        let got: Vec<i64> = [0, 1, 2, 5, 6, 100].iter().map(|n| doubling(*n, first, max).as_secs()).collect();
        assert_eq!(got, [1, 1, 2, 16, 30, 30]);
    }

    #[test]
    fn durations_in_words() {
        for (seconds, want) in [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (3601, "1h0m1s")] {
            assert_eq!(go_seconds(SignedDuration::from_secs(seconds)), want);
        }
        for (millis, want) in
            [(253, "253ms"), (1500, "1.5s"), (2000, "2s"), (62_345, "1m2.345s"), (60_000, "1m0s")]
        {
            assert_eq!(go_millis(std::time::Duration::from_millis(millis)), want);
        }
    }
}
