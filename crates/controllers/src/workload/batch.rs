//! Many requests at once without a stampede into a wall.

use crate::context::Failure;
use futures::future::join_all;

/// Requests in flight at most, and the largest number of objects one reconciliation creates or deletes.
pub(crate) const BURST: usize = 500;

/// Runs `count` requests in batches of 1, 2, 4 … and stops after the first batch with a failure, so that a quota or
/// an admission rule that refuses the first refuses one and not hundreds. Returns successes and the failure.
pub(crate) async fn slow_start<F, Fut>(count: usize, request: F) -> (usize, Option<Failure>)
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let (mut done, mut size) = (0, 1);
    while done < count {
        let batch = size.min(count - done);
        let results = join_all((done..done + batch).map(&request)).await;
        let failures: Vec<Failure> = results.into_iter().filter_map(Result::err).collect();
        if let Some(first) = failures.first() {
            let failed = failures.len();
            let first = first.to_string();
            return (done + batch - failed, Some(Failure::Batch { failed, total: batch, first }));
        }
        done += batch;
        size *= 2;
    }
    (done, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn stops_at_the_first_failing_batch() {
        let cases = [(10, usize::MAX, 10, 10), (10, 0, 0, 1), (10, 1, 2, 3), (100, 40, 62, 63), (0, 0, 0, 0)];
        for (count, fails_at, want_done, want_calls) in cases {
            let calls = AtomicUsize::new(0);
            let (done, failure) = slow_start(count, |index| {
                calls.fetch_add(1, Ordering::Relaxed);
                async move { if index == fails_at { Err(Failure::NameTaken("x".into())) } else { Ok(()) } }
            })
            .await;
            assert_eq!((done, calls.into_inner()), (want_done, want_calls), "{count} failing at {fails_at}");
            assert_eq!(failure.is_some(), done < count);
        }
    }
}
