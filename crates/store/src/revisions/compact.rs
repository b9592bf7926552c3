//! Forgetting history.

use std::ops::ControlFlow;

use crate::types::EventKind;

use super::engine::{Batch, EngineError, Table};
use super::read::{compacted, newest};
use super::record::{Logged, META_COMPACTED, index_key, log_key, log_revision};

/// What a log record makes superfluous.
struct Step {
    revision: u64,
    key: String,
    previous: u64,
    deletion: bool,
}

/// Compacts towards `before`, looking at no more than `records` of the log. Returns the oldest revision that can be read now.
///
/// Safe to stop anywhere: each step leaves a consistent, more compacted store.
pub(crate) fn compact(batch: &mut dyn Batch, before: u64, records: usize) -> Result<u64, EngineError> {
    let from = compacted(batch)?;
    let before = before.min(newest(batch)?);
    if before <= from {
        return Ok(from);
    }
    let steps = steps(batch, from, before, records)?;
    let reached =
        if steps.len() < records { before } else { steps.last().map_or(before, |step| step.revision) };
    for step in &steps {
        // What the first record replaced went with the last compaction; only its own deletion may be left.
        if step.previous != 0 && step.revision > from {
            forget(batch, &step.key, step.previous)?;
        }
        if step.deletion && step.revision < reached {
            forget(batch, &step.key, step.revision)?;
        }
    }
    batch.put(Table::Meta, META_COMPACTED, &log_key(reached))?;
    Ok(reached)
}

fn steps(batch: &dyn Batch, from: u64, before: u64, records: usize) -> Result<Vec<Step>, EngineError> {
    let mut steps = Vec::new();
    batch.scan(Table::Log, &log_key(from), &mut |key, value| {
        let revision = log_revision(key)?;
        if revision > before || steps.len() == records {
            return Ok(ControlFlow::Break(()));
        }
        let Logged { kind, previous, key, .. } = Logged::decode(revision, value)?;
        steps.push(Step { revision, key: key.to_owned(), previous, deletion: kind == EventKind::Deleted });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(steps)
}

fn forget(batch: &mut dyn Batch, key: &str, revision: u64) -> Result<(), EngineError> {
    batch.delete(Table::Log, &log_key(revision))?;
    batch.delete(Table::Index, &index_key(key, revision))
}
