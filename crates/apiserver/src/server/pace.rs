//! How long peers may take: silent ones, slow ones, and those that do not read what they asked for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::{ApiBody, BoxError};

/// Answers are handed to the connection in pieces of this size, so that one that nobody reads is noticed, bytes.
const PIECE: usize = 64 * 1024;

/// A closed connection waits that long for its peer to close it, too; the same as Go's.
const LINGER: Duration = Duration::from_millis(500);

/// Limits of time for one connection. The defaults are upstream's where it has any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A TLS handshake must be done by then.
    pub handshake: Duration,
    /// A request's head must have come by then.
    pub header: Duration,
    /// A connection without requests is closed after this long.
    pub idle: Duration,
    /// A peer that takes nothing of what waits for it for this long is cut off.
    pub write: Duration,
    /// Connections are closed this long after the end of the server was announced.
    pub drain: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(32),
            idle: Duration::from_secs(90),
            write: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

impl Patience {
    /// How often a connection is looked at.
    pub fn period(&self) -> Duration {
        (self.idle.min(self.write) / 4).max(Duration::from_millis(10))
    }
}

/// What is wrong with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing is asked.
    Idle,
    /// An answer is not taken.
    Stalled,
}

/// What goes on on one connection.
pub(crate) struct Traffic {
    began: Instant,
    state: Mutex<State>,
}

struct State {
    /// Requests whose answers are not through yet.
    open: usize,
    /// When the last of them was.
    quiet_since: Instant,
    /// Answers that may stall.
    answers: Vec<Arc<Handed>>,
}

/// When an answer handed out a piece that nobody has come back from: milliseconds since the connection began, 0 for never.
#[derive(Default)]
struct Handed(AtomicU64);

impl Traffic {
    pub fn new() -> Arc<Traffic> {
        let now = Instant::now();
        let state = State { open: 0, quiet_since: now, answers: Vec::new() };
        Arc::new(Traffic { began: now, state: Mutex::new(state) })
    }

    /// Counts a request until its guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Open {
        self.state.lock().open += 1;
        Open(Arc::clone(self))
    }

    /// Whether the connection is to be ended, and why.
    pub fn trouble(&self, patience: &Patience) -> Option<Trouble> {
        let state = self.state.lock();
        if state.open == 0 {
            return (state.quiet_since.elapsed() >= patience.idle).then_some(Trouble::Idle);
        }
        let now = self.now_millis();
        let limit = u64::try_from(patience.write.as_millis()).unwrap_or(u64::MAX);
        let stalled = |handed: &Arc<Handed>| {
            let since = handed.0.load(Ordering::Relaxed);
            since != 0 && now.saturating_sub(since) >= limit
        };
        state.answers.iter().any(stalled).then_some(Trouble::Stalled)
    }

    fn now_millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// A request under way.
pub(crate) struct Open(Arc<Traffic>);

impl Open {
    /// The body of its answer; the request is over when the body is dropped. `leisure`: it may be read at any pace.
    pub fn answer(self, body: ApiBody, leisure: bool) -> Paced {
        let small = body.size_hint().upper().is_some_and(|size| size <= PIECE as u64);
        let handed = (!small && !leisure).then(|| {
            let handed = Arc::new(Handed::default());
            self.0.state.lock().answers.push(Arc::clone(&handed));
            handed
        });
        Paced { body, rest: Bytes::new(), handed, open: self }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.open -= 1;
        state.quiet_since = Instant::now();
    }
}

/// A body that comes in small pieces and whose reader is watched.
pub(crate) struct Paced {
    body: ApiBody,
    rest: Bytes,
    handed: Option<Arc<Handed>>,
    open: Open,
}

impl Paced {
    fn hand_out(&mut self, mut data: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.rest = data.split_off(data.len().min(PIECE));
        if let Some(handed) = &self.handed {
            handed.0.store(self.open.0.now_millis(), Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(handed) = &this.handed {
            handed.0.store(0, Ordering::Relaxed);
        }
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return this.hand_out(rest);
        }
        match ready!(Pin::new(&mut this.body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => this.hand_out(data),
                Err(other) => Poll::Ready(Some(Ok(other))),
            },
            end => Poll::Ready(end),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        if let Some(handed) = &self.handed {
            self.open.0.state.lock().answers.retain(|other| !Arc::ptr_eq(other, handed));
        }
    }
}

/// A stream whose writes fail when the peer takes nothing for too long, and which is closed in a way that lets the peer
/// read the last answer even if it was still sending.
pub(crate) struct Impatient<S> {
    stream: S,
    limit: Duration,
    /// Set when the stream carries something that is read at any pace and may be half closed.
    leisure: Arc<AtomicBool>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Our side is closed; the peer's remaining words are thrown away until then.
    lingers: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub fn new(stream: S, limit: Duration, leisure: Arc<AtomicBool>) -> Impatient<S> {
        Impatient { stream, limit, leisure, deadline: None, lingers: None }
    }

    fn judge<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() || self.leisure.load(Ordering::Relaxed) {
            self.deadline = None;
            return result;
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.judge(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        if this.leisure.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        // Closing while there is something to be read resets the connection, and what was written last is lost.
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut discarded = [0; 16 * 1024];
        while lingers.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut discarded);
            match ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
