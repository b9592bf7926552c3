//! A file of the log, to the byte: a header, then batches, then zeros. The format is described in `docs/store.md`.
//!
//! A batch is written and synced before the next one is begun, so only the last one can be torn. What a crash may leave of it
//! is some of its sectors; the others still have the zeros the file was filled with before it was used. A batch whose checksum is
//! wrong though each of its sectors was written, or that others follow, was synced and has been damaged since.

use crate::error::ReadError;

use super::header::{self, HEADER};
use super::record::{Record, checksum, number};

const MAGIC: [u8; 8] = *b"KNARRlog";
/// The header has its sector to itself.
pub(super) const START: u64 = SECTOR as u64;
/// Disks write so many bytes whole, or not at all.
const SECTOR: usize = 512;
/// Begins each batch. Neither JSON nor a key can have such bytes.
const BATCH_MAGIC: [u8; 4] = [0xFF, b'K', b'B', 0xFE];
const BATCH_HEADER: usize = 48;
/// Ends the header of a batch and the batch, so that no part of either is only zeros.
const MARK: u8 = 0xFF;
/// Batches start at multiples of this.
const ALIGNMENT: usize = 8;

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cluster: [u8; 16],
    pub(super) length: u64,
    /// Random. A batch of another file, or one in a deleted file's blocks, has a different one.
    pub(super) salt: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = header::begin(MAGIC);
        bytes[16..32].copy_from_slice(&self.cluster);
        bytes[32..40].copy_from_slice(&self.length.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.salt.to_be_bytes());
        header::seal(bytes)
    }

    /// The header of a file of which `file` is all.
    pub(super) fn decode(file: &[u8]) -> Result<Header, ReadError> {
        let damaged = |what: &str| ReadError::Damaged(what.to_owned());
        let bytes = file.get(..HEADER).ok_or_else(|| damaged("its header is missing"))?;
        header::check(bytes, MAGIC)?;
        let long = |at| number(bytes, at).map_or(0, u64::from_be_bytes);
        let header =
            Header { cluster: number(bytes, 16).unwrap_or_default(), length: long(32), salt: long(40) };
        match header.length.cmp(&(file.len() as u64)) {
            std::cmp::Ordering::Equal => Ok(header),
            _ => Err(damaged(&format!("it has {} bytes instead of {}", file.len(), header.length))),
        }
    }
}

/// A batch while it is put together.
pub(super) struct Draft {
    bytes: Vec<u8>,
    records: u32,
    before: u64,
}

impl Draft {
    /// A batch of the revisions after `before`; `buffer` is used again.
    pub(super) fn new(mut buffer: Vec<u8>, before: u64) -> Draft {
        buffer.clear();
        buffer.resize(BATCH_HEADER, 0);
        Draft { bytes: buffer, records: 0, before }
    }

    /// Adds a record and tells its offset in the batch.
    pub(super) fn add(&mut self, record: &Record<'_>) -> usize {
        let at = self.bytes.len();
        record.encode(&mut self.bytes);
        self.records += 1;
        at
    }

    /// Bytes of the batch when it is [`Draft::finish`]ed.
    pub(super) fn length(&self) -> usize {
        total(self.bytes.len() - BATCH_HEADER)
    }

    /// The batch as it is written to a segment of this salt.
    pub(super) fn finish(mut self, salt: u64, compacted: u64) -> Vec<u8> {
        let records = self.bytes.len() - BATCH_HEADER;
        let sum = checksum(&[&self.bytes[BATCH_HEADER..]]);
        self.bytes.resize(total(records), MARK);
        let header = &mut self.bytes[..BATCH_HEADER];
        header[..4].copy_from_slice(&BATCH_MAGIC);
        header[4..8].copy_from_slice(&self.records.to_be_bytes());
        header[8..16].copy_from_slice(&salt.to_be_bytes());
        header[16..24].copy_from_slice(&self.before.to_be_bytes());
        header[24..32].copy_from_slice(&compacted.to_be_bytes());
        header[32..36].copy_from_slice(&(records as u32).to_be_bytes());
        header[36..40].copy_from_slice(&sum.to_be_bytes());
        let sum = checksum(&[&header[..40]]);
        header[40..44].copy_from_slice(&sum.to_be_bytes());
        header[44..].fill(MARK);
        self.bytes
    }
}

/// Bytes of a batch with so many bytes of records: at least one mark at the end.
fn total(records: usize) -> usize {
    (BATCH_HEADER + records + 1).next_multiple_of(ALIGNMENT)
}

/// A batch in a file.
pub(super) struct Batch<'a> {
    pub(super) records: u32,
    /// The revision before its first record's.
    pub(super) before: u64,
    /// The oldest revision that could be read when it was written.
    pub(super) compacted: u64,
    pub(super) bytes: &'a [u8],
    /// Where `bytes` start in the file.
    pub(super) at: u64,
}

struct BatchHeader {
    records: u32,
    before: u64,
    compacted: u64,
    bytes: usize,
    sum: u32,
}

impl BatchHeader {
    fn parse(bytes: &[u8], salt: u64) -> Option<BatchHeader> {
        let header = bytes.get(..BATCH_HEADER)?;
        let known = header.starts_with(&BATCH_MAGIC) && number(header, 8)? == salt.to_be_bytes();
        if !known || number(header, 40)? != checksum(&[&header[..40]]).to_be_bytes() {
            return None;
        }
        let bytes = u32::from_be_bytes(number(header, 32)?) as usize;
        let parsed = BatchHeader {
            records: u32::from_be_bytes(number(header, 4)?),
            before: u64::from_be_bytes(number(header, 16)?),
            compacted: u64::from_be_bytes(number(header, 24)?),
            bytes,
            sum: u32::from_be_bytes(number(header, 36)?),
        };
        header[44..].iter().all(|byte| *byte == MARK).then_some(parsed)
    }
}

/// How the batches of a segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Where the next batch goes.
    pub(super) at: u64,
    /// Whether there is something of a batch that was not written to its end.
    pub(super) torn: bool,
}

/// Visits the batches of a segment of which `file` is all. `sealed`: later segments have batches, so all of this one's were synced.
pub(super) fn scan(
    file: &[u8],
    salt: u64,
    sealed: bool,
    visit: &mut dyn FnMut(&Batch<'_>) -> Result<(), ReadError>,
) -> Result<End, ReadError> {
    let mut at = START as usize;
    loop {
        let rest = file.get(at..).unwrap_or_default();
        if is_zero(rest) {
            return Ok(End { at: at as u64, torn: false });
        }
        let header = BatchHeader::parse(rest, salt).filter(|header| total(header.bytes) <= rest.len());
        // One that others follow was synced; its heads are checked by the visitor, its objects when they are read.
        let whole = header.as_ref().is_some_and(|header| {
            BatchHeader::parse(&rest[total(header.bytes)..], salt).is_some() || is_whole(header, rest)
        });
        if !whole {
            let length = header.as_ref().map_or(BATCH_HEADER, |header| total(header.bytes));
            let synced = sealed || follows(rest, salt);
            if !synced && is_torn(file, at, length) {
                return Ok(End { at: at as u64, torn: true });
            }
            // The records may be sound but for an object, which is found when that is read.
            if header.is_none() {
                return Err(ReadError::Damaged(format!("the batch at offset {at} has a wrong header")));
            }
        }
        let Some(header) = header else { continue };
        let BatchHeader { records, before, compacted, bytes, .. } = header;
        let start = at + BATCH_HEADER;
        visit(&Batch { records, before, compacted, bytes: &file[start..start + bytes], at: start as u64 })?;
        at += total(bytes);
    }
}

fn is_whole(header: &BatchHeader, rest: &[u8]) -> bool {
    let (batch, end) = rest[BATCH_HEADER..total(header.bytes)].split_at(header.bytes);
    checksum(&[batch]) == header.sum && end.iter().all(|byte| *byte == MARK)
}

/// Whether another batch comes after the one that `rest` starts with.
fn follows(rest: &[u8], salt: u64) -> bool {
    let places = (ALIGNMENT..rest.len()).step_by(ALIGNMENT);
    places.map(|at| &rest[at..]).any(|bytes| BatchHeader::parse(bytes, salt).is_some())
}

/// Whether a sector that the batch at `at` has a part in was never written.
fn is_torn(file: &[u8], at: usize, length: usize) -> bool {
    let end = (at + length).min(file.len());
    let mut from = at;
    while from < end {
        let to = (from + 1).next_multiple_of(SECTOR).min(end);
        if is_zero(&file[from..to]) {
            return true;
        }
        from = to;
    }
    false
}

/// Whether there are only zeros; at the speed of memory in any build.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4_096] = [0; 4_096];
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}
