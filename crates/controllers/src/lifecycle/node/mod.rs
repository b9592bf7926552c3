//! Nodes that fall silent or are in trouble, and the pods on them (upstream `pkg/controller/nodelifecycle` and
//! `tainteviction`).

mod eviction;
mod health;

use crate::context::Context;

pub(crate) fn start(context: &Context) {
    health::start(context);
    eviction::start(context);
}
