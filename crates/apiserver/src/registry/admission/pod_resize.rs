//! PodResizeValidator: a pod on a node is not resized to more than the node has (upstream: `plugin/pkg/admission/podresize`).

use machinery::quantity::Quantity;
use machinery::status::Status;
use machinery::text::go_quote;
use serde_json::Value;

use super::{AdmissionContext, Operation, Plugin};
use crate::registry::kinds::aggregate;
use crate::registry::kinds::value::text;

const SYSTEM: &str = "/metadata/labels/kubernetes.io~1os";

pub(super) struct PodResizeValidator;

#[async_trait::async_trait]
impl Plugin for PodResizeValidator {
    async fn validate(
        &self,
        context: &AdmissionContext<'_>,
        pod: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let resize = context.of("", "pods") && context.subresource == "resize";
        let name = text(&pod["spec"], "nodeName");
        let changed = old.is_some_and(|old| old["spec"] != pod["spec"]);
        if context.operation != Operation::Update || !resize || name.is_empty() || !changed {
            return Ok(());
        }
        let node = context.registry.object_value("", "nodes", "", name);
        let node = node.ok_or_else(|| context.forbidden(format!("node {} not found", go_quote(name))))?;
        if let Some(system) = node.pointer(SYSTEM).and_then(Value::as_str).filter(|system| *system != "linux")
        {
            let (name, system) = (go_quote(name), go_quote(system));
            let why = format!("pod resize is only supported on linux nodes, node {name} is {system}");
            return Err(context.forbidden(why).with_cause("UnsupportedPlatform", "", ""));
        }
        let missing = missing(pod, &node);
        if missing.is_empty() {
            return Ok(());
        }
        let why = format!("node didn't have enough allocatable resources: {}", missing.join("; "));
        Err(context.forbidden(why).with_cause("NodeCapacity", "", ""))
    }
}

/// How an amount is told.
type Shown = fn(&Quantity) -> i128;

/// What the pod asks for and the node has not.
fn missing(pod: &Value, node: &Value) -> Vec<String> {
    let amount = |value: Option<&Value>| value.and_then(|value| Quantity::from_json(value).ok());
    let spec = &pod["spec"];
    let containers = aggregate(spec, "requests");
    let mut missing = Vec::new();
    let shown: [(&str, Shown); 2] = [("cpu", Quantity::millis), ("memory", Quantity::value)];
    for (name, shown) in shown {
        let whole = amount(spec.pointer(&format!("/resources/requests/{name}")));
        let zero = || Quantity::from_i128(0);
        let wanted = whole.or_else(|| containers.get(name).cloned()).unwrap_or_else(zero);
        let wanted = amount(spec["overhead"].get(name)).map_or(wanted.clone(), |more| wanted.add(&more));
        let has = amount(node.pointer(&format!("/status/allocatable/{name}"))).unwrap_or_else(zero);
        if wanted > has {
            let (wanted, has) = (shown(&wanted), shown(&has));
            missing.push(format!("{name}, requested: {wanted}, allocatable: {has}"));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn more_than_a_node_has() {
        let node = json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi"}}});
        for (spec, said) in [
            (json!({"containers": [{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}), vec![]),
            (
                json!({"containers": [{"resources": {"requests": {"cpu": "600m"}}}, {"resources": {"requests": {"cpu": "500m"}}}]}),
                vec!["cpu, requested: 1100, allocatable: 1000"],
            ),
            (
                json!({"containers": [{"resources": {"requests": {"memory": "1Gi"}}}], "overhead": {"memory": "1"}}),
                vec!["memory, requested: 1073741825, allocatable: 1073741824"],
            ),
            (
                json!({"containers": [{}], "resources": {"requests": {"cpu": "2"}}}),
                vec!["cpu, requested: 2000, allocatable: 1000"],
            ),
        ] {
            assert_eq!(missing(&json!({ "spec": spec }), &node), said, "{spec}");
        }
    }
}
