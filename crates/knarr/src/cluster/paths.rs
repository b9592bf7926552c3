//! Where a cluster keeps its files.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Every path of one cluster, derived from its name and data directory.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub name: String,
    /// Survives restarts of the machine.
    pub data: PathBuf,
    /// Sockets and pinned namespaces; gone after a restart of the machine.
    pub run: PathBuf,
}

impl Paths {
    /// The paths of the cluster `name`. Fails when the name cannot be part of host names and device names.
    pub(crate) fn new(name: &str, data: Option<&Path>) -> anyhow::Result<Self> {
        let problems = machinery::names::dns1123_label(name);
        if let Some(problem) = problems.first() {
            bail!("cluster name {name:?} cannot be used: {problem}");
        }
        let data = match data {
            Some(dir) => {
                std::path::absolute(dir).with_context(|| format!("failed to resolve {}", dir.display()))?
            }
            None => Path::new("/var/lib/knarr").join(name),
        };
        Ok(Self { name: name.to_owned(), data, run: Path::new("/run/knarr").join(name) })
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.data.join("cluster.json")
    }
    pub(crate) fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }
    pub(crate) fn store(&self) -> PathBuf {
        self.data.join("store")
    }
    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }
    pub(crate) fn network(&self) -> PathBuf {
        self.data.join("network")
    }
    pub(crate) fn kubelet(&self) -> PathBuf {
        self.data.join("kubelet")
    }
    pub(crate) fn pod_logs(&self) -> PathBuf {
        self.data.join("pod-logs")
    }
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("knarr.log")
    }
    /// Unix socket of the running program's control interface.
    pub(crate) fn control(&self) -> PathBuf {
        self.run.join("control.sock")
    }
}
