//! Controllers that end things: namespaces, what nobody owns, pods of nodes that are gone.

mod garbage;
mod namespace;
mod node;
mod pod_gc;

use crate::context::Context;

pub(crate) fn start(context: &Context) {
    namespace::start(context);
    garbage::start(context);
    node::start(context);
    pod_gc::start(context);
}
