//! Unpacking one layer into a directory that overlayfs can stack.
//!
//! Every path is resolved by the kernel with the layer's directory as root (`openat2` with `RESOLVE_IN_ROOT`), so that
//! neither `..` nor a symbolic link planted earlier in the archive leads outside.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmodat, makedev, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

/// Prefix that marks a deleted file in a layer.
const WHITEOUT: &[u8] = b".wh.";
/// Name that marks a directory whose lower contents are hidden.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What an extended attribute's name is prefixed with in a PAX header.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What a layer turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// `sha256:…` of the archive without compression.
    pub diff_id: String,
    /// Bytes of file contents.
    pub size_bytes: u64,
}

/// How deletions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// As overlayfs reads them.
    Overlay,
    /// Not a layer: names with the prefix are ordinary files.
    Literal,
}

/// Opens `path` below `root`, following symbolic links as if `root` were `/`.
pub fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::from_bits_retain(flags) | OFlag::O_CLOEXEC)
        .mode(Mode::from_bits_truncate(mode))
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(root, path, how)?)
}

/// Recognises compression by its first bytes and reads through it.
pub fn decompress<'a, R: Read + 'a>(reader: R) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(128 * 1024, reader);
    let head = io::BufRead::fill_buf(&mut reader)?;
    if head.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(zstd::stream::read::Decoder::with_buffer(reader)?))
    } else {
        Ok(Box::new(reader))
    }
}

/// Unpacks the (perhaps compressed) archive into the empty directory `target`.
///
/// # Errors
/// Names the entry that could not be made, and refuses those that lead outside.
pub fn unpack(archive: impl Read, target: &Path, whiteouts: Whiteouts) -> io::Result<Unpacked> {
    let mut hashing = HashingReader { inner: decompress(archive)?, hash: Sha256::new() };
    let mut unpacker = Unpacker::new(target, whiteouts)?;
    let mut tar = Archive::new(&mut hashing);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        unpacker
            .entry(&mut entry, &path)
            .map_err(|error| io::Error::new(error.kind(), format!("unpack {}: {error}", path.display())))?;
    }
    unpacker.finish()?;
    let size_bytes = unpacker.size_bytes;
    // Padding after the archive's end belongs to the digest.
    io::copy(&mut hashing, &mut io::sink())?;
    Ok(Unpacked { diff_id: format!("sha256:{}", hex(&hashing.hash.finalize())), size_bytes })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

struct HashingReader<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

struct Unpacker {
    root: OwnedFd,
    whiteouts: Whiteouts,
    size_bytes: u64,
    /// Directories' times, set last because making files changes them.
    times: Vec<(PathBuf, TimeSpec)>,
    /// The directory of the last entry, often that of the next.
    parent: Option<(PathBuf, OwnedFd)>,
}

impl Unpacker {
    fn new(target: &Path, whiteouts: Whiteouts) -> io::Result<Self> {
        Ok(Self {
            root: File::open(target)?.into(),
            whiteouts,
            size_bytes: 0,
            times: Vec::new(),
            parent: None,
        })
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
        let path = clean(path)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return self.root_directory(entry);
        };
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let parent = self.parent(&directory)?;
        if self.whiteouts == Whiteouts::Overlay && name.as_bytes().starts_with(WHITEOUT) {
            return whiteout(parent.as_fd(), name.as_bytes());
        }
        let name = Path::new(&name);
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory {
            self.parent = None;
            make_directory(parent.as_fd(), name)?;
        } else {
            self.remove_existing(parent.as_fd(), name)?;
            self.make(entry, parent.as_fd(), name, kind)?;
        }
        if kind == EntryType::Link {
            return Ok(());
        }
        let time = set_metadata(entry, parent.as_fd(), name, kind)?;
        if kind == EntryType::Directory {
            self.times.push((path, time));
        }
        Ok(())
    }

    /// Archives of a whole tree begin with `./`.
    fn root_directory<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        if entry.header().entry_type() == EntryType::Directory {
            set_metadata(entry, self.root.as_fd(), Path::new("."), EntryType::Directory)?;
        }
        Ok(())
    }

    fn make<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: BorrowedFd<'_>,
        name: &Path,
        kind: EntryType,
    ) -> io::Result<()> {
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
                let how = OpenHow::new()
                    .flags(OFlag::from_bits_retain(flags) | OFlag::O_CLOEXEC)
                    .mode(Mode::from_bits_truncate(0o600));
                let mut file = File::from(openat2(parent, name, how)?);
                self.size_bytes += io::copy(entry, &mut file)?;
                file.flush()
            }
            EntryType::Symlink => {
                let target = link_target(entry)?;
                Ok(symlinkat(&target, parent, name)?)
            }
            EntryType::Link => {
                let target = clean(&link_target(entry)?)?;
                let source_directory = target.parent().unwrap_or(Path::new("")).to_owned();
                let file = target
                    .file_name()
                    .ok_or_else(|| io::Error::other("hard link to a directory"))?
                    .to_owned();
                let source = self.parent(&source_directory)?;
                Ok(linkat(source.as_fd(), Path::new(&file), parent, name, LinkatFlags::empty())?)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let (major, minor) = (
                    entry.header().device_major()?.unwrap_or(0),
                    entry.header().device_minor()?.unwrap_or(0),
                );
                let flag = match kind {
                    EntryType::Char => SFlag::S_IFCHR,
                    EntryType::Block => SFlag::S_IFBLK,
                    _ => SFlag::S_IFIFO,
                };
                let device = makedev(u64::from(major), u64::from(minor));
                Ok(mknodat(parent, name, flag, Mode::from_bits_truncate(0o600), device)?)
            }
            other => Err(io::Error::other(format!("unsupported entry type {other:?}"))),
        }
    }

    /// The directory, made with its parents if an archive does not list them.
    fn parent(&mut self, path: &Path) -> io::Result<OwnedFd> {
        if let Some((cached, fd)) = &self.parent
            && cached == path
        {
            return fd.try_clone();
        }
        let fd = self.open_directory(path)?;
        self.parent = Some((path.to_owned(), fd.try_clone()?));
        Ok(fd)
    }

    fn open_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return self.root.try_clone();
        }
        let open = |path: &Path| open_beneath(self.root.as_fd(), path, libc::O_RDONLY | libc::O_DIRECTORY, 0);
        match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut at = PathBuf::new();
        for part in path.components() {
            let parent = if at.as_os_str().is_empty() { self.root.try_clone()? } else { open(&at)? };
            make_directory(parent.as_fd(), Path::new(part.as_os_str()))?;
            at.push(part);
        }
        open(path)
    }

    /// A later entry replaces an earlier one of the same name.
    fn remove_existing(&mut self, parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
        match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) => {
                self.parent = None;
                // By way of the descriptor, so that no symbolic link above is followed again.
                std::fs::remove_dir_all(
                    Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name),
                )
            }
            Err(error) => Err(error.into()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        for (path, time) in self.times.drain(..).rev() {
            if let Ok(fd) = open_beneath(self.root.as_fd(), &path, libc::O_RDONLY | libc::O_DIRECTORY, 0) {
                nix::sys::stat::futimens(fd, &time, &time)?;
            }
        }
        Ok(())
    }
}

/// The path without `/` in front, `.` and trailing slashes.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the path leads outside the layer"));
            }
        }
    }
    Ok(clean)
}

fn link_target<R: Read>(entry: &Entry<'_, R>) -> io::Result<PathBuf> {
    entry
        .link_name()?
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| io::Error::other("link without a target"))
}

fn make_directory(parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
        Err(Errno::EEXIST) => {
            let found = nix::sys::stat::fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
                return Ok(());
            }
            unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?;
            Ok(mkdirat(parent, name, Mode::from_bits_truncate(0o755))?)
        }
        other => Ok(other?),
    }
}

fn whiteout(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    if name == OPAQUE {
        return set_xattr(parent, Path::new("."), b"trusted.overlay.opaque", b"y");
    }
    let Some(hidden) = name.strip_prefix(WHITEOUT).filter(|hidden| !hidden.is_empty() && *hidden != b".")
    else {
        return Ok(());
    };
    if hidden.starts_with(WHITEOUT) || hidden == b".." {
        return Ok(()); // AUFS' own bookkeeping
    }
    let hidden = Path::new(OsStr::from_bytes(hidden));
    match mknodat(parent, hidden, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)) {
        // The same layer both adds and deletes the name: what is there stays.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sets owner, mode, extended attributes and times; returns the time for directories.
fn set_metadata<R: Read>(
    entry: &mut Entry<'_, R>,
    parent: BorrowedFd<'_>,
    name: &Path,
    kind: EntryType,
) -> io::Result<TimeSpec> {
    let number = |value: u64| u32::try_from(value).map_err(|_| io::Error::other("owner out of range"));
    let (uid, gid) = (number(entry.header().uid()?)?, number(entry.header().gid()?)?);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if kind != EntryType::Symlink {
        // After the owner, which clears set-user-id. The name was just made and is no link.
        let mode = Mode::from_bits_truncate(entry.header().mode()? & 0o7777);
        fchmodat(parent, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)?;
    }
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions.flatten() {
            if let Some(attribute) = extension.key_bytes().strip_prefix(XATTR_PREFIX) {
                set_xattr(parent, name, attribute, extension.value_bytes())?;
            }
        }
    }
    let seconds = i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0);
    let time = TimeSpec::new(seconds, 0);
    utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)?;
    Ok(time)
}

#[allow(unsafe_code)] // lsetxattr has no wrapper among the dependencies
fn set_xattr(parent: BorrowedFd<'_>, name: &Path, attribute: &[u8], value: &[u8]) -> io::Result<()> {
    let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let attribute = std::ffi::CString::new(attribute)?;
    // SAFETY: both strings end with zero and the value's length is its own.
    let result =
        unsafe { libc::lsetxattr(path.as_ptr(), attribute.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Attributes a file system cannot keep are lost in silence by every unpacker.
    if error.raw_os_error() == Some(libc::ENOTSUP) { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests;
