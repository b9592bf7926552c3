//! A disk that fails when told to, and that remembers what was done to it, so that every state a crash could leave can be made.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};

/// Disks write so many bytes whole, or not at all.
pub(super) const SECTOR: usize = 512;

/// What was done, in order.
#[derive(Clone)]
enum Op {
    Create {
        name: String,
        file: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncNames,
    Write {
        file: usize,
        at: u64,
        bytes: Arc<[u8]>,
    },
    Sync {
        file: usize,
    },
    /// Told by the test: whatever was acknowledged so far.
    Acknowledged(u64),
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Error(io::ErrorKind),
    /// A write or read takes only half of its bytes; other calls do as they should.
    Short,
    /// What calls panics.
    Panic,
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    trace: Vec<Op>,
    calls: usize,
    /// At which call, and how.
    fault: Option<(usize, Fault)>,
    /// The same for reads.
    reads: usize,
    read_fault: Option<(usize, Fault)>,
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<State>>);

struct FaultyFile {
    disk: FaultyDisk,
    file: usize,
}

/// A small generator of numbers that are as good as random, the same each time.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

impl State {
    /// Counts a call and tells how it fails.
    fn call(&mut self) -> Option<Fault> {
        self.calls += 1;
        let fault = self.fault.filter(|(at, _)| *at == self.calls).map(|(_, fault)| fault);
        assert!(fault != Some(Fault::Panic), "a panic that was asked for");
        fault
    }

    fn read(&mut self) -> Option<Fault> {
        self.reads += 1;
        self.read_fault.filter(|(at, _)| *at == self.reads).map(|(_, fault)| fault)
    }

    /// The same for calls that cannot be short.
    fn whole_call(&mut self) -> io::Result<()> {
        match self.call() {
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl FaultyDisk {
    /// A disk with these files.
    pub(super) fn of(files: BTreeMap<String, Vec<u8>>) -> FaultyDisk {
        let mut state = State::default();
        for (name, bytes) in files {
            state.names.insert(name, state.files.len());
            state.files.push(bytes);
        }
        FaultyDisk(Arc::new(Mutex::new(state)))
    }

    /// The same, of which everything is sure to stay.
    pub(super) fn resumed(files: BTreeMap<String, Vec<u8>>) -> FaultyDisk {
        let disk = FaultyDisk::of(files);
        {
            let state = &mut *disk.0.lock();
            for (name, file) in &state.names {
                let (name, file) = (name.clone(), *file);
                let bytes = state.files[file].as_slice().into();
                state.trace.extend([
                    Op::Create { name, file },
                    Op::Write { file, at: 0, bytes },
                    Op::Sync { file },
                ]);
            }
            state.trace.push(Op::SyncNames);
        }
        disk
    }

    /// How many things were done.
    pub(super) fn done(&self) -> usize {
        self.0.lock().trace.len()
    }

    /// The files as they are.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock();
        state.names.iter().map(|(name, file)| (name.clone(), state.files[*file].clone())).collect()
    }

    /// Calls that write or sync anything, so far.
    pub(super) fn calls(&self) -> usize {
        self.0.lock().calls
    }

    pub(super) fn fail(&self, at: usize, fault: Fault) {
        self.0.lock().fault = Some((at, fault));
    }

    /// Reads so far.
    pub(super) fn reads(&self) -> usize {
        self.0.lock().reads
    }

    pub(super) fn fail_read(&self, at: usize, fault: Fault) {
        self.0.lock().read_fault = Some((at, fault));
    }

    /// Notes what the store has acknowledged.
    pub(super) fn acknowledged(&self, revision: u64) {
        self.0.lock().trace.push(Op::Acknowledged(revision));
    }

    /// Everything that was done.
    pub(super) fn crashes(&self) -> Crashes {
        Crashes { trace: self.0.lock().trace.clone(), done: 0, sure: Sure::default(), acknowledged: 0 }
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.whole_call()?;
        let file = state.files.len();
        state.files.push(Vec::new());
        state.names.insert(name.to_owned(), file);
        state.trace.push(Op::Create { name: name.to_owned(), file });
        Ok(Arc::new(FaultyFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.lock().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultyFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.whole_call()?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        state.trace.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.whole_call()?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.trace.push(Op::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.whole_call()?;
        state.trace.push(Op::SyncNames);
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().files[self.file].len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.0.lock();
        let asked = match state.read() {
            Some(Fault::Error(kind)) => return Err(kind.into()),
            Some(Fault::Short) => bytes.len().div_ceil(2),
            _ => bytes.len(),
        };
        let rest = state.files[self.file].get(at as usize..).unwrap_or_default();
        let read = rest.len().min(asked);
        bytes[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.0.lock();
        let written = match state.call() {
            Some(Fault::Error(kind)) => return Err(kind.into()),
            Some(Fault::Short) => bytes.len().div_ceil(2),
            Some(Fault::Panic) | None => bytes.len(),
        };
        write(&mut state.files[self.file], at as usize, &bytes[..written]);
        state.trace.push(Op::Write { file: self.file, at, bytes: bytes[..written].into() });
        Ok(written)
    }

    /// After a failure nothing more is known about what was written before: none of it gets to the disk any more, as on Linux.
    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if let Err(error) = state.whole_call() {
            let lost =
                state.trace.iter().rposition(|op| matches!(op, Op::Sync { file } if *file == self.file));
            let from = lost.map_or(0, |at| at + 1);
            let mut at = 0;
            state.trace.retain(|op| {
                at += 1;
                at <= from || !matches!(op, Op::Write { file, .. } if *file == self.file)
            });
            return Err(error);
        }
        state.trace.push(Op::Sync { file: self.file });
        Ok(())
    }
}

fn write(contents: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[at..end].copy_from_slice(bytes);
}

/// What is certainly on the disk, and what may be.
#[derive(Default)]
struct Sure {
    names: BTreeMap<String, usize>,
    files: BTreeMap<usize, Vec<u8>>,
    unsure_names: Vec<Op>,
    unsure_writes: Vec<(usize, u64, Arc<[u8]>)>,
}

/// Goes through what was done, and makes what a crash at each point could leave.
pub(super) struct Crashes {
    trace: Vec<Op>,
    done: usize,
    sure: Sure,
    /// The newest revision that was acknowledged up to here.
    pub(super) acknowledged: u64,
}

impl Crashes {
    /// To the next call; false at the end.
    pub(super) fn step(&mut self) -> bool {
        let Some(op) = self.trace.get(self.done) else { return false };
        self.done += 1;
        let sure = &mut self.sure;
        match op {
            Op::Acknowledged(revision) => self.acknowledged = self.acknowledged.max(*revision),
            Op::Write { file, at, bytes } => sure.unsure_writes.push((*file, *at, Arc::clone(bytes))),
            Op::Sync { file } => {
                let synced: Vec<_> = sure.unsure_writes.extract_if(.., |(of, ..)| of == file).collect();
                let contents = sure.files.entry(*file).or_default();
                synced.iter().for_each(|(_, at, bytes)| write(contents, *at as usize, bytes));
            }
            Op::SyncNames => {
                for op in std::mem::take(&mut sure.unsure_names) {
                    apply(&mut sure.names, &op);
                }
            }
            op => sure.unsure_names.push(op.clone()),
        }
        true
    }

    /// Whether there is more than one state that a crash here could leave.
    pub(super) fn is_unsure(&self) -> bool {
        !self.sure.unsure_writes.is_empty() || !self.sure.unsure_names.is_empty()
    }

    /// One of the states. Names change in the order they were changed in, as on a file system with a journal; sectors get to the
    /// disk in any order.
    pub(super) fn crash(&self, numbers: &mut Numbers) -> FaultyDisk {
        let mut names = self.sure.names.clone();
        let kept = numbers.below(self.sure.unsure_names.len() + 1);
        self.sure.unsure_names[..kept].iter().for_each(|op| apply(&mut names, op));
        let mut files = self.sure.files.clone();
        // All, none, all but a few, only a few, or half of the sectors.
        let (chance, of) = [(1, 1), (0, 1), (9, 10), (1, 10), (1, 2)][numbers.below(5)];
        for (file, at, bytes) in &self.sure.unsure_writes {
            let contents = files.entry(*file).or_default();
            let mut from = *at as usize;
            let end = from + bytes.len();
            while from < end {
                let to = (from + 1).next_multiple_of(SECTOR).min(end);
                if numbers.below(of) < chance {
                    write(contents, from, &bytes[from - *at as usize..to - *at as usize]);
                }
                from = to;
            }
        }
        let contents = names.into_iter().map(|(name, file)| (name, files.remove(&file).unwrap_or_default()));
        FaultyDisk::of(contents.collect())
    }
}

fn apply(names: &mut BTreeMap<String, usize>, op: &Op) {
    match op {
        Op::Create { name, file } => {
            names.insert(name.clone(), *file);
        }
        Op::Rename { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Op::Remove { name } => {
            names.remove(name);
        }
        Op::SyncNames | Op::Write { .. } | Op::Sync { .. } | Op::Acknowledged(_) => {}
    }
}
