//! NodePorts: a host port is taken once.

use crate::framework::{Rejection, Verdict};
use crate::snapshot::{HostPort, NodeInfo, PodInfo};

/// Name of the plugin.
pub(crate) const NAME: &str = "NodePorts";
const ANY: &str = "0.0.0.0";

fn collide(a: &HostPort, b: &HostPort) -> bool {
    a.1 == b.1 && a.2 == b.2 && (a.0 == b.0 || a.0 == ANY || b.0 == ANY)
}

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let taken =
        |port: &HostPort| node.pods.iter().flat_map(|other| &other.ports).any(|other| collide(port, other));
    if pod.ports.iter().any(taken) {
        return Err(Rejection::new(NAME, "node(s) didn't have free ports for the requested pod ports"));
    }
    Ok(())
}
