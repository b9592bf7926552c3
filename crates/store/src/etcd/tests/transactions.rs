//! Transactions of other programs, which change several objects at one revision.

use tokio_util::sync::CancellationToken;

use super::wire::{DeleteRangeRequest, Op, PutRequest, TxnRequest, TxnResponse};
use super::*;
use crate::{Cache, CacheOptions};

const COUNT: usize = 60;

async fn together(store: &Etcd, op: impl Fn(String) -> Op) -> u64 {
    let keys = (0..COUNT).map(|number| format!("/many/{}/{number:02}", number % 2));
    let success = keys.map(|key| op(key).into()).collect();
    let request = TxnRequest { success, ..TxnRequest::default() };
    let answer: TxnResponse = store.shared.client.call(&request, Repeat::Unsent).await.unwrap();
    answer.header.unwrap().revision.unsigned_abs()
}

/// All at once, and then all gone at once. The latter is told in parts: the states before are more than fits an answer.
async fn made_and_removed(store: &Etcd) -> [u64; 2] {
    let put = |key: String| Op::Put(PutRequest { key: key.into(), value: draft("x").bytes, lease: 0 });
    let made = together(store, put).await;
    let large = draft("x".repeat(100_000)).bytes;
    for number in 0..COUNT {
        let key = format!("/many/{}/{number:02}", number % 2);
        let draft = Draft { bytes: large.clone(), revision_at: 13 };
        store.write(Write::Put { key, expect: Expect::Any, draft, ttl: None }).await.unwrap();
    }
    let delete = |key: String| Op::Delete(DeleteRangeRequest { key: key.into(), prev_kv: false });
    [made, together(store, delete).await]
}

fn counted(events: &[(EventKind, u64)], revision: u64) -> Vec<EventKind> {
    events.iter().filter(|event| event.1 == revision).map(|event| event.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_changed_together_is_seen() {
    let etcd = etcd();
    let store = Arc::new(open(&etcd).await);
    let whole = store.watch("/many/", 1).await.unwrap();
    let revisions = made_and_removed(&store).await;
    let end = store.write(put("/end", Expect::Any, 0)).await.unwrap().revision;
    fed(&store, end).await;
    // One that was there all the time, and one that starts where it all is over.
    for mut watch in [whole, store.watch("/many/", 1).await.unwrap()] {
        let mut events = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap() {
                Update::Event(event) => events.push((event.kind, event.entry.revision)),
                Update::Progress(revision) if revision >= end => break,
                Update::Progress(revision) => {
                    assert!(events.iter().all(|event| event.1 <= revision), "progress after {revision}");
                }
            }
        }
        assert!(events.is_sorted_by_key(|event| event.1));
        assert_eq!(counted(&events, revisions[0]), [EventKind::Created; COUNT]);
        assert_eq!(counted(&events, revisions[1]), [EventKind::Deleted; COUNT]);
    }
    let after = store.watch("/many/", revisions[1] - 1).await.unwrap();
    let events: Vec<_> = after.skip(1).take(COUNT).collect().await;
    assert!(
        events
            .iter()
            .all(|event| matches!(event, Ok(Update::Event(event)) if event.kind == EventKind::Deleted))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_and_their_watchers_see_it_whole() {
    let etcd = etcd();
    let store = Arc::new(open(&etcd).await);
    // So little history that it begins within a revision.
    let options = CacheOptions { history_changes_max: COUNT / 2, ..CacheOptions::default() };
    let driver: Arc<dyn Store> = store.clone();
    let start = Cache::start_with(driver, "/many/", Arc::new(|_, _| ()), CancellationToken::new(), options);
    let cache = start.await.unwrap();
    let (mut all, mut half) =
        (cache.watch("/many/", 1).await.unwrap(), cache.watch("/many/1/", 1).await.unwrap());
    let put = |key: String| Op::Put(PutRequest { key: key.into(), value: draft("x").bytes, lease: 0 });
    let made = together(&store, put).await;
    fed(&store, made).await;
    assert_eq!((cache.len(), cache.revision()), (COUNT, made));
    let end = store.write(delete("/many/0/00", Expect::Any)).await.unwrap().revision;
    fed(&store, end).await;
    for (watch, count) in [(&mut half, COUNT / 2), (&mut cache.watch("/many/", 1).await.unwrap(), COUNT)] {
        for _ in 0..count {
            let change = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
            assert_eq!((change.revision(), change.kind), (made, EventKind::Created));
        }
    }
    // The queue of this one had no room for all.
    assert!(all.try_next().is_err());
}
