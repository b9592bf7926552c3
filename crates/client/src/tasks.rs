//! Supervised tasks: one tracker, one token, and a panic that restarts the task instead of being lost.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause before a task that panicked runs again; doubles up to [`RESTART_MAX`].
const RESTART_FIRST: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(30);

/// A group of tasks that live until their token is cancelled.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// An empty group that ends with `token`.
    #[must_use]
    pub fn new(token: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), token }
    }

    /// The token that ends the group.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs a task. When it panics it is logged and made anew after a pause; when it returns it is done.
    pub fn spawn(
        &self,
        name: impl Into<String>,
        make: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        let (name, token) = (name.into(), self.token.clone());
        self.tracker.spawn(async move {
            let mut pause = RESTART_FIRST;
            loop {
                let run = AssertUnwindSafe(async { make().await }).catch_unwind();
                match token.run_until_cancelled(run).await {
                    None | Some(Ok(())) => return,
                    Some(Err(panic)) => {
                        tracing::error!(task = name, panic = panic_text(&*panic), "task panicked");
                    }
                }
                if token.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return;
                }
                pause = (pause * 2).min(RESTART_MAX);
            }
        });
    }

    /// Cancels the token and waits for every task.
    pub async fn shut_down(&self) {
        self.token.cancel();
        self.wait().await;
    }

    /// Waits until every task has ended.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
