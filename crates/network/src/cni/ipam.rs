//! Which sandbox has which address.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

const FILE: &str = "addresses.json";
const VERSION: u32 = 1;

/// Why an address could not be given, released or recorded.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    #[error("failed to find a free address: all of {0} are in use")]
    Exhausted(Ipv4Net),
    #[error("failed to read the record of addresses {path}: {why}; remove it when no pod is running")]
    Corrupt { path: PathBuf, why: String },
    #[error("failed to write the record of addresses {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// The record as it is on disk, which is the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    /// The address given last: the search goes on behind it, so that a released address rests as long as possible and
    /// a late packet for its earlier owner reaches nobody.
    last: Option<Ipv4Addr>,
    addresses: BTreeMap<String, Ipv4Addr>,
}

/// Addresses of one node's range, recorded durably by sandbox.
#[derive(Debug)]
pub struct Ipam {
    path: PathBuf,
    range: Ipv4Net,
    gateway: Ipv4Addr,
    record: Record,
}

impl Ipam {
    /// Loads the record below `directory`, or starts an empty one.
    ///
    /// # Errors
    /// When the record cannot be read or is damaged. It is never overwritten then: addresses would be given twice.
    pub fn open(directory: &Path, range: Ipv4Net, gateway: Ipv4Addr) -> Result<Self, IpamError> {
        let path = directory.join(FILE);
        std::fs::create_dir_all(directory).map_err(|source| IpamError::Io { path: path.clone(), source })?;
        let corrupt = |why: String| IpamError::Corrupt { path: path.clone(), why };
        let record = match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice::<Record>(&bytes).map_err(|error| corrupt(error.to_string()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Record { version: VERSION, last: None, addresses: BTreeMap::new() }
            }
            Err(error) => return Err(corrupt(error.to_string())),
        };
        if record.version != VERSION {
            return Err(corrupt(format!("unknown version {}", record.version)));
        }
        if let Some(address) = record.addresses.values().find(|address| !range.contains(*address)) {
            return Err(corrupt(format!("{address} is not in the pod range {range}")));
        }
        Ok(Self { path, range, gateway, record })
    }

    /// The sandbox's address: the one it has, else the next free one.
    ///
    /// # Errors
    /// When none is free or the record cannot be written.
    pub fn allocate(&mut self, sandbox: &str) -> Result<Ipv4Addr, IpamError> {
        if let Some(address) = self.record.addresses.get(sandbox) {
            return Ok(*address);
        }
        let address = self.next_free().ok_or(IpamError::Exhausted(self.range))?;
        let mut record = self.record.clone();
        record.addresses.insert(sandbox.to_owned(), address);
        record.last = Some(address);
        self.commit(record)?;
        Ok(address)
    }

    /// Frees the sandbox's address and returns it, if it has one.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn release(&mut self, sandbox: &str) -> Result<Option<Ipv4Addr>, IpamError> {
        let mut record = self.record.clone();
        let address = record.addresses.remove(sandbox);
        if address.is_some() {
            self.commit(record)?;
        }
        Ok(address)
    }

    /// Frees the addresses of sandboxes that `live` does not know, and returns them.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn retain(&mut self, live: impl Fn(&str) -> bool) -> Result<Vec<Ipv4Addr>, IpamError> {
        let mut record = self.record.clone();
        let mut freed = Vec::new();
        record.addresses.retain(|sandbox, address| {
            let keep = live(sandbox);
            if !keep {
                freed.push(*address);
            }
            keep
        });
        if !freed.is_empty() {
            self.commit(record)?;
        }
        Ok(freed)
    }

    fn next_free(&self) -> Option<Ipv4Addr> {
        let used: HashSet<Ipv4Addr> = self.record.addresses.values().copied().chain([self.gateway]).collect();
        let (first, end) = (u32::from(self.range.network()) + 1, u32::from(self.range.broadcast()));
        let start = self.record.last.map_or(first, |last| u32::from(last) + 1).clamp(first, end);
        (start..end).chain(first..start).map(Ipv4Addr::from).find(|address| !used.contains(address))
    }

    /// Memory follows the disk, never the other way round.
    fn commit(&mut self, record: Record) -> Result<(), IpamError> {
        write_durably(&self.path, &record)
            .map_err(|source| IpamError::Io { path: self.path.clone(), source })?;
        self.record = record;
        Ok(())
    }
}

/// Replaces a file's content as a whole: after a crash it is the old or the new one.
pub(super) fn write_durably(path: &Path, content: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(content)?;
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    std::fs::rename(&fresh, path)?;
    match path.parent() {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path, range: &str) -> Result<Ipam, IpamError> {
        let range: Ipv4Net = range.parse().expect("range");
        let gateway = Ipv4Addr::from(u32::from(range.network()) + 1);
        Ipam::open(directory, range, gateway)
    }

    fn last_octet(address: Ipv4Addr) -> u8 {
        address.octets()[3]
    }

    #[test]
    fn addresses_are_given_in_turn_and_rest_after_release() {
        let directory = tempfile::tempdir().expect("directory");
        let mut ipam = open(directory.path(), "10.42.0.0/29").expect("open");
        let mut give = |sandbox: &str, expected: u8| {
            assert_eq!(last_octet(ipam.allocate(sandbox).expect("allocate")), expected, "{sandbox}");
        };
        give("a", 2);
        give("b", 3);
        give("a", 2);
        ipam.release("a").expect("release");
        let mut give = |sandbox: &str, expected: u8| {
            assert_eq!(last_octet(ipam.allocate(sandbox).expect("allocate")), expected, "{sandbox}");
        };
        give("c", 4);
        give("d", 5);
        give("e", 6);
        give("f", 2);
        assert!(
            matches!(ipam.allocate("g"), Err(IpamError::Exhausted(_))),
            "network, gateway and broadcast are not given"
        );
    }

    #[test]
    fn a_new_process_finds_everything_again() {
        let directory = tempfile::tempdir().expect("directory");
        let given = open(directory.path(), "10.42.0.0/24").expect("open").allocate("a").expect("allocate");
        let mut again = open(directory.path(), "10.42.0.0/24").expect("open again");
        assert_eq!(again.allocate("a").expect("allocate"), given);
        assert_eq!(last_octet(again.allocate("b").expect("allocate")), last_octet(given) + 1);
        assert_eq!(again.retain(|sandbox| sandbox == "b").expect("retain"), [given]);
        assert_eq!(again.release("a").expect("release"), None);
    }

    #[test]
    fn a_damaged_or_foreign_record_is_refused_and_kept() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join(FILE);
        let cases = [
            ("", "EOF"),
            ("{\"version\":1,\"last\":null,\"addresses\":{\"a\":\"10.9.9.9\"}}", "not in the pod range"),
            ("{\"version\":7,\"last\":null,\"addresses\":{}}", "unknown version 7"),
        ];
        for (content, expected) in cases {
            std::fs::write(&file, content).expect("write");
            let error = open(directory.path(), "10.42.0.0/24").expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(std::fs::read_to_string(&file).expect("read"), content);
        }
    }
}
