//! What the proxy decides from: Services with their endpoints, host ports and facts of the node, as plain values.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Everything that [`super::compile`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    pub node: NodeFacts,
    pub services: Vec<ServicePort>,
    pub host_ports: Vec<HostPort>,
}

/// Facts of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name of the cluster's nftables table.
    pub table: String,
    pub name: String,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// The node's own IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// The pod range of the whole cluster.
    pub pod_cidr: Ipv4Net,
    pub service_cidr: Ipv4Net,
    /// The bit of the packet mark that asks for masquerading.
    pub mark: u32,
}

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The protocol of that name in the API; `None` for a name the API does not allow.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One port of a Service with the endpoints behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    pub namespace: String,
    pub name: String,
    /// Name of the port, empty when it has none.
    pub port_name: String,
    pub protocol: Protocol,
    pub cluster_ip: Ipv4Addr,
    pub port: u16,
    pub node_port: Option<u16>,
    pub external_ips: Vec<Ipv4Addr>,
    /// Addresses of `status.loadBalancer.ingress` that the node must answer for.
    pub load_balancer_ips: Vec<Ipv4Addr>,
    /// Who may use the load balancer's addresses; empty: everybody.
    pub source_ranges: Vec<Ipv4Net>,
    /// How long a client stays with its endpoint; `None`: no affinity.
    pub affinity_seconds: Option<u32>,
    /// `internalTrafficPolicy: Local`
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`
    pub external_local: bool,
    pub endpoints: Vec<Endpoint>,
}

impl ServicePort {
    /// Whether anything but the cluster address leads to it.
    pub fn is_external(&self) -> bool {
        self.node_port.is_some() || !self.external_ips.is_empty() || !self.load_balancer_ips.is_empty()
    }

    /// Names it in chain names: `ns/name/tcp/port`.
    pub fn id(&self) -> String {
        format!("{}/{}/{}/{}", self.namespace, self.name, self.protocol, self.port_name)
    }
}

/// Where a port of a Service leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub address: Ipv4Addr,
    pub port: u16,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    /// On this node.
    pub local: bool,
    /// Zones that should use it; empty: no hint.
    pub zone_hints: Vec<String>,
    /// Nodes that should use it; empty: no hint.
    pub node_hints: Vec<String>,
}

/// A port of this node that leads to a pod's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// `None`: every address of the node.
    pub host_ip: Option<Ipv4Addr>,
    pub protocol: Protocol,
    pub port: u16,
    pub pod_ip: Ipv4Addr,
    pub container_port: u16,
}
