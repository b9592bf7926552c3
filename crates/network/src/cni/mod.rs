//! Gives pods their network: one bridge a node, a veth pair and an address a pod (the role of a CNI plugin).

mod host;
mod ipam;
mod pod;

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use container::{PodNetwork, RuntimeError, SandboxConfig};
use ipnet::Ipv4Net;
use parking_lot::Mutex;

use crate::netlink::NetlinkError;
pub(crate) use host::local_addresses;
pub use host::remove as remove_host;
pub use ipam::{Ipam, IpamError};

/// Longest name of an interface (`IFNAMSIZ` less the end).
const INTERFACE_NAME_MAX: usize = 15;

/// What the pod network of a node is made from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the bridge, at most 15 bytes, one a cluster.
    pub bridge: String,
    /// The node's share of the pod range; its first address is the bridge's own.
    pub pod_cidr: Ipv4Net,
    /// The pod range of the whole cluster.
    pub cluster_pod_cidr: Ipv4Net,
    /// The range of Services' cluster addresses.
    pub service_cidr: Ipv4Net,
    /// Largest packet; `None`: that of the interface with the default route.
    pub mtu: Option<u32>,
    /// Where addresses and the host's earlier settings are recorded.
    pub state_dir: PathBuf,
}

impl Config {
    /// The bridge's address, which is the pods' router and where cluster DNS listens.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.pod_cidr.network()).saturating_add(1))
    }

    fn check(&self) -> Result<(), CniError> {
        let invalid = |why: String| Err(CniError::Configuration(why));
        if self.bridge.is_empty()
            || self.bridge.len() > INTERFACE_NAME_MAX
            || self.bridge.contains(['/', ' '])
        {
            return invalid(format!(
                "bridge name {:?} is not an interface name of 1 to 15 bytes",
                self.bridge
            ));
        }
        if self.pod_cidr.prefix_len() > 29 {
            return invalid(format!("pod range {} is too small", self.pod_cidr));
        }
        if !self.cluster_pod_cidr.contains(&self.pod_cidr) {
            return invalid(format!("pod range {} is not inside {}", self.pod_cidr, self.cluster_pod_cidr));
        }
        if self.cluster_pod_cidr.contains(&self.service_cidr)
            || self.service_cidr.contains(&self.cluster_pod_cidr)
        {
            return invalid(format!(
                "pod range {} and service range {} overlap",
                self.cluster_pod_cidr, self.service_cidr
            ));
        }
        Ok(())
    }
}

/// Why the pod network could not be set up or torn down.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    #[error("failed to use the network configuration: {0}")]
    Configuration(String),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// Something that is not ours has the name we need.
    #[error("failed to use interface {name}: {why}")]
    Foreign { name: String, why: String },
    #[error("failed to {action}: {source}")]
    Io { action: String, source: io::Error },
    #[error("failed to finish: the network thread panicked")]
    Panicked,
}

impl CniError {
    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

/// The pod network of this node.
#[derive(Debug, Clone)]
pub struct Bridge(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    /// The bridge's interface index.
    index: u32,
    mtu: u32,
    ipam: Mutex<Ipam>,
}

/// What [`Bridge::reconcile`] found and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    pub released_addresses: Vec<Ipv4Addr>,
    pub deleted_interfaces: Vec<String>,
}

impl Bridge {
    /// Ensures the bridge, the node's routes and kernel parameters, and loads the addresses in use.
    ///
    /// # Errors
    /// When privileges or kernel features are missing, when an interface of that name is not ours, or when the record of
    /// addresses cannot be read.
    pub async fn new(config: Config) -> Result<Self, CniError> {
        blocking(move || {
            config.check()?;
            let ipam = Ipam::open(&config.state_dir, config.pod_cidr, config.gateway())?;
            let (index, mtu) = host::ensure(&config)?;
            Ok(Self(Arc::new(Inner { config, index, mtu, ipam: Mutex::new(ipam) })))
        })
        .await
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Removes interfaces and addresses of sandboxes that are not in `live`: leftovers of a crash.
    ///
    /// # Errors
    /// When the kernel refuses or the record cannot be written.
    pub async fn reconcile(&self, live: HashSet<String>) -> Result<Reconciled, CniError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let deleted_interfaces = pod::delete_leftovers(inner.index, &live)?;
            let released_addresses = inner.ipam.lock().retain(|sandbox| live.contains(sandbox))?;
            Ok(Reconciled { released_addresses, deleted_interfaces })
        })
        .await
    }

    async fn setup_pod(&self, sandbox: String, netns: PathBuf) -> Result<Ipv4Addr, CniError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let address = inner.ipam.lock().allocate(&sandbox)?;
            pod::setup(&inner.pod(&sandbox, address), &netns)?;
            Ok(address)
        })
        .await
    }

    async fn teardown_pod(&self, sandbox: String) -> Result<(), CniError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            // The interface first: an address is free only when nothing can use it any more.
            pod::teardown(&inner.config.bridge, &sandbox)?;
            inner.ipam.lock().release(&sandbox)?;
            Ok(())
        })
        .await
    }
}

impl Inner {
    fn pod<'a>(&'a self, sandbox: &'a str, address: Ipv4Addr) -> pod::Pod<'a> {
        pod::Pod {
            sandbox,
            bridge: &self.config.bridge,
            bridge_index: self.index,
            gateway: self.config.gateway(),
            address,
            mtu: self.mtu,
        }
    }
}

#[async_trait]
impl PodNetwork for Bridge {
    async fn setup(
        &self,
        sandbox_id: &str,
        netns: &Path,
        _config: &SandboxConfig,
    ) -> Result<Vec<IpAddr>, RuntimeError> {
        let address = self.setup_pod(sandbox_id.to_owned(), netns.to_owned()).await.map_err(runtime_error)?;
        Ok(vec![IpAddr::V4(address)])
    }

    async fn teardown(&self, sandbox_id: &str, _netns: &Path) -> Result<(), RuntimeError> {
        self.teardown_pod(sandbox_id.to_owned()).await.map_err(runtime_error)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
fn runtime_error(error: CniError) -> RuntimeError {
    RuntimeError::Network(error.to_string())
}

/// Runs synchronous netlink and file work away from the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CniError> + Send + 'static,
) -> Result<T, CniError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| CniError::Panicked)?
}

/// A locally administered hardware address made from an IPv4 address: when an address is used again by another pod,
/// nobody's neighbour cache is wrong.
fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            bridge: "knarr0".to_owned(),
            pod_cidr: "10.42.3.0/24".parse().unwrap(),
            cluster_pod_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            mtu: None,
            state_dir: PathBuf::new(),
        }
    }

    #[test]
    fn the_gateway_is_the_first_address() {
        assert_eq!(config().gateway(), Ipv4Addr::new(10, 42, 3, 1));
        assert_eq!(mac_of(config().gateway()), [0x0a, 0x58, 10, 42, 3, 1]);
    }

    #[test]
    fn configurations_that_cannot_work_are_refused() {
        type Change = fn(&mut Config);
        let cases: [(Change, &str); 4] = [
            (|c| c.bridge = "a-name-that-is-too-long".to_owned(), "interface name"),
            (|c| c.pod_cidr = "10.44.0.0/24".parse().unwrap(), "not inside"),
            (|c| c.service_cidr = "10.42.128.0/17".parse().unwrap(), "overlap"),
            (|c| c.pod_cidr = "10.42.0.0/30".parse().unwrap(), "too small"),
        ];
        for (change, expected) in cases {
            let mut config = config();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(config().check().is_ok());
    }
}
