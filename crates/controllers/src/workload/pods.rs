//! Pods made from templates.

use crate::context::{Failure, objects};
use api::{Key, Labels, ObjectMeta, ObjectReference, OwnerReference, Pod, PodTemplateSpec};
use client::{EventType, Recorder, Rest};
use kube::api::{DeleteParams, Preconditions};

/// A pod of this template, named by `generateName`, controlled by `owner`.
pub(crate) fn from_template(template: &PodTemplateSpec, namespace: &str, owner: &OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name)),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Labels of a template.
pub(crate) fn template_labels(template: &PodTemplateSpec) -> Option<&Labels> {
    template.metadata.as_ref()?.labels.as_ref()
}

/// Creates and deletes pods and reports it as events of their owner.
#[derive(Clone)]
pub(crate) struct PodControl {
    pub rest: Rest,
    pub recorder: Recorder,
}

impl PodControl {
    pub(crate) async fn create(&self, pod: &Pod, owner: &ObjectReference) -> Result<Pod, Failure> {
        match objects::<Pod>(&self.rest).create(pod).await {
            Ok(created) => {
                let name = created.metadata.name.as_deref().unwrap_or("");
                let message = format!("Created pod: {name}");
                self.recorder.event(owner, EventType::Normal, "SuccessfulCreate", message);
                Ok(created)
            }
            Err(error) => {
                if !namespace_is_terminating(&error) {
                    let message = format!("Error creating: {}", error_text(&error));
                    self.recorder.event(owner, EventType::Warning, "FailedCreate", message);
                }
                Err(error.into())
            }
        }
    }

    /// Deletes a pod; one that is gone already is a success.
    pub(crate) async fn delete(&self, pod: &Pod, owner: &ObjectReference) -> Result<(), Failure> {
        let key = Key::of(pod);
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let options = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match objects::<Pod>(&self.rest).delete(&key.namespace, &key.name, &options).await {
            Ok(()) => {
                let message = format!("Deleted pod: {}", key.name);
                self.recorder.event(owner, EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Ok(()),
            Err(error) => {
                let message = format!("Error deleting: {}", error_text(&error));
                self.recorder.event(owner, EventType::Warning, "FailedDelete", message);
                Err(error.into())
            }
        }
    }
}

/// What the API said, without the client's wrapping.
pub(crate) fn error_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Whether creation was refused because the namespace is going away.
pub(crate) fn namespace_is_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == 403
        && status
            .details
            .as_ref()
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}
