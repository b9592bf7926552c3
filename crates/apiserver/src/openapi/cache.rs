//! The documents that were asked for last.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::Document;

/// Bytes of compressed documents that are kept, at most. Making one again takes some hundredths of a second.
const BYTES_MAX: usize = 1 << 20;

/// A compressed document, or the place for one that is being made.
pub(super) type Slot = Arc<OnceLock<Bytes>>;

/// Compressed documents, the one asked for last at the end.
#[derive(Default)]
pub(super) struct Cache(Mutex<Vec<(Document, Slot)>>);

impl Cache {
    /// The place of a document, which is empty at first.
    pub fn slot(&self, document: &Document) -> Slot {
        let mut slots = self.0.lock();
        let at = slots.iter().position(|(known, _)| known == document);
        let (_, slot) = at.map_or_else(|| (document.clone(), Slot::default()), |at| slots.remove(at));
        slots.push((document.clone(), slot.clone()));
        slot
    }

    /// Forgets the documents that were not asked for in the longest time, when there are too many.
    pub fn shrink(&self) {
        let mut slots = self.0.lock();
        let size = |slots: &[(Document, Slot)]| -> usize {
            slots.iter().filter_map(|(_, slot)| slot.get()).map(Bytes::len).sum()
        };
        while slots.len() > 1 && size(&slots) > BYTES_MAX {
            slots.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::Form;
    use crate::openapi::document::Part;

    #[test]
    fn the_oldest_documents_go_first() {
        let cache = Cache::default();
        let documents: Vec<Document> =
            ["a", "b", "c"].map(|path| Document::V3(Part::Alone(path), Form::Json)).to_vec();
        let half = Bytes::from(vec![0; BYTES_MAX / 2]);
        for document in &documents[..2] {
            cache.slot(document).set(half.clone()).unwrap();
        }
        cache.shrink();
        assert!(cache.slot(&documents[0]).get().is_some());
        cache.slot(&documents[2]).set(half).unwrap();
        cache.shrink();
        let kept: Vec<bool> = documents.iter().map(|document| cache.slot(document).get().is_some()).collect();
        assert_eq!(kept, [true, false, true]);
    }
}
