#![allow(clippy::unwrap_used)]

mod formats;

use std::fs;

use super::*;
use crate::conformance::{self, delete, object, put};
use crate::{Expect, Update, WatchError};

fn small() -> Options {
    Options { quota_bytes: 64 << 20, ..Options::default() }
}

fn open(path: &Path) -> Embedded {
    Embedded::open(path, small()).unwrap()
}

/// The first file of the log.
fn data(path: &Path) -> std::path::PathBuf {
    path.join("v2").join(log::name(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_conform() {
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
async fn an_older_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("v1")).unwrap();
    let error = Embedded::open(directory.path(), small()).err().unwrap();
    assert!(matches!(error, OpenError::OlderFormat { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    fs::create_dir(directory.path().join("v3")).unwrap();
    let error = Embedded::open(directory.path(), small()).err().unwrap();
    assert!(matches!(error, OpenError::NewerFormat { found: 3, known: 2, .. }), "{error}");
}

#[tokio::test]
async fn a_creation_that_was_cut_short_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let half = directory.path().join("v2.creating");
    fs::create_dir(&half).unwrap();
    fs::write(half.join(log::name(1)), "half").unwrap();
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
    check(&[&[0; 512], &whole[512..]].concat(), "a header of zeros");
    check(&[&whole[..512], &[0; 4_096], &whole[4_608..]].concat(), "a page of zeros");
    fs::remove_file(&file).unwrap();
    assert!(matches!(Embedded::open(directory.path(), small()).err().unwrap(), OpenError::Damaged { .. }));
    fs::write(&file, &whole).unwrap();
    open(directory.path()).verify().await.unwrap();
}

#[tokio::test]
async fn a_changed_byte_in_an_object_is_said() {
    let directory = filled().await;
    let file = data(directory.path());
    let bytes = fs::read(&file).unwrap();
    let needle = b"xxxxxxxxxxxxxxxx";
    let mut changed = bytes.clone();
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    // In every object.
    places.iter().step_by(500).for_each(|at| changed[*at] = b'y');
    fs::write(&file, changed).unwrap();
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
    let options =
        Options { quota_bytes: 4 << 20, keep_revisions: 5, rewrite_bytes: 1 << 20, ..Options::default() };
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
    let too_large = store.write(put("/a", Expect::Any, "x".repeat(5 << 20))).await;
    assert!(matches!(too_large, Err(WriteError::TooLarge { .. })));
}

/// Bytes of all files.
fn on_disk(disk: &MemoryDisk) -> u64 {
    let names = disk.list().unwrap();
    // One may be removed meanwhile.
    names.iter().filter_map(|name| disk.open(name).ok()?.length().ok()).sum()
}

#[tokio::test]
async fn the_disk_gets_its_space_back_while_writes_go_on() {
    let options = Options {
        keep_for: Duration::ZERO,
        keep_revisions: 20,
        rewrite_bytes: 1 << 20,
        ..Options::default()
    };
    let disk = Arc::new(MemoryDisk::default());
    load::create(&*disk, [1; 16]).unwrap();
    let store = Embedded::over(disk.clone(), None, options.clone()).unwrap();
    let kept = store.write(put("/kept", Expect::Absent, 1)).await.unwrap();
    let value = "x".repeat(50_000);
    // 100 MB in all.
    for _ in 0..2_000 {
        store.write(put("/a", Expect::Any, &value)).await.unwrap();
    }
    // A segment of 16 MiB and the next one are left.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while on_disk(&disk) > 40 << 20 {
        assert!(std::time::Instant::now() < deadline, "{} bytes", on_disk(&disk));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(store);
    let store = Embedded::over(disk, None, options).unwrap();
    assert_eq!(store.get("/kept").await, Ok(Some(kept)));
    assert_eq!(store.get("/a").await.unwrap().unwrap().revision, 2_002);
    store.verify().await.unwrap();
}

#[tokio::test]
async fn the_background_compacts_what_is_outside_the_window() {
    let options = Options { keep_for: Duration::ZERO, keep_revisions: 10, ..Options::default() };
    let store = Embedded::in_memory(options);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
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

#[tokio::test]
async fn a_snapshot_is_restored_with_later_revisions() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("snapshot");
    let store = open(&directory.path().join("one"));
    let writes =
        (0..3_000).map(|number| store.write(put(format!("/kept/{number:04}"), Expect::Absent, number)));
    let kept: Vec<_> = futures::future::join_all(writes).await;
    let mut kept: Vec<_> = kept.into_iter().map(Result::unwrap).collect();
    store.write(delete("/kept/0000", Expect::Any)).await.unwrap();
    kept.remove(0);
    let snapshot = store.snapshot(&file).unwrap();
    assert_eq!((snapshot.revision, snapshot.objects), (3_002, 2_999));
    assert_eq!(snapshot.bytes, fs::metadata(&file).unwrap().len());
    let again = store.snapshot(&file).unwrap_err();
    assert!(matches!(again, SnapshotError::Exists(_)), "{again}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left there");
    let in_use = restore(&file, &directory.path().join("one")).unwrap_err();
    assert!(matches!(in_use, SnapshotError::Open(OpenError::InUse { .. })), "{in_use}");
    store.write(delete("/kept/0001", Expect::Any)).await.unwrap();
    drop(store);

    for name in ["two", "one"] {
        let path = directory.path().join(name);
        let restored = restore(&file, &path).unwrap();
        assert_eq!((restored.taken_at, restored.objects), (3_002, 2_999));
        let store = open(&path);
        assert_eq!((store.revision(), store.compacted()), (restored.revision, restored.revision));
        assert!(restored.revision > 1_000_000_000);
        assert_eq!(store.list("", ListOptions::default()).await.unwrap().entries, kept);
        // Who saw the deletion after the snapshot must not wait for what follows it.
        let oldest = restored.revision;
        assert_eq!(store.watch("", 3_003).await.err(), Some(ReadError::Compacted { oldest }));
        let next = store.write(put("/new", Expect::Absent, 1)).await.unwrap();
        assert_eq!(next.revision, restored.revision + 1);
        drop(store);
        let store = open(&path);
        assert_eq!(store.get("/new").await, Ok(Some(next)));
        store.verify().await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (file, path) = (directory.path().join("snapshot"), directory.path().join("store"));
    let store = open(&path);
    let kept = store.write(put("/a", Expect::Absent, 1)).await.unwrap();
    store.snapshot(&file).unwrap();
    drop(store);
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        for bytes in [&changed, &whole[..at]] {
            fs::write(&file, bytes).unwrap();
            let error = restore(&file, &path).unwrap_err();
            assert!(matches!(error, SnapshotError::NotASnapshot { .. }), "byte {at}: {error}");
        }
    }
    fs::write(&file, &whole).unwrap();
    formats::make_newer(&file);
    let newer = restore(&file, &path).unwrap_err();
    assert!(matches!(newer, SnapshotError::UnknownFormat { .. }), "{newer}");
    assert!(newer.to_string().ends_with("it has format 3, this program knows 2"), "{newer}");
    fs::remove_file(&file).unwrap();
    assert!(matches!(restore(&file, &path).unwrap_err(), SnapshotError::File { .. }));
    assert_eq!(open(&path).get("/a").await, Ok(Some(kept)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_a_busy_store_is_one_state() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { keep_for: Duration::ZERO, keep_revisions: 5, ..Options::default() };
    let store = Arc::new(Embedded::open(&directory.path().join("one"), options).unwrap());
    let writers = (0..4).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..500 {
                store.write(put(format!("/{writer}/{}", number % 50), Expect::Any, number)).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for number in 0..5 {
        let file = directory.path().join(format!("snapshot-{number}"));
        let (source, to) = (Arc::clone(&store), file.clone());
        let snapshot = tokio::task::spawn_blocking(move || source.snapshot(&to)).await.unwrap().unwrap();
        let path = directory.path().join(format!("restored-{number}"));
        restore(&file, &path).unwrap();
        let entries = open(&path).list("", ListOptions::default()).await.unwrap().entries;
        // Each key is written anew after 200 writes: its state is not older than that, nor newer than the snapshot.
        assert!(entries.iter().all(|entry| entry.revision <= snapshot.revision), "{number}");
        let newest = entries.iter().map(|entry| entry.revision).max().unwrap_or(EMPTY);
        assert_eq!(newest, snapshot.revision, "{number}");
    }
    for writer in writers {
        writer.await.unwrap();
    }
}
