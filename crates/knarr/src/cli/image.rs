//! `knarr image`: the images on this node.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;

use super::ClusterName;
use super::progress::say;
use crate::cluster::{ControlError, ControlRequest, control_call};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Load the images of an OCI or Docker archive
    Import {
        archive: PathBuf,
        #[command(flatten)]
        cluster: ClusterName,
    },
    /// List the images on the node
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        cluster: ClusterName,
    },
    /// Remove an image by name or id
    #[command(visible_alias = "rm")]
    Remove {
        image: String,
        #[command(flatten)]
        cluster: ClusterName,
    },
}

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Import { archive, cluster } => {
            let archive = std::fs::canonicalize(&archive)
                .with_context(|| format!("failed to read {}", archive.display()))?;
            let names = ask(&cluster, &ControlRequest::ImportImage { archive })?;
            for name in names.as_array().into_iter().flatten().filter_map(Value::as_str) {
                say(name);
            }
        }
        Command::List { cluster } => list(&ask(&cluster, &ControlRequest::ListImages)?),
        Command::Remove { image, cluster } => {
            ask(&cluster, &ControlRequest::RemoveImage { image })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(cluster: &ClusterName, request: &ControlRequest) -> anyhow::Result<Value> {
    let paths = cluster.paths()?;
    control_call(&paths.control(), request).map_err(|error| match error {
        ControlError::NotRunning => {
            anyhow::anyhow!("cluster {:?} is not running; start it with: knarr up --name {0}", paths.name)
        }
        other => other.into(),
    })
}

fn list(images: &Value) {
    say(&format!("{:<56} {:<20} {:>10}", "IMAGE", "ID", "SIZE"));
    for image in images.as_array().into_iter().flatten() {
        let names = [&image["tags"], &image["digests"]];
        let name = names.iter().find_map(|list| list[0].as_str()).unwrap_or("<none>");
        let id = image["id"].as_str().unwrap_or_default();
        let short = id.strip_prefix("sha256:").unwrap_or(id).get(..12).unwrap_or(id);
        let mib = image["bytes"].as_u64().unwrap_or_default() as f64 / (1024.0 * 1024.0);
        say(&format!("{name:<56} {short:<20} {mib:>7.1} MB"));
    }
}
