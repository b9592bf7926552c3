//! TaintToleration: a taint keeps away pods that do not tolerate it.

use crate::framework::{Rejection, Verdict};
use crate::snapshot::{NodeInfo, PodInfo};
use api::{Taint, Toleration};

/// Name of the plugin.
pub(crate) const NAME: &str = "TaintToleration";

/// Whether one toleration covers a taint.
pub(crate) fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    let (own, other) = (text(&toleration.value), text(&taint.value));
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => own == other,
        "Exists" => true,
        "Gt" => number(&other).zip(number(&own)).is_some_and(|(taint, own)| taint > own),
        "Lt" => number(&other).zip(number(&own)).is_some_and(|(taint, own)| taint < own),
        _ => false,
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Whether any of the pod's tolerations covers the taint.
pub(crate) fn tolerates(pod: &PodInfo, taint: &Taint) -> bool {
    let tolerations = pod.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref());
    tolerations.into_iter().flatten().any(|toleration| covers(toleration, taint))
}

/// Whether the pod may run on the node as far as taints go.
pub(crate) fn untolerated<'a>(pod: &PodInfo, taints: &'a [Taint]) -> Option<&'a Taint> {
    let binding = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    taints.iter().filter(binding).find(|taint| !tolerates(pod, taint))
}

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let Some(taint) = untolerated(pod, node.taints()) else { return Ok(()) };
    let value = taint.value.as_deref().unwrap_or("");
    let reason = format!("node(s) had untolerated taint {{{}: {value}}}", taint.key);
    Err(Rejection::unresolvable(NAME, reason))
}

/// Number of taints that would rather not have the pod; to be reversed.
pub(crate) fn score(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let soft = node.taints().iter().filter(|taint| taint.effect == "PreferNoSchedule");
    i64::try_from(soft.filter(|taint| !tolerates(pod, taint)).count()).unwrap_or(i64::MAX)
}
