//! A file that somebody asked for: it gets its name when it is complete and durable, and never in place of another.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// A file without its name. It is gone when this is dropped.
pub(super) struct Undelivered {
    pub(super) file: File,
    /// What it is called meanwhile: beside its place, and nobody else's.
    path: PathBuf,
    directory: PathBuf,
    to: PathBuf,
}

impl Undelivered {
    /// An empty file that is to be `to`. An error of kind `AlreadyExists` if there is something of that name.
    pub(super) fn new(to: &Path) -> io::Result<Undelivered> {
        let to = std::path::absolute(to)?;
        let (Some(directory), Some(_)) = (to.parent(), to.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // It is looked at once more in the end. A link that leads nowhere is something, too.
        if to.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let path = directory.join(format!(".knarr-{:016x}.new", u64::from_be_bytes(random)));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Undelivered { file, path, directory: directory.to_owned(), to })
    }

    /// Gives the file its name, for good. After an error there is none.
    pub(super) fn deliver(self) -> io::Result<()> {
        self.file.sync_all()?;
        rename_to_new(&self.path, &self.to)?;
        File::open(&self.directory)?.sync_all().inspect_err(|_| {
            let _ = fs::remove_file(&self.to);
        })
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        // It is not there any more if it was delivered.
        let _ = fs::remove_file(&self.path);
    }
}

fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // File systems over a network do not know this, but links.
        Err(Errno::EINVAL) => fs::hard_link(from, to).and_then(|()| fs::remove_file(from)),
        renamed => Ok(renamed?),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    fn entries(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn a_file_has_its_name_when_it_is_delivered() {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("a");
        let mut made = Undelivered::new(&to).unwrap();
        made.file.write_all(b"whole").unwrap();
        assert!(!to.exists());
        made.deliver().unwrap();
        assert_eq!((fs::read(&to).unwrap(), entries(directory.path())), (b"whole".to_vec(), 1));
        drop(Undelivered::new(&directory.path().join("b")).unwrap());
        assert_eq!(entries(directory.path()), 1, "what is given up leaves nothing");
    }

    #[test]
    fn nothing_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("a");
        let made = Undelivered::new(&to).unwrap();
        // It comes while the other is written.
        fs::write(&to, "mine").unwrap();
        assert_eq!(made.deliver().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(Undelivered::new(&to).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        let nowhere = directory.path().join("nowhere");
        symlink("/does/not/exist", &nowhere).unwrap();
        assert_eq!(Undelivered::new(&nowhere).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&to).unwrap(), entries(directory.path())), (b"mine".to_vec(), 2));
    }
}
