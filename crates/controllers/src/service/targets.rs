//! What a pod is to a Service: its addresses, ports and readiness.

use api::{
    Container, IntOrString, ObjectReference, Pod, Service, ServicePort, controller_of, is_pod_finished,
    is_terminating, pod_ready,
};

/// Whether a change of a pod can change endpoints.
pub(super) fn matters(old: &Pod, new: &Pod) -> bool {
    let placed = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        (
            spec.and_then(|spec| spec.node_name.clone()),
            spec.and_then(|spec| spec.hostname.clone()),
            addresses(pod),
        )
    };
    old.metadata.uid != new.metadata.uid
        || old.metadata.labels != new.metadata.labels
        || is_terminating(&old.metadata) != is_terminating(&new.metadata)
        || is_pod_finished(old) != is_pod_finished(new)
        || pod_ready(old) != pod_ready(new)
        || placed(old) != placed(new)
}

/// Every address of a pod.
pub(super) fn addresses(pod: &Pod) -> Vec<String> {
    let Some(status) = pod.status.as_ref() else { return Vec::new() };
    let all: Vec<String> = status.pod_ips.iter().flatten().map(|address| address.ip.clone()).collect();
    if all.is_empty() { status.pod_ip.iter().filter(|ip| !ip.is_empty()).cloned().collect() } else { all }
}

/// The pod's address of one family.
pub(super) fn address(pod: &Pod, ipv6: bool) -> Option<String> {
    addresses(pod).into_iter().find(|address| address.contains(':') == ipv6)
}

/// Whether the pod can be an endpoint at all.
pub(super) fn is_candidate(pod: &Pod, include_terminating: bool) -> bool {
    !is_pod_finished(pod)
        && !addresses(pod).is_empty()
        && (include_terminating || !is_terminating(&pod.metadata))
}

/// Whether endpoints count as ready before their pods are.
pub(super) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

/// Whether the Service has no cluster address.
pub(super) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The pod's number for a Service's port; `None` when no container has a port of that name.
pub(super) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => return Some(port.port),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .find(|port| {
            port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
        })
        .map(|port| port.container_port)
}

/// The host name under which the pod is found below a headless Service.
pub(super) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let below = spec.subdomain.is_some()
        && spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace;
    spec.hostname.clone().filter(|hostname| below && !hostname.is_empty())
}

/// A reference to the pod as endpoints carry it.
pub(super) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The node the pod runs on.
pub(super) fn node_name(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone().filter(|node| !node.is_empty())
}

/// Whether `owner` controls the object.
pub(super) fn is_owned_by(meta: &api::ObjectMeta, owner: &api::ObjectMeta) -> bool {
    controller_of(meta).is_none_or(|controller| owner.uid.as_deref() == Some(controller.uid.as_str()))
}
