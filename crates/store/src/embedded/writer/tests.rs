#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::join_all;

use super::super::faulty::{Fault, FaultyDisk};
use super::super::queue::Queue;
use super::super::rewrite::Hold;
use super::super::{Embedded, Options, load};
use super::*;
use crate::conformance::put;
use crate::{CompactError, Entry, Expect, ReadError, Store};

/// Longer than anything takes on a machine that works.
const PATIENCE: Duration = Duration::from_secs(30);

fn over(disk: &FaultyDisk) -> Result<Embedded, ReadError> {
    Embedded::over(Arc::new(disk.clone()), None, Options::default())
}

/// A store with one object, whose disk counts as quick or not.
async fn started(quick: bool) -> (FaultyDisk, Arc<Embedded>) {
    let disk = FaultyDisk::default();
    load::create(&disk, [3; 16]).unwrap();
    let store = Arc::new(over(&disk).unwrap());
    store.write(put("/first", Expect::Absent, 1)).await.unwrap();
    store.lead.0.lock().quick = quick;
    (disk, store)
}

async fn in_time<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, answer).await.unwrap()
}

/// Polls once.
async fn begin(write: &mut (impl Future<Output = Result<Entry, WriteError>> + Unpin)) {
    let pending = poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *write).poll(context).is_pending()));
    assert!(pending.await);
}

async fn is_written(store: &Embedded, key: &str) {
    in_time(store.feed().wait_for(3)).await.unwrap();
    assert_eq!(store.get(key).await.unwrap().unwrap().revision, 3);
    store.write(put("/next", Expect::Absent, 1)).await.unwrap();
}

#[tokio::test]
async fn a_write_that_is_given_up_takes_place() {
    for quick in [true, false] {
        let (_disk, store) = started(quick).await;
        let mut write = store.write(put("/given-up", Expect::Absent, 1));
        begin(&mut write).await;
        drop(write);
        is_written(&store, "/given-up").await;
    }
}

#[tokio::test]
async fn a_panic_beside_a_write_does_not_end_the_store() {
    let (_disk, store) = started(true).await;
    let same = Arc::clone(&store);
    let panics = tokio::spawn(async move {
        let mut write = same.write(put("/beside", Expect::Absent, 1));
        begin(&mut write).await;
        panic!("while a write is under way");
    });
    assert!(in_time(panics).await.unwrap_err().is_panic());
    is_written(&store, "/beside").await;
}

/// What is left after a panic in the middle of writing.
async fn is_poisoned(disk: &FaultyDisk, store: &Embedded) {
    assert!(in_time(store.failed()).await.contains("panicked"));
    let refused = in_time(store.write(put("/late", Expect::Any, 1))).await;
    assert!(matches!(refused, Err(WriteError::Poisoned(_))), "{refused:?}");
    assert!(in_time(store.feed().wait_for(1_000)).await.is_err(), "the caches are told");
    in_time(async { store.close() }).await;
    let again = over(disk).unwrap();
    assert_eq!(again.get("/first").await.unwrap().unwrap().revision, 2);
    again.verify().await.unwrap();
}

#[tokio::test]
async fn a_panic_in_a_lone_write_ends_the_store() {
    for call in [1, 2] {
        let (disk, store) = started(true).await;
        disk.fail(disk.calls() + call, Fault::Panic);
        let same = Arc::clone(&store);
        let write = tokio::spawn(async move { same.write(put("/a", Expect::Any, 1)).await });
        assert!(in_time(write).await.unwrap_err().is_panic());
        is_poisoned(&disk, &store).await;
    }
}

#[tokio::test]
async fn a_panic_of_the_thread_leaves_nobody_waiting() {
    let (disk, store) = started(false).await;
    disk.fail(disk.calls() + 1, Fault::Panic);
    // More than one batch takes.
    let writes = (0..1_000).map(|number| store.write(put(format!("/{number}"), Expect::Any, number)));
    let answers = in_time(join_all(writes)).await;
    assert!(answers.iter().all(Result::is_err));
    is_poisoned(&disk, &store).await;
}

#[tokio::test]
async fn nothing_is_written_after_a_failure() {
    let (disk, store) = started(false).await;
    let before = disk.files();
    store.shared.poison("for a test");
    let (reply, answer) = oneshot::channel();
    let write = put("/a", Expect::Any, 1);
    store.lead.0.lock().round(vec![Job::Write { write, reply }]);
    let refused = answer.await.unwrap();
    assert!(matches!(refused, Err(WriteError::Poisoned(_))), "{refused:?}");
    assert!(disk.files() == before);
}

#[tokio::test]
async fn closing_answers_who_waits_for_a_compaction() {
    let (_disk, store) = started(false).await;
    let _hold = Hold::new(&store.shared.index, |_| 1);
    let same = Arc::clone(&store);
    let compaction = tokio::spawn(async move { same.compact(2).await });
    while store.lead.0.lock().compactions.is_empty() {
        tokio::task::yield_now().await;
    }
    store.close();
    assert_eq!(in_time(compaction).await.unwrap(), Err(CompactError::Closed));
}

#[tokio::test]
async fn what_takes_long_is_left_to_the_thread() {
    let (_disk, store) = started(false).await;
    let quick_bytes = |quick| {
        let mut writer = store.lead.0.lock();
        writer.quick = quick;
        (writer.quick_bytes(), writer.log.left())
    };
    assert_eq!(quick_bytes(false).0, 0, "a slow disk");
    let (bytes, left) = quick_bytes(true);
    assert_eq!(bytes, QUICK_BYTES);
    let most = "x".repeat(left - 2 * QUICK_REST);
    store.write(put("/most", Expect::Any, most)).await.unwrap();
    assert!(quick_bytes(true).0 < QUICK_REST, "no room");

    let queue = Queue::new();
    let (reply, _answer) = oneshot::channel();
    assert!(queue.push(Job::Write { write: put("/a", Expect::Any, "x".repeat(500)), reply }).await);
    assert!(queue.take_lone(500).is_none(), "a large object");
    assert!(queue.take_lone(1_000).is_some());
}
