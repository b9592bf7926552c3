//! NodeUnschedulable: a cordoned node takes only pods that tolerate it.

use super::taint_toleration::tolerates;
use crate::framework::{Rejection, Verdict};
use crate::snapshot::{NodeInfo, PodInfo};
use api::Taint;

/// Name of the plugin.
pub(crate) const NAME: &str = "NodeUnschedulable";

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let spec = node.node.as_ref().and_then(|node| node.spec.as_ref());
    if spec.and_then(|spec| spec.unschedulable) != Some(true) {
        return Ok(());
    }
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    if tolerates(pod, &taint) {
        return Ok(());
    }
    Err(Rejection::unresolvable(NAME, "node(s) were unschedulable"))
}
