//! Prints what the embedded store does on this machine's disk:
//! `cargo run --release -p knarr-store --example store_bench [directory]`.
//!
//! Writes are synced for real, so the directory (default: the current one) decides as much as the program.

#![allow(clippy::print_stdout, reason = "a measurement is printed")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::future::join_all;
use store::{Cache, Draft, Embedded, Expect, ListOptions, Options, Store, Write};
use tokio_util::sync::CancellationToken;

const OBJECT_BYTES: usize = 1_400;
const SCOPE: &str = "/registry/configmaps/";
const MANY: u64 = 100_000;
const WATCHERS: usize = 1_000;
const UPDATES: usize = 2_500;
const UPDATES_A_SECOND: u32 = 500;

#[tokio::main]
async fn main() {
    let directory = std::env::args().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let path = directory.join(format!("store-bench-{}", std::process::id()));
    let store: Arc<dyn Store> =
        Arc::new(Embedded::open(&path, Options::default()).expect("a directory to write in"));
    for (writers, writes) in [(1, 3_000), (64, 40_000)] {
        creates(&store, writers, writes).await;
    }
    watchers(&store).await;
    fill(&store).await;
    drop(store);
    load(&path).await;
    let files = std::fs::read_dir(path.join("v2")).expect("the store's files").flatten();
    let bytes: u64 = files.map(|file| file.metadata().map_or(0, |file| file.len())).sum();
    println!("files: {} MB", bytes >> 20);
    std::fs::remove_dir_all(&path).expect("the directory was ours");
}

fn draft(name: &str) -> Draft {
    let head = r#"{"metadata":{"#;
    let filler = "x".repeat(OBJECT_BYTES);
    Draft {
        bytes: format!(r#"{head}"name":"{name}"}},"data":{{"a":"{filler}"}}}}"#).into(),
        revision_at: head.len() as u32,
    }
}

fn create(key: String) -> Write {
    let draft = draft(&key);
    Write::Put { key, expect: Expect::Absent, draft, ttl: None }
}

async fn creates(store: &Arc<dyn Store>, writers: u64, writes: u64) {
    let start = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            for number in 0..writes / writers {
                let started = Instant::now();
                store.write(create(format!("{SCOPE}w{writers}/{writer}-{number}"))).await.expect("a write");
                latencies.push(started.elapsed());
            }
            latencies
        })
    });
    let latencies = join_all(tasks.collect::<Vec<_>>()).await;
    let took = start.elapsed();
    let mut latencies: Vec<Duration> =
        latencies.into_iter().flat_map(|task| task.expect("no panic")).collect();
    latencies.sort_unstable();
    let (median, p99) = (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100]);
    let rate = latencies.len() as f64 / took.as_secs_f64();
    println!("{writers:>3} writers: {rate:>7.0} creates/s, median {median:?}, p99 {p99:?}");
}

/// Updates at a steady pace, seen by many watchers of one scope.
async fn watchers(store: &Arc<dyn Store>) {
    let scope = format!("{SCOPE}watched/");
    let token = CancellationToken::new();
    let cache = Cache::start(Arc::clone(store), SCOPE, |_, _| (), token).await.expect("a cache");
    // When each revision was written.
    let first = store.revision() + 1;
    let written: Arc<Vec<OnceLock<Instant>>> = Arc::new((0..UPDATES).map(|_| OnceLock::new()).collect());
    let mut watching = Vec::new();
    for _ in 0..WATCHERS {
        let mut watch = cache.watch(&scope, first - 1).await.expect("a watch");
        let written = Arc::clone(&written);
        watching.push(tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(UPDATES);
            while latencies.len() < UPDATES {
                let batch = watch.next_batch(64).await.expect("no watcher lags");
                let bytes: usize = batch.iter().map(|change| change.frame().len()).sum();
                assert!(bytes > batch.len() * OBJECT_BYTES);
                let seen = batch.iter().map(|change| written[(change.revision() - first) as usize].get());
                latencies.extend(seen.map(|written| written.map_or(Duration::ZERO, Instant::elapsed)));
            }
            latencies
        }));
    }
    let start = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / UPDATES_A_SECOND);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    for number in 0..UPDATES {
        pace.tick().await;
        // As it is sent: delivery may come before the acknowledgement.
        let _ = written[number].set(Instant::now());
        let key = format!("{scope}{}", number % 10);
        let write = Write::Put { draft: draft(&key), key, expect: Expect::Any, ttl: None };
        store.write(write).await.expect("a write");
    }
    let rate = UPDATES as f64 / start.elapsed().as_secs_f64();
    let seen = join_all(watching).await.into_iter().flat_map(|watcher| watcher.expect("no panic"));
    let mut latencies: Vec<Duration> = seen.collect();
    latencies.sort_unstable();
    let (median, p99) = (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100]);
    println!(
        "{WATCHERS} watchers: {rate:.0} updates/s each, written to seen: median {median:?}, p99 {p99:?}"
    );
}

/// Up to [`MANY`] objects.
async fn fill(store: &Arc<dyn Store>) {
    let present = store.list(SCOPE, ListOptions { limit: Some(0), ..ListOptions::default() }).await;
    let present = present.expect("a list").remaining;
    let tasks = (0..256u64).map(|task| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for number in (present..MANY).filter(|number| number % 256 == task) {
                store.write(create(format!("{SCOPE}many/{number}"))).await.expect("a write");
            }
        })
    });
    join_all(tasks.collect::<Vec<_>>()).await;
}

/// Opens the store again and loads a cache.
async fn load(path: &Path) {
    let before = anonymous_kib();
    let start = Instant::now();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(path, Options::default()).expect("the store opens"));
    let opened = start.elapsed();
    let cache = Cache::start(store, SCOPE, |_, _| (), CancellationToken::new()).await.expect("a cache");
    let loaded = start.elapsed();
    let started = Instant::now();
    let listing = cache.list(SCOPE, None, None);
    let listed = started.elapsed();
    let json: usize = listing.items.iter().map(|item| item.entry.bytes.len()).sum();
    let memory = anonymous_kib().saturating_sub(before) >> 10;
    println!(
        "open {opened:?}, cache of {} objects loaded after {loaded:?}, listed in {listed:?}",
        cache.len()
    );
    println!("{} MB of JSON held in {memory} MB more of own memory", json >> 20);
}

/// Memory that is not file pages, in KiB.
fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}
