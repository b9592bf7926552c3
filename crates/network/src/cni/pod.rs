//! One pod's interface.

use std::collections::HashSet;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;

use ipnet::Ipv4Net;

use super::{CniError, mac_of};
use crate::netlink::{Link, NetlinkError, Route, RouteKind, Socket, VethSpec};
use crate::{netns, sysctl};

/// Name of the interface inside a pod.
const INSIDE: &str = "eth0";
/// Begins the alias of a pod's interface; the sandbox's id follows.
const ALIAS: &str = "knarr pod ";

/// What a pod's interface is made from.
pub(super) struct Pod<'a> {
    pub sandbox: &'a str,
    pub bridge: &'a str,
    pub bridge_index: u32,
    pub gateway: Ipv4Addr,
    pub address: Ipv4Addr,
    pub mtu: u32,
}

/// Connects the namespace at `path` to the bridge. Does nothing when it is connected already.
pub(super) fn setup(pod: &Pod<'_>, path: &Path) -> Result<(), CniError> {
    let namespace =
        File::open(path).map_err(CniError::io(format!("open network namespace {}", path.display())))?;
    let enter = |error| CniError::io(format!("enter network namespace {}", path.display()))(error);
    if netns::inside(&namespace, || is_complete(pod)).map_err(enter)?? {
        return Ok(());
    }
    // What half exists was left by a crash: the pair goes with either end.
    netns::inside(&namespace, || Socket::route()?.delete_link(INSIDE)).map_err(enter)??;
    let mut socket = Socket::route()?;
    let name = interface_name(pod.bridge, pod.sandbox);
    socket.delete_link(&name)?;
    let alias = format!("{ALIAS}{}", pod.sandbox);
    socket.add_veth(&VethSpec {
        name: &name,
        alias: &alias,
        master: pod.bridge_index,
        mtu: pod.mtu,
        peer_name: INSIDE,
        peer_mac: mac_of(pod.address),
        peer_netns: namespace.as_fd(),
    })?;
    netns::inside(&namespace, || configure(pod)).map_err(enter)?
}

/// The default route is made last: it is there only when everything is.
fn is_complete(pod: &Pod<'_>) -> Result<bool, NetlinkError> {
    let mut socket = Socket::route()?;
    let has_address = socket.addresses()?.iter().any(|local| local.address == pod.address);
    Ok(has_address && socket.routes()?.iter().any(|route| route.ours && route.destination.prefix_len() == 0))
}

/// Inside the pod's namespace. The address is a /32 and the bridge the only neighbour: see the crate's page.
fn configure(pod: &Pod<'_>) -> Result<(), CniError> {
    let mut socket = Socket::route()?;
    set_parameters()?;
    socket.set_up("lo")?;
    let link = socket.link(INSIDE)?.ok_or_else(|| CniError::Foreign {
        name: INSIDE.to_owned(),
        why: "it vanished from the pod".to_owned(),
    })?;
    socket.add_address(link.index, Ipv4Net::from(pod.address))?;
    socket.set_up(INSIDE)?;
    let gateway = RouteKind::Link { interface: link.index, source: None };
    socket.add_route(&Route::new(Ipv4Net::from(pod.gateway), gateway, 0))?;
    let default = RouteKind::Via { interface: link.index, gateway: pod.gateway };
    socket.add_route(&Route::new(Ipv4Net::default(), default, 0))?;
    Ok(())
}

/// Pods' packets must go through the node even where a shorter way exists, so redirects are not believed; `all` counts
/// too. The pod network has IPv4 only.
fn set_parameters() -> Result<(), CniError> {
    for (name, value) in [
        ("net/ipv4/conf/all/accept_redirects", "0"),
        ("net/ipv4/conf/eth0/accept_redirects", "0"),
        ("net/ipv6/conf/eth0/disable_ipv6", "1"),
    ] {
        sysctl::set(name, value).map_err(CniError::io("set kernel parameters of the pod"))?;
    }
    Ok(())
}

/// Deletes the pod's interface; the end in the pod goes with it. Succeeds when it is gone.
pub(super) fn teardown(bridge: &str, sandbox: &str) -> Result<(), CniError> {
    Ok(Socket::route()?.delete_link(&interface_name(bridge, sandbox))?)
}

/// Deletes ports of our bridge whose sandbox is not in `live`. Returns their names.
pub(super) fn delete_leftovers(bridge_index: u32, live: &HashSet<String>) -> Result<Vec<String>, CniError> {
    let mut socket = Socket::route()?;
    let mut deleted = Vec::new();
    for link in socket.links()? {
        let dead = sandbox_of(&link).is_some_and(|sandbox| !live.contains(sandbox));
        if dead && link.master == Some(bridge_index) {
            socket.delete_link(&link.name)?;
            deleted.push(link.name);
        }
    }
    Ok(deleted)
}

/// Whether the link is a pod's interface on our bridge.
pub(super) fn is_port(link: &Link, bridge_index: u32) -> bool {
    link.master == Some(bridge_index) && sandbox_of(link).is_some()
}

fn sandbox_of(link: &Link) -> Option<&str> {
    link.alias.as_deref()?.strip_prefix(ALIAS)
}

/// A name that is the same whenever it is asked for, and not that of another cluster's pod: FNV-1a over both.
fn interface_name(bridge: &str, sandbox: &str) -> String {
    let hash =
        bridge.bytes().chain([0]).chain(sandbox.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("veth{:011x}", hash & 0xfff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_stable_short_and_distinct() {
        let name = interface_name("knarr0", "sandbox-1");
        assert_eq!(name, interface_name("knarr0", "sandbox-1"));
        assert_eq!(name.len(), super::super::INTERFACE_NAME_MAX);
        assert_ne!(name, interface_name("knarr1", "sandbox-1"));
        assert_ne!(name, interface_name("knarr0", "sandbox-2"));
    }

    #[test]
    fn only_our_aliases_name_a_sandbox() {
        let link = |alias: Option<&str>| Link {
            index: 7,
            name: "x".to_owned(),
            alias: alias.map(str::to_owned),
            master: Some(3),
            mtu: 1500,
            up: true,
            is_bridge: false,
        };
        assert_eq!(sandbox_of(&link(Some("knarr pod abc"))), Some("abc"));
        assert_eq!(sandbox_of(&link(Some("uplink"))), None);
        assert_eq!(sandbox_of(&link(None)), None);
        assert!(is_port(&link(Some("knarr pod abc")), 3));
        assert!(!is_port(&link(Some("knarr pod abc")), 4));
    }
}
