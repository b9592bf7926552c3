//! Whether this node takes a pod that was bound to it.

use std::collections::BTreeMap;

use api::{Node, NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration};

use crate::pod::PodInfo;
use crate::resources::{Amounts, pod_requests};
use crate::worker::state::Verdict;

/// Kernel parameters that affect nothing but the pod's own namespaces.
const SAFE_SYSCTLS: [&str; 13] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_notsent_lowat",
];

/// What the node has and who is on it already.
#[derive(Debug, Default)]
pub(crate) struct Room<'a> {
    pub allocatable: Amounts,
    pub max_pods: i64,
    /// Requests of the pods that are on the node and not over.
    pub others: Vec<Amounts>,
    pub node: Option<&'a Node>,
}

/// The reason to refuse the pod, if there is one.
pub(crate) fn admit(pod: &PodInfo, room: &Room<'_>) -> Option<Verdict> {
    refuse(pod, room)
        .map(|(reason, message)| Verdict { reason, message: format!("Pod was rejected: {message}") })
}

fn refuse(pod: &PodInfo, room: &Room<'_>) -> Option<(String, String)> {
    let os = pod.spec().os.as_ref().map(|os| os.name.as_str());
    if os.is_some_and(|os| os != "linux") {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Some(("PodOSNotSupported".to_owned(), message.to_owned()));
    }
    if let Some(refusal) = unsafe_sysctl(pod).or_else(|| insufficient(pod, room)) {
        return Some(refusal);
    }
    let node = room.node?;
    let failed = |predicate: &str, why: &str| {
        Some((predicate.to_owned(), format!("Predicate {predicate} failed: {why}")))
    };
    if !selected(pod, node) {
        return failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector");
    }
    if !tolerated(pod, node) {
        return failed("TaintToleration", "node(s) had taints that the pod didn't tolerate");
    }
    None
}

fn unsafe_sysctl(pod: &PodInfo) -> Option<(String, String)> {
    let list = pod.spec().security_context.as_ref()?.sysctls.as_ref()?;
    let name = list
        .iter()
        .map(|sysctl| &sysctl.name)
        .find(|name| !SAFE_SYSCTLS.contains(&name.replace('/', ".").as_str()))?;
    Some(("SysctlForbidden".to_owned(), format!("forbidden sysctl: {name:?} not allowlisted")))
}

fn insufficient(pod: &PodInfo, room: &Room<'_>) -> Option<(String, String)> {
    let count = i64::try_from(room.others.len()).unwrap_or(i64::MAX);
    if count + 1 > room.max_pods {
        return Some(out_of("pods", 1, count, room.max_pods));
    }
    for (name, requested) in pod_requests(pod) {
        // What the node does not count at all is somebody else's to give.
        let Some(&capacity) = room.allocatable.get(&name).filter(|_| requested > 0) else { continue };
        let used: i64 = room.others.iter().filter_map(|other| other.get(&name)).sum();
        if requested > capacity.saturating_sub(used) {
            return Some(out_of(&name, requested, used, capacity));
        }
    }
    None
}

fn out_of(name: &str, requested: i64, used: i64, capacity: i64) -> (String, String) {
    let message = format!(
        "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
    );
    (format!("OutOf{name}"), message)
}

fn selected(pod: &PodInfo, node: &Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let by_labels =
        pod.spec().node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = pod.spec().affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    by_labels
        && required.is_none_or(|selector| {
            selector.node_selector_terms.iter().any(|term| term_matches(term, labels, name))
        })
}

fn term_matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|wanted| requirement_matches(wanted, labels.get(&wanted.key).map(String::as_str)))
        && fields
            .iter()
            .all(|wanted| wanted.key == "metadata.name" && requirement_matches(wanted, Some(name)))
}

fn requirement_matches(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|wanted| wanted == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = |test: fn(i64, i64) -> bool| match (
        value.and_then(number),
        values.first().and_then(|first| number(first)),
    ) {
        (Some(value), Some(bound)) => test(value, bound),
        _ => false,
    };
    match wanted.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(|value, bound| value > bound),
        "Lt" => compared(|value, bound| value < bound),
        _ => false,
    }
}

/// Only `NoExecute` counts here: the others are the scheduler's business.
fn tolerated(pod: &PodInfo, node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
    taints
        .filter(|taint| taint.effect == "NoExecute")
        .all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let any = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    let effect = any(&toleration.effect) || toleration.effect.as_deref() == Some(&taint.effect);
    let exists = toleration.operator.as_deref() == Some("Exists");
    let key = toleration.key.as_deref() == Some(taint.key.as_str()) || (any(&toleration.key) && exists);
    let value = exists
        || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    effect && key && value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing::pod;
    use api::Kind;
    use serde_json::{Value, json};

    fn reason(spec: Value, node: Value, others: Vec<Amounts>) -> Option<Verdict> {
        let node = Node::from_value(node).expect("node");
        let room = Room {
            allocatable: Amounts::from([("cpu".into(), 2000), ("memory".into(), 1 << 30)]),
            max_pods: 3,
            others,
            node: Some(&node),
        };
        admit(&pod(spec), &room)
    }

    #[test]
    fn verdicts() {
        let cpu = |amount: &str| json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": amount, "x.example/y": "1"}}}]});
        let node = || json!({"metadata": {"name": "n", "labels": {"disk": "ssd", "cores": "8"}}});
        let tainted =
            || json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}});
        let used = |milli| vec![Amounts::from([("cpu".to_owned(), milli)])];
        let affinity = |operator: &str, values: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "cores", "operator": operator, "values": values}]}]}}}})
        };
        let cases = [
            (json!({}), node(), vec![], None),
            (cpu("2"), node(), vec![], None),
            (cpu("2"), node(), used(1), Some("OutOfcpu")),
            (json!({}), node(), vec![Amounts::new(); 3], Some("OutOfpods")),
            (json!({"nodeSelector": {"disk": "ssd"}}), node(), vec![], None),
            (json!({"nodeSelector": {"disk": "hdd"}}), node(), vec![], Some("NodeAffinity")),
            (affinity("Gt", json!(["4"])), node(), vec![], None),
            (affinity("Lt", json!(["4"])), node(), vec![], Some("NodeAffinity")),
            (json!({}), tainted(), vec![], Some("TaintToleration")),
            (json!({"tolerations": [{"operator": "Exists"}]}), tainted(), vec![], None),
            (json!({"os": {"name": "windows"}}), node(), vec![], Some("PodOSNotSupported")),
            (
                json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
                node(),
                vec![],
                Some("SysctlForbidden"),
            ),
        ];
        for (index, (spec, node, others, want)) in cases.into_iter().enumerate() {
            let got = reason(spec, node, others);
            assert_eq!(got.map(|verdict| verdict.reason).as_deref(), want, "case {index}");
        }
        let verdict = reason(cpu("4"), node(), used(500)).expect("refused");
        assert_eq!(
            verdict.message,
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 4000, used: 500, capacity: 2000"
        );
    }
}
