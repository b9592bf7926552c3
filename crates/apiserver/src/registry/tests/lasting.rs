//! What the store is asked to remove by itself, and that it is then left to it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use store::{
    CompactError, Embedded, Entry, Feed, ListOptions, Page, ReadError, Store, Watch, Write, WriteError,
};
use tokio_util::sync::CancellationToken;

use super::harness::{Everyone, Harness, PATIENCE, config};
use crate::registry::{Registry, event_expiry};

const HOUR: Option<Duration> = Some(Duration::from_hours(1));

/// A store that says that it removes things, and notes how long what is put there should last.
struct Noting {
    inner: Embedded,
    noted: Mutex<Vec<(String, Option<Duration>)>>,
}

#[async_trait::async_trait]
impl Store for Noting {
    async fn write(&self, write: Write) -> Result<Entry, WriteError> {
        if let Write::Put { key, ttl, .. } = &write {
            self.noted.lock().push((key.clone(), *ttl));
        }
        self.inner.write(write).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        self.inner.get(key).await
    }

    async fn list(&self, scope: &str, options: ListOptions) -> Result<Page, ReadError> {
        self.inner.list(scope, options).await
    }

    async fn watch(&self, scope: &str, after: u64) -> Result<Watch, ReadError> {
        self.inner.watch(scope, after).await
    }

    fn revision(&self) -> u64 {
        self.inner.revision()
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
        true
    }

    async fn failed(&self) -> String {
        self.inner.failed().await
    }
}

#[tokio::test]
async fn events_and_the_keys_of_servers_are_to_go() {
    let inner = Embedded::in_memory(store::Options::default());
    let store = Arc::new(Noting { inner, noted: Mutex::default() });
    let config = crate::Config { alone: false, ..config() };
    let registry =
        Registry::start(&config, store.clone(), Arc::new(Everyone), CancellationToken::new()).await.unwrap();
    let h = Harness::start().await.restarted(registry);
    let about = json!({"namespace": "default", "kind": "Pod", "name": "p"});
    let event = json!({"metadata": {"name": "a"}, "involvedObject": about});
    let events = "/api/v1/namespaces/default/events";
    h.must(201, "POST", events, event).await;
    let newer = "/apis/events.k8s.io/v1/namespaces/default/events/a";
    assert_eq!(h.patch("merge-patch+json", newer, json!({"metadata": {"labels": {"a": "b"}}})).await.0, 200);
    h.must(201, "POST", "/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "a"}})).await;

    let noted = store.noted.lock().clone();
    let of = |prefix: &str| {
        let noted = noted.iter().filter(|(key, _)| key.starts_with(prefix));
        noted.map(|(_, ttl)| *ttl).collect::<Vec<_>>()
    };
    assert_eq!(of("/registry/events/default/a"), [HOUR, HOUR], "each write counts");
    assert_eq!(of("/registry/configmaps/default/a"), [None]);
    let server = of("/registry/masterleases/");
    assert!(
        !server.is_empty() && server.iter().all(|ttl| *ttl == Some(Duration::from_secs(15))),
        "{server:?}"
    );

    let expiry = event_expiry::run(h.registry.clone(), CancellationToken::new());
    assert!(tokio::time::timeout(PATIENCE, expiry).await.is_ok(), "nothing is left to do here");
}
