//! The disk is cut: every state a crash can leave is made and opened; every call is made to fail once; files are damaged.

#![allow(clippy::unwrap_used)]

mod faults;

use std::collections::BTreeMap;
use std::io;

use futures::future::join_all;

use super::faulty::{Crashes, Fault, FaultyDisk, Numbers};
use super::*;
use crate::conformance::{delete, object, put};
use crate::{EventKind, Expect, Update};

/// What each revision wrote: a key and its value, none for a deletion.
type History = BTreeMap<u64, (String, Option<String>)>;

/// With little room, so that segments are filled and the base is rewritten all the time.
fn options() -> Options {
    Options {
        keep_for: Duration::ZERO,
        keep_revisions: 40,
        rewrite_bytes: 200_000,
        quota_bytes: 64 << 20,
        ..Options::default()
    }
}

fn created() -> FaultyDisk {
    let disk = FaultyDisk::default();
    load::create(&disk, [7; 16]).unwrap();
    disk.sync_names().unwrap();
    disk.acknowledged(EMPTY);
    disk
}

fn open(disk: &FaultyDisk) -> Result<Embedded, ReadError> {
    Embedded::over(Arc::new(disk.clone()), None, options())
}

/// The same without compaction, so that what there is can be looked at.
fn reopen(disk: &FaultyDisk) -> Result<Embedded, ReadError> {
    Embedded::over(Arc::new(disk.clone()), None, Options::default())
}

/// Writes in groups, so that batches have several; sizes from nothing to several pages. Ends early when writes are refused.
async fn work(
    disk: &FaultyDisk,
    store: &Embedded,
    groups: usize,
    bytes: usize,
    numbers: &mut Numbers,
) -> History {
    let mut history = History::new();
    for group in 0..groups {
        let writes: Vec<_> = (0..=numbers.below(5))
            .map(|number| {
                let key = format!("/work/{}", numbers.below(30));
                let value = format!("{group}.{number}.{}", "x".repeat(numbers.below(bytes)));
                match numbers.below(6) {
                    0 => (delete(&*key, Expect::Any), None),
                    _ => (put(&*key, Expect::Any, &value), Some(value)),
                }
            })
            .collect();
        let answers = join_all(writes.iter().map(|(write, _)| store.write(write.clone()))).await;
        for ((write, value), answer) in writes.into_iter().zip(answers) {
            match answer {
                Ok(entry) => {
                    disk.acknowledged(entry.revision);
                    history.insert(entry.revision, (write.key().to_owned(), value));
                }
                Err(WriteError::Conflict { .. } | WriteError::DiskFull(_)) => {}
                Err(WriteError::Poisoned(_)) => return history,
                Err(error) => panic!("{error}"),
            }
        }
    }
    history
}

/// Compares a store with what was written to it: as far as it got, it has exactly that.
async fn check(store: &Embedded, history: &History) {
    let revision = store.revision();
    let mut model: BTreeMap<&str, (u64, &String)> = BTreeMap::new();
    for (revision, (key, value)) in history.range(..=revision) {
        match value {
            Some(value) => model.insert(key, (*revision, value)),
            None => model.remove(key.as_str()),
        };
    }
    let page = store.list("", ListOptions::default()).await.unwrap();
    let found: Vec<_> = page.entries.iter().map(|entry| (&*entry.key, entry.bytes.clone())).collect();
    let want = model.iter().map(|(key, (revision, value))| (*key, object(value, *revision)));
    assert_eq!(found, want.collect::<Vec<_>>(), "at {revision}");
    let mut expected = store.compacted();
    let mut watch = store.watch("", expected).await.unwrap();
    while expected < revision {
        let Update::Event(event) = watch.next().await.unwrap().unwrap() else { continue };
        expected += 1;
        let (key, value) = &history[&expected];
        assert_eq!((&*event.entry.key, event.entry.revision), (key.as_str(), expected));
        assert_eq!(event.kind == EventKind::Deleted, value.is_none());
    }
    store.verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_crash_leaves_opens_with_all_that_was_acknowledged() {
    let (disk, mut numbers) = (created(), Numbers(1));
    let store = open(&disk).unwrap();
    let mut history = History::new();
    // Until the base has been rewritten and a segment removed, which takes about 300.
    loop {
        history.extend(work(&disk, &store, 100, 6_000, &mut numbers).await);
        let files = disk.files();
        if !files.contains_key(&base::name(EMPTY)) && !files.contains_key(&log::name(1)) {
            break;
        }
    }
    store.close();
    let newest = history.len() as u64 + EMPTY;

    let (mut crashes, mut states, mut torn) = (disk.crashes(), 0, 0);
    while crashes.step() {
        // Before the store was complete there is no store: it is made beside and moved into place.
        if crashes.acknowledged < EMPTY || !crashes.is_unsure() || numbers.below(6) > 0 {
            continue;
        }
        states += 1;
        let image = crashes.crash(&mut numbers);
        let left = image.files();
        let store = reopen(&image).unwrap_or_else(|error| panic!("state {states}: {error}"));
        let revision = store.revision();
        assert!((crashes.acknowledged..=newest).contains(&revision), "{revision} {}", crashes.acknowledged);
        torn += u64::from(revision == crashes.acknowledged);
        check(&store, &history).await;
        if states % 12 == 0 {
            is_mended_whenever_that_is_cut_off(left, revision, &mut numbers);
        }
        if states % 8 == 0 {
            goes_on(&image, store, &history).await;
        }
    }
    assert!(states > 20 && torn > 2, "{states} states, {torn} of them with nothing of the last batch");
}

/// Opens what a crash has left, and has that cut off by another one, at each point.
fn is_mended_whenever_that_is_cut_off(left: BTreeMap<String, Vec<u8>>, revision: u64, numbers: &mut Numbers) {
    let disk = FaultyDisk::resumed(left);
    let before = disk.done();
    drop(reopen(&disk).unwrap());
    let mut crashes = disk.crashes();
    for done in 0.. {
        if !crashes.step() {
            break;
        }
        if done >= before {
            let store = reopen(&crashes.crash(numbers)).unwrap_or_else(|error| panic!("{done}: {error}"));
            assert_eq!(store.revision(), revision, "{done}");
        }
    }
}

/// Writes to a store that was opened after a crash, and opens it once more after another one.
async fn goes_on(disk: &FaultyDisk, store: Embedded, history: &History) {
    let mut history = history.clone();
    history.split_off(&(store.revision() + 1));
    for number in 0..3 {
        let entry = store.write(put("/after", Expect::Any, number)).await.unwrap();
        history.insert(entry.revision, ("/after".to_owned(), Some(number.to_string())));
    }
    drop(store);
    let store = reopen(disk).unwrap();
    assert_eq!(history.last_key_value().map(|(revision, _)| *revision), Some(store.revision()));
    check(&store, &history).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_that_fails_loses_what_was_acknowledged() {
    use io::ErrorKind::{Interrupted, Other, StorageFull};
    const FAULTS: [Fault; 4] =
        [Fault::Error(Other), Fault::Error(StorageFull), Fault::Short, Fault::Error(Interrupted)];
    const GROUPS: usize = 12;
    let calls = {
        let disk = created();
        let store = open(&disk).unwrap();
        work(&disk, &store, GROUPS, 120_000, &mut Numbers(3)).await;
        store.close();
        disk.calls()
    };
    let (mut poisoned, mut unharmed) = (0, 0);
    for at in 0..calls {
        // Each call fails in one of the ways, its neighbours in the others.
        let fault = FAULTS[at % FAULTS.len()];
        let disk = created();
        disk.fail(disk.calls() + at + 1, fault);
        let store = open(&disk).unwrap();
        let history = work(&disk, &store, GROUPS, 120_000, &mut Numbers(3)).await;
        if *store.shared.health.borrow() == Health::Running {
            unharmed += 1;
        } else {
            poisoned += 1;
            refuses_everything(&store).await;
            assert!(!matches!(fault, Fault::Short), "a short write is continued");
        }
        drop(store);
        let mut crashes = disk.crashes();
        while crashes.step() {}
        reopens(&crashes, &history, at).await;
    }
    assert!(poisoned > 3 && unharmed > 3, "{poisoned} {unharmed} of {calls}");
}

async fn refuses_everything(store: &Embedded) {
    for _ in 0..2 {
        let refused = store.write(put("/late", Expect::Any, 1)).await;
        assert!(matches!(refused, Err(WriteError::Poisoned(_))), "{refused:?}");
    }
    assert!(matches!(store.compact(1).await, Err(CompactError::Poisoned(_))));
    assert!(!store.failed().await.is_empty());
}

/// What a crash leaves after a failure has everything that was acknowledged; what was not may be there.
async fn reopens(crashes: &Crashes, history: &History, at: usize) {
    let image = crashes.crash(&mut Numbers(at as u64));
    let store = reopen(&image).unwrap_or_else(|error| panic!("call {at}: {error}"));
    assert!(store.revision() >= crashes.acknowledged, "call {at}");
    store.verify().await.unwrap();
    let page = store.list("", ListOptions::default()).await.unwrap();
    let mut last: BTreeMap<&str, (u64, &Option<String>)> = BTreeMap::new();
    last.extend(history.iter().map(|(revision, (key, value))| (key.as_str(), (*revision, value))));
    for (key, (revision, value)) in last {
        let found = page.entries.iter().find(|entry| &*entry.key == key);
        let later = found.is_some_and(|entry| entry.revision > crashes.acknowledged);
        let gone = found.is_none() && store.revision() > crashes.acknowledged;
        if !later && !gone {
            let want = value.as_ref().map(|value| object(value, revision));
            assert_eq!(found.map(|entry| entry.bytes.clone()), want, "call {at}: {key}");
        }
    }
}

/// The files of a closed store whose base was rewritten and whose log has two segments, and what it holds.
async fn filled() -> (BTreeMap<String, Vec<u8>>, History) {
    let disk = created();
    let store = open(&disk).unwrap();
    let mut numbers = Numbers(5);
    let mut history = History::new();
    loop {
        let more = work(&disk, &store, 10, 6_000, &mut numbers).await;
        history.extend(more);
        let files = disk.files();
        let logs = files.keys().filter(|name| log::number(name).is_some());
        let used = logs.filter(|name| !segment::is_zero(&files[*name][512..])).count();
        let rewriting = files.keys().any(|name| name.ends_with(log::UNFINISHED));
        if used == 2 && !files.contains_key(&base::name(EMPTY)) && !rewriting {
            break;
        }
    }
    // The last batch is small and not what is damaged below: damage to it alone cannot be told from a crash.
    for _ in 0..2 {
        let entry = store.write(put("/last", Expect::Any, "y")).await.unwrap();
        history.insert(entry.revision, ("/last".to_owned(), Some("y".to_owned())));
    }
    store.close();
    (disk.files(), history)
}

/// Opens damaged files: either that is refused, or what is read is either an error or what was written.
async fn said(files: BTreeMap<String, Vec<u8>>, history: &History, what: &str) -> bool {
    let store = match reopen(&FaultyDisk::of(files)) {
        Ok(store) => store,
        Err(ReadError::Damaged(message)) => {
            assert!(
                message.contains("base-") || message.contains("log-") || message.contains("revision"),
                "{message}"
            );
            return true;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    assert_eq!(store.revision(), history.len() as u64 + EMPTY, "{what}: writes are missing");
    if matches!(store.verify().await, Err(ReadError::Damaged(_))) {
        for (key, _) in history.values() {
            match store.get(key).await {
                Ok(_) | Err(ReadError::Damaged(_)) => {}
                Err(error) => panic!("{what}: {error}"),
            }
        }
        return true;
    }
    check(&store, history).await;
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_said_and_never_read_as_data() {
    let (files, history) = filled().await;
    let mut numbers = Numbers(11);
    let mut found = 0;
    for (name, contents) in &files {
        let used = contents.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        if log::number(name).is_some() && used <= 512 {
            continue;
        }
        // The two last batches.
        let end = if log::number(name).is_some() { used - 400 } else { used };
        for _ in 0..60 {
            let at = numbers.below(end);
            let mut flipped = files.clone();
            flipped.get_mut(name).unwrap()[at] ^= 1 << numbers.below(8);
            found += u32::from(said(flipped, &history, &format!("{name}: a bit at {at}")).await);

            let page = at / 4_096 * 4_096;
            if page + 4_096 < end {
                let mut zeroed = files.clone();
                zeroed.get_mut(name).unwrap()[page..page + 4_096].fill(0);
                found += u32::from(said(zeroed, &history, &format!("{name}: zeros at {page}")).await);
            }
            let mut cut = files.clone();
            let length = numbers.below(contents.len());
            cut.get_mut(name).unwrap().truncate(length);
            let what = format!("{name}: cut at {length}");
            assert!(said(cut, &history, &what).await, "{what}");
        }
        let mut gone = files.clone();
        gone.remove(name);
        // That the newest segment was ever there is known to nobody but the one that was made ready after it.
        if files.keys().next_back() != Some(name) {
            assert!(said(gone, &history, &format!("{name} is gone")).await, "{name}");
        }
    }
    assert!(found > 150, "{found} changes were noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_bit_in_the_last_batch_is_not_taken_for_a_torn_write() {
    let disk = created();
    let store = open(&disk).unwrap();
    let value = "v".repeat(3_000);
    let entry = store.write(put("/a", Expect::Any, &value)).await.unwrap();
    store.close();
    let history = History::from([(entry.revision, ("/a".to_owned(), Some(value)))]);
    let files = disk.files();
    let name = log::name(1);
    let end = files[&name].iter().rposition(|byte| *byte != 0).unwrap();
    for at in (512..620).chain((620..end - 20).step_by(61)).chain(end - 20..=end) {
        let mut flipped = files.clone();
        flipped.get_mut(&name).unwrap()[at] ^= 4;
        // Said or, at the very end, harmless; the write is never missing.
        said(flipped, &history, &format!("bit at {at}")).await;
    }
}
