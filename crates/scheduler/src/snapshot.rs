//! The nodes and the pods on them, in the form that filters and scores read.

use crate::resources::{Resources, allocatable, requests};
use api::{Labels, Node, PersistentVolume, PersistentVolumeClaim, Pod, Taint};
use std::collections::HashMap;
use std::sync::Arc;

/// A port of the host that a pod occupies: address, protocol, number.
pub(crate) type HostPort = (String, String, i32);

/// A pod with what scheduling needs of it, computed once.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What it asks for.
    pub requests: Resources,
    /// The same with defaults for what it does not ask for.
    pub counted: Resources,
    pub(crate) ports: Vec<HostPort>,
}

impl PodInfo {
    /// Reads a pod.
    #[must_use]
    pub fn new(pod: Arc<Pod>) -> Self {
        let (requests, counted) = requests(&pod);
        let ports = host_ports(&pod);
        Self { pod, requests, counted, ports }
    }

    pub(crate) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or("")
    }

    pub(crate) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or("")
    }

    pub(crate) fn labels(&self) -> Option<&Labels> {
        self.pod.metadata.labels.as_ref()
    }

    pub(crate) fn has_affinity(&self) -> bool {
        let affinity = self.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        affinity
            .is_some_and(|affinity| affinity.pod_affinity.is_some() || affinity.pod_anti_affinity.is_some())
    }
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = pod.spec.as_ref() else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).filter_map(|container| container.ports.as_ref());
    ports
        .flatten()
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let address = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0".into());
            Some((address, port.protocol.clone().unwrap_or("TCP".into()), number))
        })
        .collect()
}

/// A node with the pods on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node; `None` while only pods on it are known.
    pub node: Option<Arc<Node>>,
    /// What it offers.
    pub allocatable: Resources,
    /// How many pods it takes.
    pub pods_max: usize,
    /// What its pods ask for.
    pub requested: Resources,
    /// The same with defaults for pods that ask for nothing.
    pub counted: Resources,
    /// Its pods.
    pub pods: Vec<PodInfo>,
    pub(crate) images: HashMap<String, i64>,
    /// How many of its pods have inter-pod affinity or anti-affinity.
    pub(crate) pods_with_affinity: usize,
}

impl NodeInfo {
    pub(crate) fn name(&self) -> &str {
        self.node.as_ref().and_then(|node| node.metadata.name.as_deref()).unwrap_or("")
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.node.as_ref()?.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    pub(crate) fn taints(&self) -> &[Taint] {
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.taints.as_deref()).unwrap_or(&[])
    }

    fn set_node(&mut self, node: Arc<Node>) {
        (self.allocatable, self.pods_max) = allocatable(&node);
        self.images.clear();
        let images = node.status.as_ref().and_then(|status| status.images.as_ref());
        for image in images.into_iter().flatten() {
            for name in image.names.iter().flatten() {
                self.images.insert(name.clone(), image.size_bytes.unwrap_or(0));
            }
        }
        self.node = Some(node);
    }

    pub(crate) fn add(&mut self, pod: PodInfo) {
        self.requested.add(&pod.requests);
        self.counted.add(&pod.counted);
        self.pods_with_affinity += usize::from(pod.has_affinity());
        self.pods.push(pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) -> Option<PodInfo> {
        let index = self.pods.iter().position(|pod| pod.uid() == uid)?;
        let pod = self.pods.swap_remove(index);
        self.requested.sub(&pod.requests);
        self.counted.sub(&pod.counted);
        self.pods_with_affinity -= usize::from(pod.has_affinity());
        Some(pod)
    }
}

/// Everything a decision depends on.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Nodes in no particular order; those without a node object take no pods.
    pub nodes: Vec<NodeInfo>,
    /// Labels of namespaces, for affinity terms that select namespaces.
    pub namespaces: HashMap<String, Labels>,
    /// Claims by namespace and name.
    pub claims: HashMap<(String, String), Arc<PersistentVolumeClaim>>,
    /// Volumes by name.
    pub volumes: HashMap<String, Arc<PersistentVolume>>,
    index: HashMap<String, usize>,
    /// Which node each pod (by uid) counts on.
    placed: HashMap<String, String>,
}

impl Snapshot {
    fn entry(&mut self, name: &str) -> &mut NodeInfo {
        let next = self.nodes.len();
        let index = *self.index.entry(name.to_owned()).or_insert(next);
        if index == next {
            self.nodes.push(NodeInfo::default());
        }
        &mut self.nodes[index]
    }

    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.index.get(name).map(|index| &self.nodes[*index])
    }

    /// Adds or replaces a node; its pods stay.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        self.entry(&name).set_node(node);
    }

    /// Takes a node out. Pods still on it keep their place in case it comes back.
    pub fn remove_node(&mut self, name: &str) {
        let Some(index) = self.index.get(name).copied() else { return };
        self.nodes[index].node = None;
        self.drop_if_empty(index, name);
    }

    fn drop_if_empty(&mut self, index: usize, name: &str) {
        if self.nodes[index].node.is_some() || !self.nodes[index].pods.is_empty() {
            return;
        }
        self.nodes.swap_remove(index);
        self.index.remove(name);
        let moved = self.nodes.len();
        if index != moved {
            for place in self.index.values_mut().filter(|place| **place == moved) {
                *place = index;
            }
        }
    }

    /// Counts a pod on a node, moving it from where it counted before.
    pub fn place(&mut self, pod: PodInfo, node: &str) {
        self.unplace(pod.uid());
        self.placed.insert(pod.uid().to_owned(), node.to_owned());
        self.entry(node).add(pod);
    }

    /// Stops counting a pod; returns the node it counted on.
    pub fn unplace(&mut self, uid: &str) -> Option<String> {
        let name = self.placed.remove(uid)?;
        let index = self.index.get(&name).copied()?;
        self.nodes[index].remove(uid);
        self.drop_if_empty(index, &name);
        Some(name)
    }

    /// The node a pod counts on.
    #[must_use]
    pub fn placed_on(&self, uid: &str) -> Option<&str> {
        self.placed.get(uid).map(String::as_str)
    }
}
