//! What a cluster is configured with. Written at the first start; later starts keep it, so that ranges and names never
//! change under running containers.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::{Datastore, Paths};

/// Settings of one cluster, `cluster.json` in its data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    pub name: String,
    /// HTTPS port of the API server.
    pub port: u16,
    pub cluster_domain: String,
    /// Range of all pods of the cluster.
    pub cluster_pod_cidr: String,
    /// Range of this node's pods.
    pub pod_cidr: String,
    pub service_cidr: String,
    pub cluster_dns: Ipv4Addr,
    pub bridge: String,
    pub node_name: String,
    /// Bytes that objects and their history may have; the store's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore_quota: Option<u64>,
    /// Where objects are kept, if not in the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<Datastore>,
}

/// Fields of an IPv4 range this program cuts into parts.
const DEFAULT_SECOND_OCTET: u8 = 42;

impl Settings {
    /// The settings on disk, if the cluster was started before.
    pub(crate) fn load(paths: &Paths) -> anyhow::Result<Option<Self>> {
        let file = paths.settings();
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", file.display())),
        };
        let settings: Self = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is not a cluster's settings; move it away or choose another --data-dir",
                file.display()
            )
        })?;
        if settings.name != paths.name {
            bail!("{} holds cluster {:?}, not {:?}", paths.data.display(), settings.name, paths.name);
        }
        Ok(Some(settings))
    }

    /// Settings for a cluster that starts for the first time, with ranges that hold none of the addresses `taken`.
    pub(crate) fn new(name: &str, port: u16, hostname: &str, taken: &[IpAddr]) -> Self {
        let octet = second_octet(name, taken);
        let default = name == "knarr";
        Self {
            name: name.to_owned(),
            port,
            cluster_domain: "cluster.local".to_owned(),
            cluster_pod_cidr: format!("10.{octet}.0.0/16"),
            pod_cidr: format!("10.{octet}.0.0/24"),
            service_cidr: format!("10.{}.0.0/16", octet + 1),
            cluster_dns: Ipv4Addr::new(10, octet + 1, 0, 10),
            bridge: if default { "knarr0".to_owned() } else { format!("kn{:08x}", hash(name)) },
            node_name: if default { hostname.to_owned() } else { format!("{hostname}-{name}") },
            datastore_quota: None,
            datastore: None,
        }
    }

    /// How the embedded store is to behave.
    pub(crate) fn store_options(&self) -> store::Options {
        let default = store::Options::default();
        store::Options { quota_bytes: self.datastore_quota.unwrap_or(default.quota_bytes), ..default }
    }

    /// Writes the settings, unless they are those on disk, so that a crash leaves either the old file or the new one. To be called
    /// when they have proved to be of use: later starts go by them.
    pub(crate) fn keep(&self, paths: &Paths) -> anyhow::Result<()> {
        if Self::load(paths)?.as_ref() == Some(self) {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(self)?;
        write_atomically(&paths.settings(), &text)
    }

    /// The bridge's own address: the pods' gateway.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        nth_address(&self.pod_cidr, 1)
    }

    /// The cluster IP of the `kubernetes` Service.
    pub(crate) fn api_service_ip(&self) -> IpAddr {
        IpAddr::V4(nth_address(&self.service_cidr, 1))
    }
}

/// Replaces a file's contents by way of a rename.
pub(super) fn write_atomically(file: &std::path::Path, contents: &[u8]) -> anyhow::Result<()> {
    let temporary = file.with_extension("tmp");
    std::fs::write(&temporary, contents)
        .and_then(|()| std::fs::File::open(&temporary)?.sync_all())
        .and_then(|()| std::fs::rename(&temporary, file))
        .with_context(|| format!("failed to write {}", file.display()))
}

/// The default cluster has 10.42 and 10.43; others an even number above, by name, or the next one that is free, so that
/// clusters side by side differ.
fn second_octet(name: &str, taken: &[IpAddr]) -> u8 {
    const SLOTS: u8 = 64;
    if name == "knarr" {
        return DEFAULT_SECOND_OCTET;
    }
    let first = (hash(name) % u32::from(SLOTS)) as u8;
    let octet = |slot: u8| 64 + 2 * (slot % SLOTS);
    let free = |octet: &u8| {
        !taken.iter().any(|address| {
            matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10 && (*octet..=octet + 1).contains(&v4.octets()[1]))
        })
    };
    (first..first + SLOTS).map(octet).find(free).unwrap_or_else(|| octet(first))
}

/// FNV-1a: stable across releases, which `std`'s hasher is not.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn nth_address(cidr: &str, n: u32) -> Ipv4Addr {
    let base =
        cidr.split('/').next().and_then(|a| a.parse::<Ipv4Addr>().ok()).unwrap_or(Ipv4Addr::UNSPECIFIED);
    Ipv4Addr::from_bits(base.to_bits().wrapping_add(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_cluster_has_the_documented_ranges() {
        let settings = Settings::new("knarr", 6443, "host", &[]);
        assert_eq!(settings.pod_cidr, "10.42.0.0/24");
        assert_eq!(settings.service_cidr, "10.43.0.0/16");
        assert_eq!(settings.gateway(), Ipv4Addr::new(10, 42, 0, 1));
        assert_eq!(settings.api_service_ip(), IpAddr::V4(Ipv4Addr::new(10, 43, 0, 1)));
        assert_eq!((settings.bridge.as_str(), settings.node_name.as_str()), ("knarr0", "host"));
    }

    #[test]
    fn clusters_side_by_side_share_nothing() {
        let (a, b) = (Settings::new("one", 7001, "host", &[]), Settings::new("two", 7002, "host", &[]));
        for (x, y) in [
            (&a.cluster_pod_cidr, &b.cluster_pod_cidr),
            (&a.service_cidr, &b.service_cidr),
            (&a.bridge, &b.bridge),
            (&a.node_name, &b.node_name),
        ] {
            assert_ne!(x, y);
        }
        assert!(a.bridge.len() < 16, "a network device's name has at most 15 bytes");
    }
    #[test]
    fn ranges_that_the_machine_uses_are_passed_over() {
        let before = Settings::new("one", 7001, "host", &[]);
        let taken = [before.api_service_ip(), "192.168.0.1".parse().unwrap()];
        let after = Settings::new("one", 7001, "host", &taken);
        assert_ne!(before.service_cidr, after.service_cidr);
        assert_ne!(before.service_cidr, after.cluster_pod_cidr);
        assert_eq!(after, Settings::new("one", 7001, "host", &taken), "the choice is stable");
    }
}
