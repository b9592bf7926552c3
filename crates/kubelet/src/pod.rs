//! A pod as the node agent reads it: short accessors and its containers in one list.

use std::sync::{Arc, LazyLock};

use api::{Container, Pod, PodSpec};
use jiff::Timestamp;

/// Which list of the pod's specification a container is from, and how it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: started in turn, lives as long as the pod.
    Sidecar,
    /// One of `spec.containers`.
    Regular,
    /// Added to a running pod for debugging; never restarted.
    Ephemeral,
}

/// A pod with its ephemeral containers in the common form.
#[derive(Debug, Clone)]
pub(crate) struct PodInfo {
    pub pod: Arc<Pod>,
    ephemeral: Arc<Vec<Container>>,
}

static EMPTY_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> Self {
        let ephemeral = spec_of(&pod).ephemeral_containers.iter().flatten().map(common_form).collect();
        Self { pod, ephemeral: Arc::new(ephemeral) }
    }

    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub fn spec(&self) -> &PodSpec {
        spec_of(&self.pod)
    }

    /// `name_namespace(uid)`, as upstream's events write it.
    pub fn formatted(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }

    /// Whether deletion has begun.
    pub fn is_deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// The restart policy, `Always` by default.
    pub fn restart_policy(&self) -> &str {
        self.spec().restart_policy.as_deref().unwrap_or("Always")
    }

    pub fn host_network(&self) -> bool {
        self.spec().host_network == Some(true)
    }

    /// Seconds a container gets to end by itself when nothing shorter is asked for.
    pub fn grace_seconds(&self) -> i64 {
        self.spec().termination_grace_period_seconds.unwrap_or(30).max(1)
    }

    /// When the kubelet first acknowledged the pod, if it has.
    pub fn start_time(&self) -> Option<Timestamp> {
        self.pod.status.as_ref()?.start_time.as_ref().map(|time| time.0)
    }

    /// Init containers (sidecars among them) in order.
    pub fn init_containers(&self) -> impl DoubleEndedIterator<Item = (Role, &Container)> {
        self.spec().init_containers.iter().flatten().map(|container| {
            let sidecar = container.restart_policy.as_deref() == Some("Always");
            (if sidecar { Role::Sidecar } else { Role::Init }, container)
        })
    }

    /// Regular containers.
    pub fn regular(&self) -> impl DoubleEndedIterator<Item = &Container> {
        self.spec().containers.iter()
    }

    /// Ephemeral containers in the common form.
    pub fn ephemeral(&self) -> impl DoubleEndedIterator<Item = &Container> {
        self.ephemeral.iter()
    }

    /// All containers: init, regular, ephemeral.
    pub fn containers(&self) -> impl Iterator<Item = (Role, &Container)> {
        self.init_containers()
            .chain(self.regular().map(|container| (Role::Regular, container)))
            .chain(self.ephemeral().map(|container| (Role::Ephemeral, container)))
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<(Role, &Container)> {
        self.containers().find(|(_, container)| container.name == name)
    }
}

/// The specification; an empty one for an object without.
pub(crate) fn spec_of(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&EMPTY_SPEC)
}

/// Path of a container's field within the pod, as events carry it.
pub(crate) fn field_path(role: Role, name: &str) -> String {
    let list = match role {
        Role::Init | Role::Sidecar => "initContainers",
        Role::Regular => "containers",
        Role::Ephemeral => "ephemeralContainers",
    };
    format!("spec.{list}{{{name}}}")
}

fn common_form(container: &api::EphemeralContainer) -> Container {
    let container = container.clone();
    Container {
        name: container.name,
        image: container.image,
        command: container.command,
        args: container.args,
        working_dir: container.working_dir,
        ports: container.ports,
        env_from: container.env_from,
        env: container.env,
        resources: container.resources,
        volume_mounts: container.volume_mounts,
        volume_devices: container.volume_devices,
        image_pull_policy: container.image_pull_policy,
        security_context: container.security_context,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        termination_message_path: container.termination_message_path,
        termination_message_policy: container.termination_message_policy,
        ..Container::default()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use api::Kind;
    use serde_json::{Value, json};

    /// A pod of one regular container `web`, its specification merged with `spec`.
    pub fn pod(spec: Value) -> PodInfo {
        let mut base = json!({
            "containers": [{"name": "web", "image": "img"}],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
        });
        if let (Some(base), Value::Object(over)) = (base.as_object_mut(), spec) {
            base.extend(over);
        }
        whole(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u1", "generation": 1},
            "spec": base,
        }))
    }

    /// A pod from its whole JSON form.
    pub fn whole(value: Value) -> PodInfo {
        PodInfo::new(Arc::new(Pod::from_value(value).expect("a pod")))
    }
}
