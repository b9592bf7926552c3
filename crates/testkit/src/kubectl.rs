//! Upstream's clients, each fetched once by `script/clients`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context;

/// Path of upstream's kubectl.
///
/// # Errors
/// When it can be neither found nor fetched.
pub fn kubectl() -> anyhow::Result<PathBuf> {
    Ok(client("kubectl")?.join("kubectl"))
}

/// Path of helm.
///
/// # Errors
/// See [`kubectl`].
pub fn helm() -> anyhow::Result<PathBuf> {
    Ok(client("kubectl")?.join("helm"))
}

/// Directory of one of the clients that `script/clients` knows.
///
/// # Errors
/// See [`kubectl`].
pub fn client(name: &str) -> anyhow::Result<PathBuf> {
    static DIRECTORIES: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // Held while it is fetched: the second who asks waits for the first.
    let mut known = DIRECTORIES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(directory) = known.get(name) {
        return Ok(directory.clone());
    }
    let directory = fetch(name)?;
    known.insert(name.to_owned(), directory.clone());
    Ok(directory)
}

fn fetch(name: &str) -> anyhow::Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../script/clients");
    let printed = crate::host::output(std::process::Command::new(script).arg(name))?;
    printed
        .lines()
        .last()
        .map(|line| PathBuf::from(line.trim()))
        .context("script/clients printed no directory")
}
