//! What every driver of [`Store`] has to do, as tests: [`run`] them against a driver. A failure panics with the name of the case.
//!
//! The cases assume nothing about the revision they start at, and each keeps to a scope of its own.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use parking_lot::Mutex;

use crate::{
    CompactError, Draft, Entry, Event, EventKind, Expect, ListOptions, Page, ReadError, Sink, Store, Update,
    Watch, WatchError, Write, WriteError,
};

/// Longer than any step of a case takes on a machine that works.
const PATIENCE: Duration = Duration::from_secs(30);

type Case = fn(Arc<dyn Store>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// The cases by name.
pub const CASES: &[(&str, Case)] = &[
    ("conditions", |store| Box::pin(conditions(store))),
    ("invalid keys", |store| Box::pin(invalid_keys(store))),
    ("revisions are dense", |store| Box::pin(revisions_are_dense(store))),
    ("scopes and pages", |store| Box::pin(scopes_and_pages(store))),
    ("pages survive writes", |store| Box::pin(pages_survive_writes(store))),
    ("history against a model", |store| Box::pin(history_against_a_model(store))),
    ("watch from any revision", |store| Box::pin(watch_from_any_revision(store))),
    ("compaction", |store| Box::pin(compaction(store))),
    ("a watch overtaken by compaction", |store| Box::pin(overtaken_watch(store))),
    ("concurrent counters", |store| Box::pin(concurrent_counters(store))),
    ("feed", |store| Box::pin(feed(store))),
];

/// Runs every case, each against a store that `open` makes. A store may be shared by cases.
pub async fn run<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    for (name, case) in CASES {
        let case = case(open().await);
        tracing::info!(name, "conformance case");
        let result = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(case)).await;
        if let Err(panic) = result {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            panic!("case {name:?}: {}", words.unwrap_or_default());
        }
    }
}

/// An object with a value, as the API server would draft it.
pub fn draft(value: impl std::fmt::Display) -> Draft {
    let head = r#"{"metadata":{"#;
    let bytes = format!(r#"{head}"name":"n"}},"value":"{value}"}}"#);
    Draft { bytes: bytes.into(), revision_at: head.len() as u32 }
}

/// What [`draft`] looks like at a revision.
pub fn object(value: impl std::fmt::Display, revision: u64) -> Bytes {
    draft(value).at_revision("".into(), revision).bytes
}

/// A put.
pub fn put(key: impl Into<String>, expect: Expect, value: impl std::fmt::Display) -> Write {
    Write::Put { key: key.into(), expect, draft: draft(value), ttl: None }
}

/// A delete.
pub fn delete(key: impl Into<String>, expect: Expect) -> Write {
    Write::Delete { key: key.into(), expect }
}

async fn must(store: &dyn Store, write: Write) -> Entry {
    let shown = format!("{write:?}");
    store.write(write).await.unwrap_or_else(|error| panic!("{shown}: {error}"))
}

async fn listed(store: &dyn Store, scope: &str, options: ListOptions) -> Page {
    store.list(scope, options).await.unwrap_or_else(|error| panic!("list of {scope}: {error}"))
}

fn keys(page: &Page) -> Vec<&str> {
    page.entries.iter().map(|entry| &*entry.key).collect()
}

async fn conditions(store: Arc<dyn Store>) {
    let key = "/conformance/conditions/a";
    let conflict = async |write: Write, current: Option<&Entry>| match store.write(write.clone()).await {
        Err(WriteError::Conflict { current: found }) => assert_eq!(found.as_ref(), current, "{write:?}"),
        other => panic!("{write:?} should be refused: {other:?}"),
    };
    conflict(put(key, Expect::Revision(1), 0), None).await;
    conflict(delete(key, Expect::Any), None).await;
    conflict(delete(key, Expect::Revision(1)), None).await;
    conflict(delete(key, Expect::Absent), None).await;

    let first = must(&*store, put(key, Expect::Absent, 1)).await;
    assert_eq!(first.bytes, object(1, first.revision));
    assert_eq!((&*first.key, store.revision()), (key, first.revision));
    conflict(put(key, Expect::Absent, 2), Some(&first)).await;
    conflict(put(key, Expect::Revision(first.revision + 1), 2), Some(&first)).await;
    conflict(delete(key, Expect::Absent), Some(&first)).await;

    let second = must(&*store, put(key, Expect::Revision(first.revision), 2)).await;
    assert_eq!(second.revision, first.revision + 1, "refused writes take no revision");
    conflict(put(key, Expect::Revision(first.revision), 3), Some(&second)).await;
    conflict(delete(key, Expect::Revision(first.revision)), Some(&second)).await;
    let third = must(&*store, put(key, Expect::Any, 3)).await;
    assert_eq!(store.get(key).await, Ok(Some(third.clone())));

    let gone = must(&*store, delete(key, Expect::Revision(third.revision))).await;
    assert_eq!((gone.revision, gone.bytes), (third.revision + 1, object(3, third.revision + 1)));
    assert_eq!(store.get(key).await, Ok(None));
    conflict(put(key, Expect::Revision(gone.revision), 4), None).await;
    let again = must(&*store, put(key, Expect::Absent, 5)).await;
    assert_eq!(store.get(key).await, Ok(Some(again)));
    must(&*store, delete(key, Expect::Any)).await;
}

async fn invalid_keys(store: Arc<dyn Store>) {
    for key in ["", "/a\0b", "/a/"] {
        let refused = store.write(put(key, Expect::Any, 0)).await;
        assert!(matches!(refused, Err(WriteError::InvalidKey { .. })), "{key:?}: {refused:?}");
    }
    // The longest key the API can make: group, resource, namespace and name at their limits.
    let long =
        format!("/registry/{}/{}/{}/{}", "g".repeat(253), "p".repeat(63), "s".repeat(63), "n".repeat(253));
    let entry = must(&*store, put(long.clone(), Expect::Absent, 1)).await;
    assert_eq!(store.get(&long).await, Ok(Some(entry)));
    must(&*store, delete(long, Expect::Any)).await;
}

async fn revisions_are_dense(store: Arc<dyn Store>) {
    let scope = "/conformance/dense/";
    let before = store.revision();
    let writes = (0..64).map(|number| {
        let store = Arc::clone(&store);
        async move { must(&*store, put(format!("{scope}{number}"), Expect::Absent, number)).await.revision }
    });
    let mut revisions = join_all(writes).await;
    revisions.sort_unstable();
    assert_eq!(revisions, (before + 1..=before + 64).collect::<Vec<_>>());
    assert_eq!(store.revision(), before + 64);
    assert_eq!(store.current().await, Ok(before + 64));
}

async fn scopes_and_pages(store: Arc<dyn Store>) {
    let names = ["a", "a-b", "a/x", "a/y", "ab", "b/x"].map(|name| format!("/conformance/scopes/{name}"));
    for name in &names {
        must(&*store, put(name.clone(), Expect::Absent, name)).await;
    }
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let scope = |name: &str| format!("/conformance/scopes/{name}");
    let page = listed(&*store, &scope(""), ListOptions::default()).await;
    assert_eq!((keys(&page), page.more, page.remaining), (all.clone(), false, 0));
    assert_eq!(page.revision, store.revision());
    for (name, want) in [("a", &all[..1]), ("a/", &all[2..4]), ("b/", &all[5..]), ("c/", &[]), ("c", &[])] {
        assert_eq!(keys(&listed(&*store, &scope(name), ListOptions::default()).await), want, "{name}");
    }
    let everything = listed(&*store, "", ListOptions::default()).await;
    assert!(keys(&everything).is_sorted() && all.iter().all(|key| keys(&everything).contains(key)));
    for (after, limit, want, remaining) in
        [("", 2, 0..2, 4), ("a", 1, 1..2, 4), ("a-b", 9, 2..6, 0), ("b/x", 1, 6..6, 0), ("aa", 1, 4..5, 1)]
    {
        let options = ListOptions { at: None, after: Some(scope(after)), limit: Some(limit) };
        let page = listed(&*store, &scope(""), options).await;
        assert_eq!((keys(&page), page.remaining), (all[want].to_vec(), remaining), "after {after}");
        assert_eq!(page.more, remaining > 0);
    }
}

async fn pages_survive_writes(store: Arc<dyn Store>) {
    let scope = "/conformance/pages/";
    for number in 0..10 {
        must(&*store, put(format!("{scope}{number}"), Expect::Absent, number)).await;
    }
    let first = listed(&*store, scope, ListOptions { at: None, after: None, limit: Some(3) }).await;
    let whole = listed(&*store, scope, ListOptions::default()).await;
    for number in [0, 4, 9] {
        must(&*store, delete(format!("{scope}{number}"), Expect::Any)).await;
        must(&*store, put(format!("{scope}{}", number + 1), Expect::Any, "changed")).await;
    }
    let mut entries = first.entries.clone();
    loop {
        let after = entries.last().map(|entry| entry.key.to_string());
        let page =
            listed(&*store, scope, ListOptions { at: Some(first.revision), after, limit: Some(3) }).await;
        assert_eq!(
            (page.revision, page.remaining as usize),
            (first.revision, 10 - entries.len() - page.entries.len())
        );
        entries.extend(page.entries);
        if !page.more {
            break;
        }
    }
    assert_eq!(entries, whole.entries);
    let at = store.revision() + 1_000;
    let future = store.list(scope, ListOptions { at: Some(at), ..ListOptions::default() }).await;
    assert_eq!(future, Err(ReadError::Future { current: store.revision() }));
}

/// A small generator of numbers that are as good as random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

async fn history_against_a_model(store: Arc<dyn Store>) {
    let scope = "/conformance/model/";
    let mut numbers = Numbers(7);
    let mut model: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut states = vec![(store.revision(), model.clone())];
    let mut compacted = 0;
    for step in 0..400 {
        let key = format!("{scope}{}", numbers.below(12));
        let value = format!("{step}");
        match (numbers.below(3), model.contains_key(&key)) {
            (0, true) => {
                must(&*store, delete(key.clone(), Expect::Any)).await;
                model.remove(&key);
            }
            _ => {
                let revision = must(&*store, put(key.clone(), Expect::Any, &value)).await.revision;
                model.insert(key, (value, revision));
            }
        }
        states.push((store.revision(), model.clone()));
        if step % 97 == 96 {
            compacted = states[states.len() - 1 - numbers.below(90) as usize].0.max(compacted);
            store.compact(compacted).await.unwrap_or_else(|error| panic!("compaction: {error}"));
        }
    }
    for (at, model) in states {
        let page = store.list(scope, ListOptions { at: Some(at), ..ListOptions::default() }).await;
        if at < compacted {
            assert_eq!(page, Err(ReadError::Compacted { oldest: compacted }), "at {at}");
            continue;
        }
        let page = page.unwrap_or_else(|error| panic!("list at {at}: {error}"));
        let found: Vec<_> =
            page.entries.iter().map(|entry| (entry.key.to_string(), entry.bytes.clone())).collect();
        let want = model.iter().map(|(key, (value, revision))| (key.clone(), object(value, *revision)));
        assert_eq!(found, want.collect::<Vec<_>>(), "at {at}");
    }
}

/// The events of a watch until it has told everything up to `until`.
async fn collect(watch: &mut Watch, until: u64) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match tokio::time::timeout(PATIENCE, watch.next()).await {
            Ok(Some(Ok(Update::Event(event)))) => events.push(event),
            Ok(Some(Ok(Update::Progress(revision)))) if revision >= until => return events,
            Ok(Some(Ok(Update::Progress(_)))) => {}
            other => panic!("a watch should reach {until}: {other:?}"),
        }
    }
}

async fn watch_from_any_revision(store: Arc<dyn Store>) {
    let scope = "/conformance/watch/";
    let key = |name: &str| format!("{scope}{name}");
    let start = store.revision();
    let a1 = must(&*store, put(key("a"), Expect::Absent, 1)).await;
    let b1 = must(&*store, put(key("b"), Expect::Absent, 2)).await;
    must(&*store, put("/conformance/other/a", Expect::Any, 0)).await;
    let a2 = must(&*store, put(key("a"), Expect::Any, 3)).await;
    let b2 = must(&*store, delete(key("b"), Expect::Any)).await;
    let event = |kind, entry: &Entry, previous: Option<&Entry>| Event {
        kind,
        entry: entry.clone(),
        previous: previous.cloned(),
    };
    let all = [
        event(EventKind::Created, &a1, None),
        event(EventKind::Created, &b1, None),
        event(EventKind::Modified, &a2, Some(&a1)),
        event(EventKind::Deleted, &b2, Some(&b1)),
    ];
    for after in start..=b2.revision {
        let mut watch =
            store.watch(scope, after).await.unwrap_or_else(|error| panic!("watch after {after}: {error}"));
        let want: Vec<_> = all.iter().filter(|event| event.entry.revision > after).cloned().collect();
        assert_eq!(collect(&mut watch, b2.revision).await, want, "after {after}");
    }
    let single = store.watch(&key("a"), start).await;
    let mut single = single.unwrap_or_else(|error| panic!("watch of one key: {error}"));
    assert_eq!(collect(&mut single, b2.revision).await, [all[0].clone(), all[2].clone()]);
    // From here on live.
    let a3 = must(&*store, put(key("a"), Expect::Any, 4)).await;
    must(&*store, put(key("ab"), Expect::Any, 4)).await;
    let end = must(&*store, delete(key("a"), Expect::Any)).await;
    let want = [event(EventKind::Modified, &a3, Some(&a2)), event(EventKind::Deleted, &end, Some(&a3))];
    assert_eq!(collect(&mut single, end.revision).await, want);
}

async fn compaction(store: Arc<dyn Store>) {
    let scope = "/conformance/compaction/";
    let key = format!("{scope}a");
    let first = must(&*store, put(key.clone(), Expect::Absent, 1)).await;
    let second = must(&*store, put(key.clone(), Expect::Any, 2)).await;
    let gone = must(&*store, put(format!("{scope}b"), Expect::Any, 0)).await;
    let gone = must(&*store, delete(&*gone.key, Expect::Any)).await;
    let third = must(&*store, put(key.clone(), Expect::Any, 3)).await;
    let oldest = gone.revision;
    assert_eq!(store.compact(oldest).await, Ok(()));
    assert_eq!(store.compacted(), oldest);
    assert_eq!(store.compact(first.revision).await, Ok(()), "has been done already");
    let future = store.compact(third.revision + 1).await;
    assert_eq!(future, Err(CompactError::Future { current: third.revision }));
    for before in [first.revision, oldest - 1] {
        let page = store.list(scope, ListOptions { at: Some(before), ..ListOptions::default() }).await;
        assert_eq!(page, Err(ReadError::Compacted { oldest }));
        let watch = store.watch(scope, before).await;
        assert_eq!(watch.err(), Some(ReadError::Compacted { oldest }));
    }
    let page = listed(&*store, scope, ListOptions { at: Some(oldest), ..ListOptions::default() }).await;
    assert_eq!(page.entries, std::slice::from_ref(&second));
    let watch = store.watch(scope, oldest).await;
    let events = collect(&mut watch.unwrap_or_else(|error| panic!("{error}")), third.revision).await;
    assert_eq!(events, [Event { kind: EventKind::Modified, entry: third.clone(), previous: Some(second) }]);
    // Down to the newest revision: nothing but what exists is left, and writes go on from there.
    assert_eq!(store.compact(third.revision).await, Ok(()));
    assert_eq!(store.get(&key).await, Ok(Some(third.clone())));
    let fourth = must(&*store, put(key, Expect::Revision(third.revision), 4)).await;
    assert_eq!(fourth.revision, third.revision + 1);
}

async fn overtaken_watch(store: Arc<dyn Store>) {
    let scope = "/conformance/overtaken/";
    let start = store.revision();
    let mut watch = store.watch(scope, start).await.unwrap_or_else(|error| panic!("{error}"));
    let mut newest = start;
    for number in 0..50 {
        newest = must(&*store, put(format!("{scope}{}", number % 5), Expect::Any, number)).await.revision;
    }
    store.compact(newest).await.unwrap_or_else(|error| panic!("{error}"));
    // Either it had the events already, then all of them, or it is told: never a gap.
    let mut expected = start + 1;
    loop {
        match tokio::time::timeout(PATIENCE, watch.next()).await {
            Ok(Some(Ok(Update::Event(event)))) => {
                assert_eq!(event.entry.revision, expected);
                expected += 1;
            }
            Ok(Some(Ok(Update::Progress(revision)))) if revision >= newest => {
                assert_eq!(expected, newest + 1);
                return;
            }
            Ok(Some(Ok(Update::Progress(_)))) => {}
            Ok(Some(Err(WatchError::Lagged { oldest }))) => {
                assert_eq!(oldest, newest);
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn concurrent_counters(store: Arc<dyn Store>) {
    const WRITERS: u64 = 16;
    const STEPS: u64 = 25;
    let key = "/conformance/counter/a";
    let value = |entry: &Entry| -> u64 {
        let text = String::from_utf8_lossy(&entry.bytes).into_owned();
        text.rsplit('"').nth(1).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    };
    let start = must(&*store, put(key, Expect::Any, 0)).await;
    let writers = (0..WRITERS).map(|_| {
        let store = Arc::clone(&store);
        async move {
            for _ in 0..STEPS {
                let mut seen =
                    store.get(key).await.ok().flatten().unwrap_or_else(|| panic!("the counter is there"));
                // The conflict tells the present state, so there is always something newer to try with.
                loop {
                    match store.write(put(key, Expect::Revision(seen.revision), value(&seen) + 1)).await {
                        Ok(_) => break,
                        Err(WriteError::Conflict { current: Some(current) }) => {
                            assert!(current.revision > seen.revision);
                            seen = current;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    });
    join_all(writers).await;
    let end = store.get(key).await.ok().flatten().unwrap_or_else(|| panic!("the counter is there"));
    assert_eq!(value(&end), WRITERS * STEPS);
    let watch = store.watch(key, start.revision).await;
    let events = collect(&mut watch.unwrap_or_else(|error| panic!("{error}")), end.revision).await;
    let counts: Vec<_> = events.iter().map(|event| value(&event.entry)).collect();
    assert_eq!(counts, (1..=WRITERS * STEPS).collect::<Vec<_>>());
}

#[derive(Default)]
struct Recorded(Mutex<Vec<(EventKind, Entry)>>);

impl Sink for Recorded {
    fn apply(&self, writes: &[(EventKind, &Entry)]) {
        self.0.lock().extend(writes.iter().map(|(kind, entry)| (*kind, (*entry).clone())));
    }

    fn closed(&self) {}
}

async fn feed(store: Arc<dyn Store>) {
    let scope = "/conformance/feed/";
    let recorded = Arc::new(Recorded::default());
    let from = store.feed().attach(scope, &recorded);
    let mut want = Vec::new();
    for number in 0..20 {
        let key = format!("{scope}{}", number % 3);
        let known = want.iter().any(|(_, entry): &(_, Entry)| *entry.key == *key);
        let kind = if known { EventKind::Modified } else { EventKind::Created };
        want.push((kind, must(&*store, put(key, Expect::Any, number)).await));
        must(&*store, put("/conformance/feed-other/a", Expect::Any, number)).await;
    }
    want.push((EventKind::Deleted, must(&*store, delete(format!("{scope}0"), Expect::Any)).await));
    let reached = tokio::time::timeout(PATIENCE, store.feed().wait_for(store.revision())).await;
    assert_eq!(reached, Ok(Ok(())));
    assert!(store.feed().revision() >= store.revision());
    assert!(want.iter().all(|(_, entry)| entry.revision > from));
    assert_eq!(*recorded.0.lock(), want);
}
