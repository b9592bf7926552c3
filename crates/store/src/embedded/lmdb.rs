//! The tables in an LMDB environment.

use std::fs::File;
use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, MdbError, PutFlags, RoTxn, RwTxn, WithoutTls};

use crate::revisions::{Batch, Engine, EngineError, Snapshot, Table};
use crate::revisions::{Record, Visit};

/// Reads that may be under way at once. Each takes 64 bytes of the reader table.
const READERS_MAX: u32 = 2_048;

type Tree = Database<'static, Bytes, Bytes>;

/// An open environment.
pub(super) struct LmdbEngine {
    env: Env<WithoutTls>,
    trees: [Tree; 3],
    /// Locked while the environment is open; the last field, so that it goes last.
    _lock: File,
}

impl From<heed::Error> for EngineError {
    fn from(error: heed::Error) -> EngineError {
        match error {
            heed::Error::Mdb(MdbError::MapFull | MdbError::TxnFull) => EngineError::Full,
            heed::Error::Mdb(
                MdbError::Corrupted | MdbError::PageNotFound | MdbError::Invalid | MdbError::VersionMismatch,
            ) => EngineError::Damaged(error.to_string()),
            error => EngineError::Io(error.to_string()),
        }
    }
}

/// Opens the environment in `path`. The map is address space only, neither memory nor disk: the file grows as it is written.
fn open_env(path: &Path, map_bytes: u64) -> Result<Env<WithoutTls>, EngineError> {
    let page = 64 << 10;
    let map_bytes = usize::try_from(map_bytes.next_multiple_of(page)).unwrap_or(usize::MAX - 65_535);
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_bytes).max_readers(READERS_MAX).max_dbs(Table::ALL.len() as u32);
    #[expect(unsafe_code, reason = "LMDB maps its file into memory")]
    // SAFETY: the file must not be changed but by this environment. It lies in a directory of the store's own, whose lock is
    // held; no flag that gives up LMDB's guarantees is set.
    Ok(unsafe { options.open(path) }?)
}

/// Creates an environment with empty tables and the given records of the meta table, and closes it again.
pub(super) fn create(path: &Path, map_bytes: u64, meta: &[(&[u8], &[u8])]) -> Result<(), EngineError> {
    let env = open_env(path, map_bytes)?;
    let txn = env.write_txn()?;
    env.create_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
        for table in Table::ALL {
            let tree: Database<Bytes, Bytes> = opener.create_database(txn, Some(table.name()))?;
            if table == Table::Meta {
                meta.iter().try_for_each(|(key, value)| tree.put(txn, key, value))?;
            }
        }
        Ok(CommitOrAbort::<(), ()>::Commit(()))
    })?;
    env.prepare_for_closing().wait();
    Ok(())
}

impl LmdbEngine {
    /// Opens an environment that [`create`] has made.
    pub(super) fn open(path: &Path, map_bytes: u64, lock: File) -> Result<LmdbEngine, EngineError> {
        let env = open_env(path, map_bytes)?;
        let txn = env.read_txn()?;
        let opened = env.open_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
            let open = |table: Table| opener.open_database::<Bytes, Bytes>(txn, Some(table.name()));
            Ok(match (open(Table::Log)?, open(Table::Index)?, open(Table::Meta)?) {
                (Some(log), Some(index), Some(meta)) => CommitOrAbort::Commit((log, index, meta)),
                _ => CommitOrAbort::Abort(()),
            })
        })?;
        match opened {
            CommitOrAbort::Commit((log, index, meta)) => {
                Ok(LmdbEngine { env, trees: [log, index, meta], _lock: lock })
            }
            CommitOrAbort::Abort(()) => Err(EngineError::Damaged("a table is missing".to_owned())),
        }
    }
}

impl Engine for LmdbEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, EngineError> {
        Ok(Box::new(Reading { txn: self.env.read_txn()?, trees: &self.trees }))
    }

    fn batch(&self) -> Result<Box<dyn Batch + '_>, EngineError> {
        Ok(Box::new(Writing { txn: self.env.write_txn()?, trees: &self.trees }))
    }
}

struct Reading<'a> {
    txn: RoTxn<'a, WithoutTls>,
    trees: &'a [Tree; 3],
}

struct Writing<'a> {
    txn: RwTxn<'a>,
    trees: &'a [Tree; 3],
}

trait Transaction {
    fn parts(&self, table: Table) -> (&RoTxn<'_>, &Tree);
}

impl Transaction for Reading<'_> {
    fn parts(&self, table: Table) -> (&RoTxn<'_>, &Tree) {
        (&self.txn, &self.trees[table as usize])
    }
}

impl Transaction for Writing<'_> {
    fn parts(&self, table: Table) -> (&RoTxn<'_>, &Tree) {
        (&self.txn, &self.trees[table as usize])
    }
}

macro_rules! snapshot {
    ($type:ident) => {
        impl Snapshot for $type<'_> {
            fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, EngineError> {
                let (txn, tree) = self.parts(table);
                Ok(tree.get(txn, key)?)
            }

            fn before(&self, table: Table, key: &[u8]) -> Result<Option<Record<'_>>, EngineError> {
                let (txn, tree) = self.parts(table);
                Ok(tree.get_lower_than(txn, key)?)
            }

            fn scan(
                &self,
                table: Table,
                from: &[u8],
                visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
            ) -> Result<(), EngineError> {
                let (txn, tree) = self.parts(table);
                // LMDB knows no empty keys, not even to start from.
                let start = if from.is_empty() { Bound::Unbounded } else { Bound::Included(from) };
                for record in tree.range(txn, &(start, Bound::Unbounded))? {
                    let (key, value) = record?;
                    if visit(key, value)?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
        }
    };
}

snapshot!(Reading);
snapshot!(Writing);

impl Batch for Writing<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        Ok(self.trees[table as usize].put(&mut self.txn, key, value)?)
    }

    fn append(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        Ok(self.trees[table as usize].put_with_flags(&mut self.txn, PutFlags::APPEND, key, value)?)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), EngineError> {
        self.trees[table as usize].delete(&mut self.txn, key)?;
        Ok(())
    }

    fn used(&self) -> Result<u64, EngineError> {
        let pages = self.trees.iter().map(|tree| {
            let stat = tree.stat(&self.txn)?;
            Ok(((stat.branch_pages + stat.leaf_pages + stat.overflow_pages) as u64)
                * u64::from(stat.page_size))
        });
        pages.sum()
    }

    fn commit(self: Box<Self>) -> Result<(), EngineError> {
        Ok(self.txn.commit()?)
    }
}
