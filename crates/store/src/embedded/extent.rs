//! Whether LMDB's file is as long as it has to be. LMDB itself trusts its file, and a process that touches a page
//! beyond the end of a mapped file is killed by the kernel.
//!
//! The meta page tells the last page in use. The file may yet be shorter: pages that one transaction took and gave back
//! were never written. LMDB promises that each page is either reachable or listed as free, so a short file is
//! sound exactly if all that is missing is listed as free.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// LMDB's numbers are in the machine's byte order. Offsets in a meta page:
const META_MAGIC: u64 = 16;
const META_VERSION: u64 = 20;
const META_PAGE_SIZE: u64 = 40;
const META_FREE_ROOT: u64 = 80;
const META_LAST_PAGE: u64 = 136;
const META_TRANSACTION: u64 = 144;
const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;

/// Every page starts with so many bytes; of the flags, these matter.
const PAGE_HEADER: usize = 16;
const PAGE_FLAGS: usize = 10;
const PAGE_LOWER: usize = 12;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
/// A node starts with its size or child (4 bytes), its flags and the length of its key (2 bytes each).
const NODE_HEADER: usize = 8;
const ON_PAGES_OF_ITS_OWN: u16 = 1;

/// Trees are never deeper than this.
const DEPTH_MAX: usize = 32;

struct Meta {
    page_size: u64,
    free_root: u64,
    last_page: u64,
    transaction: u64,
}

/// Checks the header and the length of the file.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let first = meta(&file, 0)?;
    let second = meta(&file, first.page_size)?;
    let newest = if second.transaction > first.transaction { second } else { first };
    let pages = length / newest.page_size;
    if newest.last_page < pages {
        return Ok(());
    }
    let reader = Reader { file, page_size: newest.page_size, pages };
    let mut free = BTreeSet::new();
    let listed = match newest.free_root {
        // An empty tree has no root.
        u64::MAX => Ok(()),
        root => reader.free(root, DEPTH_MAX, &mut free),
    };
    let missing = (pages..=newest.last_page).filter(|page| !free.contains(page)).count();
    match (listed, missing) {
        (Ok(()), 0) => Ok(()),
        _ => Err(format!(
            "it ends after {length} bytes, {} bytes early",
            (newest.last_page + 1) * newest.page_size - length
        )),
    }
}

fn meta(file: &File, at: u64) -> Result<Meta, String> {
    let read = |offset| number::<4>(file, at + offset).map(u32::from_ne_bytes);
    let read_long = |offset| number::<8>(file, at + offset).map(u64::from_ne_bytes);
    let page_size = read(META_PAGE_SIZE)?;
    let known = read(META_MAGIC)? == MAGIC && read(META_VERSION)? == VERSION;
    if !known || !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
        return Err("its header is wrong".to_owned());
    }
    let last_page = read_long(META_LAST_PAGE)?;
    if last_page > u64::MAX >> 20 {
        return Err("its header is wrong".to_owned());
    }
    Ok(Meta {
        page_size: page_size.into(),
        free_root: read_long(META_FREE_ROOT)?,
        last_page,
        transaction: read_long(META_TRANSACTION)?,
    })
}

fn number<const N: usize>(file: &File, at: u64) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at).map_err(|_| "its header is missing".to_owned())?;
    Ok(bytes)
}

struct Reader {
    file: File,
    page_size: u64,
    pages: u64,
}

impl Reader {
    /// Collects the pages listed as free that the file does not have.
    fn free(&self, page: u64, depth: usize, free: &mut BTreeSet<u64>) -> Result<(), ()> {
        let bytes = self.read(page, 0, self.page_size)?;
        let flags = short(&bytes, PAGE_FLAGS)?;
        let nodes = usize::from(short(&bytes, PAGE_LOWER)?).saturating_sub(PAGE_HEADER) / 2;
        for node in 0..nodes {
            let at = usize::from(short(&bytes, PAGE_HEADER + node * 2)?);
            match flags & (BRANCH | LEAF) {
                BRANCH if depth > 0 => self.free(child(&bytes, at)?, depth - 1, free)?,
                LEAF => self.listed(&bytes, at, free)?,
                _ => return Err(()),
            }
        }
        Ok(())
    }

    /// A record of the free list: a count, then so many page numbers.
    fn listed(&self, page: &[u8], node: usize, free: &mut BTreeSet<u64>) -> Result<(), ()> {
        let size = u32::from_ne_bytes(part(page, node)?) as usize;
        let data = node + NODE_HEADER + usize::from(short(page, node + 6)?);
        let elsewhere;
        let list = if short(page, node + 4)? & ON_PAGES_OF_ITS_OWN == 0 {
            page.get(data..data + size).ok_or(())?
        } else {
            elsewhere = self.read(u64::from_ne_bytes(part(page, data)?), PAGE_HEADER as u64, size as u64)?;
            &elsewhere
        };
        let count = u64::from_ne_bytes(part(list, 0)?) as usize;
        let numbers = list.get(8..).and_then(|numbers| numbers.get(..count.checked_mul(8)?)).ok_or(())?;
        let numbers = numbers.chunks_exact(8).map(|chunk| part(chunk, 0).map_or(0, u64::from_ne_bytes));
        free.extend(numbers.filter(|page| *page >= self.pages));
        Ok(())
    }

    fn read(&self, page: u64, offset: u64, length: u64) -> Result<Vec<u8>, ()> {
        let at = page.checked_mul(self.page_size).and_then(|at| at.checked_add(offset)).ok_or(())?;
        if at.checked_add(length).is_none_or(|end| end > self.pages * self.page_size) {
            return Err(());
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(|_| ())?;
        Ok(bytes)
    }
}

fn child(page: &[u8], node: usize) -> Result<u64, ()> {
    Ok(u64::from(u32::from_ne_bytes(part(page, node)?)) | u64::from(short(page, node + 4)?) << 32)
}

fn short(bytes: &[u8], at: usize) -> Result<u16, ()> {
    part(bytes, at).map(u16::from_ne_bytes)
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ()> {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).ok_or(())
}
