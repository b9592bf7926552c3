//! NodeResourcesFit: a node takes what fits; the emptier the better.

use crate::framework::{Rejection, SCORE_MAX, Verdict};
use crate::snapshot::{NodeInfo, PodInfo};
use std::borrow::Cow;

/// Name of the plugin.
pub(crate) const NAME: &str = "NodeResourcesFit";

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    // Evicting others cannot help a pod that is larger than the whole node.
    let mut unresolvable = false;
    if node.pods.len() + 1 > node.pods_max {
        reasons.push("Too many pods".into());
    }
    let (wanted, used, offered) = (&pod.requests, &node.requested, &node.allocatable);
    let mut check = |name: &str, wanted: i64, used: i64, offered: i64| {
        if wanted > 0 && wanted > offered - used {
            reasons.push(format!("Insufficient {name}").into());
            unresolvable |= wanted > offered;
        }
    };
    check("cpu", wanted.cpu_millis, used.cpu_millis, offered.cpu_millis);
    check("memory", wanted.memory_bytes, used.memory_bytes, offered.memory_bytes);
    check("ephemeral-storage", wanted.ephemeral_bytes, used.ephemeral_bytes, offered.ephemeral_bytes);
    for (name, amount) in &wanted.other {
        let of = |amounts: &crate::Resources| amounts.other.get(name).copied().unwrap_or(0);
        check(name, *amount, of(used), of(offered));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Rejection { plugin: NAME, reasons, unresolvable })
}

/// Free share of CPU and memory with the pod on the node.
pub(crate) fn score(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let free = |used: i64, offered: i64| {
        if offered <= 0 || used > offered { 0 } else { (offered - used) * SCORE_MAX / offered }
    };
    let cpu = free(node.counted.cpu_millis + pod.counted.cpu_millis, node.allocatable.cpu_millis);
    let memory = free(
        (node.counted.memory_bytes + pod.counted.memory_bytes) / 1024,
        node.allocatable.memory_bytes / 1024,
    );
    i64::midpoint(cpu, memory)
}
