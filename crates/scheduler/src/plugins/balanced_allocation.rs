//! NodeResourcesBalancedAllocation: CPU and memory should be used up at the same pace.

use crate::framework::SCORE_MAX;
use crate::snapshot::{NodeInfo, PodInfo};

/// High when the used shares of CPU and memory are close with the pod on the node.
pub(crate) fn score(pod: &PodInfo, node: &NodeInfo) -> i64 {
    if pod.requests.cpu_millis == 0 && pod.requests.memory_bytes == 0 {
        return 0;
    }
    let share = |used: i64, offered: i64| {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no exact bytes")]
        let share = if offered <= 0 { 1.0 } else { used as f64 / offered as f64 };
        share.min(1.0)
    };
    let cpu = share(node.requested.cpu_millis + pod.requests.cpu_millis, node.allocatable.cpu_millis);
    let memory =
        share(node.requested.memory_bytes + pod.requests.memory_bytes, node.allocatable.memory_bytes);
    let deviation = (cpu - memory).abs() / 2.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "within 0 and 100")]
    let score = ((1.0 - deviation) * SCORE_MAX as f64) as i64;
    score
}
