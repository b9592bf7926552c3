//! PersistentVolumeClaimResize: a claim grows only where its class says that it can (upstream:
//! `plugin/pkg/admission/storage/persistentvolume/resize`).

use machinery::quantity::Quantity;
use machinery::status::Status;
use serde_json::Value;

use super::{AdmissionContext, Operation, Plugin};

const NOT_RESIZABLE: &str = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";

pub(super) struct PersistentVolumeClaimResize;

#[async_trait::async_trait]
impl Plugin for PersistentVolumeClaimResize {
    async fn validate(
        &self,
        context: &AdmissionContext<'_>,
        claim: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(old) = old
            .filter(|_| context.is("", "persistentvolumeclaims") && context.operation == Operation::Update)
        else {
            return Ok(());
        };
        if size(claim) <= size(old) {
            return Ok(());
        }
        if text(old, "/status/phase") != "Bound" {
            return Err(context.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let [class, before] = [claim, old].map(|claim| text(claim, "/spec/storageClassName"));
        let grows = || {
            let class = context.registry.object_value("storage.k8s.io", "storageclasses", "", class);
            class.is_some_and(|class| class["allowVolumeExpansion"] == true)
        };
        if class.is_empty() || class != before || !grows() {
            return Err(context.forbidden(NOT_RESIZABLE));
        }
        Ok(())
    }
}

fn text<'a>(claim: &'a Value, pointer: &str) -> &'a str {
    claim.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn size(claim: &Value) -> Option<Quantity> {
    Quantity::from_json(claim.pointer("/spec/resources/requests/storage")?).ok()
}
