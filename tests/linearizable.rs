//! Writers, readers and watchers of the API at once, on both stores, while servers and etcd are killed (`kill -9`) and started
//! again: what clients were told is checked by `testkit::history`.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::{ConfigMap, ObjectMeta};
use futures::{StreamExt, future::join_all};
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use tempfile::TempDir;
use testkit::history::{Operation, Outcome, Seen, What, check};
use testkit::{Etcd, eventually};

use crate::PROGRAM;
use crate::server::{Server, share_authority};

const KEYS: [&str; 3] = ["a", "b", "c"];
/// Clients of each server.
const CLIENTS: usize = 4;
/// Operations that succeed between two kills.
const STRETCH: usize = 150;
const PATIENCE: Duration = Duration::from_secs(120);
/// For one request; a server that was killed may leave it open.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
const LABEL: &str = "test=linearizable";
/// The value that ends the watchers.
const END: &str = "end";

/// What all clients share.
struct Run {
    began: Instant,
    operations: Mutex<Vec<Operation>>,
    /// How many had an answer.
    answered: AtomicUsize,
    stop: AtomicBool,
}

impl Run {
    fn new() -> Arc<Self> {
        let (operations, answered) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { began: Instant::now(), operations, answered, stop: AtomicBool::new(false) })
    }

    /// Runs one operation and records it; `None` records nothing.
    async fn record<F: Future<Output = Option<What>>>(&self, operation: F) -> Option<What> {
        let start = self.began.elapsed();
        let what = operation.await?;
        let end = self.began.elapsed();
        if !matches!(what, What::Write { outcome: Outcome::Unknown, .. }) {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        self.operations.lock().push(Operation { start, end, what: what.clone() });
        Some(what)
    }

    /// Waits until the clients have come some way.
    fn stretch(&self) {
        let goal = self.answered.load(Ordering::Relaxed) + STRETCH;
        eventually("answers", PATIENCE, || Ok(self.answered.load(Ordering::Relaxed) >= goal)).unwrap();
    }
}

async fn api(server: &Server<'_>) -> Api<ConfigMap> {
    let file = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    Api::namespaced(kube::Client::try_from(config).unwrap(), "default")
}

fn seen(map: &ConfigMap) -> Seen {
    let value = map.data.as_ref().and_then(|data| data.get("v")).cloned().unwrap_or_default();
    Seen { revision: revision(&map.metadata.resource_version), key: map.name_any(), value }
}

fn revision(text: &Option<String>) -> u64 {
    text.as_ref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn config_map(key: &str, value: &str, expected: Option<u64>) -> ConfigMap {
    let labels = LABEL.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(key.to_owned()),
            labels: Some(labels.into_iter().collect()),
            resource_version: expected.map(|revision| revision.to_string()),
            ..ObjectMeta::default()
        },
        data: Some([("v".to_owned(), value.to_owned())].into()),
        ..ConfigMap::default()
    }
}

async fn write(api: &Api<ConfigMap>, key: &str, value: String, expected: Option<u64>) -> Option<What> {
    let map = config_map(key, &value, expected);
    let parameters = PostParams::default();
    let request = async {
        // Only the first writes find nothing to replace.
        if expected == Some(0) {
            return api.create(&parameters, &config_map(key, &value, None)).await;
        }
        api.replace(key, &parameters, &map).await
    };
    let outcome = match tokio::time::timeout(REQUEST_LIMIT, request).await {
        Ok(Ok(map)) => Outcome::Done(revision(&map.metadata.resource_version)),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Outcome::Refused,
        _ => Outcome::Unknown,
    };
    let expected = expected.filter(|expected| *expected != 0);
    Some(What::Write { key: key.to_owned(), value, expected, outcome })
}

async fn read(api: &Api<ConfigMap>, key: &str) -> Option<What> {
    let answer = tokio::time::timeout(REQUEST_LIMIT, api.get(key)).await;
    answer.ok()?.ok().map(|map| What::Read(seen(&map)))
}

async fn list(api: &Api<ConfigMap>) -> Option<What> {
    let parameters = ListParams::default().labels(LABEL);
    let list = tokio::time::timeout(REQUEST_LIMIT, api.list(&parameters)).await.ok()?.ok()?;
    let items = list.items.iter().map(seen).collect();
    Some(What::List { revision: revision(&list.metadata.resource_version), items })
}

/// Writes and reads in turn until the run is stopped.
async fn client(run: Arc<Run>, api: Api<ConfigMap>, number: usize) {
    let mut known: HashMap<&str, u64> = HashMap::new();
    for step in number.. {
        if run.stop.load(Ordering::Relaxed) {
            return;
        }
        let key = KEYS[step / 2 % KEYS.len()];
        let value = format!("{number}.{step}");
        let done = match step % 7 {
            0 => run.record(list(&api)).await,
            1 | 4 => run.record(read(&api, key)).await,
            2 => run.record(write(&api, key, value, None)).await,
            _ => run.record(write(&api, key, value, known.get(key).copied())).await,
        };
        match done {
            Some(What::Read(seen)) => drop(known.insert(key, seen.revision)),
            Some(What::Write { outcome: Outcome::Done(revision), .. }) => drop(known.insert(key, revision)),
            Some(What::List { .. }) => {}
            // What is known is no longer so, or nobody is there.
            _ => {
                known.remove(key);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Everything from a revision to the end, through whatever happens to the connection.
async fn watcher(api: Api<ConfigMap>, mut after: u64) -> Vec<Seen> {
    let mut events = Vec::new();
    let parameters = WatchParams::default().labels(LABEL);
    loop {
        let Ok(stream) = api.watch(&parameters, &after.to_string()).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut stream = std::pin::pin!(stream);
        while let Some(Ok(event)) = stream.next().await {
            match event {
                WatchEvent::Added(map) | WatchEvent::Modified(map) => {
                    let seen = seen(&map);
                    after = seen.revision;
                    let end = seen.value == END;
                    events.push(seen);
                    if end {
                        return events;
                    }
                }
                WatchEvent::Error(status) if status.code == 410 => panic!("events are lost: {status:?}"),
                _ => break,
            }
        }
    }
}

/// Runs clients of all servers while `disturb` does its work, and checks what they saw.
fn linearizable(servers: &mut Vec<Server<'_>>, disturb: impl FnOnce(&Run, &mut Vec<Server<'_>>)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let run = Run::new();
    let (apis, start) = runtime.block_on(async {
        let apis = join_all(servers.iter().map(api)).await;
        let list = apis[0].list(&ListParams::default()).await.unwrap();
        (apis, revision(&list.metadata.resource_version))
    });
    let watchers: Vec<_> =
        apis.iter().chain(&apis).map(|api| runtime.spawn(watcher(api.clone(), start))).collect();
    runtime.block_on(join_all(
        KEYS.map(|key| run.record(write(&apis[0], key, format!("first {key}"), Some(0)))),
    ));
    let clients = apis.iter().cycle().take(apis.len() * CLIENTS).enumerate();
    // Numbers far apart, so that no two write the same value.
    let clients: Vec<_> = clients
        .map(|(number, api)| runtime.spawn(client(run.clone(), api.clone(), number * 1_000_000)))
        .collect();
    disturb(&run, servers);
    run.stretch();
    run.stop.store(true, Ordering::Relaxed);
    let seen = runtime.block_on(async {
        join_all(clients).await.into_iter().for_each(|client| client.unwrap());
        for key in KEYS {
            run.record(read(&apis[0], key)).await;
        }
        run.record(write(&apis[0], KEYS[0], END.to_owned(), None)).await;
        let watchers = tokio::time::timeout(PATIENCE, join_all(watchers)).await.unwrap();
        watchers.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    });
    let operations = run.operations.lock();
    let summary = check(&operations, &seen).unwrap_or_else(|error| panic!("{error}"));
    assert!(summary.acknowledged > STRETCH / 4 && summary.reads > STRETCH / 4, "{summary:?}");
}

#[test]
fn the_embedded_store_is_linearizable_through_kills() {
    let directory = TempDir::new().unwrap();
    let mut servers = vec![Server::start(Command::new(PROGRAM), directory.path(), &[]).unwrap()];
    linearizable(&mut servers, |run, servers| {
        for _ in 0..3 {
            run.stretch();
            let server = servers.pop().unwrap();
            servers.push(server.kill_and_restart(&[]).unwrap());
        }
    });
}

#[test]
fn two_servers_on_etcd_are_linearizable_through_kills() {
    let mut etcd = Etcd::start().unwrap();
    let url = etcd.url();
    let args = ["--datastore", url.as_str()];
    let directories = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let data: Vec<&Path> = directories.iter().map(TempDir::path).collect();
    let mut servers = vec![Server::start(Command::new(PROGRAM), data[0], &args).unwrap()];
    share_authority(data[0], data[1]).unwrap();
    servers.push(Server::start(Command::new(PROGRAM), data[1], &args).unwrap());
    linearizable(&mut servers, |run, servers| {
        for _ in 0..2 {
            run.stretch();
            etcd.kill().unwrap();
            etcd.restart().unwrap();
            run.stretch();
            let server = servers.remove(0);
            servers.push(server.kill_and_restart(&args).unwrap());
        }
    });
}
