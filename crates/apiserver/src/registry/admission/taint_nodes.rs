//! TaintNodesByCondition: a new node takes no pods until it is known to be ready (upstream:
//! `plugin/pkg/admission/nodetaint`).

use machinery::status::Status;
use serde_json::{Value, json};

use super::{AdmissionContext, Operation, Plugin};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) struct TaintNodesByCondition;

#[async_trait::async_trait]
impl Plugin for TaintNodesByCondition {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        node: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !context.is("", "nodes") || context.operation != Operation::Create {
            return Ok(());
        }
        let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
        match node.pointer_mut("/spec/taints").and_then(Value::as_array_mut) {
            Some(taints) if taints.iter().any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule") => {}
            Some(taints) => taints.push(taint),
            None => node["spec"]["taints"] = json!([taint]),
        }
        Ok(())
    }
}
