//! What every client of the API needs: shared informers, typed writes, a work queue with its workers, events and
//! leader election.
//!
//! `kube::Client` is the transport; the composition root makes it (over HTTPS, or over the API server's own service
//! when both share a program), one for each identity. Nothing here reads another component's memory.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod informer;
mod leader;
mod metadata;
mod metrics;
mod objects;
mod queue;
mod recorder;
mod reflector;
mod tasks;
mod worker;

pub use error::{is_already_exists, is_conflict, is_gone, is_not_found, status_code};
pub use informer::{Change, ChangeKind, Informer, Informers};
pub use kube;
pub use leader::{LeaderConfig, LeaderElector};
pub use metadata::{MetadataChange, ObjectHeader, watch_metadata};
pub use metrics::Requests;
pub use objects::{Objects, Rest};
pub use queue::WorkQueue;
pub use recorder::{EventType, Recorder};
pub use tasks::Tasks;
pub use worker::run_workers;
