//! A connection with many streams.

use std::collections::HashMap;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::frame::{Codec, Frame, HeaderList};

/// Streams that wait to be accepted.
const ACCEPT_MAX: usize = 32;
/// Streams open at the same time.
const STREAMS_MAX: usize = 1024;
/// Data frames of one stream that wait to be read.
const STREAM_QUEUE: usize = 16;
/// Frames of all streams that wait to be written.
const WRITE_QUEUE: usize = 64;
const READ_BYTES: usize = 32 * 1024;

/// `RST_STREAM` codes.
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 3;

/// A stream the client opened.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub headers: HeaderList,
    pub reader: StreamReader,
    pub writer: StreamWriter,
}

impl Incoming {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What the client sends on a stream; `None` once it is done.
#[derive(Debug)]
pub(crate) struct StreamReader {
    data: mpsc::Receiver<Bytes>,
}

impl StreamReader {
    /// The next piece.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.data.recv().await
    }
}

/// The server's side of a stream. Dropping it ends the server's side.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    id: u32,
    frames: mpsc::Sender<Frame>,
    open: bool,
}

impl StreamWriter {
    /// Sends a piece; false when the connection is gone.
    pub async fn send(&self, data: Bytes) -> bool {
        self.frames.send(Frame::Data { id: self.id, fin: false, data }).await.is_ok()
    }

    /// Ends the server's side.
    pub async fn finish(mut self) {
        self.open = false;
        let _ = self.frames.send(Frame::Data { id: self.id, fin: true, data: Bytes::new() }).await;
    }

    /// Breaks the stream off.
    pub async fn reset(mut self) {
        self.open = false;
        let _ = self.frames.send(Frame::Rst { id: self.id, status: PROTOCOL_ERROR }).await;
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if self.open {
            let _ = self.frames.try_send(Frame::Data { id: self.id, fin: true, data: Bytes::new() });
        }
    }
}

/// The streams of one connection. [`Session::drive`] has to run for anything to move.
pub(crate) struct Session<S> {
    io: S,
    accept: mpsc::Sender<Incoming>,
    frames: (mpsc::Sender<Frame>, mpsc::Receiver<Frame>),
}

impl<S: AsyncRead + AsyncWrite + Send> Session<S> {
    /// A session over a connection, and where the client's streams arrive.
    pub fn new(io: S) -> (Self, mpsc::Receiver<Incoming>) {
        let (accept, incoming) = mpsc::channel(ACCEPT_MAX);
        (Self { io, accept, frames: mpsc::channel(WRITE_QUEUE) }, incoming)
    }

    /// Moves frames until the client leaves.
    pub async fn drive(self) -> io::Result<()> {
        let Self { io, accept, frames: (sender, receiver) } = self;
        let (reader, writer) = tokio::io::split(io);
        let read = read(reader, accept, sender);
        let write = write(writer, receiver);
        tokio::pin!(read, write);
        tokio::select! {
            result = &mut read => result,
            result = &mut write => result,
        }
    }
}

async fn write(mut io: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Frame>) -> io::Result<()> {
    let mut codec = Codec::new();
    let mut buffer = BytesMut::new();
    while let Some(frame) = frames.recv().await {
        codec.encode(&frame, &mut buffer).map_err(io::Error::other)?;
        // What is there already goes out in the same packet.
        while buffer.len() < READ_BYTES
            && let Ok(frame) = frames.try_recv()
        {
            codec.encode(&frame, &mut buffer).map_err(io::Error::other)?;
        }
        io.write_all(&buffer).await?;
        io.flush().await?;
        buffer.clear();
    }
    io.shutdown().await
}

async fn read(
    mut io: impl AsyncRead + Unpin,
    accept: mpsc::Sender<Incoming>,
    frames: mpsc::Sender<Frame>,
) -> io::Result<()> {
    let mut codec = Codec::new();
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let mut streams: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    let mut last = 0;
    loop {
        while let Some(frame) = codec.decode(&mut buffer).map_err(io::Error::other)? {
            match frame {
                Frame::SynStream { id, fin, headers } => {
                    streams.retain(|_, stream| !stream.is_closed());
                    if id <= last || id % 2 == 0 || streams.len() >= STREAMS_MAX {
                        send(&frames, Frame::Rst { id, status: REFUSED_STREAM }).await?;
                        continue;
                    }
                    last = id;
                    send(&frames, Frame::SynReply { id, fin: false, headers: Vec::new() }).await?;
                    let (sender, data) = mpsc::channel(STREAM_QUEUE);
                    if !fin {
                        streams.insert(id, sender);
                    }
                    let writer = StreamWriter { id, frames: frames.clone(), open: true };
                    let incoming = Incoming { headers, reader: StreamReader { data }, writer };
                    if accept.send(incoming).await.is_err() {
                        return Ok(());
                    }
                }
                Frame::Data { id, fin, data } => {
                    if let Some(stream) = streams.get(&id)
                        && !data.is_empty()
                    {
                        // A reader that has gone away takes nothing; its data is dropped.
                        let _ = stream.send(data).await;
                    }
                    if fin {
                        streams.remove(&id);
                    }
                }
                Frame::Headers { id, fin: true } | Frame::Rst { id, .. } => {
                    streams.remove(&id);
                }
                Frame::Ping { id } if id % 2 == 1 => send(&frames, Frame::Ping { id }).await?,
                Frame::GoAway => return Ok(()),
                _ => {}
            }
        }
        buffer.reserve(READ_BYTES);
        if io.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

async fn send(frames: &mpsc::Sender<Frame>, frame: Frame) -> io::Result<()> {
    frames.send(frame).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(io: &mut tokio::io::DuplexStream, codec: &mut Codec, buffer: &mut BytesMut) -> Frame {
        loop {
            if let Some(frame) = codec.decode(buffer).expect("frame") {
                return frame;
            }
            assert!(io.read_buf(buffer).await.expect("read") > 0, "the connection ended");
        }
    }

    #[tokio::test]
    async fn streams_both_ways() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let (session, mut incoming) = Session::new(server);
        let driver = tokio::spawn(session.drive());
        let (mut codec, mut answers, mut buffer) = (Codec::new(), Codec::new(), BytesMut::new());
        let mut wire = BytesMut::new();
        let headers = vec![("streamtype".to_owned(), "data".to_owned())];
        for frame in [
            Frame::SynStream { id: 1, fin: false, headers },
            Frame::Data { id: 1, fin: false, data: Bytes::from_static(b"ping") },
            Frame::Ping { id: 1 },
            Frame::Data { id: 1, fin: true, data: Bytes::new() },
        ] {
            codec.encode(&frame, &mut wire).expect("encode");
        }
        client.write_all(&wire).await.expect("write");
        let mut stream = incoming.recv().await.expect("stream");
        assert_eq!(stream.header("streamtype"), Some("data"));
        assert_eq!(stream.reader.recv().await.as_deref(), Some(b"ping".as_slice()));
        assert_eq!(stream.reader.recv().await, None);
        assert!(stream.writer.send(Bytes::from_static(b"pong")).await);
        stream.writer.finish().await;
        assert!(matches!(next(&mut client, &mut answers, &mut buffer).await, Frame::SynReply { id: 1, .. }));
        let mut rest = Vec::new();
        for _ in 0..3 {
            rest.push(next(&mut client, &mut answers, &mut buffer).await);
        }
        assert!(rest.contains(&Frame::Ping { id: 1 }));
        assert!(rest.contains(&Frame::Data { id: 1, fin: false, data: Bytes::from_static(b"pong") }));
        assert!(rest.contains(&Frame::Data { id: 1, fin: true, data: Bytes::new() }));
        drop(client);
        drop(incoming);
        driver.await.expect("task").expect("session");
    }
}
