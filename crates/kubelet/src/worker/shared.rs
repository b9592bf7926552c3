//! What all workers of a node share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{Pod, Service};
use client::{Informer, Objects, Recorder};
use container::Runtime;
use parking_lot::RwLock;

use super::state::NodeFacts;
use crate::config::Config;
use crate::dns::{ClusterDns, DnsConfig};
use crate::fields::PodFacts;
use crate::images::Images;
use crate::pod::PodInfo;
use crate::resources::Amounts;
use crate::volumes::Volumes;
use crate::watched::WatchedObjects;

/// Means and facts of the node.
pub(crate) struct Shared {
    pub config: Config,
    pub runtime: Arc<dyn Runtime>,
    pub images: Images,
    pub volumes: Volumes,
    pub objects: Arc<WatchedObjects>,
    pub recorder: Option<Recorder>,
    pub pods: Objects<Pod>,
    pub services: Informer<Service>,
    pub node: NodeFacts,
    pub hostname: String,
    /// Amounts the node can give to pods.
    pub allocatable: RwLock<Amounts>,
    pub memory_capacity: i64,
}

impl Shared {
    /// Facts for the downward API.
    pub fn facts(&self, pod_ips: Vec<String>) -> PodFacts {
        PodFacts {
            node_name: self.config.node_name.clone(),
            host_ips: self.node.host_ips.clone(),
            pod_ips,
            allocatable: self.allocatable.read().clone(),
        }
    }

    pub fn cluster_dns(&self) -> ClusterDns {
        ClusterDns { servers: self.config.cluster_dns.clone(), domain: self.config.cluster_domain.clone() }
    }

    pub fn host_dns(&self) -> DnsConfig {
        DnsConfig::parse(&std::fs::read_to_string(&self.config.resolv_conf).unwrap_or_default())
    }

    pub fn pod_dir(&self, pod: &PodInfo) -> PathBuf {
        self.volumes.pod_dir(pod.uid())
    }

    /// File that a container writes its last words to.
    pub fn termination_log(&self, pod: &PodInfo, container: &str, attempt: u32) -> PathBuf {
        self.pod_dir(pod).join("containers").join(container).join(attempt.to_string())
    }

    pub fn seccomp_root(&self) -> PathBuf {
        self.config.root_dir.join("seccomp")
    }

    pub fn log_root(&self) -> &Path {
        &self.config.log_dir
    }
}
