//! The node's side of the pod network: bridge, routes, kernel parameters; and taking it all away again.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{CniError, Config, ipam, mac_of, pod};
use crate::netlink::{BridgeSpec, Link, NetlinkError, Route, RouteKind, Socket};
use crate::sysctl;

const FILE: &str = "host.json";
const BRIDGE_ALIAS: &str = "knarr bridge";
/// Where nothing else says.
const MTU_DEFAULT: u32 = 1500;
/// Worse than any route that leads somewhere.
const METRIC_LAST: u32 = 0x7fff_ffff;

/// What the host was like before, to be put back by [`remove`].
#[derive(Debug, Default, Serialize, Deserialize)]
struct Before {
    sysctls: BTreeMap<String, String>,
}

/// Ensures everything on the node. Returns the bridge's index and MTU.
pub(super) fn ensure(config: &Config) -> Result<(u32, u32), CniError> {
    let mut socket = Socket::route()?;
    let mtu = match config.mtu {
        Some(mtu) => mtu,
        None => default_mtu(&mut socket)?,
    };
    let bridge = ensure_bridge(&mut socket, config, mtu)?;
    let gateway = Ipv4Net::new(config.gateway(), config.pod_cidr.prefix_len())
        .map_err(|error| CniError::Configuration(error.to_string()))?;
    socket.add_address(bridge.index, gateway)?;
    for route in routes(config, bridge.index) {
        socket.add_route(&route)?;
    }
    set_parameters(config)?;
    Ok((bridge.index, mtu))
}

/// MTU of the interface that the default route uses.
fn default_mtu(socket: &mut Socket) -> Result<u32, NetlinkError> {
    let routes = socket.routes()?;
    let default =
        routes.iter().filter(|route| route.destination.prefix_len() == 0).min_by_key(|route| route.metric);
    let interface = match default.map(|route| &route.kind) {
        Some(RouteKind::Via { interface, .. } | RouteKind::Link { interface, .. }) => *interface,
        _ => return Ok(MTU_DEFAULT),
    };
    Ok(socket.links()?.iter().find(|link| link.index == interface).map_or(MTU_DEFAULT, |link| link.mtu))
}

fn ensure_bridge(socket: &mut Socket, config: &Config, mtu: u32) -> Result<Link, CniError> {
    let name = config.bridge.as_str();
    let foreign = |why: &str| CniError::Foreign { name: name.to_owned(), why: why.to_owned() };
    match socket.link(name)? {
        Some(link) if !is_ours(&link) => {
            return Err(foreign("it exists and was not made by this program; choose another bridge name"));
        }
        Some(link) => {
            if link.mtu != mtu {
                socket.set_mtu(name, mtu)?;
            }
            socket.set_up(name)?;
        }
        None => {
            // IPv6 off before the interface comes up would be best, but its parameters exist only now.
            let mac = mac_of(config.gateway());
            socket.add_bridge(&BridgeSpec { name, mac, mtu, alias: BRIDGE_ALIAS })?;
        }
    }
    socket.link(name)?.ok_or_else(|| foreign("it vanished"))
}

fn is_ours(link: &Link) -> bool {
    link.is_bridge && link.alias.as_deref() == Some(BRIDGE_ALIAS)
}

/// The pod range ends here unless a more specific route leads on. The service range leads to the bridge: the host's
/// own connections to a Service need a route (and get the bridge's address, which pods can answer) before nftables sees
/// them; what nftables does not rewrite finds no neighbour. Should the bridge be down, it is unreachable.
fn routes(config: &Config, bridge: u32) -> [Route; 3] {
    [
        Route::new(config.cluster_pod_cidr, RouteKind::Unreachable, METRIC_LAST),
        Route::new(config.service_cidr, RouteKind::Unreachable, METRIC_LAST),
        Route::new(
            config.service_cidr,
            RouteKind::Link { interface: bridge, source: Some(config.gateway()) },
            0,
        ),
    ]
}

fn set_parameters(config: &Config) -> Result<(), CniError> {
    let io = |error| CniError::io("set kernel parameters")(error);
    let mut changed = sysctl::enable_forwarding().map_err(io)?;
    // An interface sends redirects when it or `all` says so: without `all` each decides for itself, and all but the
    // bridge go on as before.
    let redirects = "net/ipv4/conf/all/send_redirects";
    let before = sysctl::set(redirects, "0").map_err(io)?;
    changed.extend(before.map(|value| (redirects.to_owned(), value)));
    if !changed.is_empty() {
        remember(&config.state_dir, changed).map_err(CniError::io("record the host's settings"))?;
    }
    // The bridge's own parameters go when it goes. Pods are routed on purpose although a shorter way exists: redirects
    // would be wrong, and would use up the allowance of ICMP messages that tell a pod of a refused connection.
    // The pod network has IPv4 only: no link-local addresses, no router advertisements from pods.
    for (name, value) in [
        (format!("net/ipv4/conf/{}/send_redirects", config.bridge), "0"),
        (format!("net/ipv6/conf/{}/accept_ra", config.bridge), "0"),
        (format!("net/ipv6/conf/{}/disable_ipv6", config.bridge), "1"),
    ] {
        sysctl::set(&name, value).map_err(io)?;
    }
    Ok(())
}

/// Adds to the record what is not in it: the first values are the host's own.
fn remember(directory: &Path, values: BTreeMap<String, String>) -> io::Result<()> {
    let mut before = load(directory)?;
    for (name, value) in values {
        before.sysctls.entry(name).or_insert(value);
    }
    ipam::write_durably(&directory.join(FILE), &before)
}

fn load(directory: &Path) -> io::Result<Before> {
    match std::fs::read(directory.join(FILE)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Before::default()),
        Err(error) => Err(error),
    }
}

/// Removes what [`super::Bridge`] made: pods' interfaces, the bridge, routes, and puts kernel parameters back. Returns
/// what was removed, in words. Safe to call when nothing is there.
///
/// # Errors
/// The first failure; what comes after it is still tried.
pub fn remove(config: &Config) -> Result<Vec<String>, CniError> {
    let mut removed = Vec::new();
    let interfaces = remove_interfaces(config, &mut removed);
    let routes = remove_routes(config, &mut removed);
    let parameters = restore_parameters(&config.state_dir, &mut removed);
    interfaces?;
    routes?;
    parameters?;
    Ok(removed)
}

fn remove_interfaces(config: &Config, removed: &mut Vec<String>) -> Result<(), CniError> {
    let mut socket = Socket::route()?;
    let Some(bridge) = socket.link(&config.bridge)?.filter(is_ours) else { return Ok(()) };
    for link in socket.links()?.iter().filter(|link| pod::is_port(link, bridge.index)) {
        socket.delete_link(&link.name)?;
        removed.push(format!("interface {}", link.name));
    }
    socket.delete_link(&bridge.name)?;
    removed.push(format!("bridge {}", bridge.name));
    Ok(())
}

fn remove_routes(config: &Config, removed: &mut Vec<String>) -> Result<(), CniError> {
    let mut socket = Socket::route()?;
    let ranges = [config.cluster_pod_cidr, config.service_cidr].map(|range| range.trunc());
    for route in socket.routes()? {
        if route.ours && route.kind == RouteKind::Unreachable && ranges.contains(&route.destination) {
            socket.delete_route(&route)?;
            removed.push(format!("route {}", route.destination));
        }
    }
    Ok(())
}

fn restore_parameters(directory: &Path, removed: &mut Vec<String>) -> Result<(), CniError> {
    let before = load(directory).map_err(CniError::io("read the host's earlier settings"))?;
    // Another cluster of this program on the host needs them as they are.
    if !Socket::route()?.links()?.iter().any(is_ours) {
        sysctl::restore(&before.sysctls).map_err(CniError::io("restore kernel parameters"))?;
        removed
            .extend(before.sysctls.keys().map(|name| format!("kernel parameter {}", name.replace('/', "."))));
    }
    for file in [PathBuf::from(FILE), PathBuf::from("addresses.json")] {
        match std::fs::remove_file(directory.join(&file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CniError::io(format!("remove {}", file.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// All IPv4 addresses of this node.
pub(crate) fn local_addresses() -> Result<Vec<Ipv4Addr>, NetlinkError> {
    Ok(Socket::route()?.addresses()?.into_iter().map(|local| local.address).collect())
}
