#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::future::join_all;

use super::*;
use crate::conformance::{delete, object, put};
use crate::{Embedded, Expect, Options};

const PODS: &str = "/registry/pods/";

fn memory() -> Arc<dyn Store> {
    Arc::new(Embedded::in_memory(Options::default()))
}

/// Keeps the object's size, as an index keeps labels.
fn size(_: &str, object: &[u8]) -> usize {
    object.len()
}

async fn cache(store: &Arc<dyn Store>) -> Arc<Cache<usize>> {
    Cache::start(Arc::clone(store), PODS, size, CancellationToken::new()).await.unwrap()
}

async fn tiny(store: &Arc<dyn Store>) -> Arc<Cache<usize>> {
    let options = CacheOptions { history_changes_max: 20, ..CacheOptions::default() };
    Cache::start_with(Arc::clone(store), PODS, Arc::new(size), CancellationToken::new(), options)
        .await
        .unwrap()
}

async fn write(store: &Arc<dyn Store>, name: &str, value: impl std::fmt::Display) -> Entry {
    store.write(put(format!("{PODS}{name}"), Expect::Any, value)).await.unwrap()
}

fn names(listing: &Listing<usize>) -> Vec<&str> {
    listing.items.iter().map(|item| item.entry.key.strip_prefix(PODS).unwrap()).collect()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it should not take this long")
}

#[tokio::test]
async fn a_list_right_after_a_write_sees_it() {
    let store = memory();
    write(&store, "ns/a", 1).await;
    let cache = cache(&store).await;
    assert_eq!((cache.len(), cache.revision()), (1, 2));
    for number in 0..50 {
        let entry = write(&store, "ns/b", number).await;
        cache.wait_for(store.revision()).await.unwrap();
        let item = cache.get(&entry.key).unwrap();
        assert_eq!((&item.entry, item.meta), (&entry, entry.bytes.len()));
        assert_eq!(item.entry.bytes.as_ptr(), entry.bytes.as_ptr(), "the bytes are shared");
        // A write elsewhere moves the cache's revision, too.
        store.write(put("/registry/nodes/n", Expect::Any, number)).await.unwrap();
        cache.wait_current().await.unwrap();
        assert_eq!(cache.list(PODS, None, None).revision, store.revision());
    }
    store.write(delete(format!("{PODS}ns/a"), Expect::Any)).await.unwrap();
    cache.wait_current().await.unwrap();
    assert_eq!(names(&cache.list(PODS, None, None)), ["ns/b"]);
}

#[tokio::test]
async fn lists_have_scopes_and_pages() {
    let store = memory();
    for name in ["a/1", "a/2", "a/3", "ab/1", "b/1"] {
        write(&store, name, 0).await;
    }
    let cache = cache(&store).await;
    let scope = |name: &str| format!("{PODS}{name}");
    assert_eq!(names(&cache.list(&scope("a/"), None, None)), ["a/1", "a/2", "a/3"]);
    assert_eq!(names(&cache.list(&scope("a/2"), None, None)), ["a/2"]);
    assert!(names(&cache.list(&scope("a"), None, None)).is_empty());
    let page = cache.list(PODS, Some(&scope("a/1")), Some(2));
    assert_eq!((names(&page), page.remaining), (vec!["a/2", "a/3"], 2));
    let page = cache.list(&scope("a/"), Some(&scope("a/2")), Some(2));
    assert_eq!((names(&page), page.remaining), (vec!["a/3"], 0));
}

#[tokio::test]
async fn watchers_get_their_scope_in_order() {
    let store = memory();
    let cache = cache(&store).await;
    let start = cache.revision();
    let mut all = cache.watch(PODS, start).await.unwrap();
    let mut space = cache.watch(&format!("{PODS}b/"), start).await.unwrap();
    let mut single = cache.watch(&format!("{PODS}b/1"), start).await.unwrap();
    for name in ["a/1", "b/1", "b/2", "b/1"] {
        write(&store, name, name).await;
    }
    let gone = store.write(delete(format!("{PODS}b/1"), Expect::Any)).await.unwrap();
    let seen = |watch: &mut CacheWatch<usize>| {
        let mut seen = Vec::new();
        while let Some(change) = watch.try_next().unwrap() {
            assert_eq!(change.previous.is_none(), change.kind == EventKind::Created);
            seen.push((change.kind, change.revision()));
        }
        assert_eq!(watch.progress(), Some(gone.revision));
        seen
    };
    cache.wait_current().await.unwrap();
    use EventKind::{Created, Deleted, Modified};
    let want = [(Created, 2), (Created, 3), (Created, 4), (Modified, 5), (Deleted, 6)];
    assert_eq!(seen(&mut all), want);
    assert_eq!(seen(&mut space), want[1..]);
    assert_eq!(seen(&mut single), [want[1], want[3], want[4]]);
    // From the middle of the history, and of a scope that had no watcher so far.
    let mut late = cache.watch(&format!("{PODS}b/2"), 3).await.unwrap();
    assert_eq!(seen(&mut late), [want[2]]);
}

#[tokio::test]
async fn frames_are_shared_and_show_what_a_selector_sees() {
    let store = memory();
    let cache = cache(&store).await;
    let mut first = cache.watch(PODS, 1).await.unwrap();
    let mut second = cache.watch(&format!("{PODS}ns/"), 1).await.unwrap();
    write(&store, "ns/a", 1).await;
    write(&store, "ns/a", 2).await;
    soon(first.next()).await.unwrap();
    soon(second.next()).await.unwrap();
    let change = soon(first.next()).await.unwrap();
    let same = soon(second.next()).await.unwrap();
    assert_eq!(change.frame().as_ptr(), same.frame().as_ptr());
    let frame = |kind, object: bytes::Bytes| {
        format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", String::from_utf8_lossy(&object))
    };
    assert_eq!(change.frame(), frame("MODIFIED", object(2, 3)));
    assert_eq!(change.frame_as(EventKind::Created), frame("ADDED", object(2, 3)));
    assert_eq!(change.frame_as(EventKind::Deleted), frame("DELETED", object(1, 3)));
}

#[tokio::test]
async fn a_slow_watcher_is_ended_and_others_are_not() {
    let store = memory();
    let cache = tiny(&store).await;
    let start = cache.revision();
    let mut slow = cache.watch(PODS, start).await.unwrap();
    let mut slow_space = cache.watch(&format!("{PODS}ns/"), start).await.unwrap();
    let mut quiet = cache.watch(&format!("{PODS}quiet/"), start).await.unwrap();
    let mut quick = cache.watch(PODS, start).await.unwrap();
    for number in 0..100 {
        write(&store, "ns/a", number).await;
        let change = soon(quick.next()).await.unwrap();
        assert_eq!(change.revision(), start + 1 + number);
    }
    assert_eq!(soon(slow.next()).await.unwrap_err(), WatchEnd::Lagged);
    assert_eq!(soon(slow_space.next()).await.unwrap_err(), WatchEnd::Lagged);
    // Nothing happened in its scope, so it has lost nothing.
    assert!(quiet.try_next().unwrap().is_none());
    let entry = write(&store, "quiet/a", 1).await;
    assert_eq!(soon(quiet.next()).await.unwrap().revision(), entry.revision);
}

#[tokio::test]
async fn what_the_history_lacks_comes_from_the_store() {
    let store = memory();
    for number in 0..50 {
        write(&store, if number % 2 == 0 { "a/x" } else { "b/x" }, number).await;
    }
    // Loaded now, so its history is empty, as after a restart.
    let cache = tiny(&store).await;
    let mut watch = cache.watch(&format!("{PODS}b/"), 11).await.unwrap();
    let live = write(&store, "b/x", "live").await;
    let mut revisions = Vec::new();
    while revisions.last() != Some(&live.revision) {
        let change = soon(watch.next()).await.unwrap();
        assert!(change.previous.is_some() && change.is_in(&format!("{PODS}b/")));
        revisions.push(change.revision());
    }
    assert_eq!(revisions, (13..=51).step_by(2).chain([live.revision]).collect::<Vec<_>>());
    store.compact(30).await.unwrap();
    assert_eq!(cache.watch(PODS, 29).await.err(), Some(Expired { after: 29, oldest: 30 }));
    assert!(cache.watch(PODS, 30).await.is_ok());
}

#[tokio::test]
async fn closing_the_store_or_the_token_ends_watches() {
    let embedded = Arc::new(Embedded::in_memory(Options::default()));
    let store: Arc<dyn Store> = Arc::clone(&embedded) as _;
    let token = CancellationToken::new();
    let cache = Cache::start(Arc::clone(&store), PODS, size, token.clone()).await.unwrap();
    let other = super::tests::cache(&store).await;
    let mut first = cache.watch(PODS, 1).await.unwrap();
    let mut second = other.watch(&format!("{PODS}ns/"), 1).await.unwrap();
    let (first, ()) = tokio::join!(soon(first.next()), async { token.cancel() });
    assert_eq!(first.unwrap_err(), WatchEnd::Closed);
    assert!(second.try_next().unwrap().is_none());
    let (second, ()) = tokio::join!(soon(second.next()), async { embedded.close() });
    assert_eq!(second.unwrap_err(), WatchEnd::Closed);
    assert_eq!(other.wait_for(99).await, Err(ReadError::Closed));
    assert_eq!(soon(other.watch(PODS, 1).await.unwrap().next()).await.unwrap_err(), WatchEnd::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn caches_made_while_writes_go_on_miss_nothing() {
    let store = memory();
    let stop = Arc::new(AtomicU64::new(0));
    let writers = (0..4).map(|writer| {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        tokio::spawn(async move {
            for number in 0u64.. {
                if stop.load(Ordering::Relaxed) == 1 {
                    return;
                }
                let key = format!("{PODS}{writer}/{}", number % 7);
                match number % 5 {
                    4 => drop(store.write(delete(key, Expect::Any)).await),
                    _ => drop(store.write(put(key, Expect::Any, number)).await),
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut kept = Vec::new();
    for _ in 0..20 {
        let cache = cache(&store).await;
        let listing = cache.list(PODS, None, None);
        let watch = cache.watch(PODS, listing.revision).await.unwrap();
        kept.push((cache, listing, watch));
    }
    stop.store(1, Ordering::Relaxed);
    join_all(writers).await;
    let page = store.list(PODS, ListOptions::default()).await.unwrap();
    for (cache, listing, mut watch) in kept {
        cache.wait_current().await.unwrap();
        let entries =
            |items: &[Arc<Item<usize>>]| items.iter().map(|item| item.entry.clone()).collect::<Vec<_>>();
        assert_eq!(entries(&cache.list(PODS, None, None).items), page.entries);
        assert_eq!(cache.bytes(), page.entries.iter().map(|entry| entry.bytes.len()).sum::<usize>());
        // The list with the watch's changes applied is the same again.
        let exact =
            store.list(PODS, ListOptions { at: Some(listing.revision), ..ListOptions::default() }).await;
        assert_eq!(entries(&listing.items), exact.unwrap().entries);
        let mut model: BTreeMap<_, _> =
            listing.items.iter().map(|item| (item.entry.key.clone(), item.entry.clone())).collect();
        while let Some(change) = watch.try_next().unwrap() {
            let entry = change.item.entry.clone();
            let previous = match change.kind {
                EventKind::Deleted => model.remove(&entry.key),
                _ => model.insert(entry.key.clone(), entry),
            };
            assert_eq!(previous, change.previous.as_ref().map(|item| item.entry.clone()));
        }
        assert_eq!(model.into_values().collect::<Vec<_>>(), page.entries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_loads_each_cache_once() {
    let store = memory();
    write(&store, "ns/a", 1).await;
    let indexed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&indexed);
    let index = move |_: &str, _: &[u8]| counter.fetch_add(1, Ordering::Relaxed);
    let caches = Arc::new(Caches::new(Arc::clone(&store), index, CancellationToken::new()));
    let got = join_all((0..32).map(|_| caches.get(PODS))).await;
    let first = got[0].as_ref().unwrap();
    assert!(got.iter().all(|cache| Arc::ptr_eq(cache.as_ref().unwrap(), first)));
    assert_eq!(indexed.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_queue_goes_with_its_last_watcher() {
    let store = memory();
    let cache = cache(&store).await;
    let scope = format!("{PODS}ns/");
    let (first, _) = cache.channels.subscribe(&scope, 1);
    let (second, _) = cache.channels.subscribe(&scope, 1);
    // As publishing holds it while it wakes the watchers.
    let held = Arc::clone(&first.place.channel);
    assert_eq!(cache.channels.watched_scopes(), 1);
    drop(first);
    assert_eq!(cache.channels.watched_scopes(), 1);
    drop(second);
    assert_eq!(cache.channels.watched_scopes(), 0);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watchers_each_see_every_change() {
    let store = memory();
    let cache = cache(&store).await;
    let watchers: Vec<_> = join_all((0..1_000).map(|_| cache.watch("/registry/pods/ns/", 1))).await;
    let watchers = watchers.into_iter().map(|watch| {
        let mut watch = watch.unwrap();
        tokio::spawn(async move {
            for revision in 2..202 {
                assert_eq!(watch.next().await.unwrap().revision(), revision);
            }
        })
    });
    let watchers: Vec<_> = watchers.collect();
    for number in 0..200 {
        write(&store, "ns/a", number).await;
    }
    for watcher in watchers {
        soon(watcher).await.unwrap();
    }
    assert_eq!(cache.channels.watched_scopes(), 0);
}

#[tokio::test]
async fn a_crowd_rests_between_changes() {
    let store = memory();
    let cache = cache(&store).await;
    let mut watch = cache.watch(PODS, 1).await.unwrap();
    write(&store, "ns/a", 1).await;
    soon(watch.next()).await.unwrap();
    assert_eq!(watch.rests_until(), None);
    let crowd: Vec<_> = join_all((0..1_000).map(|_| cache.watch(PODS, 1))).await;
    let rest = watch.rests_until().unwrap();
    write(&store, "ns/a", 2).await;
    soon(watch.next()).await.unwrap();
    assert!(tokio::time::Instant::now() >= rest, "it was brought before the rest was over");
    drop(crowd);
    assert_eq!(watch.rests_until(), None);
}

#[tokio::test]
async fn changes_in_quick_succession_are_taken_together() {
    let store = memory();
    let cache = cache(&store).await;
    let mut watch = cache.watch(PODS, 1).await.unwrap();
    write(&store, "ns/a", 1).await;
    write(&store, "ns/a", 2).await;
    cache.wait_current().await.unwrap();
    soon(watch.next()).await.unwrap();
    let rest = watch.rests_until().unwrap();
    // The second is there already: who has taken it need not rest to hand it out.
    assert!(watch.try_next().unwrap().is_some());
    write(&store, "ns/a", 3).await;
    soon(watch.next()).await.unwrap();
    assert!(tokio::time::Instant::now() >= rest, "it was brought before the rest was over");
}
