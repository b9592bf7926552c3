//! What the store asks of a file system, so that tests can put a failing one under it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// A directory of files. What was created, renamed or removed is only sure to stay so after [`Disk::sync_names`].
pub(super) trait Disk: Send + Sync + 'static {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// An empty file of this name, in place of one that may be there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Replaces a file of the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// An open file stays readable.
    fn remove(&self, name: &str) -> io::Result<()>;
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file, used by several threads. What was written is only sure to stay so after [`DiskFile::sync`].
pub(super) trait DiskFile: Send + Sync {
    fn length(&self) -> io::Result<u64>;
    /// Reads some bytes; none at the end.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes some bytes, possibly fewer than given.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;
    fn sync(&self) -> io::Result<()>;
}

/// Fills `bytes`; an error of kind `UnexpectedEof` if the file ends before.
pub(super) fn read_exact(file: &dyn DiskFile, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.read_at(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                bytes = &mut bytes[read..];
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `bytes`.
pub(super) fn write_all(file: &dyn DiskFile, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills an empty file with so many zeros and syncs, a piece at a time: one large sync would hold up those of others.
pub(super) fn fill(file: &dyn DiskFile, length: u64) -> io::Result<()> {
    const PIECE: u64 = 1 << 20;
    let zeros = vec![0; PIECE.min(length) as usize];
    for at in (0..length).step_by(PIECE as usize) {
        let piece = (length - at).min(PIECE);
        write_all(file, &zeros[..piece as usize], at)?;
        file.sync()?;
    }
    Ok(())
}

/// A directory of the operating system's.
pub(super) struct Directory(pub(super) PathBuf);

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.0)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Arc::new(options.open(self.0.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, at)
    }

    /// With the length, as far as reading what was written needs it (`fdatasync`).
    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
