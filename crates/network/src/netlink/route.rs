//! IPv4 routes of the main table.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{NetlinkError, Socket};

/// Marks routes as made by this program (`rtm_protocol`; values above 4 are for routing programs to choose).
const PROTOCOL: u8 = 75;

/// A route of this program, or one read from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub destination: Ipv4Net,
    pub kind: RouteKind,
    pub metric: u32,
    /// Made by this program.
    pub ours: bool,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteKind {
    /// Neighbours on an interface.
    Link { interface: u32, source: Option<Ipv4Addr> },
    /// A router on an interface.
    Via { interface: u32, gateway: Ipv4Addr },
    /// Nowhere: senders are told so.
    Unreachable,
    /// Something this program does not use.
    Other,
}

impl Route {
    /// A route of ours.
    pub fn new(destination: Ipv4Net, kind: RouteKind, metric: u32) -> Self {
        Self { destination, kind, metric, ours: true }
    }
}

impl Socket {
    /// All IPv4 routes of the main table.
    ///
    /// # Errors
    /// When the kernel refuses or answers something unknown.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        let answers = self.dump("list routes", RouteNetlinkMessage::GetRoute(request))?;
        Ok(answers.into_iter().filter_map(read).collect())
    }

    /// Adds a route; succeeds when the same is there already.
    ///
    /// # Errors
    /// When the kernel refuses, for example an interface that is down.
    pub fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let action = format!("add route {}", route.destination);
        match self.change(&action, RouteNetlinkMessage::NewRoute(write(route)), NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.is_existing() => Ok(()),
            other => other,
        }
    }

    /// Deletes a route; succeeds when it is gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let action = format!("delete route {}", route.destination);
        match self.change(&action, RouteNetlinkMessage::DelRoute(write(route)), 0) {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }
}

fn write(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::from(PROTOCOL);
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(route.destination.network())));
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    match &route.kind {
        RouteKind::Link { interface, source } => {
            message.header.scope = RouteScope::Link;
            message.attributes.push(RouteAttribute::Oif(*interface));
            if let Some(source) = source {
                message.attributes.push(RouteAttribute::PrefSource(RouteAddress::Inet(*source)));
            }
        }
        RouteKind::Via { interface, gateway } => {
            message.attributes.push(RouteAttribute::Oif(*interface));
            message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(*gateway)));
        }
        RouteKind::Unreachable => message.header.kind = RouteType::Unreachable,
        RouteKind::Other => {}
    }
    message
}

fn read(answer: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
    let mut table = u32::from(message.header.table);
    let (mut destination, mut metric, mut interface) = (Ipv4Addr::UNSPECIFIED, 0, None);
    let (mut gateway, mut source) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => source = Some(*address),
            RouteAttribute::Table(value) => table = *value,
            _ => {}
        }
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let kind = match (message.header.kind, interface, gateway) {
        (RouteType::Unreachable, ..) => RouteKind::Unreachable,
        (RouteType::Unicast, Some(interface), Some(gateway)) => RouteKind::Via { interface, gateway },
        (RouteType::Unicast, Some(interface), None) => RouteKind::Link { interface, source },
        _ => RouteKind::Other,
    };
    let destination = Ipv4Net::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, kind, metric, ours: u8::from(message.header.protocol) == PROTOCOL })
}
