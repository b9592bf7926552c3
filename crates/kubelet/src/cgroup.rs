//! Control group settings of pods and containers, as upstream's `kubelet/cm` and `kubelet/qos` compute them.

use api::Container;
use container::Resources;

use crate::pod::PodInfo;
use crate::resources::{QosClass, limit, pod_limit, pod_requests, qos_class, request};

const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
const SHARES_PER_CPU: u64 = 1024;
const PERIOD_US: u64 = 100_000;
const MIN_QUOTA_US: i64 = 1000;

/// `oom_score_adj` of containers that are killed last.
const OOM_GUARANTEED: i32 = -997;
/// `oom_score_adj` of containers that are killed first.
const OOM_BEST_EFFORT: i32 = 1000;
/// Priority from which a pod is critical to its node.
const SYSTEM_CRITICAL: i32 = 2_000_000_000;

/// The pod's control group below the runtime's root.
pub(crate) fn pod_parent(pod: &PodInfo) -> String {
    let uid = pod.uid();
    match qos_class(pod) {
        QosClass::Guaranteed => format!("kubepods/pod{uid}"),
        QosClass::Burstable => format!("kubepods/burstable/pod{uid}"),
        QosClass::BestEffort => format!("kubepods/besteffort/pod{uid}"),
    }
}

/// Limits of the pod as a whole.
pub(crate) fn pod_resources(pod: &PodInfo) -> Resources {
    let cpu_request = pod_requests(pod).get("cpu").copied().unwrap_or(0);
    let quota = pod_limit(pod, "cpu").filter(|milli| *milli > 0).map(quota_us);
    let shares = match qos_class(pod) {
        QosClass::BestEffort => MIN_SHARES,
        _ => shares(cpu_request),
    };
    Resources {
        cpu_shares: Some(shares),
        cpu_quota_us: quota,
        cpu_period_us: quota.map(|_| PERIOD_US),
        memory_limit_bytes: pod_limit(pod, "memory").filter(|bytes| *bytes > 0),
        ..Resources::default()
    }
}

/// Limits of one container. `memory_capacity` is the node's, in bytes.
pub(crate) fn container_resources(pod: &PodInfo, container: &Container, memory_capacity: i64) -> Resources {
    let quota = limit(container, "cpu").filter(|milli| *milli > 0).map(quota_us);
    Resources {
        cpu_shares: Some(shares(request(container, "cpu").unwrap_or(0))),
        cpu_quota_us: quota,
        cpu_period_us: quota.map(|_| PERIOD_US),
        memory_limit_bytes: limit(container, "memory").filter(|bytes| *bytes > 0),
        pids_limit: None,
        oom_score_adj: Some(oom_score_adj(pod, container, memory_capacity)),
    }
}

/// CPU weight for a request in thousandths of a CPU.
fn shares(milli_cpu: i64) -> u64 {
    let milli = u64::try_from(milli_cpu).unwrap_or(0);
    milli.saturating_mul(SHARES_PER_CPU).checked_div(1000).unwrap_or(0).clamp(MIN_SHARES, MAX_SHARES)
}

/// CPU time per period for a limit in thousandths of a CPU.
fn quota_us(milli_cpu: i64) -> i64 {
    let period = i64::try_from(PERIOD_US).unwrap_or(i64::MAX);
    (milli_cpu.saturating_mul(period) / 1000).max(MIN_QUOTA_US)
}

/// The less memory a container asked for, the earlier it is killed when memory runs out.
fn oom_score_adj(pod: &PodInfo, container: &Container, memory_capacity: i64) -> i32 {
    if pod.spec().priority.is_some_and(|priority| priority >= SYSTEM_CRITICAL) {
        return OOM_GUARANTEED;
    }
    match qos_class(pod) {
        QosClass::Guaranteed => OOM_GUARANTEED,
        QosClass::BestEffort => OOM_BEST_EFFORT,
        QosClass::Burstable => {
            let request = request(container, "memory").unwrap_or(0);
            let share = request.saturating_mul(1000) / memory_capacity.max(1);
            let adjust = 1000 - share;
            // Between the guaranteed and the best-effort ones, never equal to either.
            let least = i64::from(1000 + OOM_GUARANTEED);
            let adjust = if adjust < least { least } else { adjust };
            let adjust = if adjust == i64::from(OOM_BEST_EFFORT) { adjust - 1 } else { adjust };
            i32::try_from(adjust).unwrap_or(OOM_BEST_EFFORT - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing::pod;
    use serde_json::json;

    #[test]
    fn shares_and_quota() {
        for (milli, want) in [(0, 2), (1, 2), (100, 102), (1000, 1024), (2500, 2560), (i64::MAX, MAX_SHARES)]
        {
            assert_eq!(shares(milli), want, "{milli}");
        }
        for (milli, want) in [(1, 1000), (100, 10_000), (1500, 150_000)] {
            assert_eq!(quota_us(milli), want, "{milli}");
        }
    }

    #[test]
    fn oom_scores() {
        let gib = 1i64 << 30;
        let of = |resources: serde_json::Value, extra: serde_json::Value| {
            let mut spec = json!({"containers": [{"name": "web", "image": "i", "resources": resources}]});
            spec.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
            let pod = pod(spec);
            let container = pod.regular().next().expect("container");
            oom_score_adj(&pod, container, 4 * gib)
        };
        assert_eq!(of(json!({}), json!({})), 1000);
        assert_eq!(of(json!({"limits": {"cpu": "1", "memory": "1Gi"}}), json!({})), -997);
        assert_eq!(of(json!({"requests": {"memory": "1Gi"}}), json!({})), 750);
        assert_eq!(of(json!({"requests": {"cpu": "1"}}), json!({})), 999);
        assert_eq!(of(json!({"requests": {"memory": "8Gi"}}), json!({})), 3);
        assert_eq!(of(json!({}), json!({"priority": 2_000_001_000})), -997);
    }

    #[test]
    fn parents() {
        assert_eq!(pod_parent(&pod(json!({}))), "kubepods/besteffort/podu1");
    }
}
