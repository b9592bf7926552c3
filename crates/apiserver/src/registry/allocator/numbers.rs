//! Which node ports are taken, in one value of the store that all servers change by comparing and swapping. Form and place are
//! upstream's (`pkg/registry/core/service/allocator/storage`): a RangeAllocation with a bit for each port.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::status::Status;
use serde_json::{Value, json};
use store::{Entry, Expect, Store};
use tokio::sync::Mutex;

use super::super::call::{Refused, put, read_error};
use super::super::kinds::value::text;

const KEY: &str = "/registry/ranges/servicenodeports";
/// How often a change is tried again when other servers changed the value meanwhile.
const TRIES: usize = 100;

/// The node ports of all Services.
pub(super) struct Numbers {
    pub range: RangeInclusive<u16>,
    /// The value as this server last saw it. Changes of one server wait for each other rather than fail.
    last: Mutex<Option<Entry>>,
}

impl Numbers {
    pub fn new(range: RangeInclusive<u16>) -> Self {
        Self { range, last: Mutex::default() }
    }

    /// Changes what is taken. `change` is judged again by a newer state when another server was faster.
    pub async fn update<T>(
        &self,
        store: &dyn Store,
        mut change: impl FnMut(&mut BTreeSet<u16>) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let mut last = self.last.lock().await;
        if last.is_none() {
            *last = store.get(KEY).await.map_err(|error| read_error(&error))?;
        }
        for _ in 0..TRIES {
            let before = self.decode(last.as_ref());
            let mut taken = before.clone();
            // What is refused or not changed by an old state may be otherwise by the present one.
            let outcome = change(&mut taken);
            let expect = last.as_ref().map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
            let changed = outcome.is_ok() && (taken != before || last.is_none());
            if !changed {
                let now = store.get(KEY).await.map_err(|error| read_error(&error))?;
                let same = now.as_ref().map(|entry| entry.revision) == last.as_ref().map(|e| e.revision);
                *last = now;
                if same {
                    return outcome;
                }
                continue;
            }
            match put(store, KEY, expect, &self.encode(&taken)).await {
                Ok(entry) => {
                    *last = Some(entry);
                    return outcome;
                }
                Err(Refused::Conflict(current)) => *last = current,
                Err(Refused::Status(status)) => {
                    // It is not known whether it was written.
                    *last = None;
                    return Err(status);
                }
            }
        }
        Err(Status::internal("failed to allocate a nodePort: too many servers change what is taken"))
    }

    /// What is taken as of now, without a change.
    pub async fn taken(&self, store: &dyn Store) -> Result<BTreeSet<u16>, Status> {
        let entry = store.get(KEY).await.map_err(|error| read_error(&error))?;
        Ok(self.decode(entry.as_ref()))
    }

    fn bounds(&self) -> String {
        format!("{}-{}", self.range.start(), self.range.end())
    }

    fn encode(&self, taken: &BTreeSet<u16>) -> Value {
        let data =
            STANDARD.encode(to_bits(taken.iter().filter_map(|port| port.checked_sub(*self.range.start()))));
        json!({"apiVersion": "v1", "kind": "RangeAllocation", "metadata": {}, "range": self.bounds(), "data": data})
    }

    /// A value of another range says nothing; the repair finds again what is taken.
    fn decode(&self, entry: Option<&Entry>) -> BTreeSet<u16> {
        let value = entry.and_then(|entry| serde_json::from_slice::<Value>(&entry.bytes).ok());
        let value = value.filter(|value| text(value, "range") == self.bounds()).unwrap_or_default();
        let bits = STANDARD.decode(text(&value, "data")).unwrap_or_default();
        from_bits(&bits).filter_map(|offset| self.range.start().checked_add(offset)).collect()
    }
}

/// The bits as the bytes of one great number, the most significant first.
fn to_bits(offsets: impl Iterator<Item = u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for offset in offsets.map(usize::from) {
        if bytes.len() <= offset / 8 {
            bytes.resize(offset / 8 + 1, 0);
        }
        bytes[offset / 8] |= 1 << (offset % 8);
    }
    bytes.reverse();
    bytes
}

fn from_bits(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let bits = bytes.iter().rev().flat_map(|byte| (0..8).map(move |bit| byte & (1 << bit) != 0));
    bits.enumerate().filter(|(_, set)| *set).filter_map(|(offset, _)| u16::try_from(offset).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_a_great_number() {
        // 2^0 + 2^9 + 2^10
        let bytes = to_bits([0, 9, 10].into_iter());
        assert_eq!(bytes, [0b110, 0b1]);
        assert_eq!(from_bits(&bytes).collect::<Vec<_>>(), [0, 9, 10]);
        assert_eq!(to_bits(std::iter::empty()), Vec::<u8>::new());
    }

    #[tokio::test]
    async fn servers_see_what_others_took() {
        let store = store::Embedded::in_memory(store::Options::default());
        let servers = [0, 1].map(|_| Numbers::new(30_000..=32_767));
        let take = |port: u16| {
            move |taken: &mut BTreeSet<u16>| {
                if taken.insert(port) { Ok(()) } else { Err(Status::internal("taken")) }
            }
        };
        servers[0].update(&store, take(30_001)).await.expect("it is free");
        servers[1].update(&store, take(30_002)).await.expect("it is free");
        for (server, port) in [(0, 30_002), (1, 30_001)] {
            servers[server].update(&store, take(port)).await.expect_err("another server took it");
        }
        let gone = |taken: &mut BTreeSet<u16>| Ok(taken.remove(&30_001));
        assert_eq!(servers[1].update(&store, gone).await, Ok(true));
        servers[0].update(&store, take(30_001)).await.expect("it is free again");
        assert_eq!(servers[0].taken(&store).await, Ok(BTreeSet::from([30_001, 30_002])));
        let entry = store.get(KEY).await.expect("it reads").expect("it is there");
        let value: Value = serde_json::from_slice(&entry.bytes).expect("JSON");
        assert_eq!(
            (&value["kind"], &value["range"], &value["data"]),
            (&json!("RangeAllocation"), &json!("30000-32767"), &json!("Bg=="))
        );
        // A server with another range does not trust it.
        assert!(Numbers::new(30_000..=30_010).taken(&store).await.expect("it reads").is_empty());
    }
}
