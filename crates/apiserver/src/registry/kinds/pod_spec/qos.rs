//! The quality-of-service class of a pod.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>

use machinery::quantity::Quantity;
use serde_json::Value;

use super::super::value::{has, list, map};

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(in super::super) fn qos_class(spec: &Value) -> &'static str {
    // What the pod asks for as a whole decides, when it does.
    if has(spec, "resources") {
        return match amounts(spec) {
            [None, None, None, None] => "BestEffort",
            _ if guaranteed(spec) => "Guaranteed",
            _ => "Burstable",
        };
    }
    let containers = || list(spec, "containers").iter().chain(list(spec, "initContainers"));
    if containers().all(|c| amounts(c).iter().all(Option::is_none)) {
        return "BestEffort";
    }
    if containers().all(guaranteed) { "Guaranteed" } else { "Burstable" }
}

/// Limits of both resources, and requests that equal them.
fn guaranteed(asking: &Value) -> bool {
    let [cpu_limit, cpu_request, memory_limit, memory_request] = amounts(asking);
    cpu_limit.is_some()
        && memory_limit.is_some()
        && cpu_limit == cpu_request
        && memory_limit == memory_request
}

fn amounts(asking: &Value) -> [Option<Quantity>; 4] {
    let amount = |kind: &str, name: &str| {
        let value = map(&asking["resources"], kind)?.get(name)?;
        Quantity::from_json(value).ok().filter(|quantity| !quantity.is_zero())
    };
    [
        amount("limits", "cpu"),
        amount("requests", "cpu"),
        amount("limits", "memory"),
        amount("requests", "memory"),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes() {
        let pod = |resources: Value| json!({"containers": [{"resources": resources}]});
        let all = json!({"cpu": "1", "memory": "1Gi"});
        for (resources, class) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (json!({"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": all}), "Guaranteed"),
            (json!({"limits": all}), "Burstable"),
        ] {
            assert_eq!(qos_class(&pod(resources.clone())), class, "{resources}");
            let whole = json!({"resources": resources, "containers": [{"resources": {}}]});
            assert_eq!(qos_class(&whole), class, "{resources} for the whole pod");
        }
    }
}
