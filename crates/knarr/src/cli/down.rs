//! `knarr down`: stops a cluster and leaves the machine as it was.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ClusterName;
use super::progress::{Progress, say};
use crate::cluster::{self, ControlError, ControlRequest, Kubeconfig, Paths, Settings};

/// How long the program may take to write what it has and end.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    cluster: ClusterName,
    /// Also delete the data directory with all objects, images and volumes
    #[arg(long)]
    purge: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let paths = options.cluster.paths()?;
    let Some(settings) = Settings::load(&paths)? else {
        bail!("there is no cluster {:?} in {}", paths.name, paths.data.display());
    };
    cluster::require_root("down")?;
    let progress = Progress::begin();
    if stop(&paths)? {
        progress.step("cluster stopped");
    }
    cluster::cleanup(&paths, &settings)?;
    progress.step("containers, network and mounts removed");
    Kubeconfig::unmerge(&settings.name)?;
    if options.purge {
        std::fs::remove_dir_all(&paths.data)
            .with_context(|| format!("failed to remove {}", paths.data.display()))?;
        progress.step("data removed");
    } else {
        say(&format!(
            "Objects and images stay in {}; knarr up brings them back, --purge deletes them.",
            paths.data.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends the running program. False when none ran.
fn stop(paths: &Paths) -> anyhow::Result<bool> {
    let pid = match cluster::control_call(&paths.control(), &ControlRequest::Status) {
        Ok(facts) => facts["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw),
        Err(ControlError::NotRunning) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let Some(pid) = pid else { bail!("the running cluster did not say its process id") };
    cluster::control_call(&paths.control(), &ControlRequest::Stop)?;
    let deadline = Instant::now() + STOP_LIMIT;
    while kill(pid, None) != Err(Errno::ESRCH) {
        if Instant::now() > deadline {
            kill(pid, Signal::SIGKILL).context("failed to kill the cluster's process")?;
            break;
        }
        std::thread::sleep(POLL);
    }
    Ok(true)
}
