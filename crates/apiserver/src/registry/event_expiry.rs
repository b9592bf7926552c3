//! Events go away an hour after they were last written (upstream: `--event-ttl`), by the store's doing where it can do that.
//!
//! Where it cannot, no times are stored for this. A mark says that a revision was the newest at some time, so everything up to that revision
//! is at least as old: once a minute one more mark is made, and what is not newer than a mark of an hour ago is deleted. After a restart
//! the events' own timestamps are the first marks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use store::{Expect, Write};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{CachedObject, Registry};

/// How long an event stays after it was written.
pub(crate) const KEPT: Duration = Duration::from_hours(1);
/// Time between two marks: how much later than due an event may go.
const STEP: Duration = Duration::from_mins(1);
/// Deletions under way at once; they share commits of the store.
const AT_ONCE: usize = 64;

/// A time on a clock that nobody sets: since this server has begun to look, or (negative) before that.
type Time = SignedDuration;

/// Revisions and when they were the newest, oldest first.
#[derive(Debug, Default)]
struct Marks(VecDeque<(Time, u64)>);

fn is_older(time: Time, age: Duration, now: Time) -> bool {
    (now - time).unsigned_abs() >= age && now >= time
}

impl Marks {
    /// Notes that everything up to this revision was written before or at this time, which is not before that of the last mark.
    fn note(&mut self, time: Time, revision: u64) {
        self.0.push_back((time, revision));
    }

    /// The newest revision that is old enough to go, if there is one that was not asked for before.
    fn expired(&mut self, now: Time) -> Option<u64> {
        let mut expired = None;
        while let Some((time, revision)) = self.0.front().copied()
            && is_older(time, KEPT, now)
        {
            expired = Some(revision);
            self.0.pop_front();
        }
        expired
    }

    /// What the events themselves say of when they were written; it is time zero now.
    fn of(events: &[CachedObject], now: Timestamp) -> Self {
        let written = |event: &CachedObject| last_written(&event.entry.bytes, now).duration_since(now);
        let mut written: Vec<(u64, Time)> =
            events.iter().map(|event| (event.entry.revision, written(event))).collect();
        written.sort_unstable();
        let mut marks = Self::default();
        let mut latest = Time::MIN;
        for (revision, time) in written {
            latest = latest.max(time);
            // One mark a step is enough: its time is the latest of those it stands for.
            if marks.0.len() > 1 && !is_older(marks.0[marks.0.len() - 2].0, STEP, latest) {
                marks.0.pop_back();
            }
            marks.note(latest, revision);
        }
        marks
    }
}

/// The latest time in an event, and not the future.
fn last_written(event: &[u8], now: Timestamp) -> Timestamp {
    let event: Value = serde_json::from_slice(event).unwrap_or_default();
    ["/metadata/creationTimestamp", "/lastTimestamp", "/eventTime", "/series/lastObservedTime"]
        .iter()
        .filter_map(|pointer| machinery::time::parse(event.pointer(pointer)?.as_str()?))
        .max()
        .map_or(now, |time| time.min(now))
}

/// Deletes events when they are due, until the token is cancelled.
pub(crate) async fn run(registry: Arc<Registry>, token: CancellationToken) {
    if registry.store.expires() {
        return;
    }
    let (start, mut marks) = (Instant::now(), Marks::of(&registry.objects("", "events"), Timestamp::now()));
    let mut minutes = tokio::time::interval(STEP);
    minutes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = minutes.tick() => {
                let now = Time::try_from(start.elapsed()).unwrap_or(Time::MAX);
                let swept = sweep(&registry, &mut marks, now);
                if token.run_until_cancelled(swept).await.is_none() {
                    return;
                }
            }
        }
    }
}

/// Deletes what is due at this time, and makes a mark.
async fn sweep(registry: &Registry, marks: &mut Marks, now: Time) {
    if let Some(revision) = marks.expired(now) {
        let due = registry.objects("", "events").into_iter().filter(|event| event.entry.revision <= revision);
        let delete = |event: CachedObject| async move {
            let write = Write::Delete {
                key: event.entry.key.to_string(),
                expect: Expect::Revision(event.entry.revision),
            };
            // Written again meanwhile, or the store is gone: both are no news here.
            if let Err(error) = registry.store.write(write).await {
                tracing::debug!(key = %event.entry.key, %error, "failed to delete an expired event");
            }
        };
        stream::iter(due).for_each_concurrent(AT_ONCE, delete).await;
    }
    marks.note(now, registry.store.revision());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::tests::harness::Harness;

    fn minute(minutes: i64) -> Time {
        Time::from_mins(minutes)
    }

    /// On the wall.
    fn time(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minutes * 60).expect("a time")
    }

    #[test]
    fn marks_of_an_hour_ago_count() {
        let mut marks = Marks::default();
        for (time, revision) in [(0, 10), (1, 20), (2, 30)] {
            marks.note(minute(time), revision);
        }
        for (now, expired) in [(59, None), (60, Some(10)), (60, None), (62, Some(30)), (90, None)] {
            assert_eq!(marks.expired(minute(now)), expired, "{now}");
        }
    }

    async fn names(h: &Harness) -> Vec<String> {
        let list = h.get("/api/v1/namespaces/default/events").await;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| Some(item["metadata"]["name"].as_str()?.to_owned())).collect()
    }

    async fn write(h: &Harness, name: &str) {
        let event = json!({"metadata": {"name": name}, "involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"}});
        h.must(201, "POST", "/api/v1/namespaces/default/events", event).await;
    }

    #[tokio::test]
    async fn events_go_an_hour_after_their_last_write() {
        let h = Harness::start().await;
        let mut marks = Marks::default();
        write(&h, "a").await;
        write(&h, "b").await;
        sweep(&h.registry, &mut marks, minute(0)).await;
        let again = json!({"count": 2});
        assert_eq!(h.patch("merge-patch+json", "/api/v1/namespaces/default/events/a", again).await.0, 200);
        write(&h, "c").await;
        sweep(&h.registry, &mut marks, minute(59)).await;
        assert_eq!(names(&h).await, ["a", "b", "c"]);
        sweep(&h.registry, &mut marks, minute(60)).await;
        assert_eq!(names(&h).await, ["a", "c"], "what was written again stays");
        sweep(&h.registry, &mut marks, minute(119)).await;
        assert!(names(&h).await.is_empty());
    }

    #[tokio::test]
    async fn a_restart_goes_by_the_events_own_times() {
        let h = Harness::start().await;
        let path = "/api/v1/namespaces/default/events";
        let about = json!({"namespace": "default", "kind": "Pod", "name": "p"});
        for (name, last) in [("a", time(0)), ("b", time(30)), ("c", time(31))] {
            let mut event = json!({"metadata": {"name": name}, "involvedObject": about});
            event["lastTimestamp"] = machinery::time::rfc3339(last).into();
            h.must(201, "POST", path, event).await;
        }
        let objects = h.registry.objects("", "events");
        // They were created just now, so now is what counts; without that, their own times do.
        let mut marks = Marks::of(&objects, Timestamp::now());
        assert_eq!(marks.expired(minute(59)), None);
        assert_eq!(marks.expired(minute(60)), objects.iter().map(|event| event.entry.revision).max());
        let old = |minutes: i64| {
            let event = json!({"lastTimestamp": machinery::time::rfc3339(time(minutes))});
            last_written(event.to_string().as_bytes(), time(90))
        };
        assert_eq!([old(0), old(100)], [time(0), time(90)]);
    }
}
