//! Messages between the daemon, the spawner and the monitors: JSON in one packet of a `SOCK_SEQPACKET` socket,
//! with file descriptors beside it.
#![allow(unsafe_code)] // received descriptors are taken into ownership

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    bind, connect, listen, recv, recvmsg, sendmsg, socket, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message; the kernel's default socket buffer holds it.
pub const MESSAGE_MAX_BYTES: usize = 160 * 1024;
/// Most descriptors in one message.
const FDS_MAX: usize = 4;

/// Sends one message.
pub fn send<T: Serialize>(socket: BorrowedFd<'_>, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "argument list too long"));
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let slices = [IoSlice::new(&bytes)];
    sendmsg::<()>(socket.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one message; `None` when the other side has closed the socket.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    // The real length first, so that an idle monitor keeps no large buffer.
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    let length = match recv(socket.as_raw_fd(), &mut [0_u8; 1], flags) {
        Err(nix::errno::Errno::ECONNRESET) => 0,
        other => other?,
    };
    if length == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; length.min(MESSAGE_MAX_BYTES)];
    let mut space = nix::cmsg_space!([RawFd; FDS_MAX]);
    let mut fds = Vec::new();
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just installed these descriptors for this process; nothing else owns them.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(Some((serde_json::from_slice(&bytes)?, fds)))
}

/// A connected pair of message sockets.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// A `sockaddr_un` for `path`, by way of its directory's descriptor when the path is too long for one.
fn address(path: &Path) -> io::Result<(UnixAddr, Option<std::fs::File>)> {
    if let Ok(short) = UnixAddr::new(path) {
        return Ok((short, None));
    }
    let parent = path.parent().ok_or_else(|| io::Error::other("socket path without a parent"))?;
    let name = path.file_name().ok_or_else(|| io::Error::other("socket path without a name"))?;
    let directory = std::fs::File::open(parent)?;
    let via = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok((UnixAddr::new(&via)?, Some(directory)))
}

/// Listens at `path`, replacing what an earlier process left there.
pub fn bind_at(path: &Path, kind: SockType) -> io::Result<OwnedFd> {
    let _ = std::fs::remove_file(path);
    let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    let (address, _directory) = address(path)?;
    bind(fd.as_raw_fd(), &address)?;
    listen(&fd, Backlog::new(64)?)?;
    Ok(fd)
}

/// Connects to the monitor listening at `path`.
pub fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    let (address, _directory) = address(path)?;
    connect(fd.as_raw_fd(), &address)?;
    Ok(fd)
}

/// Makes reads and writes of `fd` return instead of waiting.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
