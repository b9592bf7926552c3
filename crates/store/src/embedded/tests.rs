#![allow(clippy::unwrap_used)]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::conformance::{self, delete, object, put};
use crate::revisions::{Batch, EngineError, Record, Table, Visit};
use crate::{Expect, Update, WatchError};

fn small() -> Options {
    Options { quota_bytes: 64 << 20, ..Options::default() }
}

fn open(path: &Path) -> Embedded {
    Embedded::open(path, small()).unwrap()
}

fn data(path: &Path) -> std::path::PathBuf {
    path.join("v1/data.mdb")
}

#[tokio::test(flavor = "multi_thread")]
async fn lmdb_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let next = std::cell::Cell::new(0);
    conformance::run(|| {
        next.set(next.get() + 1);
        let store: Arc<dyn Store> = Arc::new(open(&directory.path().join(next.get().to_string())));
        async move { store }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_store_conforms_for_all_cases() {
    let store: Arc<dyn Store> = Arc::new(Embedded::in_memory(Options::default()));
    conformance::run(|| async { Arc::clone(&store) }).await;
}

#[tokio::test]
async fn a_store_opened_again_is_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert_eq!((store.revision(), store.compacted()), (1, 1));
    let first = store.write(put("/a", Expect::Absent, 1)).await.unwrap();
    let second = store.write(put("/a", Expect::Any, 2)).await.unwrap();
    let gone = store.write(put("/b", Expect::Any, 2)).await.unwrap();
    let gone = store.write(delete(&*gone.key, Expect::Any)).await.unwrap();
    store.compact(second.revision).await.unwrap();
    drop(store);

    let store = open(directory.path());
    assert_eq!((store.revision(), store.compacted(), store.feed().revision()), (5, 3, 5));
    assert_eq!(store.get("/a").await, Ok(Some(second)));
    assert_eq!(store.get("/b").await, Ok(None));
    assert!(matches!(store.watch("", first.revision).await, Err(ReadError::Compacted { oldest: 3 })));
    assert_eq!(store.write(put("/c", Expect::Any, 2)).await.unwrap().revision, gone.revision + 1);
    store.verify().await.unwrap();
}

#[tokio::test]
async fn a_second_open_names_the_path_and_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let error = Embedded::open(directory.path(), small()).err().unwrap().to_string();
    let path = directory.path().display();
    assert_eq!(error, format!("the store in {path} is in use by process {}", std::process::id()));
    drop(store);
    open(directory.path());
}

#[tokio::test]
async fn a_foreign_directory_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("letters.txt"), "dear").unwrap();
    let error = Embedded::open(directory.path(), small()).err().unwrap();
    assert!(matches!(&error, OpenError::Foreign { entry, .. } if entry == "letters.txt"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Embedded::open(file.path(), small()).err().unwrap();
    assert!(matches!(&error, OpenError::Io { .. }), "{error}");
}

#[tokio::test]
async fn another_programs_environment_is_not_a_store() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    fs::remove_dir_all(directory.path().join("v1")).unwrap();
    fs::create_dir(directory.path().join("v1")).unwrap();
    lmdb::create(&directory.path().join("v1"), 1 << 30, &[]).unwrap();
    let error = Embedded::open(directory.path(), small()).err().unwrap();
    assert!(matches!(&error, OpenError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    fs::create_dir(directory.path().join("v2")).unwrap();
    let error = Embedded::open(directory.path(), small()).err().unwrap();
    assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_creation_that_was_cut_short_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let half = directory.path().join("v1.creating");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("data.mdb"), "half").unwrap();
    open(directory.path());
    assert!(!half.exists());
}

/// A closed store with some objects and history.
async fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..300 {
        store.write(put(format!("/filled/{}", number % 100), Expect::Any, "x".repeat(3_000))).await.unwrap();
    }
    drop(store);
    directory
}

#[tokio::test]
async fn a_damaged_file_is_said_and_not_changed() {
    let directory = filled().await;
    let file = data(directory.path());
    let whole = fs::read(&file).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        let error = Embedded::open(directory.path(), small()).err().expect(what);
        assert!(matches!(&error, OpenError::Damaged { .. }), "{what}: {error}");
        assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
        assert_eq!(fs::read(&file).unwrap(), bytes, "{what}");
    };
    check(&[], "empty");
    check(b"hello", "another file");
    check(&whole[..5_000], "cut in the header");
    check(&whole[..whole.len() / 2], "cut in half");
    check(&[&[0; 8_192], &whole[8_192..]].concat(), "a header of zeros");
    fs::remove_file(&file).unwrap();
    assert!(matches!(Embedded::open(directory.path(), small()).err().unwrap(), OpenError::Damaged { .. }));
    fs::write(&file, &whole).unwrap();
    open(directory.path()).verify().await.unwrap();
}

#[tokio::test]
async fn a_file_that_only_lacks_free_pages_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..200 {
        store.write(put(format!("/{number}"), Expect::Any, "x".repeat(9_000))).await.unwrap();
    }
    for number in 0..200 {
        store.write(delete(format!("/{number}"), Expect::Any)).await.unwrap();
    }
    store.compact(store.revision()).await.unwrap();
    // Twice, so that what the compaction freed is listed, and near the front of the file.
    for _ in 0..4 {
        store.write(put("/kept", Expect::Any, 1)).await.unwrap();
    }
    drop(store);
    let file = data(directory.path());
    let length = fs::metadata(&file).unwrap().len();
    let whole = fs::read(&file).unwrap();
    let mut sound = length;
    while sound > 8_192 {
        OpenOptions::new().write(true).open(&file).unwrap().set_len(sound - 4_096).unwrap();
        if extent::check(&file).is_err() {
            break;
        }
        sound -= 4_096;
    }
    fs::write(&file, &whole[..sound as usize]).unwrap();
    assert!(sound < length, "nothing at the end is free");
    let store = open(directory.path());
    store.verify().await.unwrap();
    assert!(store.get("/kept").await.unwrap().is_some());
    store.write(put("/more", Expect::Any, "y".repeat(100_000))).await.unwrap();
    store.verify().await.unwrap();
}

#[tokio::test]
async fn a_changed_byte_in_an_object_is_said() {
    let directory = filled().await;
    let file = data(directory.path());
    let bytes = fs::read(&file).unwrap();
    let needle = b"xxxxxxxxxxxxxxxx";
    let at = bytes.windows(needle.len()).rposition(|window| window == needle).unwrap();
    // Every copy, as the last one in the file need not be the newest.
    let changed = OpenOptions::new().write(true).open(&file).unwrap();
    for at in (0..=at).filter(|at| bytes[*at..].starts_with(needle)).step_by(500) {
        changed.write_all_at(b"y", at as u64).unwrap();
    }
    let store = open(directory.path());
    assert!(matches!(store.verify().await, Err(ReadError::Damaged(_))));
    let page = store.list("", ListOptions::default()).await;
    assert!(matches!(page, Err(ReadError::Damaged(_))), "{page:?}");
    // Others can still be written, the damaged ones replaced.
    store.write(put("/filled/1", Expect::Any, "new")).await.unwrap();
    let error = store.write(delete("/filled/2", Expect::Any)).await.unwrap_err();
    assert!(matches!(error, WriteError::Unreadable(_)), "{error}");
    assert_eq!(store.get("/filled/1").await.unwrap().unwrap().bytes, object("new", 302));
}

#[tokio::test]
async fn the_quota_refuses_puts_and_compaction_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { quota_bytes: 4 << 20, keep_revisions: 5, ..Options::default() };
    let store = Embedded::open(directory.path(), options.clone()).unwrap();
    let big = "x".repeat(100_000);
    let mut written = 0;
    let error = loop {
        match store.write(put("/a", Expect::Any, &big)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "more than the quota was taken");
    };
    assert!(matches!(error, WriteError::QuotaExceeded { quota, .. } if quota == 4 << 20), "{error}");
    assert!(written > 20, "{written}");
    store.write(put("/b", Expect::Absent, 1)).await.expect("a small one still fits");
    store.compact(store.revision()).await.unwrap();
    store.write(put("/a", Expect::Any, &big)).await.unwrap();
    store.write(delete("/a", Expect::Any)).await.unwrap();
    let too_large = store.write(put("/a", Expect::Any, "x".repeat(2 << 20))).await;
    assert!(matches!(too_large, Err(WriteError::TooLarge { .. })));
    drop(store);
    assert!(
        fs::metadata(data(directory.path())).unwrap().len() < 8 << 20,
        "the file does not grow without bound"
    );
}

#[tokio::test]
async fn the_background_compacts_what_is_outside_the_window() {
    let options = Options { keep_for: Duration::ZERO, keep_revisions: 10, ..Options::default() };
    let store = Embedded::in_memory(options);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while store.compacted() < 100 {
        store.write(put("/a", Expect::Any, 1)).await.unwrap();
        assert!(std::time::Instant::now() < deadline, "compacted {}", store.compacted());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(store.compacted() + 10 <= store.revision());
    assert!(store.get("/a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_watch_that_is_overtaken_is_told() {
    let store = Embedded::in_memory(Options::default());
    store.write(put("/a", Expect::Any, 0)).await.unwrap();
    let mut watch = store.watch("/a", 1).await.unwrap();
    for number in 0..20 {
        store.write(put("/a", Expect::Any, number)).await.unwrap();
    }
    store.compact(15).await.unwrap();
    assert!(matches!(watch.next().await, Some(Ok(Update::Event(event))) if event.entry.revision == 2));
    assert_eq!(watch.next().await, Some(Ok(Update::Progress(2))));
    assert_eq!(watch.next().await, Some(Err(WatchError::Lagged { oldest: 15 })));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn closing_ends_watches_and_refuses_writes() {
    let store = Embedded::in_memory(Options::default());
    let mut watch = store.watch("", 1).await.unwrap();
    assert_eq!(watch.next().await, Some(Ok(Update::Progress(1))));
    store.close();
    assert_eq!(watch.next().await, Some(Err(WatchError::Closed)));
    assert!(matches!(store.write(put("/a", Expect::Any, 0)).await, Err(WriteError::Closed)));
    assert_eq!(store.compact(1).await, Err(CompactError::Closed));
}

/// An engine whose commits fail when told to.
#[derive(Default)]
struct Breaking {
    engine: MemoryEngine,
    broken: Arc<AtomicBool>,
}

struct BreakingBatch<'a>(Box<dyn Batch + 'a>, &'a AtomicBool);

impl Engine for Breaking {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, EngineError> {
        self.engine.snapshot()
    }

    fn batch(&self) -> Result<Box<dyn Batch + '_>, EngineError> {
        Ok(Box::new(BreakingBatch(self.engine.batch()?, &self.broken)))
    }
}

impl Snapshot for BreakingBatch<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, EngineError> {
        self.0.get(table, key)
    }

    fn before(&self, table: Table, key: &[u8]) -> Result<Option<Record<'_>>, EngineError> {
        self.0.before(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), EngineError> {
        self.0.scan(table, from, visit)
    }
}

impl Batch for BreakingBatch<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        self.0.put(table, key, value)
    }

    fn append(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        self.0.append(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), EngineError> {
        self.0.delete(table, key)
    }

    fn used(&self) -> Result<u64, EngineError> {
        self.0.used()
    }

    fn commit(self: Box<Self>) -> Result<(), EngineError> {
        match self.1.load(Ordering::Relaxed) {
            true => Err(EngineError::Io("the disk is on fire".to_owned())),
            false => self.0.commit(),
        }
    }
}

#[tokio::test]
async fn a_failed_commit_poisons_the_store() {
    let engine = Breaking::default();
    let broken = Arc::clone(&engine.broken);
    let store = Arc::new(Embedded::over(Arc::new(engine), Options::default()).unwrap());
    let kept = store.write(put("/a", Expect::Any, 1)).await.unwrap();
    broken.store(true, Ordering::Relaxed);
    let burnt = |result: Result<Entry, WriteError>| match result {
        Err(WriteError::Poisoned(reason)) => assert_eq!(reason, "the disk is on fire"),
        other => panic!("{other:?}"),
    };
    let writes = (0..8).map(|number| store.write(put("/a", Expect::Any, number)));
    futures::future::join_all(writes).await.into_iter().for_each(burnt);
    broken.store(false, Ordering::Relaxed);
    burnt(store.write(put("/b", Expect::Any, 1)).await);
    assert!(matches!(store.compact(1).await, Err(CompactError::Poisoned(_))));
    assert_eq!(store.failed().await, "the disk is on fire");
    assert_eq!(store.get("/a").await, Ok(Some(kept)), "reads go on");
    assert_eq!(store.revision(), 2);
}
