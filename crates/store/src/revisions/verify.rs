//! Reading everything once.

use std::ops::ControlFlow;

use super::engine::{EngineError, Snapshot, Table};
use super::record::{self, Logged, index_parts, log_key, log_revision};

/// Checks every record's checksum, and that every index record has its log record.
pub(crate) fn verify(snapshot: &dyn Snapshot) -> Result<(), EngineError> {
    snapshot.scan(Table::Meta, &[], &mut |_, _| Ok(ControlFlow::Continue(())))?;
    snapshot.scan(Table::Log, &[], &mut |key, value| {
        Logged::decode(log_revision(key)?, value)?;
        Ok(ControlFlow::Continue(()))
    })?;
    snapshot.scan(Table::Index, &[], &mut |key, _| {
        let (key, revision) = index_parts(key)?;
        let missing = || record::damaged_record(revision, "is missing");
        let value = snapshot.get(Table::Log, &log_key(revision))?.ok_or_else(missing)?;
        match Logged::decode(revision, value)?.key == key {
            true => Ok(ControlFlow::Continue(())),
            false => Err(record::damaged_record(revision, "is another key's")),
        }
    })
}
