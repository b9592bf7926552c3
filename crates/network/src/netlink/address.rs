//! Addresses of interfaces.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{NetlinkError, Socket};

/// An IPv4 address of this namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddress {
    pub interface: u32,
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Socket {
    /// All IPv4 addresses of the namespace.
    ///
    /// # Errors
    /// When the kernel refuses or answers something unknown.
    pub fn addresses(&mut self) -> Result<Vec<LocalAddress>, NetlinkError> {
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        let answers = self.dump("list addresses", RouteNetlinkMessage::GetAddress(request))?;
        Ok(answers.into_iter().filter_map(read).collect())
    }

    /// Gives an interface an address; succeeds when it has it already.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn add_address(&mut self, interface: u32, address: Ipv4Net) -> Result<(), NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = address.prefix_len();
        message.header.scope = AddressScope::Universe;
        message.header.index = interface;
        message.attributes = vec![
            AddressAttribute::Local(IpAddr::V4(address.addr())),
            AddressAttribute::Address(IpAddr::V4(address.addr())),
        ];
        let action = format!("add address {address}");
        match self.change(&action, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.is_existing() => Ok(()),
            other => other,
        }
    }
}

fn read(answer: RouteNetlinkMessage) -> Option<LocalAddress> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    })?;
    Some(LocalAddress { interface: message.header.index, address, prefix: message.header.prefix_len })
}
