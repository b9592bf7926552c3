//! What goes into a store and what comes out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// Keys may have so many bytes, in any store. The API's longest has 647.
pub(crate) const KEY_MAX: usize = 1_900;

/// An object to be stored: its JSON without a `resourceVersion`, and where that belongs.
///
/// The store splices `"resourceVersion":"<revision>",` in at `revision_at` when it has assigned the revision, so what it
/// hands out needs no further work before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The JSON of the object, without `metadata.resourceVersion`.
    pub bytes: Bytes,
    /// The byte offset inside `metadata`'s braces at which a new first (or further) member may stand. Right before a
    /// closing brace the comma is left out.
    pub revision_at: u32,
}

impl Draft {
    /// The object as it is sent once it has `revision`.
    pub fn at_revision(&self, key: Arc<str>, revision: u64) -> Entry {
        Entry {
            key,
            bytes: splice(&self.bytes, self.revision_at, revision),
            revision,
            revision_at: self.revision_at,
        }
    }
}

/// An object as the store hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key it is stored under.
    pub key: Arc<str>,
    /// Its JSON as sent to clients, with `metadata.resourceVersion` equal to [`Entry::revision`].
    pub bytes: Bytes,
    /// The revision of the write that produced this state.
    pub revision: u64,
    /// Where the `resourceVersion` member starts in `bytes`.
    pub revision_at: u32,
}

impl Entry {
    /// The same object with another `resourceVersion`, for an event that shows an old state at a new revision (an object
    /// that left a selector).
    pub fn at_revision(&self, revision: u64) -> Entry {
        self.draft().at_revision(self.key.clone(), revision)
    }

    /// The object without its `resourceVersion`, ready to be written again.
    pub fn draft(&self) -> Draft {
        let at = (self.revision_at as usize).min(self.bytes.len());
        let mut end = (at + member(self.revision).len()).min(self.bytes.len());
        if self.bytes.get(end) == Some(&b',') {
            end += 1;
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() - (end - at));
        bytes.extend_from_slice(&self.bytes[..at]);
        bytes.extend_from_slice(&self.bytes[end..]);
        Draft { bytes: bytes.into(), revision_at: self.revision_at }
    }
}

fn member(revision: u64) -> String {
    format!("\"resourceVersion\":\"{revision}\"")
}

/// Puts the `resourceVersion` member into `draft` at offset `at`; one allocation of exactly the size needed.
pub(crate) fn splice(draft: &[u8], at: u32, revision: u64) -> Bytes {
    let (head, tail) = draft.split_at((at as usize).min(draft.len()));
    let member = member(revision);
    let comma = usize::from(tail.first() != Some(&b'}'));
    let mut bytes = Vec::with_capacity(draft.len() + member.len() + comma);
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(member.as_bytes());
    bytes.extend_from_slice(&b","[..comma]);
    bytes.extend_from_slice(tail);
    bytes.into()
}

/// What must hold of a key's present state for a write to take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key exists and was last written at this revision.
    Revision(u64),
    /// A put: anything. A delete: the key exists.
    Any,
}

/// One conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Creates or replaces an object.
    Put {
        /// The key to write.
        key: String,
        /// The condition.
        expect: Expect,
        /// The new state.
        draft: Draft,
        /// Who writes wants it removed when it has not been written for so long. A store that [`crate::Store::expires`]
        /// does that itself, a little later at most; others leave it to somebody else.
        ttl: Option<Duration>,
    },
    /// Removes an object.
    Delete {
        /// The key to remove.
        key: String,
        /// The condition.
        expect: Expect,
    },
}

impl Write {
    /// The key this write is about.
    pub fn key(&self) -> &str {
        match self {
            Write::Put { key, .. } | Write::Delete { key, .. } => key,
        }
    }
}

/// What a committed write did to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The key did not exist before.
    Created,
    /// The key existed and was replaced.
    Modified,
    /// The key was removed.
    Deleted,
}

impl EventKind {
    /// The `type` of a watch event: `ADDED`, `MODIFIED` or `DELETED`.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventKind::Created => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        }
    }
}

/// One committed write, as [`crate::Store::watch`] reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The new state; for a deletion the last state, carrying the revision of the deletion.
    pub entry: Entry,
    /// The state before, unless the key was created.
    pub previous: Option<Entry>,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// The state at exactly this revision; the newest when absent.
    pub at: Option<u64>,
    /// Only keys greater than this one.
    pub after: Option<String>,
    /// At most so many entries.
    pub limit: Option<usize>,
}

/// Entries in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The revision whose state this is, exactly.
    pub revision: u64,
    /// Whether entries follow that the limit kept out.
    pub more: bool,
    /// How many follow.
    pub remaining: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_spliced_in_and_out() {
        for (draft, at, want) in [
            (r#"{"metadata":{"name":"a"}}"#, 13, r#"{"metadata":{"resourceVersion":"7","name":"a"}}"#),
            (r#"{"metadata":{}}"#, 13, r#"{"metadata":{"resourceVersion":"7"}}"#),
        ] {
            let draft = Draft { bytes: Bytes::from(draft), revision_at: at };
            let entry = draft.at_revision("/k".into(), 7);
            assert_eq!(entry.bytes, want);
            assert_eq!(entry.draft(), draft);
            assert_eq!(entry.at_revision(12_345).draft(), draft);
        }
    }
}
