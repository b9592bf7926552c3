//! PodTopologyLabels: pods tell in which region and zone their node is, for the downward API
//! (upstream: `plugin/pkg/admission/podtopologylabels`).

use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::{AdmissionContext, Operation, Plugin};

const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

pub(super) struct PodTopologyLabels;

#[async_trait::async_trait]
impl Plugin for PodTopologyLabels {
    /// Labels a binding, from which the pod gets them, or a pod that comes with its node, whatever they said themselves.
    /// A node that is not known tells nothing.
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        object: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !context.of("", "pods") || context.operation != Operation::Create {
            return Ok(());
        }
        let name = match context.subresource {
            "" => object.pointer("/spec/nodeName"),
            "binding" if object["target"]["kind"] == "Node" => object.pointer("/target/name"),
            _ => None,
        };
        let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) else { return Ok(()) };
        let Some(node) = context.registry.object_value("", "nodes", "", name) else { return Ok(()) };
        for label in LABELS {
            if let Some(value) = meta::label(&node, label) {
                meta::set_label(object, label, value);
            }
        }
        Ok(())
    }
}
