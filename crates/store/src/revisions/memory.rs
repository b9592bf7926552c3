//! An engine that keeps its tables in memory, for tests of what is above it.

use std::collections::BTreeMap;
use std::ops::Bound;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::engine::{Batch, Engine, EngineError, Record, Snapshot, Table, Visit};

type Tables = [BTreeMap<Vec<u8>, Vec<u8>>; 3];

/// Ordered maps. Unlike a real engine's, its snapshots keep the writer waiting.
#[derive(Default)]
pub(crate) struct MemoryEngine {
    tables: RwLock<Tables>,
}

impl Engine for MemoryEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, EngineError> {
        Ok(Box::new(MemorySnapshot(self.tables.read())))
    }

    fn batch(&self) -> Result<Box<dyn Batch + '_>, EngineError> {
        Ok(Box::new(MemoryBatch { tables: self.tables.write(), undo: Vec::new() }))
    }
}

struct MemorySnapshot<'a>(RwLockReadGuard<'a, Tables>);

struct MemoryBatch<'a> {
    tables: RwLockWriteGuard<'a, Tables>,
    /// What was there before each change.
    undo: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
}

impl Drop for MemoryBatch<'_> {
    fn drop(&mut self) {
        for (table, key, value) in self.undo.drain(..).rev() {
            match value {
                Some(value) => self.tables[table as usize].insert(key, value),
                None => self.tables[table as usize].remove(&key),
            };
        }
    }
}

trait Maps {
    fn map(&self, table: Table) -> &BTreeMap<Vec<u8>, Vec<u8>>;
}

impl Maps for MemorySnapshot<'_> {
    fn map(&self, table: Table) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.0[table as usize]
    }
}

impl Maps for MemoryBatch<'_> {
    fn map(&self, table: Table) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.tables[table as usize]
    }
}

impl<T: Maps> Snapshot for T {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, EngineError> {
        Ok(self.map(table).get(key).map(Vec::as_slice))
    }

    fn before(&self, table: Table, key: &[u8]) -> Result<Option<Record<'_>>, EngineError> {
        let mut range = self.map(table).range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key)));
        Ok(range.next_back().map(|(key, value)| (key.as_slice(), value.as_slice())))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), EngineError> {
        for (key, value) in self.map(table).range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            if visit(key, value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Batch for MemoryBatch<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        let before = self.tables[table as usize].insert(key.to_vec(), value.to_vec());
        self.undo.push((table, key.to_vec(), before));
        Ok(())
    }

    fn append(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        self.put(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), EngineError> {
        if let Some(before) = self.tables[table as usize].remove(key) {
            self.undo.push((table, key.to_vec(), Some(before)));
        }
        Ok(())
    }

    fn used(&self) -> Result<u64, EngineError> {
        Ok(self.tables.iter().flatten().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn commit(mut self: Box<Self>) -> Result<(), EngineError> {
        self.undo.clear();
        Ok(())
    }
}
