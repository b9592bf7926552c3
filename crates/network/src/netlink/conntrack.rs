//! Entries of connection tracking.

use std::net::Ipv4Addr;

use super::socket::{Request, attribute, nested};
use super::{NetlinkError, Socket};

/// `NFNL_SUBSYS_CTNETLINK << 8`
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
/// Length of the netlink header and of `nfgenmsg`.
const HEADERS: usize = 16 + 4;
const NESTED: u16 = 0x8000;
/// `AF_INET`, version 0, resource 0.
const FAMILY: [u8; 4] = [2, 0, 0, 0];

// CTA_*, CTA_TUPLE_*, CTA_IP_* and CTA_PROTO_* of linux/netfilter/nfnetlink_conntrack.h.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
    /// IP protocol number.
    pub protocol: u8,
}

/// A tracked flow: as it was sent, and as its answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    pub original: Tuple,
    pub reply: Tuple,
}

/// All tracked IPv4 flows of a protocol.
pub fn list(protocol: u8) -> Result<Vec<Flow>, NetlinkError> {
    let mut flows = Vec::new();
    let request = Request {
        action: "list tracked connections",
        kind: GET,
        flags: netlink_packet_core::NLM_F_DUMP,
        body: &FAMILY,
    };
    Socket::netfilter()?.exchange(&request, |_, message| {
        let flow = message.get(HEADERS..).and_then(read).filter(|flow| flow.original.protocol == protocol);
        flows.extend(flow);
        Ok(())
    })?;
    Ok(flows)
}

/// Forgets flows; those already gone are no error.
pub fn delete(flows: &[Flow]) -> Result<(), NetlinkError> {
    let mut socket = Socket::netfilter()?;
    for flow in flows {
        let mut body = FAMILY.to_vec();
        attribute(&mut body, TUPLE_ORIGINAL | NESTED, &write(&flow.original));
        let request = Request {
            action: "delete a tracked connection",
            kind: DELETE,
            flags: netlink_packet_core::NLM_F_ACK,
            body: &body,
        };
        match socket.exchange(&request, |_, _| Ok(())) {
            Err(error) if error.is_missing() => {}
            other => other?,
        }
    }
    Ok(())
}

fn read(attributes: &[u8]) -> Option<Flow> {
    let find = |wanted| {
        nested(attributes).find(|(kind, _)| *kind == wanted).and_then(|(_, value)| read_tuple(value))
    };
    Some(Flow { original: find(TUPLE_ORIGINAL)?, reply: find(TUPLE_REPLY)? })
}

fn read_tuple(bytes: &[u8]) -> Option<Tuple> {
    let part = |outer, inner| {
        let (_, value) = nested(bytes).find(|(kind, _)| *kind == outer)?;
        nested(value).find(|(kind, _)| *kind == inner).map(|(_, value)| value)
    };
    let address =
        |kind| part(TUPLE_IP, kind).and_then(|value| <[u8; 4]>::try_from(value).ok()).map(Ipv4Addr::from);
    let port =
        |kind| part(TUPLE_PROTOCOL, kind).and_then(|value| value.try_into().ok()).map(u16::from_be_bytes);
    Some(Tuple {
        source: (address(IP_SOURCE)?, port(SOURCE_PORT)?),
        destination: (address(IP_DESTINATION)?, port(DESTINATION_PORT)?),
        protocol: *part(TUPLE_PROTOCOL, PROTOCOL_NUMBER)?.first()?,
    })
}

fn write(tuple: &Tuple) -> Vec<u8> {
    let (mut ip, mut protocol, mut out) = (Vec::new(), Vec::new(), Vec::new());
    attribute(&mut ip, IP_SOURCE, &tuple.source.0.octets());
    attribute(&mut ip, IP_DESTINATION, &tuple.destination.0.octets());
    attribute(&mut protocol, PROTOCOL_NUMBER, &[tuple.protocol]);
    attribute(&mut protocol, SOURCE_PORT, &tuple.source.1.to_be_bytes());
    attribute(&mut protocol, DESTINATION_PORT, &tuple.destination.1.to_be_bytes());
    attribute(&mut out, TUPLE_IP | NESTED, &ip);
    attribute(&mut out, TUPLE_PROTOCOL | NESTED, &protocol);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_round_trips() {
        let tuple = Tuple {
            source: (Ipv4Addr::new(10, 42, 0, 5), 40000),
            destination: (Ipv4Addr::new(10, 43, 0, 10), 53),
            protocol: 17,
        };
        assert_eq!(read_tuple(&write(&tuple)), Some(tuple));
        let mut body = Vec::new();
        attribute(&mut body, TUPLE_ORIGINAL | NESTED, &write(&tuple));
        assert_eq!(read(&body), None, "a flow has two directions");
        attribute(&mut body, TUPLE_REPLY | NESTED, &write(&tuple));
        assert_eq!(read(&body), Some(Flow { original: tuple, reply: tuple }));
    }
}
