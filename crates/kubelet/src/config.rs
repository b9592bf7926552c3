//! What the composition root decides for the node agent.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use api::Taint;

/// What is kept back from pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Thousandths of a CPU.
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub ephemeral_storage_bytes: i64,
}

/// Configuration of the node agent.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the Node object, and the user `system:node:<name>`.
    pub node_name: String,
    /// Address other components reach this node at.
    pub node_ip: IpAddr,
    /// Where volumes and files of pods are kept.
    pub root_dir: PathBuf,
    /// Where container logs are written, `/var/log/pods` upstream.
    pub log_dir: PathBuf,
    /// Range of pod addresses of this node, written to the Node when it has none. Empty: left alone.
    pub pod_cidr: String,
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// TLS of the node's own API; verifies client certificates against the cluster's CA.
    pub server_tls: Arc<rustls::ServerConfig>,
    /// Where the node's own API listens; `0.0.0.0:10250` by default.
    pub listen: SocketAddr,
    /// Labels of the Node beyond the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// Taints of the Node when it is first registered.
    pub taints: Vec<Taint>,
    pub max_pods: u32,
    pub reserved: Reserved,
    /// Reporting instance of events; usually the node's name.
    pub instance: String,
    /// Repositories whose images are part of the program and are never pulled.
    pub builtin_repositories: Vec<String>,
    /// The node's resolver configuration that pods build on.
    pub resolv_conf: PathBuf,
    /// Whether contents of secrets and tokens are kept on a tmpfs; off only where nothing may be mounted.
    pub secrets_in_memory: bool,
}

impl Config {
    /// A configuration with the defaults for everything that has one.
    #[must_use]
    pub fn new(
        node_name: impl Into<String>,
        node_ip: IpAddr,
        root_dir: impl Into<PathBuf>,
        log_dir: impl Into<PathBuf>,
        server_tls: Arc<rustls::ServerConfig>,
    ) -> Self {
        let node_name = node_name.into();
        Self {
            instance: node_name.clone(),
            node_name,
            node_ip,
            root_dir: root_dir.into(),
            log_dir: log_dir.into(),
            pod_cidr: String::new(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            server_tls,
            listen: SocketAddr::from(([0, 0, 0, 0], 10250)),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            max_pods: 110,
            reserved: Reserved::default(),
            builtin_repositories: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            secrets_in_memory: true,
        }
    }
}
