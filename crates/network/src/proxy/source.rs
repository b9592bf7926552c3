//! From API objects to [`World`].

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use api::{EndpointSlice, Node, Pod, Service};
use ipnet::Ipv4Net;

use super::world::{Endpoint, HostPort, NodeFacts, Protocol, ServicePort, World};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Another proxy serves Services with this label.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";
const AFFINITY_SECONDS_DEFAULT: u32 = 10_800;

/// The objects that decide, as the informers hold them.
#[derive(Debug, Default)]
pub struct Objects {
    pub services: Vec<Arc<Service>>,
    pub slices: Vec<Arc<EndpointSlice>>,
    /// This node's own object.
    pub node: Option<Arc<Node>>,
    /// Pods of this node.
    pub pods: Vec<Arc<Pod>>,
}

/// Reads the objects. What is malformed is left out: the API server refuses it, and one odd object must not take the
/// others' rules away.
pub fn world(objects: &Objects, mut node: NodeFacts) -> World {
    node.zone = objects.node.as_ref().and_then(|object| object.metadata.labels.as_ref()?.get(ZONE).cloned());
    let endpoints = endpoints_by_port(&objects.slices, &node.name);
    let services = objects.services.iter().flat_map(|service| service_ports(service, &endpoints)).collect();
    let host_ports = objects.pods.iter().flat_map(|pod| host_ports(pod)).collect();
    World { node, services, host_ports }
}

/// Namespace, Service, port name, protocol.
type PortKey = (String, String, String, Protocol);

fn endpoints_by_port(slices: &[Arc<EndpointSlice>], node: &str) -> HashMap<PortKey, Vec<Endpoint>> {
    let mut found: HashMap<PortKey, Vec<Endpoint>> = HashMap::new();
    for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
        let labels = slice.metadata.labels.as_ref();
        let label = |name: &str| labels.and_then(|labels| labels.get(name));
        let (Some(service), None, None) = (label(SERVICE_NAME), label(HEADLESS), label(PROXY_NAME)) else {
            continue;
        };
        for port in slice.ports.iter().flatten() {
            let protocol = Protocol::parse(port.protocol.as_deref().unwrap_or("TCP"));
            let number = port.port.and_then(|number| u16::try_from(number).ok());
            let (Some(protocol), Some(number)) = (protocol, number) else { continue };
            let namespace = slice.metadata.namespace.clone().unwrap_or_default();
            let key = (namespace, service.clone(), port.name.clone().unwrap_or_default(), protocol);
            let list = found.entry(key).or_default();
            for endpoint in slice.endpoints.iter().flatten() {
                add_endpoint(list, endpoint, number, node);
            }
        }
    }
    for list in found.values_mut() {
        // The order of slices must not change the ruleset.
        list.sort_by_key(|endpoint| (endpoint.address, endpoint.port));
    }
    found
}

/// An endpoint may be in two slices while it moves between them; the ready one counts.
fn add_endpoint(list: &mut Vec<Endpoint>, from: &api::Endpoint, port: u16, node: &str) {
    let Some(address) = from.addresses.first().and_then(|address| address.parse().ok()) else { return };
    let conditions = from.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let hints = from.hints.clone().unwrap_or_default();
    let endpoint = Endpoint {
        address,
        port,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        local: from.node_name.as_deref() == Some(node),
        zone_hints: hints.for_zones.into_iter().flatten().map(|zone| zone.name).collect(),
        node_hints: hints.for_nodes.into_iter().flatten().map(|node| node.name).collect(),
    };
    match list.iter_mut().find(|known| known.address == address && known.port == port) {
        Some(known) if endpoint.ready && !known.ready => *known = endpoint,
        Some(_) => {}
        None => list.push(endpoint),
    }
}

fn addresses<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<Ipv4Addr> {
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}

fn number(port: Option<i32>) -> Option<u16> {
    port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

fn service_ports(service: &Service, endpoints: &HashMap<PortKey, Vec<Endpoint>>) -> Vec<ServicePort> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let foreign = service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(PROXY_NAME));
    let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let cluster_ip = listed.into_iter().find_map(|address| address.parse::<Ipv4Addr>().ok());
    let (Some(cluster_ip), false) = (cluster_ip, foreign || spec.type_.as_deref() == Some("ExternalName"))
    else {
        return Vec::new();
    };
    let template = template(service, spec, cluster_ip);
    let mut ports = Vec::new();
    for port in spec.ports.iter().flatten() {
        let protocol = Protocol::parse(port.protocol.as_deref().unwrap_or("TCP"));
        let (Some(protocol), Some(target)) = (protocol, number(Some(port.port))) else { continue };
        let port_name = port.name.clone().unwrap_or_default();
        let key = (template.namespace.clone(), template.name.clone(), port_name.clone(), protocol);
        ports.push(ServicePort {
            port_name,
            protocol,
            port: target,
            node_port: number(port.node_port),
            endpoints: endpoints.get(&key).cloned().unwrap_or_default(),
            ..template.clone()
        });
    }
    ports
}

/// What all ports of a Service have in common.
fn template(service: &Service, spec: &api::ServiceSpec, cluster_ip: Ipv4Addr) -> ServicePort {
    let ingress =
        service.status.iter().filter_map(|status| status.load_balancer.as_ref()?.ingress.as_ref()).flatten();
    // With mode `Proxy` the balancer itself delivers to nodes and its address must be left alone.
    let answered = ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    let affinity = spec.session_affinity.as_deref() == Some("ClientIP");
    let seconds =
        spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(AFFINITY_SECONDS_DEFAULT);
    let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    ServicePort {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: service.metadata.name.clone().unwrap_or_default(),
        port_name: String::new(),
        protocol: Protocol::Tcp,
        cluster_ip,
        port: 0,
        node_port: None,
        external_ips: addresses(spec.external_ips.iter().flatten()),
        load_balancer_ips: addresses(answered.filter_map(|ingress| ingress.ip.as_ref())),
        source_ranges: source_ranges(spec),
        affinity_seconds: affinity.then_some(seconds),
        internal_local: is_local(&spec.internal_traffic_policy),
        external_local: is_local(&spec.external_traffic_policy),
        endpoints: Vec::new(),
    }
}

fn source_ranges(spec: &api::ServiceSpec) -> Vec<Ipv4Net> {
    spec.load_balancer_source_ranges.iter().flatten().filter_map(|range| range.trim().parse().ok()).collect()
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return Vec::new() };
    let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let address = status.pod_ip.as_ref().and_then(|address| address.parse().ok());
    let (Some(pod_ip), false) = (address, finished || spec.host_network == Some(true)) else {
        return Vec::new();
    };
    let meta = &pod.metadata;
    let name = format!(
        "{}/{}",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    );
    let sidecars = spec.init_containers.iter().flatten();
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_ip =
                port.host_ip.as_deref().filter(|address| !address.is_empty() && *address != "0.0.0.0");
            Some(HostPort {
                pod: name.clone(),
                // An address of the other family is not served, rather than served on all of this one.
                host_ip: host_ip.map(str::parse).transpose().ok()?,
                protocol: Protocol::parse(port.protocol.as_deref().unwrap_or("TCP"))?,
                port: number(port.host_port)?,
                pod_ip,
                container_port: number(Some(port.container_port))?,
            })
        })
        .collect()
}
