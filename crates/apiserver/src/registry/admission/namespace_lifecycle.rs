//! NamespaceLifecycle: objects need a namespace that is there and not on its way out; some namespaces never go
//! (upstream: `plugin/pkg/admission/namespace/lifecycle`).

use machinery::status::Status;
use serde_json::Value;

use super::{AdmissionContext, Operation, Plugin};
use crate::registry::CachedObject;

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

#[async_trait::async_trait]
impl Plugin for NamespaceLifecycle {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        _: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !context.handle.namespaced || context.namespace.is_empty() {
            return Ok(());
        }
        let Some(namespace) = find(context).await? else {
            return Err(Status::not_found("", "namespaces", context.namespace));
        };
        if context.operation == Operation::Create
            && namespace.meta.field("status.phase") == Some("Terminating")
        {
            return Err(ending(context.namespace, |why| context.forbidden(why)));
        }
        Ok(())
    }

    async fn delete(&self, context: &AdmissionContext<'_>, _: Option<&Value>) -> Result<(), Status> {
        if context.is("", "namespaces") && IMMORTAL.contains(&context.name) {
            return Err(context.forbidden("this namespace may not be deleted"));
        }
        Ok(())
    }
}

/// The refusal of something new in a namespace that ends.
pub(crate) fn ending(namespace: &str, forbidden: impl FnOnce(String) -> Status) -> Status {
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let cause = format!("namespace {namespace} is being terminated");
    forbidden(why).with_cause("NamespaceTerminating", cause, "metadata.namespace")
}

/// The namespace, waiting for the cache when it seems not to be there.
async fn find(context: &AdmissionContext<'_>) -> Result<Option<CachedObject>, Status> {
    let registry = context.registry;
    if let Some(found) = registry.object("", "namespaces", "", context.namespace) {
        return Ok(Some(found));
    }
    registry.fresh().await?;
    Ok(registry.object("", "namespaces", "", context.namespace))
}
