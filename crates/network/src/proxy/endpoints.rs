//! Which endpoints of a Service a packet may be sent to.
//!
//! Follows upstream's kube-proxy (`pkg/proxy/topology.go`) and KEP-1669: ready endpoints, and only when there is none,
//! those that still serve while they terminate; separately for the policies `Cluster` and `Local`.

use super::world::{Endpoint, NodeFacts, ServicePort};

/// The usable endpoints of a port on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usable<'a> {
    /// For traffic under policy `Cluster`.
    pub cluster: Vec<&'a Endpoint>,
    /// For traffic under policy `Local`.
    pub local: Vec<&'a Endpoint>,
    /// Whether any node has a usable endpoint.
    pub anywhere: bool,
}

impl<'a> Usable<'a> {
    /// Sorts the endpoints of `port` as this node may use them.
    pub fn of(port: &'a ServicePort, node: &NodeFacts) -> Self {
        let all: Vec<&Endpoint> = port.endpoints.iter().collect();
        let on_node: Vec<&Endpoint> = all.iter().copied().filter(|endpoint| endpoint.local).collect();
        let hint = Hint::from(&all, node);
        let near: Vec<&Endpoint> = all.iter().copied().filter(|e| e.ready && hint.allows(e, node)).collect();
        let uses_local = port.internal_local || (port.external_local && port.is_external());
        Self {
            cluster: if near.is_empty() { ready_or_serving(&all) } else { near },
            local: if uses_local { ready_or_serving(&on_node) } else { Vec::new() },
            anywhere: !ready_or_serving(&all).is_empty(),
        }
    }

    /// Every endpoint some chain on this node leads to, each once.
    pub fn reachable(&self) -> impl Iterator<Item = &'a Endpoint> + '_ {
        let also = self.local.iter().filter(|endpoint| !self.cluster.contains(endpoint));
        self.cluster.iter().chain(also).copied()
    }
}

fn ready_or_serving<'a>(endpoints: &[&'a Endpoint]) -> Vec<&'a Endpoint> {
    let ready: Vec<&Endpoint> = endpoints.iter().copied().filter(|endpoint| endpoint.ready).collect();
    if !ready.is_empty() {
        return ready;
    }
    endpoints.iter().copied().filter(|endpoint| endpoint.serving && endpoint.terminating).collect()
}

/// Which hints of the endpoints count: all ready ones must carry a hint, and one of them must be for us.
enum Hint {
    None,
    Node,
    Zone,
}

impl Hint {
    fn from(endpoints: &[&Endpoint], node: &NodeFacts) -> Self {
        let ready = || endpoints.iter().filter(|endpoint| endpoint.ready);
        let in_zone =
            |endpoint: &&&Endpoint| node.zone.as_ref().is_some_and(|zone| endpoint.zone_hints.contains(zone));
        if ready().all(|e| !e.node_hints.is_empty()) && ready().any(|e| e.node_hints.contains(&node.name)) {
            Self::Node
        } else if ready().all(|e| !e.zone_hints.is_empty()) && ready().any(|e| in_zone(&e)) {
            Self::Zone
        } else {
            Self::None
        }
    }

    fn allows(&self, endpoint: &Endpoint, node: &NodeFacts) -> bool {
        match self {
            Self::None => true,
            Self::Node => endpoint.node_hints.contains(&node.name),
            Self::Zone => node.zone.as_ref().is_some_and(|zone| endpoint.zone_hints.contains(zone)),
        }
    }
}
