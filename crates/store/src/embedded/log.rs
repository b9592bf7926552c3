//! Where batches are appended: the current segment, and the next one, which is made ready beside.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::disk::{self, Disk, DiskFile};
use super::segment::{Header, START};

/// The first segment is small, so that a new store is there at once; each further one is twice as large up to the greatest.
pub(super) const FIRST_BYTES: u64 = 1 << 20;
const GREATEST_BYTES: u64 = 16 << 20;
/// Files that are not complete have this at the end of their names.
pub(super) const UNFINISHED: &str = ".new";

/// A segment that takes batches.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) header: Header,
    /// Where the next batch goes.
    pub(super) at: u64,
}

/// The file name of a segment.
pub(super) fn name(number: u64) -> String {
    format!("log-{number:020}")
}

/// The number in a file name.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_prefix("log-").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// Makes a segment: complete and synced before it has its name.
pub(super) fn create(disk: &dyn Disk, number: u64, cluster: [u8; 16], length: u64) -> io::Result<Segment> {
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
    let header = Header { cluster, length, salt: u64::from_be_bytes(salt) };
    let name = name(number);
    let unfinished = format!("{name}{UNFINISHED}");
    let file = disk.create(&unfinished)?;
    let written = disk::fill(&*file, length)
        .and_then(|()| disk::write_all(&*file, &header.encode(), 0))
        .and_then(|()| file.sync())
        .and_then(|()| disk.rename(&unfinished, &name))
        .and_then(|()| disk.sync_names());
    if let Err(error) = written {
        // What is left of it is removed at the latest by the next open.
        let _ = disk.remove(&unfinished);
        return Err(error);
    }
    Ok(Segment { number, file, header, at: START })
}

/// The end of the log.
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    current: Segment,
    next: Option<JoinHandle<io::Result<Segment>>>,
    /// Nothing is known of what was appended last: a later sync that succeeds would say nothing about it.
    failed: bool,
}

impl Log {
    pub(super) fn new(disk: Arc<dyn Disk>, current: Segment) -> Log {
        Log { disk, current, next: None, failed: false }
    }

    pub(super) fn current(&self) -> &Segment {
        &self.current
    }

    /// Bytes that the current segment has room for.
    pub(super) fn left(&self) -> usize {
        usize::try_from(self.current.header.length.saturating_sub(self.current.at)).unwrap_or(usize::MAX)
    }

    /// Sees to it that a batch of so many bytes fits into the current segment. Returns the segment that was current before,
    /// if there is a new one. An error leaves everything as it was.
    pub(super) fn room(&mut self, bytes: usize) -> io::Result<Option<Segment>> {
        if self.current.at + bytes as u64 <= self.current.header.length {
            return Ok(None);
        }
        let next = match self.next.take().map(JoinHandle::join) {
            Some(Ok(next)) => next?,
            Some(Err(_)) => return Err(io::Error::other("the thread that prepares segments has panicked")),
            None => self.prepare(0)()?,
        };
        let next = match START + bytes as u64 <= next.header.length {
            true => next,
            // Takes the name of the one that is too small.
            false => self.prepare(START + bytes as u64)()?,
        };
        Ok(Some(std::mem::replace(&mut self.current, next)))
    }

    /// What makes the segment after the current one, with at least so many bytes.
    fn prepare(&self, least: u64) -> impl FnOnce() -> io::Result<Segment> + Send + 'static {
        let Header { cluster, length, .. } = self.current.header;
        let (disk, number) = (Arc::clone(&self.disk), self.current.number + 1);
        let length = (length * 2).clamp(FIRST_BYTES, GREATEST_BYTES).max(least.next_multiple_of(FIRST_BYTES));
        move || create(&*disk, number, cluster, length)
    }

    /// Writes a batch for which there is room and makes it durable. After an error nothing is known about it, and there is no other.
    pub(super) fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(io::Error::other("what was written before may not be on the disk"));
        }
        disk::write_all(&*self.current.file, batch, self.current.at)?;
        self.current.file.sync()?;
        self.failed = false;
        self.current.at += batch.len() as u64;
        if self.next.is_none() && self.current.at > self.current.header.length / 2 {
            // Without a thread it is made when it is needed.
            let prepare = thread::Builder::new().name("store-prepare".into());
            self.next = prepare.spawn(self.prepare(0)).ok();
        }
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The directory must not be written to once the store has been closed.
        if let Some(next) = self.next.take() {
            let _ = next.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::faulty::{Fault, FaultyDisk};
    use super::*;

    #[test]
    fn nothing_is_appended_after_a_failure() {
        for failing in [1, 2] {
            let disk = FaultyDisk::default();
            let segment = create(&disk, 1, [0; 16], FIRST_BYTES).unwrap();
            let mut log = Log::new(Arc::new(disk.clone()), segment);
            log.append(&[1; 64]).unwrap();
            // Of its two calls, to write and to sync.
            disk.fail(disk.calls() + failing, Fault::Error(io::ErrorKind::Other));
            log.append(&[2; 64]).unwrap_err();
            let before = disk.files();
            log.append(&[3; 8]).unwrap_err();
            assert!(disk.files() == before, "it is left alone");
        }
    }
}
