//! Leases: what etcd removes by itself after a time. Granting one is a write, so that many objects share one
//! (facts from upstream's apiserver `pkg/storage/etcd3/lease_manager.go`).

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{Client, Repeat};
use super::grpc::RpcError;
use super::wire::LeaseGrantRequest;

/// A lease lasts longer than what is asked for by this part of it …
const LONGER_PART: u32 = 20;
/// … but no more than this: for so long it can be given out again.
const LONGER_MAX: Duration = Duration::from_secs(60);
/// So many objects share one at most: they go in one transaction.
const OBJECTS_MAX: u32 = 1_000;

/// The lease that was granted last.
struct Last {
    id: i64,
    expires: Instant,
    objects: u32,
}

impl Last {
    /// Whether what is written now goes in time with this one, neither before nor much later.
    fn serves(&self, ttl: Duration, now: Instant) -> bool {
        let in_time = now + ttl < self.expires && self.expires <= now + ttl + longer(ttl);
        in_time && self.objects < OBJECTS_MAX
    }
}

fn longer(ttl: Duration) -> Duration {
    // Whole seconds are what etcd counts in.
    Duration::from_secs((ttl / LONGER_PART).min(LONGER_MAX).as_secs())
}

/// Gives out leases.
#[derive(Default)]
pub(super) struct Leases(Mutex<Option<Last>>);

impl Leases {
    /// A lease for one more object, which is to last so long.
    pub async fn get(&self, client: &Client, ttl: Duration) -> Result<i64, RpcError> {
        let mut last = self.0.lock().await;
        let now = Instant::now();
        if let Some(last) = last.as_mut().filter(|last| last.serves(ttl, now)) {
            last.objects += 1;
            return Ok(last.id);
        }
        let lasts = ttl + longer(ttl);
        let seconds = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX);
        // One that is granted and not told of goes by itself.
        let granted = client.call(&LeaseGrantRequest { ttl: seconds }, Repeat::Always).await?;
        *last = Some(Last { id: granted.id, expires: now + lasts, objects: 1 });
        Ok(granted.id)
    }

    /// The lease is there no more: somebody has revoked it.
    pub async fn forget(&self, id: i64) {
        let mut last = self.0.lock().await;
        if last.as_ref().is_some_and(|last| last.id == id) {
            *last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_shared_for_a_while() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let start = Instant::now();
        let lease = |objects| Last { id: 1, expires: start + HOUR + LONGER_MAX, objects };
        for (seconds, objects, ttl, serves) in [
            (0, 1, HOUR, true),
            (59, 1, HOUR, true),
            (60, 1, HOUR, false),
            (30, OBJECTS_MAX - 1, HOUR, true),
            (30, OBJECTS_MAX, HOUR, false),
            (0, 1, HOUR * 2, false),
            (0, 1, HOUR / 2, false),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(lease(objects).serves(ttl, now), serves, "{seconds} {objects} {ttl:?}");
        }
        assert_eq!(longer(Duration::from_secs(15)), Duration::ZERO, "is not shared");
    }
}
