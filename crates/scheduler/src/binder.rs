//! Telling the API and the user what was decided.

use crate::framework::Unschedulable;
use api::{Pod, Time, object_reference, pod_condition};
use client::{EventType, Objects, Recorder};
use jiff::Timestamp;
use serde_json::json;

/// Writes bindings, conditions and events.
#[derive(Clone)]
pub(crate) struct Binder {
    pub pods: Objects<Pod>,
    pub recorder: Recorder,
}

fn names(pod: &Pod) -> (&str, &str) {
    let meta = &pod.metadata;
    (meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""))
}

impl Binder {
    /// Binds the pod to the node.
    pub(crate) async fn bind(&self, pod: &Pod, node: &str) -> Result<(), kube::Error> {
        let (namespace, name) = names(pod);
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let body = binding.to_string().into_bytes();
        self.pods.post_subresource(namespace, name, "binding", body).await?;
        let message = format!("Successfully assigned {namespace}/{name} to {node}");
        self.recorder.event(&object_reference(pod), EventType::Normal, "Scheduled", message);
        Ok(())
    }

    /// Binding failed.
    pub(crate) fn report_failed_binding(&self, pod: &Pod, error: &kube::Error) {
        let message = format!("Binding failed: {error}");
        self.recorder.event(&object_reference(pod), EventType::Warning, "FailedScheduling", message);
    }

    /// No node can take the pod.
    pub(crate) async fn report_unschedulable(&self, pod: &Pod, why: &Unschedulable) {
        let message = why.to_string();
        let about = object_reference(pod);
        self.recorder.event(&about, EventType::Warning, "FailedScheduling", message.clone());
        self.set_condition(pod, "Unschedulable", &message).await;
    }

    async fn set_condition(&self, pod: &Pod, reason: &str, message: &str) {
        let old = pod_condition(pod, "PodScheduled");
        let same = old.is_some_and(|old| {
            old.status == "False"
                && old.reason.as_deref() == Some(reason)
                && old.message.as_deref() == Some(message)
        });
        if same {
            return;
        }
        let since = old.filter(|old| old.status == "False").and_then(|old| old.last_transition_time.clone());
        let condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": since.unwrap_or(Time(Timestamp::now())),
        });
        let (namespace, name) = names(pod);
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        if let Err(error) = self.pods.patch_status(namespace, name, &patch).await {
            tracing::debug!(pod = name, %error, "failed to write a pod's condition");
        }
    }
}
