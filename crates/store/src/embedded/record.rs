//! One state of one key, to the byte; all numbers are big-endian. The format is described in `docs/store.md`.

use std::sync::Arc;

use crate::error::ReadError;
use crate::types::{Draft, Entry, EventKind, splice};

/// Bytes before the key.
pub(super) const HEADER: usize = 36;
/// Of which these are the object's checksum and, of everything before it and the key, the header's own.
const OBJECT_SUM: usize = 28;
const HEADER_SUM: usize = 32;

/// A record as it lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) kind: EventKind,
    pub(super) revision: u64,
    /// The revision of the key's state before; 0 if it did not exist.
    pub(super) previous: u64,
    pub(super) revision_at: u32,
    pub(super) key: &'a str,
    /// The object without its revision; empty for a deletion.
    pub(super) draft: &'a [u8],
}

/// What a record's beginning tells, checked, before its object has been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) kind: EventKind,
    pub(super) revision: u64,
    pub(super) previous: u64,
    pub(super) revision_at: u32,
    pub(super) key: &'a str,
    object: usize,
    object_sum: u32,
}

impl<'a> Head<'a> {
    /// The head of the record that `bytes` start with; nothing if it is not whole.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Head<'a>> {
        let key_bytes = usize::from(u16::from_be_bytes(number(bytes, 2)?));
        let key = bytes.get(HEADER..HEADER + key_bytes)?;
        let sum = u32::from_be_bytes(number(bytes, HEADER_SUM)?);
        if sum != checksum(&[&bytes[..HEADER_SUM], key]) {
            return None;
        }
        let kind = match bytes[0] {
            1 => EventKind::Created,
            2 => EventKind::Modified,
            3 => EventKind::Deleted,
            _ => return None,
        };
        Some(Head {
            kind,
            revision: u64::from_be_bytes(number(bytes, 8)?),
            previous: u64::from_be_bytes(number(bytes, 16)?),
            revision_at: u32::from_be_bytes(number(bytes, 4)?),
            key: std::str::from_utf8(key).ok()?,
            object: u32::from_be_bytes(number(bytes, 24)?) as usize,
            object_sum: u32::from_be_bytes(number(bytes, OBJECT_SUM)?),
        })
    }

    /// Bytes of the whole record.
    pub(super) fn length(&self) -> usize {
        HEADER + self.key.len() + self.object
    }
}

impl<'a> Record<'a> {
    pub(super) fn of_draft(
        kind: EventKind,
        revision: u64,
        previous: u64,
        key: &'a str,
        draft: &'a Draft,
    ) -> Record<'a> {
        Record { kind, revision, previous, revision_at: draft.revision_at, key, draft: &draft.bytes }
    }

    /// Bytes of a record.
    pub(super) fn length(&self) -> usize {
        HEADER + self.key.len() + self.draft.len()
    }

    /// Appends the record.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.reserve(self.length());
        bytes.push(match self.kind {
            EventKind::Created => 1,
            EventKind::Modified => 2,
            EventKind::Deleted => 3,
        });
        bytes.push(0);
        bytes.extend_from_slice(&(self.key.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&self.revision_at.to_be_bytes());
        bytes.extend_from_slice(&self.revision.to_be_bytes());
        bytes.extend_from_slice(&self.previous.to_be_bytes());
        bytes.extend_from_slice(&(self.draft.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&checksum(&[self.draft]).to_be_bytes());
        let sum = checksum(&[&bytes[start..], self.key.as_bytes()]);
        bytes.extend_from_slice(&sum.to_be_bytes());
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(self.draft);
    }

    /// Reads the record that `bytes` are, every byte checked. `revision` is only for the message.
    pub(super) fn decode(bytes: &'a [u8], revision: u64) -> Result<Record<'a>, ReadError> {
        let head = Head::parse(bytes).filter(|head| head.length() == bytes.len());
        let head = head.ok_or_else(|| damaged_record(revision, "is malformed"))?;
        let draft = &bytes[HEADER + head.key.len()..];
        if checksum(&[draft]) != head.object_sum {
            return Err(damaged_record(revision, "has a wrong checksum"));
        }
        let Head { kind, revision, previous, revision_at, key, .. } = head;
        Ok(Record { kind, revision, previous, revision_at, key, draft })
    }

    /// The object as it is sent, shown at a revision.
    pub(super) fn entry_at(&self, key: Arc<str>, revision: u64) -> Entry {
        let bytes = splice(self.draft, self.revision_at, revision);
        Entry { key, bytes, revision, revision_at: self.revision_at }
    }
}

/// `N` bytes of a number.
pub(super) fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// CRC-32 (IEEE) of all parts, one after the other.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

pub(super) fn damaged_record(revision: u64, what: &str) -> ReadError {
    ReadError::Damaged(format!("the record of revision {revision} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record<'static> = Record {
        kind: EventKind::Modified,
        revision: 258,
        previous: 3,
        revision_at: 12,
        key: "/r/a",
        draft: br#"{"metadata":{}}"#,
    };

    fn encoded() -> Vec<u8> {
        let mut bytes = Vec::new();
        RECORD.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_record_has_the_documented_bytes() {
        let bytes = encoded();
        assert_eq!(&bytes[..12], [2, 0, 0, 4, 0, 0, 0, 12, 0, 0, 0, 0]);
        assert_eq!(&bytes[12..28], [0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 15]);
        assert_eq!(bytes[28..32], crc32fast::hash(RECORD.draft).to_be_bytes());
        assert_eq!(bytes[32..36], crc32fast::hash(&[&bytes[..32], b"/r/a"].concat()).to_be_bytes());
        assert_eq!(&bytes[36..], b"/r/a{\"metadata\":{}}");
        assert_eq!(Record::decode(&bytes, 258), Ok(RECORD));
        assert_eq!(Head::parse(&bytes).map(|head| head.length()), Some(bytes.len()));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_found() {
        let bytes = encoded();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Record::decode(&changed, 258).is_err(), "byte {at}");
            assert_eq!(Head::parse(&changed).is_some(), at >= HEADER + 4, "byte {at}");
            assert!(Record::decode(&bytes[..at], 258).is_err(), "cut at {at}");
        }
    }
}
