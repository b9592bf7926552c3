//! Images made from the running program itself: no registry, no archive.
//!
//! Their one layer holds the executable, hard-linked where possible, and the shared libraries it needs, so that the
//! image is as large as the program, once, and always the same version as the cluster.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::reference::Reference;
use super::store::{ImageConfig, ImageError, ImageRecord, Images};
use super::unpack::hex;

/// Where the executable is in the image.
const EXECUTABLE: &str = "knarr";
const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnobody:x:65534:\n";

/// An image that any tag of a repository names without being pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltinImage {
    /// For example `knarr.local/demo`.
    pub repository: String,
    /// For example `/knarr demo`; the executable is at `/knarr`.
    pub entrypoint: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    /// As in an image's configuration, for example `65534:65534`.
    pub user: String,
}

impl Images {
    /// The built-in image a reference names, made if this is its first use; `None` when it names none.
    pub(super) fn builtin(&self, reference: &Reference) -> Result<Option<Arc<ImageRecord>>, ImageError> {
        let name = reference.name();
        let Some(image) = self.builtin.iter().find(|image| image.repository == name) else { return Ok(None) };
        let Some(tag) = &reference.tag else {
            return Err(ImageError::Reference(format!("{name} is built in and has no digests, only tags")));
        };
        let fail = ImageError::io(format!("make the built-in image {name}"));
        let layer = self.program_layer().map_err(fail)?;
        let mut env = image.env.clone();
        env.push(format!("KNARR_IMAGE_TAG={tag}"));
        let config = ImageConfig {
            user: image.user.clone(),
            env,
            entrypoint: image.entrypoint.clone(),
            working_dir: image.working_dir.clone(),
            ..ImageConfig::default()
        };
        let identity = format!("{name}:{tag}\n{layer}\n{config:?}");
        let id = format!("sha256:{}", hex(&Sha256::digest(identity.as_bytes())));
        if let Some(record) = self.find(&id) {
            return Ok(Some(record));
        }
        let size_bytes = fs::metadata("/proc/self/exe").map_or(0, |meta| meta.len());
        let record = ImageRecord {
            id,
            tags: BTreeSet::new(),
            digests: BTreeSet::new(),
            blobs: Vec::new(),
            layers: vec![layer],
            size_bytes,
            config,
        };
        self.insert(record, Some(&format!("{name}:{tag}")), None).map(Some)
    }

    /// Finds an image, making a built-in one on first use.
    ///
    /// # Errors
    /// Only when a built-in image cannot be made.
    pub fn find_or_make(&self, text: &str) -> Result<Option<Arc<ImageRecord>>, ImageError> {
        if let Ok(reference) = Reference::parse(text)
            && let Some(record) = self.builtin(&reference)?
        {
            return Ok(Some(record));
        }
        Ok(self.find(text))
    }

    /// The layer with the program, named after the executable's identity so that a new version gets a new one.
    fn program_layer(&self) -> io::Result<String> {
        let meta = fs::metadata("/proc/self/exe")?;
        let identity =
            format!("{}:{}:{}:{}.{}", meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
        let name = Self::layer_name(&format!("b{}", hex(&Sha256::digest(identity.as_bytes()))));
        if self.has_layer(&name) {
            return Ok(name);
        }
        let scratch = self.scratch("builtin");
        let made = fill(&scratch).and_then(|()| fs::rename(&scratch, self.layers_directory().join(&name)));
        let _ = crate::embedded::state::remove_all(&scratch);
        match made {
            Err(error) if !self.has_layer(&name) => Err(error),
            _ => Ok(name),
        }
    }
}

fn fill(root: &Path) -> io::Result<()> {
    make_directory(root, 0o755)?;
    make_directory(&root.join("etc"), 0o755)?;
    make_directory(&root.join("root"), 0o700)?;
    make_directory(&root.join("tmp"), 0o1777)?;
    fs::write(root.join("etc/passwd"), PASSWD)?;
    fs::write(root.join("etc/group"), GROUP)?;
    copy_executable(&root.join(EXECUTABLE))?;
    let mut needed = loaded_libraries();
    needed.extend(interpreter(Path::new("/proc/self/exe"))?);
    for path in needed {
        let target = root.join(path.strip_prefix("/").unwrap_or(&path));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        if !target.exists() {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    // Whatever the umask says.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Links if the file may be executed by anyone as it is, else copies.
fn copy_executable(target: &Path) -> io::Result<()> {
    let open_to_all = fs::metadata("/proc/self/exe")?.permissions().mode() & 0o005 == 0o005;
    let linked = open_to_all
        && nix::unistd::linkat(
            nix::fcntl::AT_FDCWD,
            "/proc/self/exe",
            nix::fcntl::AT_FDCWD,
            target,
            nix::unistd::LinkatFlags::AT_SYMLINK_FOLLOW,
        )
        .is_ok();
    if !linked {
        fs::copy("/proc/self/exe", target)?;
        fs::set_permissions(target, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Paths by which the dynamic linker found this program's libraries.
#[allow(unsafe_code)] // walks the dynamic linker's list
fn loaded_libraries() -> BTreeSet<PathBuf> {
    unsafe extern "C" fn collect(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the linker passes a valid entry, and `found` is the set given below.
        let (name, found) = unsafe { ((*info).dlpi_name, &mut *found.cast::<BTreeSet<PathBuf>>()) };
        if !name.is_null() {
            // SAFETY: the linker's names end with zero.
            let name = unsafe { std::ffi::CStr::from_ptr(name) }.to_string_lossy().into_owned();
            if name.starts_with('/') {
                found.insert(PathBuf::from(name));
            }
        }
        0
    }
    let mut found = BTreeSet::new();
    // SAFETY: the callback matches the expected signature and `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut found).cast()) };
    found
}

/// The dynamic linker an ELF file asks for.
fn interpreter(executable: &Path) -> io::Result<Option<PathBuf>> {
    const PT_INTERP: u32 = 3;
    let mut file = fs::File::open(executable)?;
    let mut header = [0_u8; 64];
    file.read_exact(&mut header)?;
    // Only 64-bit little-endian machines are supported; on others a statically linked program works.
    if header[..6] != [0x7f, b'E', b'L', b'F', 2, 1] {
        return Ok(None);
    }
    let u16_at = |bytes: &[u8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u64_at = |bytes: &[u8], at: usize| {
        bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let (offset, size, count) = (u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56));
    for index in 0..u64::from(count) {
        let mut entry = [0_u8; 56];
        file.seek(SeekFrom::Start(offset + index * u64::from(size)))?;
        file.read_exact(&mut entry)?;
        if u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]) == PT_INTERP {
            file.seek(SeekFrom::Start(u64_at(&entry, 8)))?;
            let mut name = Vec::new();
            file.take(u64_at(&entry, 32).min(4096)).read_to_end(&mut name)?;
            name.retain(|byte| *byte != 0);
            return Ok(Some(PathBuf::from(String::from_utf8_lossy(&name).into_owned())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_finds_its_own_parts() {
        let interpreter = interpreter(Path::new("/proc/self/exe")).expect("readable");
        if let Some(path) = interpreter {
            assert!(path.exists(), "{}", path.display());
            assert!(loaded_libraries().iter().all(|path| path.exists()));
        }
    }
}
