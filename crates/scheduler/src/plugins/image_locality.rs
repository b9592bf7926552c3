//! ImageLocality: prefer nodes that need not pull large images.

use crate::framework::SCORE_MAX;
use crate::snapshot::{NodeInfo, PodInfo, Snapshot};

const MIB: i64 = 1024 * 1024;
/// Images below this size are quickly pulled.
const SIZE_MIN: i64 = 23 * MIB;
/// Above this size a container gains nothing more.
const SIZE_MAX: i64 = 1000 * MIB;

/// The pod's images that any node reports, with the share of nodes that have each, per mille.
pub(crate) struct Images {
    names: Vec<(String, i64)>,
    containers: i64,
}

impl Images {
    pub(crate) fn new(pod: &PodInfo, snapshot: &Snapshot) -> Self {
        let spec = pod.pod.spec.as_ref();
        let containers = spec.map_or(&[][..], |spec| &spec.containers);
        let total = i64::try_from(snapshot.nodes.len()).unwrap_or(1).max(1);
        let names = containers.iter().filter_map(|container| {
            let name = normalized(container.image.as_deref()?);
            let having = snapshot.nodes.iter().filter(|node| node.images.contains_key(&name)).count();
            let having = i64::try_from(having).unwrap_or(0);
            (having > 0).then_some((name, having * 1000 / total))
        });
        Self { names: names.collect(), containers: i64::try_from(containers.len()).unwrap_or(1) }
    }

    pub(crate) fn score(&self, node: &NodeInfo) -> i64 {
        if self.names.is_empty() {
            return 0;
        }
        let sizes =
            self.names.iter().filter_map(|(name, spread)| Some(node.images.get(name)? * spread / 1000));
        let max = SIZE_MAX * self.containers.max(1);
        let sum = sizes.sum::<i64>().clamp(SIZE_MIN, max);
        SCORE_MAX * (sum - SIZE_MIN) / (max - SIZE_MIN)
    }
}

/// An image without tag or digest is its `latest`.
fn normalized(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || last.contains('@') { name.to_owned() } else { format!("{name}:latest") }
}
