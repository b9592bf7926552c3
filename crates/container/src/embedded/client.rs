//! The daemon's side of the conversation with spawner and monitors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::Serialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::monitor::protocol::{Reply, Request, SpawnRequest};
use super::monitor::{REEXEC, wire};

/// Registers a descriptor with tokio.
#[allow(unsafe_code)] // the registration's contract is about the descriptor's owner
pub fn async_fd(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` means the same open descriptor for as long as it exists, and the registration owns it.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// A message socket driven by tokio.
pub struct MessageSocket(AsyncFd<OwnedFd>);

impl MessageSocket {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        wire::set_nonblocking(fd.as_fd())?;
        Ok(Self(async_fd(fd)?))
    }

    /// Connects to the monitor listening at `path`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Self::new(wire::connect_to(path)?)
    }

    /// Sends a message with descriptors.
    pub async fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, |fd| wire::send(fd.as_fd(), message, fds)).await
    }

    /// The next reply; an error when the other side is gone.
    pub async fn receive(&self) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let received = self.0.async_io(Interest::READABLE, |fd| wire::receive(fd.as_fd())).await?;
        received.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    /// Sends a request and waits for its one reply.
    pub async fn call(&self, request: &Request) -> io::Result<Reply> {
        self.send(request, &[]).await?;
        Ok(self.receive().await?.0)
    }
}

/// Starts the spawner when needed and asks it for processes.
pub struct Spawner {
    program: PathBuf,
    running: tokio::sync::Mutex<Option<Running>>,
}

struct Running {
    socket: MessageSocket,
    /// Reaped when replaced or dropped; it ends by itself when the socket closes.
    _child: tokio::process::Child,
}

impl Spawner {
    /// `program` is what is started again; it calls [`crate::reexec`].
    pub fn new(program: PathBuf) -> Self {
        Self { program, running: tokio::sync::Mutex::new(None) }
    }

    fn launch(&self) -> io::Result<Running> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let child = tokio::process::Command::new(&self.program)
            .args([REEXEC, "spawner"])
            .stdin(std::process::Stdio::from(theirs))
            .stdout(std::process::Stdio::null())
            .current_dir("/")
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("start {}: {error}", self.program.display()))
            })?;
        Ok(Running { socket: MessageSocket::new(ours)?, _child: child })
    }

    /// Makes sure the spawner runs, so that the first container does not wait for it.
    pub async fn warm_up(&self) -> io::Result<()> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            *running = Some(self.launch()?);
        }
        Ok(())
    }

    /// Makes a request; what comes of it is read from the returned socket.
    pub async fn request(&self, request: &SpawnRequest) -> io::Result<MessageSocket> {
        let (ours, theirs) = wire::pair()?;
        let mut running = self.running.lock().await;
        for last in [false, true] {
            if running.is_none() {
                *running = Some(self.launch()?);
            }
            let Some(spawner) = running.as_ref() else { break };
            match spawner.socket.send(request, &[theirs.as_fd()]).await {
                Ok(()) => return MessageSocket::new(ours),
                Err(error) if last => return Err(error),
                // It has died; a new one takes its place.
                Err(_) => *running = None,
            }
        }
        Err(io::Error::other("the spawner cannot be started"))
    }
}
