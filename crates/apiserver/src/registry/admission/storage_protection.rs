//! StorageObjectInUseProtection: volumes, claims and classes of volume attributes are born with a finalizer, which controllers
//! take away once nothing uses them (upstream: `plugin/pkg/admission/storage/storageobjectinuseprotection`).

use machinery::status::Status;
use serde_json::{Value, json};

use super::{AdmissionContext, Operation, Plugin};

pub(super) struct StorageObjectInUseProtection;

#[async_trait::async_trait]
impl Plugin for StorageObjectInUseProtection {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        object: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        let finalizer = match (context.handle.group.as_str(), context.handle.plural.as_str()) {
            ("", "persistentvolumes") => "kubernetes.io/pv-protection",
            ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
            ("storage.k8s.io", "volumeattributesclasses") => "kubernetes.io/vac-protection",
            _ => return Ok(()),
        };
        if context.operation == Operation::Create && context.subresource.is_empty() {
            hold(object, finalizer);
        }
        Ok(())
    }
}

fn hold(object: &mut Value, finalizer: &str) {
    let finalizers = &mut object["metadata"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(all) if all.iter().any(|one| one == finalizer) => {}
        Some(all) => all.push(finalizer.into()),
        None => *finalizers = json!([finalizer]),
    }
}
