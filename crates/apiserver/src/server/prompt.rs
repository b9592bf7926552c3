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
