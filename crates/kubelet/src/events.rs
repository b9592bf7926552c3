//! Events about one pod and its containers.

use api::{Container, ObjectReference, object_reference};
use client::{EventType, Recorder};

use crate::pod::{PodInfo, Role, field_path};

/// Reports events about a pod.
#[derive(Debug, Clone)]
pub(crate) struct PodEvents {
    recorder: Option<Recorder>,
    about: ObjectReference,
    roles: Vec<(String, Role)>,
}

impl PodEvents {
    /// Events about `pod`; without a recorder they go nowhere.
    pub fn new(recorder: Option<&Recorder>, pod: &PodInfo) -> Self {
        Self {
            recorder: recorder.cloned(),
            about: object_reference(&*pod.pod),
            roles: pod.containers().map(|(role, container)| (container.name.clone(), role)).collect(),
        }
    }

    /// About the pod as a whole.
    pub fn pod(&self, type_: EventType, reason: &str, message: &str) {
        self.send(&self.about, type_, reason, message);
    }

    /// About one container.
    pub fn container(&self, container: &Container, type_: EventType, reason: &str, message: &str) {
        self.named(&container.name, type_, reason, message);
    }

    /// About the container of that name.
    pub fn named(&self, name: &str, type_: EventType, reason: &str, message: &str) {
        let role =
            self.roles.iter().find(|(known, _)| known == name).map_or(Role::Regular, |(_, role)| *role);
        let about = ObjectReference { field_path: Some(field_path(role, name)), ..self.about.clone() };
        self.send(&about, type_, reason, message);
    }

    fn send(&self, about: &ObjectReference, type_: EventType, reason: &str, message: &str) {
        if let Some(recorder) = &self.recorder {
            recorder.event(about, type_, reason, message);
        }
    }
}
