//! A file with every object at one revision, to the byte: what the log goes on from, and what a snapshot is. The format is
//! described in `docs/store.md`.

use std::io;

use crate::error::ReadError;
use crate::types::KEY_MAX;

use super::disk::{self, DiskFile};
use super::header::{self, HEADER};
use super::record::{self, Head, Record, number};

const MAGIC: [u8; 8] = *b"KNARRbas";
/// Far below the greatest number there is, so that writes always find a next one.
const REVISION_MAX: u64 = 1 << 62;
/// Bytes read or written at a time.
const PIECE: usize = 1 << 20;

/// The file name of the base at a revision.
pub(super) fn name(revision: u64) -> String {
    format!("base-{revision:020}")
}

/// The revision in a file name.
pub(super) fn revision(name: &str) -> Option<u64> {
    name.strip_prefix("base-").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// What the header of a base says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cluster: [u8; 16],
    /// The revision whose state this is. Nothing before it can be read.
    pub(super) revision: u64,
    pub(super) records: u64,
    /// Bytes of all records.
    pub(super) bytes: u64,
    /// The checksum of these.
    sum: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = header::begin(MAGIC);
        bytes[16..32].copy_from_slice(&self.cluster);
        bytes[32..40].copy_from_slice(&self.revision.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.records.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.bytes.to_be_bytes());
        bytes[56..60].copy_from_slice(&self.sum.to_be_bytes());
        header::seal(bytes)
    }

    /// The header of a file, whose length it must tell.
    pub(super) fn read(file: &dyn DiskFile) -> Result<Header, ReadError> {
        let mut bytes = [0; HEADER];
        let damaged = |what: &str| ReadError::Damaged(what.to_owned());
        match disk::read_exact(file, &mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("its header is missing"));
            }
            read => read?,
        }
        header::check(&bytes, MAGIC)?;
        let long = |at| number(&bytes, at).map_or(0, u64::from_be_bytes);
        let header = Header {
            cluster: number(&bytes, 16).unwrap_or_default(),
            revision: long(32),
            records: long(40),
            bytes: long(48),
            sum: number(&bytes, 56).map_or(0, u32::from_be_bytes),
        };
        if header.revision > REVISION_MAX {
            return Err(damaged("its revision is too great"));
        }
        let length = file.length()?;
        match header.length() == length {
            true => Ok(header),
            false => Err(damaged(&format!("it has {length} bytes instead of {}", header.length()))),
        }
    }

    /// Bytes of the file.
    pub(super) fn length(&self) -> u64 {
        self.bytes.saturating_add(HEADER as u64)
    }
}

/// A base that is being written.
pub(super) struct Writer<'a> {
    file: &'a dyn DiskFile,
    header: Header,
    sum: crc32fast::Hasher,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Into an empty file.
    pub(super) fn new(file: &'a dyn DiskFile, cluster: [u8; 16], revision: u64) -> Writer<'a> {
        let header = Header { cluster, revision, records: 0, bytes: 0, sum: 0 };
        Writer { file, header, sum: crc32fast::Hasher::new(), buffer: Vec::with_capacity(PIECE) }
    }

    /// Adds a record as it lies in another file; keys must come in order. Tells where it will be.
    pub(super) fn add(&mut self, record: &[u8]) -> io::Result<u64> {
        if self.buffer.len() + record.len() > PIECE {
            self.flush()?;
        }
        let at = HEADER as u64 + self.header.bytes + self.buffer.len() as u64;
        self.buffer.extend_from_slice(record);
        self.header.records += 1;
        Ok(at)
    }

    fn flush(&mut self) -> io::Result<()> {
        disk::write_all(self.file, &self.buffer, HEADER as u64 + self.header.bytes)?;
        self.sum.update(&self.buffer);
        self.header.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        // In small pieces: one large sync would hold up those of the log.
        self.file.sync()
    }

    /// Completes the file and makes it durable, but not its name.
    pub(super) fn finish(mut self) -> io::Result<Header> {
        self.flush()?;
        self.header.sum = self.sum.finalize();
        disk::write_all(self.file, &self.header.encode(), 0)?;
        self.file.sync()?;
        Ok(self.header)
    }
}

/// Visits the heads of all records with where they are. The objects are not looked at.
pub(super) fn scan(
    file: &dyn DiskFile,
    header: &Header,
    visit: &mut dyn FnMut(&Head<'_>, u64) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut records = Records::new(file, header);
    for number in 0..header.records {
        records.ensure(record::HEADER + KEY_MAX)?;
        let head = Head::parse(records.rest());
        let head = head.ok_or_else(|| damaged_record(number, "is malformed"))?;
        visit(&head, records.at)?;
        let length = head.length();
        records.skip(length);
    }
    records.end()
}

/// Visits the bytes of all records, each of which is checked, and then the checksum of all.
pub(super) fn verify(
    file: &dyn DiskFile,
    header: &Header,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut records = Records::new(file, header);
    let mut sum = crc32fast::Hasher::new();
    for number in 0..header.records {
        records.ensure(record::HEADER + KEY_MAX)?;
        let length = Head::parse(records.rest()).map(|head| head.length());
        let length = length.ok_or_else(|| damaged_record(number, "is malformed"))?;
        records.ensure(length)?;
        let bytes = records.rest().get(..length).ok_or_else(|| damaged_record(number, "is cut off"))?;
        sum.update(bytes);
        Record::decode(bytes, number)?;
        visit(bytes)?;
        records.skip(length);
    }
    records.end()?;
    match sum.finalize() == header.sum {
        true => Ok(()),
        false => Err(ReadError::Damaged("its checksum is wrong".to_owned())),
    }
}

fn damaged_record(number: u64, what: &str) -> ReadError {
    ReadError::Damaged(format!("its record {number} {what}"))
}

/// A window that moves over a file.
struct Records<'a> {
    file: &'a dyn DiskFile,
    /// Where `rest` starts in the file, and where the records end.
    at: u64,
    end: u64,
    window: Vec<u8>,
    /// Bytes of the window that have been passed.
    passed: usize,
}

impl<'a> Records<'a> {
    fn new(file: &'a dyn DiskFile, header: &Header) -> Records<'a> {
        let start = HEADER as u64;
        Records { file, at: start, end: start + header.bytes, window: Vec::new(), passed: 0 }
    }

    fn rest(&self) -> &[u8] {
        self.window.get(self.passed..).unwrap_or_default()
    }

    /// Sees to it that `rest` has so many bytes, or all there are.
    fn ensure(&mut self, bytes: usize) -> io::Result<()> {
        let left = self.end.saturating_sub(self.at);
        if self.rest().len() as u64 >= left.min(bytes as u64) {
            return Ok(());
        }
        let wanted = left.min(bytes.max(PIECE) as u64) as usize;
        self.window.resize(wanted, 0);
        self.passed = 0;
        disk::read_exact(self.file, &mut self.window, self.at)
    }

    fn skip(&mut self, bytes: usize) {
        self.at += bytes as u64;
        self.passed += bytes;
    }

    fn end(&self) -> Result<(), ReadError> {
        match self.at == self.end {
            true => Ok(()),
            false => Err(ReadError::Damaged("its records end elsewhere than its header says".to_owned())),
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryDisk;
    use super::*;
    use crate::embedded::disk::Disk;

    #[test]
    fn a_revision_that_leaves_no_room_is_refused() {
        let disk = MemoryDisk::default();
        for (revision, fits) in [(REVISION_MAX, true), (REVISION_MAX + 1, false), (u64::MAX, false)] {
            let file = disk.create("base").unwrap();
            Writer::new(&*file, [0; 16], revision).finish().unwrap();
            assert_eq!(Header::read(&*file).is_ok(), fits, "{revision}");
        }
    }
}
