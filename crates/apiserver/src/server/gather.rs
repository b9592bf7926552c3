//! Writes that are gathered: answers which are ready at the same time leave in one piece.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is gathered at most, bytes.
const GATHERED_MAX: usize = 64 * 1024;
/// Pieces from this size on are not copied but passed on as they are.
const LONG: usize = 8 * 1024;

/// A stream that, before it writes, lets the other tasks run that are ready: on HTTP/2 these are often further answers for
/// the same peer. One record and one write for all of them cost little more than for one.
pub(crate) struct Gather<S> {
    stream: S,
    waiting: BytesMut,
    /// The others have had their turn.
    yielded: bool,
}

impl<S> Gather<S> {
    pub fn new(stream: S) -> Gather<S> {
        Gather { stream, waiting: BytesMut::new(), yielded: false }
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        self.yielded = false;
        // Nothing is kept for connections that are silent, of which there may be thousands.
        self.waiting = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if length >= LONG || self.waiting.len() + length > GATHERED_MAX {
            ready!(self.poll_drain(context))?;
        }
        if length >= LONG {
            return Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        }
        pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() {
            if !self.yielded {
                self.yielded = true;
                ready!(pin!(tokio::task::yield_now()).poll(context));
            }
            ready!(self.poll_drain(context))?;
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Counts the writes that reach it.
    struct Counting<S>(S, usize);

    impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    #[tokio::test]
    async fn small_writes_leave_in_one_piece() {
        let (ours, mut theirs) = duplex(1 << 20);
        let mut gather = Gather::new(Counting(ours, 0));
        for word in ["one ", "two ", "three"] {
            gather.write_all(word.as_bytes()).await.unwrap();
        }
        assert_eq!(gather.stream.1, 0);
        gather.flush().await.unwrap();
        assert_eq!(gather.stream.1, 1);
        gather.write_all(b" four").await.unwrap();
        // What was not flushed is not lost.
        gather.shutdown().await.unwrap();
        let mut read = String::new();
        theirs.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "one two three four");
    }

    #[tokio::test]
    async fn long_pieces_go_through_in_order() {
        // The peer's buffer is small, so that writing has to wait.
        let (ours, mut theirs) = duplex(1_000);
        let sent: Vec<u8> = (0..400_000_u32).map(|number| number as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            let mut gather = Gather::new(ours);
            let (small, rest) = sent.split_at(10);
            let (large, end) = rest.split_at(300_000);
            for piece in [small, large, end] {
                gather.write_all(piece).await.unwrap();
            }
            gather.flush().await.unwrap();
        });
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        writer.await.unwrap();
        assert!(read == expected);
    }
}
