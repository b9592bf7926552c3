//! One cluster on this machine: where it lives, its certificates, its components and how they are started and stopped.

mod control;
mod control_plane;
mod datastore;
mod kubeconfig;
mod node;
mod paths;
mod pki;
mod preflight;
mod run;
mod server;
mod settings;
mod supervise;
mod transport;

pub(crate) use control::{
    ControlError, OBJECTS_IN_ETCD, Request as ControlRequest, call as control_call, snapshot_facts,
};
pub(crate) use datastore::Datastore;
pub(crate) use kubeconfig::Kubeconfig;
pub(crate) use node::{all_addresses, cleanup};
pub(crate) use paths::Paths;
pub(crate) use preflight::{
    check as preflight, own_directory, root as require_root, server as preflight_server,
};
pub(crate) use run::{Milestone, run};
pub(crate) use server::{ServerMilestone, serve};
pub(crate) use settings::Settings;
