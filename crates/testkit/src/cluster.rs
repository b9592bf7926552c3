//! A cluster inside a test host, and upstream's kubectl pointed at it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use crate::host::output;
use crate::{Host, kubectl};

/// The program under test inside a [`Host`].
pub struct Cluster<'a> {
    pub host: &'a Host,
    program: PathBuf,
    kubectl: PathBuf,
}

impl<'a> Cluster<'a> {
    /// The cluster of `host`, run by `program`. Starts nothing.
    ///
    /// # Errors
    /// When upstream's kubectl cannot be had.
    pub fn new(host: &'a Host, program: &Path) -> anyhow::Result<Self> {
        Ok(Self { host, program: program.to_owned(), kubectl: kubectl()? })
    }

    /// Runs `knarr` with these arguments.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn knarr(&self, args: &[&str]) -> anyhow::Result<String> {
        output(self.host.command(&self.program).args(args))
    }

    /// A `knarr` command to be run by the caller.
    #[must_use]
    pub fn knarr_command(&self, args: &[&str]) -> Command {
        let mut command = self.host.command(&self.program);
        command.args(args);
        command
    }

    /// Runs upstream's kubectl with arguments split at spaces.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn kubectl(&self, line: &str) -> anyhow::Result<String> {
        output(&mut self.kubectl_command(line))
    }

    /// A kubectl command to be run by the caller.
    #[must_use]
    pub fn kubectl_command(&self, line: &str) -> Command {
        let mut command = self.host.command(&self.kubectl);
        command.args(line.split_whitespace());
        command
    }

    /// Path of kubectl, for commands that need a shell around it.
    #[must_use]
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// `kubectl get … -o json`.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn get(&self, what: &str) -> anyhow::Result<Value> {
        let text = self.kubectl(&format!("get {what} -o json"))?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// `kubectl apply -f -` of a manifest.
    ///
    /// # Errors
    /// When kubectl or the server refuses it.
    pub fn apply(&self, manifest: &str) -> anyhow::Result<String> {
        let file = tempfile::NamedTempFile::new_in(self.host.home())?;
        std::fs::write(file.path(), manifest)?;
        self.kubectl(&format!("apply -f {}", file.path().display()))
    }

    /// Pods, events and the end of the cluster's log, for the message of a failed test.
    #[must_use]
    pub fn state(&self) -> String {
        const LINES: usize = 60;
        let shown = |what: anyhow::Result<String>| what.unwrap_or_else(|error| format!("{error:#}"));
        let log = shown(self.knarr(&["logs"]));
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
        let pods = shown(self.kubectl("get pods -A -o wide"));
        let events = shown(self.kubectl("get events -A"));
        format!("--- pods\n{pods}--- events\n{events}--- end of the log\n{end}")
    }

    /// Process id of the running cluster, as the host sees it.
    ///
    /// # Errors
    /// When the cluster does not run.
    pub fn pid(&self) -> anyhow::Result<String> {
        let status = self.knarr(&["status"])?;
        let line = status
            .lines()
            .find_map(|line| line.trim().strip_prefix("process"))
            .context("no process in the status")?;
        Ok(line.trim().to_owned())
    }
}
