//! The decision: which node takes a pod.

use crate::framework::{Unschedulable, Verdict, normalize};
use crate::plugins::image_locality::Images;
use crate::plugins::inter_pod_affinity::Surroundings;
use crate::plugins::pod_topology_spread::Spread;
use crate::plugins::volume_binding::{self, Volumes};
use crate::plugins::{
    balanced_allocation, node_affinity, node_name, node_ports, node_resources_fit, node_unschedulable,
    taint_toleration,
};
use crate::snapshot::{NodeInfo, PodInfo, Snapshot};
use rand::Rng;

/// What the plugins found out about the pod before looking at single nodes.
struct Prepared {
    volumes: Volumes,
    spread: Spread,
    surroundings: Surroundings,
}

/// The node for a pod: of those no filter refuses the one with the highest score, ties broken by chance.
///
/// # Errors
/// Why no node can take the pod.
pub fn schedule(pod: &PodInfo, snapshot: &Snapshot, rng: &mut impl Rng) -> Result<String, Unschedulable> {
    let nodes: Vec<&NodeInfo> = snapshot.nodes.iter().filter(|node| node.node.is_some()).collect();
    let mut none = Unschedulable { nodes: nodes.len(), ..Unschedulable::default() };
    let volumes = Volumes::new(pod, snapshot).map_err(|reason| Unschedulable {
        nodes: nodes.len(),
        general: Some(reason),
        plugins: vec![volume_binding::NAME],
        ..Unschedulable::default()
    })?;
    let prepared = Prepared {
        volumes,
        spread: Spread::new(pod, snapshot),
        surroundings: Surroundings::new(pod, snapshot),
    };
    let mut feasible = Vec::new();
    for node in nodes {
        match filter(pod, node, &prepared) {
            Ok(()) => feasible.push(node),
            Err(rejection) => none.note(rejection),
        }
    }
    match feasible.as_slice() {
        [] => Err(none),
        [only] => Ok(only.name().to_owned()),
        several => Ok(best(pod, several, &prepared, snapshot, rng)),
    }
}

/// Cheap filters first; the first refusal counts.
fn filter(pod: &PodInfo, node: &NodeInfo, prepared: &Prepared) -> Verdict {
    node_unschedulable::filter(pod, node)?;
    node_name::filter(pod, node)?;
    taint_toleration::filter(pod, node)?;
    node_affinity::filter(pod, node)?;
    node_ports::filter(pod, node)?;
    node_resources_fit::filter(pod, node)?;
    prepared.volumes.filter(node)?;
    prepared.spread.filter(node)?;
    prepared.surroundings.filter(node)
}

fn best(
    pod: &PodInfo,
    nodes: &[&NodeInfo],
    prepared: &Prepared,
    snapshot: &Snapshot,
    rng: &mut impl Rng,
) -> String {
    let each = |score: &dyn Fn(&NodeInfo) -> i64| nodes.iter().map(|node| score(node)).collect::<Vec<_>>();
    let mut taints = each(&|node| taint_toleration::score(pod, node));
    normalize(&mut taints, true);
    let mut affinity = each(&|node| node_affinity::score(pod, node));
    normalize(&mut affinity, false);
    let images = Images::new(pod, snapshot);
    // Weights of upstream's default profile.
    let columns = [
        (3, taints),
        (2, affinity),
        (2, prepared.spread.scores(nodes)),
        (2, prepared.surroundings.scores(nodes)),
        (1, each(&|node| node_resources_fit::score(pod, node))),
        (1, each(&|node| balanced_allocation::score(pod, node))),
        (1, each(&|node| images.score(node))),
    ];
    let total = |row: usize| -> i64 { columns.iter().map(|(weight, column)| weight * column[row]).sum() };
    let (mut winner, mut highest, mut ties) = (0, i64::MIN, 0);
    for row in 0..nodes.len() {
        let score = total(row);
        if score > highest {
            (winner, highest, ties) = (row, score, 1);
        } else if score == highest {
            ties += 1;
            if rng.random_range(0..ties) == 0 {
                winner = row;
            }
        }
    }
    nodes[winner].name().to_owned()
}
