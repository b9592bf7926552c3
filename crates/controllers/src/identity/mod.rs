//! Controllers that give namespaces and roles what they need to identify themselves.

mod cluster_role_aggregation;
mod per_namespace;
mod root_ca;
mod service_accounts;

use crate::context::Context;

pub(crate) fn start(context: &Context) {
    service_accounts::start(context);
    root_ca::start(context);
    cluster_role_aggregation::start(context);
}
