//! Controllers that keep pods running.

mod batch;
mod claim;
mod deployment;
mod expectations;
mod percent;
mod pods;
mod rank;
mod replicaset;
mod replicator;

use crate::context::Context;
pub(crate) use pods::namespace_is_terminating;

pub(crate) fn start(context: &Context) {
    deployment::start(context);
    replicaset::start(context);
}
