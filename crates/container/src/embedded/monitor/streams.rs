//! The monitor's ends of a container's streams.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};

use super::create::ChildStreams;
use super::log::{Lines, Source};
use super::protocol::MonitorConfig;
use super::wire;

/// Most bytes kept for an attached client that reads too slowly; then it is cut off.
const ATTACH_BUFFER_BYTES: usize = 1 << 20;
/// One read from a container.
pub const CHUNK_BYTES: usize = 16 * 1024;

/// One of the container's output streams.
pub struct Output {
    pub fd: OwnedFd,
    pub source: Source,
    pub lines: Lines,
}

impl Output {
    pub fn new(fd: OwnedFd, source: Source) -> Self {
        Self { fd, source, lines: Lines::new(source) }
    }
}

/// What came of reading a stream.
pub enum Chunk {
    Data(usize),
    Later,
    End,
}

/// Reads what is there. A terminal whose last user is gone answers EIO: that is its end.
pub fn read_chunk(fd: &OwnedFd, buffer: &mut [u8]) -> Chunk {
    match read(fd, buffer) {
        Ok(0) => Chunk::End,
        Ok(count) => Chunk::Data(count),
        Err(Errno::EAGAIN | Errno::EINTR) => Chunk::Later,
        Err(_) => Chunk::End,
    }
}

/// A stream written to without waiting.
pub struct Sink {
    pub fd: OwnedFd,
    pending: Vec<u8>,
    /// Close once everything is written.
    pub closing: bool,
}

impl Sink {
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        wire::set_nonblocking(fd.as_fd())?;
        Ok(Self { fd, pending: Vec::new(), closing: false })
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Queues `bytes` and writes what can be written. False when the reader is gone or too slow.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if self.pending.len() + bytes.len() > ATTACH_BUFFER_BYTES {
            return false;
        }
        self.pending.extend_from_slice(bytes);
        self.flush()
    }

    /// Writes what can be written. False when the reader is gone.
    pub fn flush(&mut self) -> bool {
        let mut written = 0;
        let open = loop {
            match write(&self.fd, &self.pending[written..]) {
                _ if written == self.pending.len() => break true,
                Ok(count) => written += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break true,
                Err(_) => break false,
            }
        };
        self.pending.drain(..written);
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        open
    }
}

/// Both ends of a container's streams without a terminal.
pub struct Pipes {
    pub outputs: Vec<Output>,
    pub input: Option<Sink>,
    pub child: ChildStreams,
}

/// Makes the pipes between monitor and container.
pub fn pipes(config: &MonitorConfig) -> io::Result<Pipes> {
    let mut made = Pipes { outputs: Vec::new(), input: None, child: ChildStreams::default() };
    if config.tty {
        return Ok(made);
    }
    for source in [Source::Stdout, Source::Stderr] {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        wire::set_nonblocking(reader.as_fd())?;
        made.outputs.push(Output::new(reader, source));
        match source {
            Source::Stdout => made.child.stdout = Some(writer),
            Source::Stderr => made.child.stderr = Some(writer),
        }
    }
    let stdin = if config.stdin {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        made.input = Some(Sink::new(writer)?);
        reader
    } else {
        std::fs::File::open("/dev/null")?.into()
    };
    made.child.stdin = Some(stdin);
    Ok(made)
}
