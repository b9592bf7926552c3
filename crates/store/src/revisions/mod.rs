//! What a revision is, written once over any ordered key-value engine with transactions.
//!
//! Three tables (to the byte in `docs/store.md`):
//! - *log*: revision → what the write did, to which key, the key's revision before, and the object. The objects themselves are here,
//!   once. Its last record is the newest revision and is never removed.
//! - *index*: key and revision → whether the key existed from then on. The newest state of a key is its last index record.
//! - *meta*: format, identity, and up to where the log is compacted.
//!
//! Compacting up to `c` removes, in the order of the log, what a write up to `c` replaced, and deletions before `c`.
//! So every revision from `c` on stays readable exactly, and every event after `c` keeps its previous state.

mod apply;
mod compact;
mod engine;
mod memory;
mod read;
mod record;
mod verify;

pub(crate) use apply::{Applied, Refused, apply};
pub(crate) use compact::compact;
pub(crate) use engine::{Batch, Engine, EngineError, Record, Snapshot, Table, Visit};
pub(crate) use memory::MemoryEngine;
pub(crate) use read::{Events, compacted, events, get, list, newest};
pub(crate) use record::{KEY_MAX, META_CLUSTER, META_COMPACTED, META_FORMAT};
pub(crate) use verify::verify;

/// The revision of a store nothing was ever written to. Not 0, which means "any" to clients.
pub(crate) const EMPTY: u64 = 1;
