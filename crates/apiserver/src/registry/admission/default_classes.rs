//! DefaultStorageClass and DefaultIngressClass: what names no class gets the one marked as default (upstream:
//! `plugin/pkg/admission/storage/storageclass/setdefault`, `plugin/pkg/admission/network/defaultingressclass`).

use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::{AdmissionContext, Operation, Plugin};

const DEFAULT_STORAGE: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const DEFAULT_INGRESS: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];

pub(super) struct DefaultStorageClass;
pub(super) struct DefaultIngressClass;

#[async_trait::async_trait]
impl Plugin for DefaultStorageClass {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        claim: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !context.is("", "persistentvolumeclaims") || context.operation != Operation::Create {
            return Ok(());
        }
        // The empty name is a choice: no class at all.
        let chosen = claim.pointer("/spec/storageClassName").is_some_and(|name| !name.is_null())
            || meta::annotation(claim, "volume.beta.kubernetes.io/storage-class").is_some();
        if !chosen
            && let Some(name) = default_of(context, "storage.k8s.io", "storageclasses", &DEFAULT_STORAGE)
        {
            claim["spec"]["storageClassName"] = name.into();
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Plugin for DefaultIngressClass {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        ingress: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !context.is("networking.k8s.io", "ingresses") || context.operation != Operation::Create {
            return Ok(());
        }
        let chosen = ingress.pointer("/spec/ingressClassName").is_some_and(|name| !name.is_null())
            || meta::annotation(ingress, "kubernetes.io/ingress.class").is_some();
        if !chosen
            && let Some(name) = default_of(context, "networking.k8s.io", "ingressclasses", &DEFAULT_INGRESS)
        {
            ingress["spec"]["ingressClassName"] = name.into();
        }
        Ok(())
    }
}

/// The newest class marked as default; of several as new the first by name.
fn default_of(context: &AdmissionContext<'_>, group: &str, plural: &str, marks: &[&str]) -> Option<String> {
    let classes = context.registry.values(group, plural, "");
    let marked = |class: &&Value| marks.iter().any(|mark| meta::annotation(class, mark) == Some("true"));
    let mut defaults: Vec<&Value> = classes.iter().filter(marked).collect();
    defaults.sort_by_key(|class| (std::cmp::Reverse(meta::creation_timestamp(class)), meta::name(class)));
    defaults.first().map(|class| meta::name(class).to_owned())
}
