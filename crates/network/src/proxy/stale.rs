//! Tracked UDP flows that lead where no packet should go any more.
//!
//! UDP has no connection that ends: as long as a client keeps sending from one port, connection tracking keeps the
//! endpoint it chose, also when that is gone. Such entries are forgotten so that the next packet chooses again.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use super::endpoints::Usable;
use super::world::{Protocol, World};
use crate::netlink::conntrack::Flow;

type Place = (Ipv4Addr, u16);

/// Where UDP packets to a Service may go: by destination, and by port on any address of the node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UdpTargets {
    by_address: HashMap<Place, HashSet<Place>>,
    by_port: HashMap<u16, HashSet<Place>>,
    local: HashSet<Ipv4Addr>,
}

impl UdpTargets {
    pub(super) fn of(world: &World) -> Self {
        let mut targets = Self { local: world.node.addresses.iter().copied().collect(), ..Self::default() };
        targets.local.insert(Ipv4Addr::LOCALHOST);
        for port in world.services.iter().filter(|port| port.protocol == Protocol::Udp) {
            let usable = Usable::of(port, &world.node);
            let endpoints: HashSet<Place> = usable.reachable().map(|e| (e.address, e.port)).collect();
            for address in [port.cluster_ip].iter().chain(&port.external_ips).chain(&port.load_balancer_ips) {
                targets.by_address.entry((*address, port.port)).or_default().extend(&endpoints);
            }
            if let Some(number) = port.node_port {
                targets.by_port.entry(number).or_default().extend(&endpoints);
            }
        }
        for port in world.host_ports.iter().filter(|port| port.protocol == Protocol::Udp) {
            let pod = (port.pod_ip, port.container_port);
            match port.host_ip {
                Some(address) => targets.by_address.entry((address, port.port)).or_default().insert(pod),
                None => targets.by_port.entry(port.port).or_default().insert(pod),
            };
        }
        targets
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_address.is_empty() && self.by_port.is_empty()
    }

    /// Adds what `before` had and is gone now, leading nowhere: flows to it are stale.
    pub(super) fn and_gone(mut self, before: &Self) -> Self {
        for key in before.by_address.keys() {
            self.by_address.entry(*key).or_default();
        }
        for key in before.by_port.keys() {
            self.by_port.entry(*key).or_default();
        }
        self
    }

    /// The flows to a Service that lead elsewhere than to one of its endpoints.
    pub(super) fn stale(&self, flows: &[Flow]) -> Vec<Flow> {
        let is_stale = |flow: &&Flow| {
            let destination = flow.original.destination;
            let by_port = || self.by_port.get(&destination.1).filter(|_| self.local.contains(&destination.0));
            let targets = self.by_address.get(&destination).or_else(by_port);
            targets.is_some_and(|targets| !targets.contains(&flow.reply.source))
        };
        flows.iter().filter(is_stale).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::conntrack::Tuple;
    use crate::proxy::tests::{endpoint, node, service};

    fn place(text: &str) -> Place {
        let address: std::net::SocketAddrV4 = text.parse().expect("address");
        (*address.ip(), address.port())
    }

    fn flow(destination: &str, endpoint: &str) -> Flow {
        let client = place("10.42.0.9:4000");
        let original = Tuple { source: client, destination: place(destination), protocol: 17 };
        Flow { original, reply: Tuple { source: place(endpoint), destination: client, protocol: 17 } }
    }

    fn world(endpoints: &[&str]) -> World {
        let mut dns = service("dns", Protocol::Udp, "10.43.0.10", 53);
        dns.node_port = Some(30053);
        dns.endpoints = endpoints.iter().map(|address| endpoint(address, 53)).collect();
        World { node: node(), services: vec![dns], host_ports: Vec::new() }
    }

    #[test]
    fn only_flows_to_former_endpoints_are_stale() {
        let targets = UdpTargets::of(&world(&["10.42.0.5"]));
        let cases = [
            ("10.43.0.10:53", "10.42.0.5:53", false),
            ("10.43.0.10:53", "10.42.0.6:53", true),
            ("192.168.1.10:30053", "10.42.0.6:53", true),
            ("127.0.0.1:30053", "127.0.0.1:30053", true),
            ("192.168.1.77:30053", "192.168.1.77:30053", false),
            ("10.43.0.11:53", "10.42.0.6:53", false),
        ];
        for (destination, endpoint, expected) in cases {
            let flows = [flow(destination, endpoint)];
            assert_eq!(!targets.stale(&flows).is_empty(), expected, "{destination} to {endpoint}");
        }
    }

    #[test]
    fn flows_to_a_service_that_is_gone_or_empty_are_stale() {
        let before = UdpTargets::of(&world(&["10.42.0.5"]));
        let flows = [flow("10.43.0.10:53", "10.42.0.5:53"), flow("192.168.1.10:30053", "10.42.0.5:53")];
        let none = World { services: Vec::new(), ..world(&[]) };
        assert_eq!(UdpTargets::of(&none).and_gone(&before).stale(&flows).len(), 2);
        assert_eq!(UdpTargets::of(&world(&[])).stale(&flows).len(), 2);
    }
}
