//! Controllers that end things, or keep them from ending: namespaces, what nobody owns, pods of nodes that are gone, volumes in
//! use.

mod garbage;
mod namespace;
mod node;
mod pod_gc;
mod protection;

use crate::context::Context;

pub(crate) fn start(context: &Context) {
    namespace::start(context);
    garbage::start(context);
    node::start(context);
    pod_gc::start(context);
    protection::start(context);
}
