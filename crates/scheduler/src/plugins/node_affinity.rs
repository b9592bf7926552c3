//! NodeAffinity: node selector, required and preferred node affinity.

use crate::framework::{Rejection, Verdict};
use crate::selector::{selects, term_selects};
use crate::snapshot::{NodeInfo, PodInfo};
use api::NodeAffinity;

/// Name of the plugin.
pub(crate) const NAME: &str = "NodeAffinity";

fn affinity(pod: &PodInfo) -> Option<&NodeAffinity> {
    pod.pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()
}

/// Whether the node has the labels the pod requires.
pub(crate) fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let Some(object) = &node.node else { return false };
    let selector = pod.pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    let labelled = selector.into_iter().flatten().all(|(key, value)| node.label(key) == Some(value.as_str()));
    let required = affinity(pod)
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    labelled && required.is_none_or(|required| selects(required, object))
}

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    if matches(pod, node) {
        return Ok(());
    }
    Err(Rejection::unresolvable(NAME, "node(s) didn't match Pod's node affinity/selector"))
}

/// Sum of the weights of the preferences the node meets; to be stretched.
pub(crate) fn score(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let Some(object) = &node.node else { return 0 };
    let preferred = affinity(pod)
        .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    let met = preferred.into_iter().flatten().filter(|term| term_selects(&term.preference, object));
    met.map(|term| i64::from(term.weight)).sum()
}
