//! The kernel's network configuration by netlink messages of our own: no program is run for it.
//!
//! Requests are synchronous on purpose: a netlink socket belongs to the network namespace of the thread that opens it,
//! and work inside a pod's namespace runs on a thread of its own ([`crate::netns`]). From async code call through
//! `tokio::task::spawn_blocking`.

mod address;
pub(crate) mod conntrack;
mod link;
mod route;
mod socket;
mod tables;

pub use address::LocalAddress;
pub use link::{BridgeSpec, Link, VethSpec};
pub use route::{Route, RouteKind};
pub use socket::{NetlinkError, Socket};
pub use tables::table_exists;
