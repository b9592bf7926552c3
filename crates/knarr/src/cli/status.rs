//! `knarr status`: whether a cluster runs, where, and how its parts are.

use std::process::ExitCode;

use super::ClusterName;
use super::progress::say;
use crate::cluster::{self, ControlError, ControlRequest, Settings};

/// Exit code when the cluster does not run, as `systemctl status` has it.
const NOT_RUNNING: u8 = 3;

pub(super) fn run(name: &ClusterName) -> anyhow::Result<ExitCode> {
    let paths = name.paths()?;
    let facts = match cluster::control_call(&paths.control(), &ControlRequest::Status) {
        Ok(facts) => facts,
        Err(ControlError::NotRunning) => {
            let exists = Settings::load(&paths)?.is_some();
            say(&format!(
                "cluster {:?}: {}",
                paths.name,
                if exists { "stopped; start it with knarr up" } else { "not there; knarr up makes it" }
            ));
            return Ok(ExitCode::from(NOT_RUNNING));
        }
        Err(error) => return Err(error.into()),
    };
    say(&format!("cluster {:?}: running", paths.name));
    let text = |key: &str| match &facts[key] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for (label, key) in [
        ("version", "version"),
        ("process", "pid"),
        ("since", "since"),
        ("API", "server"),
        ("node", "node"),
        ("data", "data"),
        ("kubeconfig", "kubeconfig"),
    ] {
        say(&format!("  {label:<11} {}", text(key)));
    }
    Ok(ExitCode::SUCCESS)
}
