//! Keeps components running: one that fails or panics is started again, alone, after a growing pause.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A component that ran this long starts over with the shortest pause.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Starts components and waits for them to end.
#[derive(Clone)]
pub(crate) struct Supervisor {
    tracker: TaskTracker,
    token: CancellationToken,
    running: Running,
}

/// The components that were started, and why those that do not run do not.
type Running = Arc<Mutex<HashMap<&'static str, Result<(), String>>>>;

/// How one component is.
#[derive(Debug)]
struct ComponentHealth {
    name: &'static str,
    running: Running,
}

impl apiserver::Health for ComponentHealth {
    fn check(&self) -> Result<(), String> {
        self.running.lock().get(self.name).cloned().unwrap_or_else(|| Err("not started".to_owned()))
    }
}

impl Supervisor {
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), token, running: Running::default() }
    }

    /// How the component of this name is, whether it was started yet or not.
    pub(crate) fn health(&self, name: &'static str) -> Arc<dyn apiserver::Health> {
        Arc::new(ComponentHealth { name, running: self.running.clone() })
    }

    /// Runs `component` until the token is cancelled, starting it again when it fails, panics or returns early.
    pub(crate) fn spawn<F, R>(&self, name: &'static str, component: F)
    where
        F: Fn(CancellationToken) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (token, running) = (self.token.clone(), self.running.clone());
        self.tracker.spawn(async move {
            let mut pause = PAUSE_MIN;
            loop {
                running.lock().insert(name, Ok(()));
                let began = tokio::time::Instant::now();
                let run = component(token.child_token());
                let outcome = std::panic::AssertUnwindSafe(run).catch_unwind().await;
                if token.is_cancelled() {
                    return;
                }
                let why = match outcome {
                    Ok(Ok(())) => "it ended early".to_owned(),
                    Ok(Err(error)) => format!("{error:#}"),
                    Err(_) => "it panicked".to_owned(),
                };
                tracing::error!(component = name, "component does not run: {why}; starting it again");
                running.lock().insert(name, Err(why));
                pause = if began.elapsed() > HEALTHY_AFTER { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
                tokio::select! {
                    () = token.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        });
    }

    /// Waits until all components have ended, at most `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            tracing::warn!("some components did not stop within {limit:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panicking_component_is_started_again_and_ends_with_the_token() {
        let token = CancellationToken::new();
        let supervisor = Supervisor::new(token.clone());
        let runs = Arc::new(AtomicUsize::new(0));
        let (count, ended) = (runs.clone(), token.clone());
        let health = supervisor.health("test");
        assert_eq!(health.check(), Err("not started".to_owned()));
        supervisor.spawn("test", move |_| {
            let (count, ended) = (count.clone(), ended.clone());
            async move {
                match count.fetch_add(1, Ordering::SeqCst) {
                    0 => panic!("the first run fails"),
                    1 => anyhow::bail!("so does the second"),
                    _ => ended.cancelled().await,
                }
                Ok(())
            }
        });
        let mut seen = Vec::new();
        while runs.load(Ordering::SeqCst) < 3 {
            seen.extend(health.check().err());
            tokio::time::sleep(PAUSE_MIN / 4).await;
        }
        seen.dedup();
        assert_eq!(seen, ["not started", "it panicked", "so does the second"]);
        assert_eq!(health.check(), Ok(()));
        token.cancel();
        supervisor.drain(Duration::from_secs(600)).await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }
}
