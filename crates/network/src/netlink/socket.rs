//! One netlink socket: requests with acknowledgement, and dumps.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// Length of a netlink message's header.
const HEADER: usize = 16;
/// The kernel never sends a datagram larger than this on a dump.
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once; waiting longer means that the answer was lost.
const TIMEOUT_SECONDS: i64 = 5;

/// Why a netlink request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused the request.
    #[error("failed to {action}: {source}")]
    Refused { action: String, source: io::Error },
    /// The socket could not be opened, written or read.
    #[error("failed to talk netlink: {0}")]
    Socket(#[from] io::Error),
    /// The kernel's answer could not be understood.
    #[error("failed to decode a netlink message: {0}")]
    Decode(String),
}

impl NetlinkError {
    /// The kernel's error number, if it refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::Socket(source) => source.raw_os_error(),
            Self::Decode(_) => None,
        }
    }

    /// Whether the thing to change or delete is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL))
    }

    /// Whether the thing to create is there already.
    pub fn is_existing(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

impl From<nix::errno::Errno> for NetlinkError {
    fn from(errno: nix::errno::Errno) -> Self {
        Self::Socket(errno.into())
    }
}

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// A message to the kernel, without its sequence number.
pub(crate) struct Request<'a> {
    /// What it does, for the error: "create interface …".
    pub action: &'a str,
    pub kind: u16,
    pub flags: u16,
    pub body: &'a [u8],
}

impl Socket {
    /// Opens a socket for links, addresses and routes.
    ///
    /// # Errors
    /// When the system refuses another socket.
    pub fn route() -> Result<Self, NetlinkError> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// Opens a socket for connection tracking and nftables.
    pub(crate) fn netfilter() -> Result<Self, NetlinkError> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> Result<Self, NetlinkError> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(TIMEOUT_SECONDS))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends a change and waits for the kernel's acknowledgement.
    pub(crate) fn change(
        &mut self,
        action: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        let (kind, body) = encode(message);
        self.exchange(&Request { action, kind, flags: flags | NLM_F_ACK, body: &body }, |_, _| Ok(()))
    }

    /// Sends a dump request and returns all answers.
    pub(crate) fn dump(
        &mut self,
        action: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let (kind, body) = encode(message);
        let mut answers = Vec::new();
        self.exchange(&Request { action, kind, flags: NLM_F_DUMP, body: &body }, |_, message| {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)
                .map_err(|error| NetlinkError::Decode(error.to_string()))?;
            if let NetlinkPayload::InnerMessage(inner) = message.payload {
                answers.push(inner);
            }
            Ok(())
        })?;
        Ok(answers)
    }

    /// Sends one request and hands each answer (its type and the whole message) to `each` until the kernel says done,
    /// acknowledges or refuses.
    pub(crate) fn exchange(
        &mut self,
        request: &Request<'_>,
        mut each: impl FnMut(u16, &[u8]) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let bytes = frame(request, self.sequence);
        sendto(self.fd.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut buffer = vec![0u8; BUFFER];
        loop {
            let length = match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            if self.read_datagram(request, &buffer[..length], &mut each)? {
                return Ok(());
            }
        }
    }

    /// Returns whether the exchange is over.
    fn read_datagram(
        &self,
        request: &Request<'_>,
        mut rest: &[u8],
        each: &mut impl FnMut(u16, &[u8]) -> Result<(), NetlinkError>,
    ) -> Result<bool, NetlinkError> {
        while rest.len() >= HEADER {
            let length = u32_at(rest, 0) as usize;
            if length < HEADER || length > rest.len() {
                return Err(NetlinkError::Decode(format!(
                    "message of {length} bytes in {} bytes",
                    rest.len()
                )));
            }
            let message = &rest[..length];
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            // Answers to an earlier request that timed out are not ours.
            if u32_at(message, 8) != self.sequence {
                continue;
            }
            match u16_at(message, 4) {
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => return acknowledged(request.action, message).map(|()| true),
                kind => each(kind, message)?,
            }
        }
        Ok(false)
    }
}

fn acknowledged(action: &str, message: &[u8]) -> Result<(), NetlinkError> {
    if message.len() < HEADER + 4 {
        return Err(NetlinkError::Decode("short acknowledgement".to_owned()));
    }
    match i32::from_ne_bytes([message[16], message[17], message[18], message[19]]) {
        0 => Ok(()),
        code => Err(NetlinkError::Refused {
            action: action.to_owned(),
            source: io::Error::from_raw_os_error(code.wrapping_neg()),
        }),
    }
}

fn encode(message: RouteNetlinkMessage) -> (u16, Vec<u8>) {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0u8; message.buffer_len()];
    message.serialize(&mut bytes);
    (message.header.message_type, bytes.split_off(HEADER))
}

fn frame(request: &Request<'_>, sequence: u32) -> Vec<u8> {
    let length = HEADER + request.body.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend_from_slice(&request.kind.to_ne_bytes());
    bytes.extend_from_slice(&(request.flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(request.body);
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

/// Appends one netlink attribute, padded.
pub(crate) fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&u16::try_from(value.len() + 4).unwrap_or(u16::MAX).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Iterates over the attributes in `bytes` as (type without flags, value). Ends at the first malformed one.
pub(crate) fn nested(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
    const FLAGS: u16 = 0xc000;
    std::iter::from_fn(move || {
        if bytes.len() < 4 {
            return None;
        }
        let length = usize::from(u16_at(bytes, 0));
        if length < 4 || length > bytes.len() {
            return None;
        }
        let item = (u16_at(bytes, 2) & !FLAGS, &bytes[4..length]);
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some(item)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_round_trip_with_padding() {
        let mut bytes = Vec::new();
        attribute(&mut bytes, 1, b"abc");
        attribute(&mut bytes, 0x8002, &[]);
        attribute(&mut bytes, 3, &[1, 2, 3, 4, 5]);
        let read: Vec<_> = nested(&bytes).collect();
        assert_eq!(read, [(1, &b"abc"[..]), (2, &[][..]), (3, &[1, 2, 3, 4, 5][..])]);
    }

    #[test]
    fn malformed_attributes_end_the_iteration() {
        for bytes in [&[3u8, 0, 1, 0][..], &[200, 0, 1, 0, 9], &[1, 2, 3]] {
            assert_eq!(nested(bytes).count(), 0);
        }
    }
}
