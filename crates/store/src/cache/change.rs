//! One change of one object, shared by everybody who watches.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;

use crate::scope::covers;
use crate::types::{Entry, EventKind};

/// An object in a cache.
#[derive(Debug)]
pub struct Item<M> {
    /// Its key, bytes and revision.
    pub entry: Entry,
    /// What the cache's index function derived from it.
    pub meta: M,
}

/// One change of one object.
#[derive(Debug)]
pub struct Change<M> {
    /// What happened.
    pub kind: EventKind,
    /// The new state; for a deletion the last one, carrying the revision of the deletion.
    pub item: Arc<Item<M>>,
    /// The state before, unless the object was created.
    pub previous: Option<Arc<Item<M>>>,
    pub(super) at: Instant,
    /// Encoded when first wanted: as it is, and, for watchers whose selector the object entered or left, as the other two kinds.
    frames: [OnceLock<Bytes>; 3],
}

impl<M> Change<M> {
    pub(super) fn new(kind: EventKind, item: Arc<Item<M>>, previous: Option<Arc<Item<M>>>) -> Change<M> {
        Change { kind, item, previous, at: Instant::now(), frames: Default::default() }
    }

    /// The revision of the change.
    pub fn revision(&self) -> u64 {
        self.item.entry.revision
    }

    /// Whether the changed object falls under `scope`.
    pub fn is_in(&self, scope: &str) -> bool {
        covers(scope, &self.item.entry.key)
    }

    /// The watch event `{"type":…,"object":…}` with a closing newline, encoded once for all watchers.
    pub fn frame(&self) -> Bytes {
        self.frame_as(self.kind)
    }

    /// The frame for a watcher to whom this change is another kind of event: its selector matches the object only now
    /// ([`EventKind::Created`]), or no longer ([`EventKind::Deleted`]: the state before is shown, at this change's revision).
    pub fn frame_as(&self, kind: EventKind) -> Bytes {
        let frame = self.frames[kind as usize].get_or_init(|| match (&self.previous, kind) {
            (Some(previous), EventKind::Deleted) if self.kind != EventKind::Deleted => {
                encode(kind, &previous.entry.at_revision(self.revision()).bytes)
            }
            _ => encode(kind, &self.item.entry.bytes),
        });
        frame.clone()
    }

    /// What keeping this change costs at most: the state before, which the cache no longer needs, and a frame.
    pub(super) fn cost(&self) -> usize {
        let previous = self.previous.as_ref().map_or(0, |previous| previous.entry.bytes.len());
        previous + self.item.entry.bytes.len() + 256
    }
}

fn encode(kind: EventKind, object: &[u8]) -> Bytes {
    let head = [b"{\"type\":\"", kind.as_str().as_bytes(), b"\",\"object\":"];
    let mut frame = Vec::with_capacity(head.iter().map(|part| part.len()).sum::<usize>() + object.len() + 2);
    head.iter().for_each(|part| frame.extend_from_slice(part));
    frame.extend_from_slice(object);
    frame.extend_from_slice(b"}\n");
    frame.into()
}
