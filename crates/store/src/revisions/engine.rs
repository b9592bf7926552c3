//! What a driver needs of a disk: ordered tables, snapshots, one write transaction at a time.

use std::ops::ControlFlow;

/// The tables of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Log,
    Index,
    Meta,
}

impl Table {
    pub(crate) const ALL: [Table; 3] = [Table::Log, Table::Index, Table::Meta];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Table::Log => "log",
            Table::Index => "index",
            Table::Meta => "meta",
        }
    }
}

/// Why the engine did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EngineError {
    /// No room; the transaction has to be given up, the engine goes on.
    #[error("there is no room left")]
    Full,
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    Io(String),
}

/// A record as (key, value).
pub(crate) type Record<'a> = (&'a [u8], &'a [u8]);

/// Whether a scan goes on.
pub(crate) type Visit = Result<ControlFlow<()>, EngineError>;

/// One state of all tables.
pub(crate) trait Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, EngineError>;
    /// The record with the greatest key less than `key`.
    fn before(&self, table: Table, key: &[u8]) -> Result<Option<Record<'_>>, EngineError>;
    /// Visits the records from `from` on in key order.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), EngineError>;
}

/// The one write transaction. Dropped without a commit it leaves nothing behind.
pub(crate) trait Batch: Snapshot {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), EngineError>;
    /// Puts a record whose key is greater than all in the table.
    fn append(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), EngineError>;
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), EngineError>;
    /// Bytes in use by the tables.
    fn used(&self) -> Result<u64, EngineError>;
    /// Makes the transaction durable. After an error nothing is known about it.
    fn commit(self: Box<Self>) -> Result<(), EngineError>;
}

/// An ordered key-value engine. Snapshots never wait for the write transaction.
pub(crate) trait Engine: Send + Sync + 'static {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, EngineError>;
    fn batch(&self) -> Result<Box<dyn Batch + '_>, EngineError>;
}
