//! Which servers there are: each has a key in the store that it writes again and again. One that is not written for a while is
//! that of a server which is gone, and removed by the store. What the store leaves there (servers of earlier versions did not ask it
//! for that) is removed by the others, by the clock of whoever looks: clocks of different machines are never compared.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use machinery::status::Status;
use serde_json::{Value, json};
use store::{Entry, Expect, ListOptions, Write};
use tokio::time::Instant;

use super::super::Registry;
use super::super::call::{Refused, put_for, read_error, refused};
use super::super::kinds::value::{list, text};

/// Upstream's place for the same.
const PREFIX: &str = "/registry/masterleases/";
/// A server that has not been heard of for so long is gone (upstream's `DefaultEndpointReconcilerTTL`).
const SILENCE: Duration = Duration::from_secs(15);

/// What this server has heard of the others.
#[derive(Default)]
pub(super) struct Peers {
    /// The revision at which each key was last written, and when that was noticed.
    heard: HashMap<Arc<str>, (u64, Instant)>,
}

fn key(server: SocketAddr) -> String {
    format!("{PREFIX}{server}")
}

/// Writes this server's key. The number of times it was written is there so that the value changes, as upstream's does.
pub(super) async fn say(registry: &Registry) -> Result<(), Status> {
    let server = registry.config().advertise;
    let key = key(server);
    let before = registry.store.get(&key).await.map_err(|error| read_error(&error))?;
    let before = before.and_then(|entry| serde_json::from_slice::<Value>(&entry.bytes).ok());
    let times = before.and_then(|value| value["metadata"]["generation"].as_u64()).unwrap_or_default();
    let value = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"generation": times + 1},
        "subsets": [{"addresses": [{"ip": server.ip()}], "ports": [{"port": server.port(), "protocol": "TCP"}]}],
    });
    match put_for(registry.store.as_ref(), &key, Expect::Any, &value, Some(SILENCE)).await {
        Ok(_) | Err(Refused::Conflict(_)) => Ok(()),
        Err(Refused::Status(status)) => Err(status),
    }
}

/// Removes this server's key.
pub(super) async fn take_back(registry: &Registry) -> Result<(), Status> {
    remove(registry, key(registry.config().advertise), Expect::Any).await
}

async fn remove(registry: &Registry, key: String, expect: Expect) -> Result<(), Status> {
    match registry.store.write(Write::Delete { key, expect }).await.map_err(refused) {
        Err(Refused::Status(status)) => Err(status),
        _ => Ok(()),
    }
}

impl Peers {
    /// The servers that are there. The keys of others are removed.
    pub async fn present(
        &mut self,
        registry: &Registry,
        now: Instant,
    ) -> Result<BTreeSet<SocketAddr>, Status> {
        let page = registry.store.list(PREFIX, ListOptions::default()).await;
        let entries = page.map_err(|error| read_error(&error))?.entries;
        let own = registry.config().advertise;
        let (silent, present) = self.hear(&entries, now);
        let addresses = present.iter().filter_map(|entry| address(entry, own.port())).collect();
        for entry in silent {
            tracing::info!(key = %entry.key, "a server is gone");
            remove(registry, entry.key.to_string(), Expect::Revision(entry.revision)).await?;
        }
        Ok(addresses)
    }

    /// Takes note of what is there, and tells apart what is not written any more.
    fn hear<'a>(&mut self, entries: &'a [Entry], now: Instant) -> (Vec<&'a Entry>, Vec<&'a Entry>) {
        self.heard.retain(|key, _| entries.iter().any(|entry| entry.key == *key));
        entries.iter().partition(|entry| {
            let heard = self.heard.entry(entry.key.clone()).or_insert((entry.revision, now));
            if heard.0 != entry.revision {
                *heard = (entry.revision, now);
            }
            now.duration_since(heard.1) > SILENCE
        })
    }
}

/// Where the server of a key is reached. Upstream's do not write their port, which is the same for all.
fn address(entry: &Entry, default: u16) -> Option<SocketAddr> {
    let value: Value = serde_json::from_slice(&entry.bytes).ok()?;
    let subset = list(&value, "subsets").first()?;
    let ip: IpAddr = text(list(subset, "addresses").first()?, "ip").parse().ok()?;
    let port = list(subset, "ports").first().and_then(|port| u16::try_from(port["port"].as_u64()?).ok());
    Some(SocketAddr::new(ip, port.unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, revision: u64) -> Entry {
        let value = r#"{"metadata":{},"subsets":[{"addresses":[{"ip":"10.0.0.1"}]}]}"#;
        store::Draft { bytes: value.into(), revision_at: 13 }.at_revision(key.into(), revision)
    }

    #[test]
    fn who_does_not_write_any_more_is_gone() {
        let (mut peers, start) = (Peers::default(), Instant::now());
        let mut silent = |seconds: u64, revisions: [u64; 2]| {
            let entries = [entry("a", revisions[0]), entry("b", revisions[1])];
            let now = start + Duration::from_secs(seconds);
            let (silent, present) = peers.hear(&entries, now);
            assert_eq!(silent.len() + present.len(), 2);
            silent.iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>()
        };
        // However old the keys are, they are new to who sees them first.
        assert!(silent(0, [1, 2]).is_empty());
        assert!(silent(10, [3, 2]).is_empty());
        assert_eq!(silent(20, [4, 2]), ["b"]);
        assert!(silent(21, [4, 5]).is_empty(), "it has written again");
    }

    #[test]
    fn a_key_without_a_port_is_upstreams() {
        assert_eq!(address(&entry("a", 1), 6443), Some(([10, 0, 0, 1], 6443).into()));
    }
}
