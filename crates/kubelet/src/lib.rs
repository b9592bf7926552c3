//! The node agent: pod workers, volumes, probes, status and the node's own HTTP API.
//!
//! A client of the API ([`client`]) and of a container runtime ([`container::Runtime`]), nothing more. Each pod has a
//! worker: an actor that folds what it hears into one state, asks a pure function what to do and has it done.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod backoff;
mod cgroup;
mod config;
mod dns;
mod env;
mod events;
mod eviction;
mod fields;
mod hosts;
mod images;
mod kubelet;
mod lease;
mod logs;
mod node;
mod pod;
mod probes;
mod resources;
mod server;
mod spdy;
mod status;
#[cfg(test)]
mod testing;
mod tokens;
mod volumes;
mod watched;
mod websocket;
mod worker;

pub use config::{Config, Reserved};
pub use kubelet::{Kubelet, KubeletError, clean_up};
