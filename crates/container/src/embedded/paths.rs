//! Where the runtime keeps what.

use std::path::{Path, PathBuf};

use super::monitor::short;

/// Directories below the data root survive reboots; those below the run directory need not.
#[derive(Debug, Clone)]
pub struct Paths {
    pub root: PathBuf,
    pub run: PathBuf,
}

impl Paths {
    pub fn new(root: &Path, run: &Path) -> Self {
        Self { root: root.to_owned(), run: run.to_owned() }
    }

    pub fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub fn sandbox(&self, id: &str) -> PathBuf {
        self.sandboxes().join(id)
    }

    /// Namespaces and shared memory of a pod.
    pub fn sandbox_run(&self, id: &str) -> PathBuf {
        self.run.join("ns").join(short(id))
    }

    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    pub fn monitor_socket(&self, id: &str) -> PathBuf {
        self.run.join("m").join(format!("{}.sock", short(id)))
    }

    /// libcontainer's records.
    pub fn oci(&self) -> PathBuf {
        self.run.join("oci")
    }

    /// Read-only bind mount of the program, which monitors are started from.
    pub fn program(&self) -> PathBuf {
        self.run.join("program")
    }
}

/// A new random id of 64 hexadecimal digits.
pub fn new_id() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
