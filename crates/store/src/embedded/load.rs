//! Reading a store's files when it is opened: the newest base, then the log.

use std::sync::Arc;

use crate::error::ReadError;
use crate::types::EventKind;

use super::base;
use super::disk::{self, Disk, DiskFile};
use super::index::{Index, Logged, Place, Version};
use super::log::{self, Segment, UNFINISHED};
use super::record::Head;
use super::segment::{self, Batch, Header, START};

/// A segment that takes no more batches.
pub(super) struct Sealed {
    pub(super) name: String,
    pub(super) file: u32,
    /// The newest revision in it.
    pub(super) last: u64,
    pub(super) bytes: u64,
}

/// The base in use.
pub(super) struct Base {
    pub(super) file: u32,
    pub(super) revision: u64,
    pub(super) bytes: u64,
}

/// A store as it was found.
pub(super) struct Loaded {
    pub(super) cluster: [u8; 16],
    pub(super) index: Index,
    pub(super) base: Base,
    pub(super) sealed: Vec<Sealed>,
    pub(super) current: Segment,
    /// Its number in the index.
    pub(super) current_file: u32,
}

/// Puts the name of a file before what is wrong with it.
fn naming(name: &str) -> impl Fn(ReadError) -> ReadError {
    move |error| match error {
        ReadError::Damaged(what) => ReadError::Damaged(format!("{name}: {what}")),
        ReadError::UnknownFormat(what) => ReadError::UnknownFormat(format!("{name}: {what}")),
        ReadError::Io(what) => ReadError::Io(format!("{name}: {what}")),
        other => other,
    }
}

/// An empty store in an empty directory.
pub(super) fn create(disk: &dyn Disk, cluster: [u8; 16]) -> std::io::Result<()> {
    let name = base::name(super::EMPTY);
    let file = disk.create(&name)?;
    base::Writer::new(&*file, cluster, super::EMPTY).finish()?;
    log::create(disk, 1, cluster, log::FIRST_BYTES).map(drop)
}

/// Reads everything, removes what a crash has left half-done, and leaves the store ready for writes.
pub(super) fn load(disk: &dyn Disk) -> Result<Loaded, ReadError> {
    let names = disk.list()?;
    let newest = names.iter().filter_map(|name| base::revision(name)).max();
    let newest = newest.ok_or_else(|| ReadError::Damaged("the file base-… is missing".to_owned()))?;
    let mut load = Load::base(disk, newest)?;
    let mut numbers: Vec<_> = names.iter().filter_map(|name| log::number(name)).collect();
    numbers.sort_unstable();
    let (current, current_file) = load.segments(disk, &numbers)?;
    if load.revision < newest && load.batches {
        return Err(missing(load.revision, newest));
    }
    load.index.compact(load.compacted, usize::MAX);
    // Only now that the store is known to be sound is anything removed.
    let superseded = |name: &&String| {
        name.ends_with(UNFINISHED) || base::revision(name).is_some_and(|revision| revision < newest)
    };
    for name in names.iter().filter(superseded) {
        disk.remove(name)?;
    }
    for number in numbers.into_iter().filter(|number| *number > current.number) {
        disk.remove(&log::name(number))?;
    }
    let Load { index, cluster, base, sealed, .. } = load;
    Ok(Loaded { cluster, index, base, sealed, current, current_file })
}

fn missing(after: u64, before: u64) -> ReadError {
    ReadError::Damaged(format!("the revisions from {} to {before} are missing", after + 1))
}

struct Load {
    index: Index,
    cluster: [u8; 16],
    base: Base,
    sealed: Vec<Sealed>,
    /// The newest revision read so far, of the base or of a batch.
    revision: u64,
    compacted: u64,
    /// Whether there was any batch.
    batches: bool,
}

impl Load {
    fn base(disk: &dyn Disk, revision: u64) -> Result<Load, ReadError> {
        let name = base::name(revision);
        let file = disk.open(&name).map_err(|error| naming(&name)(error.into()))?;
        let header = base::Header::read(&*file).map_err(naming(&name))?;
        if header.revision != revision {
            return Err(naming(&name)(ReadError::Damaged("it is of another revision".to_owned())));
        }
        let mut index = Index::new(revision);
        let number = index.open(Arc::clone(&file));
        let scanned = base::scan(&*file, &header, &mut |head, at| {
            let place = Place { file: number, length: head.length() as u32, at };
            let sound = head.kind != EventKind::Deleted && head.revision <= revision;
            let new = index.insert(head.key, Version { revision: head.revision, place, live: true });
            match sound && new {
                true => Ok(()),
                false => Err(ReadError::Damaged(format!("the record of {} does not belong in it", head.key))),
            }
        });
        scanned.map_err(naming(&name))?;
        let base = Base { file: number, revision, bytes: header.bytes };
        let cluster = header.cluster;
        Ok(Load { index, cluster, base, sealed: Vec::new(), revision, compacted: revision, batches: false })
    }

    /// Reads the log, and tells the segment that takes the next batch.
    fn segments(&mut self, disk: &dyn Disk, numbers: &[u64]) -> Result<(Segment, u32), ReadError> {
        // Those after the last one with a batch have only been made ready.
        let mut used = numbers.len();
        while used > 1 && !is_used(disk, numbers[used - 1])? {
            used -= 1;
        }
        gapless(disk, numbers, used)?;
        let (mut current, mut bytes) = (None, Vec::new());
        for (at, number) in numbers[..used].iter().enumerate() {
            let name = log::name(*number);
            let last = at + 1 == used;
            let (segment, file) = self.segment(disk, *number, !last, &mut bytes).map_err(naming(&name))?;
            if last {
                current = Some((segment, file));
            } else {
                self.sealed.push(Sealed { name, file, last: self.revision, bytes: segment.at - START });
            }
        }
        current.ok_or_else(|| ReadError::Damaged("the file log-… is missing".to_owned()))
    }

    fn segment(
        &mut self,
        disk: &dyn Disk,
        number: u64,
        sealed: bool,
        bytes: &mut Vec<u8>,
    ) -> Result<(Segment, u32), ReadError> {
        let file = disk.open(&log::name(number))?;
        let bytes = contents(&*file, bytes)?;
        let header = Header::decode(bytes)?;
        if header.cluster != self.cluster {
            return Err(ReadError::Damaged("it belongs to another store".to_owned()));
        }
        let in_index = self.index.open(Arc::clone(&file));
        let end = segment::scan(bytes, header.salt, sealed, &mut |batch| self.batch(batch, in_index))?;
        if end.torn {
            mend(&*file, bytes, end.at)?;
        }
        Ok((Segment { number, file, header, at: end.at }, in_index))
    }

    fn batch(&mut self, batch: &Batch<'_>, file: u32) -> Result<(), ReadError> {
        let dense = match self.batches {
            true => batch.before == self.revision,
            false => batch.before <= self.base.revision,
        };
        if !dense {
            return Err(missing(self.revision, batch.before));
        }
        (self.batches, self.revision) = (true, batch.before);
        self.compacted = self.compacted.max(batch.compacted);
        let mut at = 0;
        for _ in 0..batch.records {
            let head = batch.bytes.get(at..).and_then(Head::parse);
            let head = head.filter(|head| head.revision == self.revision + 1);
            let head = head.ok_or_else(|| {
                ReadError::Damaged(format!("the record of revision {} is malformed", self.revision + 1))
            })?;
            self.revision = head.revision;
            let place = Place { file, length: head.length() as u32, at: batch.at + at as u64 };
            at += head.length();
            if head.revision > self.base.revision {
                self.append(&head, place);
            }
        }
        Ok(())
    }

    fn append(&mut self, head: &Head<'_>, place: Place) {
        let live = head.kind != EventKind::Deleted;
        let version = Version { revision: head.revision, place, live };
        let key = self.index.known(head.key);
        self.index.append(Logged { key, version, previous: head.previous });
    }
}

/// A segment is made ready only while the one before is the current one: that must be there, too.
fn gapless(disk: &dyn Disk, numbers: &[u64], used: usize) -> Result<(), ReadError> {
    let absent = |number| Err(ReadError::Damaged(format!("the file {} is missing", log::name(number))));
    match numbers {
        [] => absent(1),
        [first, ..] if used == 1 && *first > 1 && !is_used(disk, *first)? => absent(first - 1),
        _ => match numbers.get(used) {
            Some(ready) if *ready != numbers[used - 1] + 1 => absent(ready - 1),
            _ => Ok(()),
        },
    }
}

/// Whether there is anything in a segment. Where that would be is known of this format only.
fn is_used(disk: &dyn Disk, number: u64) -> Result<bool, ReadError> {
    let name = log::name(number);
    let mut bytes = Vec::new();
    let file = disk.open(&name).map_err(|error| naming(&name)(error.into()))?;
    let bytes = contents(&*file, &mut bytes).map_err(naming(&name))?;
    match Header::decode(bytes) {
        Err(unknown @ ReadError::UnknownFormat(_)) => Err(naming(&name)(unknown)),
        _ => Ok(!segment::is_zero(bytes.get(START as usize..).unwrap_or_default())),
    }
}

/// Reads all of a file into a buffer that is used again.
fn contents<'a>(file: &dyn DiskFile, bytes: &'a mut Vec<u8>) -> Result<&'a [u8], ReadError> {
    bytes.resize(file.length()? as usize, 0);
    disk::read_exact(file, bytes, 0)?;
    Ok(bytes)
}

/// Makes zeros of what a crash has left of a batch that was never acknowledged, so that it cannot be taken for part of a later one.
fn mend(file: &dyn DiskFile, bytes: &[u8], from: u64) -> std::io::Result<()> {
    const PIECE: usize = 4_096;
    tracing::warn!(offset = from, "the last write was cut off before it was acknowledged; it is dropped");
    let mut at = from as usize;
    for chunk in bytes[at..].chunks(PIECE) {
        if !segment::is_zero(chunk) {
            disk::write_all(file, &vec![0; chunk.len()], at as u64)?;
        }
        at += chunk.len();
    }
    file.sync()
}
