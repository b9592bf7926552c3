//! The scheduler: finds a node for each pod that has none, as an ordinary API client.
//!
//! [`schedule`] is a pure function from a pod and a [`Snapshot`] of the nodes to a node's name or the reasons why there
//! is none. Around it: a queue that keeps what cannot be placed until something relevant changes, a snapshot kept current by the
//! watch handlers, and a loop that assumes a placement at once and binds in the background, so that the next pod never
//! waits for the API. [`run`] is the entry point.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod binder;
mod framework;
mod metrics;
mod plugins;
mod queue;
mod resources;
mod run;
mod schedule;
mod selector;
mod snapshot;
#[cfg(test)]
mod tests;

pub use framework::{Rejection, Unschedulable};
pub use resources::Resources;
pub use run::run;
pub use schedule::schedule;
pub use snapshot::{NodeInfo, PodInfo, Snapshot};

/// What the scheduler is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods whose `spec.schedulerName` is this one are placed here; events carry the name.
    pub name: String,
    /// Where it reports how that goes.
    pub metrics: machinery::metrics::Registry,
}

impl Default for Config {
    fn default() -> Self {
        Self { name: "default-scheduler".to_owned(), metrics: machinery::metrics::Registry::default() }
    }
}
