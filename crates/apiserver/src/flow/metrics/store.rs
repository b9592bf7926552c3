//! What is asked of the store, and how long it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use async_trait::async_trait;
use machinery::metrics::Histogram;
use store::{
    CompactError, Entry, Expect, Feed, ListOptions, Page, ReadError, Store, Watch, Write, WriteError,
};

use super::DURATIONS;
use super::series::SeriesMap;

/// Operations by kind and resource.
pub(super) type Operations = SeriesMap<Operation>;

/// One kind of operation on one resource's objects.
pub(super) struct Operation {
    pub name: &'static str,
    pub group: String,
    pub resource: String,
    pub took: Histogram,
    pub errors: AtomicU64,
}

/// Passes everything on to another store, and counts it.
pub(crate) struct Observed {
    inner: Arc<dyn Store>,
    operations: Arc<Operations>,
}

impl Observed {
    pub(super) fn new(inner: Arc<dyn Store>, operations: Arc<Operations>) -> Observed {
        Observed { inner, operations }
    }

    fn add(&self, name: &'static str, key: &str, started: Instant, failed: bool) {
        let (group, resource) = crate::registry::resource(key);
        let operation = self.operations.get((name, group, resource), || Operation {
            name,
            group: group.to_owned(),
            resource: resource.to_owned(),
            took: Histogram::new(DURATIONS),
            errors: AtomicU64::new(0),
        });
        operation.took.add(started.elapsed().as_secs_f64());
        if failed {
            operation.errors.fetch_add(1, Relaxed);
        }
    }
}

fn name_of(write: &Write) -> &'static str {
    match write {
        Write::Put { expect: Expect::Absent, .. } => "create",
        Write::Put { .. } => "update",
        Write::Delete { .. } => "delete",
    }
}

#[async_trait]
impl Store for Observed {
    async fn write(&self, write: Write) -> Result<Entry, WriteError> {
        let (name, key, started) = (name_of(&write), write.key().to_owned(), Instant::now());
        let result = self.inner.write(write).await;
        self.add(name, &key, started, result.is_err());
        result
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        let started = Instant::now();
        let result = self.inner.get(key).await;
        self.add("get", key, started, result.is_err());
        result
    }

    async fn list(&self, scope: &str, options: ListOptions) -> Result<Page, ReadError> {
        let started = Instant::now();
        let result = self.inner.list(scope, options).await;
        self.add("list", scope, started, result.is_err());
        result
    }

    async fn watch(&self, scope: &str, after: u64) -> Result<Watch, ReadError> {
        self.inner.watch(scope, after).await
    }

    fn revision(&self) -> u64 {
        self.inner.revision()
    }

    async fn current(&self) -> Result<u64, ReadError> {
        self.inner.current().await
    }

    fn compacted(&self) -> u64 {
        self.inner.compacted()
    }

    async fn compact(&self, before: u64) -> Result<(), CompactError> {
        self.inner.compact(before).await
    }

    fn feed(&self) -> &Arc<Feed> {
        self.inner.feed()
    }

    fn expires(&self) -> bool {
        self.inner.expires()
    }

    async fn failed(&self) -> String {
        self.inner.failed().await
    }
}
