//! The machine this cluster runs on: its address, and what the cluster leaves on it.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;

use anyhow::Context;

use super::{Paths, Settings};

/// The address the node is known by: the one traffic to the outside leaves from, else the pods' gateway.
pub(super) fn address(settings: &Settings) -> IpAddr {
    outgoing_address().or_else(first_global_address).unwrap_or(IpAddr::V4(settings.gateway()))
}

/// All addresses of the machine.
pub(crate) fn all_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            address
                .as_sockaddr_in()
                .map(|a| IpAddr::V4(a.ip()))
                .or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect()
}

/// Asks the routing table; a connected UDP socket sends nothing.
fn outgoing_address() -> Option<IpAddr> {
    /// Documentation range (RFC 5737): only the default route leads there.
    const ANYWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 1), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ANYWHERE).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

fn first_global_address() -> Option<IpAddr> {
    all_addresses().into_iter().find(
        |a| matches!(a, IpAddr::V4(v4) if !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified()),
    )
}

/// Port of the kubelet's server: upstream's, or any free one when another cluster has it.
pub(super) fn kubelet_port() -> u16 {
    const UPSTREAM: u16 = 10250;
    let free = |port| {
        let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
        listener.local_addr().ok().map(|a| a.port())
    };
    free(UPSTREAM).or_else(|| free(0)).unwrap_or(UPSTREAM)
}

/// Repository of the image made from this program.
pub(super) const DEMO_IMAGE: &str = "knarr.local/demo";

/// Configuration of the container runtime.
pub(super) fn runtime_config(paths: &Paths) -> container::EmbeddedConfig {
    let mut config =
        container::EmbeddedConfig::new(paths.containers(), &paths.run, format!("knarr/{}", paths.name));
    config.builtin_images.push(container::BuiltinImage {
        repository: DEMO_IMAGE.to_owned(),
        entrypoint: ["/knarr", "demo"].map(str::to_owned).to_vec(),
        env: vec!["PATH=/".to_owned()],
        working_dir: "/".to_owned(),
        user: "65534:65534".to_owned(),
    });
    config
}

/// Configuration of the pods' network.
pub(super) fn cni_config(paths: &Paths, settings: &Settings) -> anyhow::Result<network::cni::Config> {
    Ok(network::cni::Config {
        bridge: settings.bridge.clone(),
        pod_cidr: settings.pod_cidr.parse().context("podCidr is not a range")?,
        cluster_pod_cidr: settings.cluster_pod_cidr.parse().context("clusterPodCidr is not a range")?,
        service_cidr: settings.service_cidr.parse().context("serviceCidr is not a range")?,
        mtu: None,
        state_dir: paths.network(),
    })
}

/// Removes everything a cluster that no longer runs has left on the machine: containers, network, mounts, cgroups.
pub(crate) fn cleanup(paths: &Paths, settings: &Settings) -> anyhow::Result<()> {
    container::cleanup(&runtime_config(paths)).context("failed to remove containers")?;
    let network =
        network::cleanup::Config { cluster: settings.name.clone(), cni: cni_config(paths, settings)? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(network::cleanup(&network)).context("failed to remove the pod network")?;
    unmount_below(&paths.kubelet()).context("failed to unmount volumes")?;
    match std::fs::remove_dir_all(&paths.run) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", paths.run.display()))
        }
        _ => Ok(()),
    }
}

/// Unmounts everything mounted below `dir`, innermost first.
fn unmount_below(dir: &Path) -> std::io::Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<&Path> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(Path::new)
        .filter(|point| point.starts_with(dir))
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in points {
        nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH)?;
    }
    Ok(())
}
