//! Requests that need not wait are answered where they are read.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;

/// Runs the streams of a connection. Most reads are answered without waiting for anything: a task for each would cost more than
/// the answer. What has to wait goes on as a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prompt;

impl<F> Executor<F> for Prompt
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let mut future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(future);
        // Nobody need be woken: whatever waits is polled again by its task.
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending {
            TokioExecutor::new().execute(future);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn what_need_not_wait_is_done_at_once() {
        let done = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&done);
        // There is no runtime here that a task could run on.
        Prompt.execute(async move {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_has_to_wait_goes_on_by_itself() {
        let (answer, wanted) = oneshot::channel::<u8>();
        let (told, heard) = oneshot::channel();
        Prompt.execute(async move {
            let number = wanted.await.unwrap();
            told.send(number + 1).unwrap();
        });
        answer.send(1).unwrap();
        assert_eq!(heard.await.unwrap(), 2);
    }
}
