//! The network of a node: pods' interfaces ([`cni`]), Services ([`proxy`]) and cluster DNS ([`dns`]).
//!
//! The three know nothing of each other; each is an ordinary API client (or, for `cni`, called by the container
//! runtime). What they leave on the host is removed by [`cleanup()`], with or without a running daemon.
//!
//! How packets go:
//! - A pod has one veth pair, `eth0` inside, a port of the bridge outside. Its address is a /32 whose only neighbour is
//!   the bridge: pod to pod traffic of one node is *routed*, so connection tracking always sees both directions and
//!   Services work without the `br_netfilter` module.
//! - Service addresses are rewritten by nftables at the prerouting and output hooks, one map lookup for a new
//!   connection and none for an established one.
//! - The pod range is unreachable unless a more specific route exists, and the service range leads to the bridge:
//!   neither ever leaves by the default route.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cleanup;
pub mod cni;
pub mod dns;
pub mod netlink;
pub mod netns;
pub mod proxy;
mod sysctl;

pub use cleanup::cleanup;
