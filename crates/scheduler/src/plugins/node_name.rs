//! NodeName: a pod that names its node runs there or nowhere.

use crate::framework::{Rejection, Verdict};
use crate::snapshot::{NodeInfo, PodInfo};

/// Name of the plugin.
pub(crate) const NAME: &str = "NodeName";

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let wanted = pod.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("");
    if wanted.is_empty() || wanted == node.name() {
        return Ok(());
    }
    Err(Rejection::unresolvable(NAME, "node(s) didn't match the requested node name"))
}
