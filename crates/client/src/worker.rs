//! The loop that every reconciler shares.

use crate::queue::WorkQueue;
use crate::tasks::panic_text;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// From this failure of one key on, failures are warnings; earlier ones are mostly writes that crossed another's.
const WARN_AFTER: u32 = 4;

type Outcome = Result<Option<Duration>, String>;

/// Runs `workers` workers over the queue until the token is cancelled.
///
/// `reconcile` gets a key and brings the world nearer to what that key wants. `Ok(None)`: done; `Ok(Some(delay))`: look
/// again after the delay; an error or a panic: retry with back-off. It never sees the same key twice at once.
pub async fn run_workers<T, F, Fut, E>(
    name: &'static str,
    queue: WorkQueue<T>,
    workers: usize,
    token: CancellationToken,
    reconcile: F,
) where
    T: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<Duration>, E>> + Send + 'static,
    E: Display,
{
    let run: Arc<dyn Fn(T) -> BoxFuture<'static, Outcome> + Send + Sync> = Arc::new(move |key| {
        let work = reconcile(key);
        Box::pin(async move { work.await.map_err(|error| error.to_string()) })
    });
    let mut set = JoinSet::new();
    for _ in 0..workers.max(1) {
        set.spawn(work(name, queue.clone(), token.clone(), run.clone()));
    }
    token.cancelled().await;
    queue.shut_down();
    while set.join_next().await.is_some() {}
}

async fn work<T: Clone + Eq + Hash + Debug>(
    name: &'static str,
    queue: WorkQueue<T>,
    token: CancellationToken,
    run: Arc<dyn Fn(T) -> BoxFuture<'static, Outcome> + Send + Sync>,
) {
    while let Some(key) = queue.next().await {
        let attempt = AssertUnwindSafe(async { run(key.clone()).await }).catch_unwind();
        let Some(outcome) = token.run_until_cancelled(attempt).await else { return };
        let outcome = outcome.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
        match outcome {
            Ok(again) => {
                queue.forget(&key);
                if let Some(delay) = again {
                    queue.add_after(key.clone(), delay);
                }
            }
            Err(error) => {
                queue.retry(key.clone());
                let failures = queue.failures(&key);
                if failures >= WARN_AFTER {
                    tracing::warn!(controller = name, ?key, failures, error, "failed to reconcile");
                } else {
                    tracing::debug!(controller = name, ?key, failures, error, "failed to reconcile");
                }
            }
        }
        queue.done(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn failures_and_panics_are_retried() {
        let queue = WorkQueue::new();
        queue.add("key");
        let (token, calls) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let (done, count) = (token.clone(), calls.clone());
        run_workers("test", queue, 2, token, move |_| {
            let call = count.fetch_add(1, Ordering::SeqCst);
            let done = done.clone();
            async move {
                match call {
                    0 => Err("no".to_owned()),
                    1 => panic!("worse"),
                    2 => Ok(Some(Duration::from_secs(1))),
                    _ => {
                        done.cancel();
                        Ok(None)
                    }
                }
            }
        })
        .await;
        assert_eq!(calls.load(Ordering::SeqCst), 4);
    }
}
