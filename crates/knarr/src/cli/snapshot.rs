//! `knarr snapshot`: copies of all objects of a cluster in a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::Value;
use store::{Embedded, Options};

use super::ClusterName;
use super::progress::say;
use crate::cluster::{self, ControlError, ControlRequest, Paths, Settings};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Write all objects to a new file, whether the cluster runs or not
    Save {
        /// Where to write; must not exist
        file: PathBuf,
        #[command(flatten)]
        cluster: ClusterName,
    },
    /// Replace all objects of a stopped cluster by those of a snapshot, or begin a new cluster with them
    Restore {
        /// What knarr snapshot save has written
        file: PathBuf,
        #[command(flatten)]
        cluster: ClusterName,
    },
}

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Save { file, cluster } => save(&file, &cluster.paths()?)?,
        Command::Restore { file, cluster } => restore(&file, &cluster.paths()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn save(file: &Path, paths: &Paths) -> anyhow::Result<()> {
    let file = std::path::absolute(file).with_context(|| format!("failed to resolve {}", file.display()))?;
    let made = match cluster::control_call(&paths.control(), &ControlRequest::Snapshot { file: file.clone() })
    {
        Ok(made) => made,
        Err(ControlError::NotRunning) => save_stopped(&file, paths)?,
        Err(error) => return Err(error.into()),
    };
    say(&format!(
        "{}: {} objects as of revision {}, {:.1} MB",
        file.display(),
        made["objects"],
        made["revision"],
        made["bytes"].as_f64().unwrap_or_default() / (1024.0 * 1024.0),
    ));
    Ok(())
}

fn save_stopped(file: &Path, paths: &Paths) -> anyhow::Result<Value> {
    refuse_elsewhere(paths)?;
    if Settings::load(paths)?.is_none() || !paths.store().exists() {
        bail!("there is no cluster {:?} in {}", paths.name, paths.data.display());
    }
    let store = Embedded::open(&paths.store(), Options::default())?;
    Ok(cluster::snapshot_facts(&store.snapshot(file)?))
}

/// Refuses a cluster whose objects are not in its directory.
fn refuse_elsewhere(paths: &Paths) -> anyhow::Result<()> {
    match Settings::load(paths)? {
        Some(Settings { datastore: Some(_), .. }) => bail!(cluster::OBJECTS_IN_ETCD),
        _ => Ok(()),
    }
}

fn restore(file: &Path, paths: &Paths) -> anyhow::Result<()> {
    match cluster::control_call(&paths.control(), &ControlRequest::Status) {
        Err(ControlError::NotRunning) => {}
        Ok(_) => bail!("cluster {:?} is running; stop it first: knarr down --name {0}", paths.name),
        Err(error) => return Err(error.into()),
    }
    // Another cluster's directory is refused, as is one of somebody else's files.
    refuse_elsewhere(paths)?;
    cluster::own_directory(paths)?;
    let restored = store::restore(file, &paths.store())?;
    say(&format!(
        "Cluster {:?} has the {} objects of revision {} again. Start it with: knarr up --name {0}",
        paths.name, restored.objects, restored.taken_at,
    ));
    Ok(())
}
