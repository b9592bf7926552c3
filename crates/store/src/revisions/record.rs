//! Records to the byte; all numbers are big-endian. The format is described in `docs/store.md`.

use std::sync::Arc;

use crate::types::{Draft, Entry, EventKind, splice};

use super::engine::EngineError;

/// Keys may have so many bytes: LMDB's limit at the smallest page size (1,982) less what the index adds, rounded down.
pub(crate) const KEY_MAX: usize = 1_900;

pub(crate) const META_FORMAT: &[u8] = b"format";
pub(crate) const META_CLUSTER: &[u8] = b"cluster";
pub(crate) const META_COMPACTED: &[u8] = b"compacted";

/// Bytes before the key in a log record.
const HEADER: usize = 24;
/// Of which the checksum stands last.
const CHECKED: usize = 20;

/// The log's key of a revision.
pub(crate) fn log_key(revision: u64) -> [u8; 8] {
    revision.to_be_bytes()
}

/// The revision in a log key.
pub(crate) fn log_revision(key: &[u8]) -> Result<u64, EngineError> {
    let bytes = key.try_into().map_err(|_| damaged("a log key has not 8 bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The index's key of a key at a revision. Keys have no zero byte, so the order is that of the keys.
pub(crate) fn index_key(key: &str, revision: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 9);
    bytes.extend_from_slice(key.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&revision.to_be_bytes());
    bytes
}

/// Greater than every index key of `key`, less than or equal to those of greater keys.
pub(crate) fn index_end(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    bytes.extend_from_slice(key.as_bytes());
    bytes.push(1);
    bytes
}

/// The key and the revision in an index key.
pub(crate) fn index_parts(bytes: &[u8]) -> Result<(&str, u64), EngineError> {
    let wrong = || damaged("an index key is malformed");
    let (rest, revision) = bytes.split_last_chunk::<8>().ok_or_else(wrong)?;
    let key = rest.strip_suffix(&[0]).ok_or_else(wrong)?;
    Ok((std::str::from_utf8(key).map_err(|_| wrong())?, u64::from_be_bytes(*revision)))
}

/// The index's value: whether the key exists from that revision on.
pub(crate) fn index_value(live: bool) -> [u8; 1] {
    [u8::from(live)]
}

/// A log record, as it lies in the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Logged<'a> {
    pub(crate) kind: EventKind,
    pub(crate) revision: u64,
    /// The revision of the state before; 0 for a creation.
    pub(crate) previous: u64,
    pub(crate) revision_at: u32,
    pub(crate) key: &'a str,
    /// The draft's bytes; none for a deletion.
    pub(crate) draft: &'a [u8],
}

impl<'a> Logged<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.key.len() + self.draft.len());
        bytes.push(match self.kind {
            EventKind::Created => 1,
            EventKind::Modified => 2,
            EventKind::Deleted => 3,
        });
        bytes.push(0);
        bytes.extend_from_slice(&(self.key.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&self.revision_at.to_be_bytes());
        bytes.extend_from_slice(&self.previous.to_be_bytes());
        bytes.extend_from_slice(&(self.draft.len() as u32).to_be_bytes());
        let checksum = checksum(self.revision, &bytes, self.key.as_bytes(), self.draft);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(self.draft);
        bytes
    }

    pub(crate) fn decode(revision: u64, bytes: &'a [u8]) -> Result<Logged<'a>, EngineError> {
        let record = Self::parse(revision, bytes).ok_or_else(|| damaged_record(revision, "is malformed"))?;
        let expected = number::<4>(bytes, CHECKED).map(u32::from_be_bytes);
        match expected == Some(checksum(revision, &bytes[..CHECKED], record.key.as_bytes(), record.draft)) {
            true => Ok(record),
            false => Err(damaged_record(revision, "has a wrong checksum")),
        }
    }

    fn parse(revision: u64, bytes: &'a [u8]) -> Option<Logged<'a>> {
        let kind = match bytes.first()? {
            1 => EventKind::Created,
            2 => EventKind::Modified,
            3 => EventKind::Deleted,
            _ => return None,
        };
        let key_len = usize::from(u16::from_be_bytes(number(bytes, 2)?));
        let revision_at = u32::from_be_bytes(number(bytes, 4)?);
        let previous = u64::from_be_bytes(number(bytes, 8)?);
        let draft_len = u32::from_be_bytes(number(bytes, 16)?) as usize;
        let key = std::str::from_utf8(bytes.get(HEADER..HEADER + key_len)?).ok()?;
        let draft = bytes.get(HEADER + key_len..)?;
        (draft.len() == draft_len).then_some(Logged { kind, revision, previous, revision_at, key, draft })
    }

    /// The object as it is sent, at this record's revision.
    pub(crate) fn entry(&self) -> Entry {
        self.entry_at(self.revision)
    }

    /// The object as it is sent, shown at another revision.
    pub(crate) fn entry_at(&self, revision: u64) -> Entry {
        let bytes = splice(self.draft, self.revision_at, revision);
        Entry { key: Arc::from(self.key), bytes, revision, revision_at: self.revision_at }
    }

    pub(crate) fn of_draft(
        kind: EventKind,
        revision: u64,
        previous: u64,
        key: &'a str,
        draft: &'a Draft,
    ) -> Self {
        Logged { kind, revision, previous, revision_at: draft.revision_at, key, draft: &draft.bytes }
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn checksum(revision: u64, header: &[u8], key: &[u8], draft: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in [&revision.to_be_bytes()[..], header, key, draft] {
        hasher.update(part);
    }
    hasher.finalize()
}

pub(crate) fn damaged(what: &str) -> EngineError {
    EngineError::Damaged(what.to_owned())
}

pub(crate) fn damaged_record(revision: u64, what: &str) -> EngineError {
    EngineError::Damaged(format!("the record of revision {revision} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Logged<'static> = Logged {
        kind: EventKind::Modified,
        revision: 258,
        previous: 3,
        revision_at: 12,
        key: "/r/a",
        draft: br#"{"metadata":{}}"#,
    };

    #[test]
    fn a_record_has_the_documented_bytes() {
        let bytes = RECORD.encode();
        assert_eq!(&bytes[..20], [2, 0, 0, 4, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 15]);
        assert_eq!(&bytes[24..], b"/r/a{\"metadata\":{}}");
        assert_eq!(Logged::decode(258, &bytes), Ok(RECORD));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_found() {
        let bytes = RECORD.encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Logged::decode(258, &changed).is_err(), "byte {at}");
            assert!(Logged::decode(258, &bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(Logged::decode(259, &bytes).is_err(), "another revision's record");
    }

    #[test]
    fn index_keys_sort_as_their_keys_do() {
        let keys = ["/a", "/a-b", "/a/b", "/ab"];
        let sorted: Vec<_> = keys.iter().flat_map(|key| [index_key(key, 2), index_key(key, 300)]).collect();
        assert!(sorted.is_sorted());
        assert!(index_end("/a") > index_key("/a", u64::MAX) && index_end("/a") < index_key("/a-b", 0));
        assert_eq!(index_parts(&index_key("/a/b", 7)), Ok(("/a/b", 7)));
    }
}
