//! For tests only: a host of its own for a cluster, images built from Debian's busybox, a registry to pull them from, and
//! upstream's clients.

mod cluster;
mod etcd;
pub mod history;
mod host;
mod http;
mod image;
mod kubectl;
mod registry;
mod wait;

pub use cluster::Cluster;
pub use etcd::{Etcd, PROGRAM as ETCD};
pub use host::{Host, Left};
pub use http::{Response, get, request};
pub use image::{Image, busybox};
pub use kubectl::{client, helm, kubectl};
pub use registry::Registry;
pub use wait::{eventually, until};
