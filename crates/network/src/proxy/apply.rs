//! Carrying a ruleset into the kernel.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use super::model::Ruleset;
use super::render;
use crate::netlink::{NetlinkError, table_exists};

const PROGRAM: &str = "nft";
/// Looked at besides `PATH`: an unprivileged user's `PATH` often lacks them.
const DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];
/// Even the largest ruleset is applied in far less.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Of a transaction that failed, so much is logged.
const ERROR_TEXT_MAX: usize = 2000;

/// Why a ruleset is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("failed to find the program nft: install the package nftables")]
    ProgramMissing,
    #[error("failed to run nft: {0}")]
    Run(#[from] std::io::Error),
    #[error("failed to apply an nftables transaction: {0}")]
    Refused(String),
    #[error("failed to apply an nftables transaction within {TIMEOUT:?}")]
    Timeout,
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("failed to finish: the thread panicked")]
    Panicked,
}

/// Carries whole rulesets into force, each atomically.
#[async_trait]
pub trait RulesetApplier: Send + Sync + 'static {
    /// Makes the table hold exactly `rules`. Either all of it is in force afterwards or the former state still is.
    async fn apply(&self, rules: &Ruleset) -> Result<(), ApplyError>;
    /// Whether the table is still there: somebody may have flushed the whole ruleset of the host.
    async fn is_present(&self, table: &str) -> Result<bool, ApplyError>;
    /// Forgets what was applied; the next ruleset replaces the table as a whole.
    async fn forget(&self);
}

/// Applies by the `nft` program. The first ruleset replaces the table; later ones are applied as the difference, so that
/// clients' affinity survives and the work is as small as the change.
#[derive(Debug)]
pub struct NftProgram {
    program: PathBuf,
    installed: Mutex<Option<Installed>>,
}

#[derive(Debug)]
struct Installed {
    rules: Ruleset,
    stale: BTreeSet<String>,
}

impl NftProgram {
    /// Looks for the program.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn find() -> Result<Self, ApplyError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = std::env::split_paths(&path).chain(DIRECTORIES.map(PathBuf::from));
        let program =
            directories.map(|directory| directory.join(PROGRAM)).find(|candidate| candidate.is_file());
        Ok(Self { program: program.ok_or(ApplyError::ProgramMissing)?, installed: Mutex::new(None) })
    }

    async fn run(&self, transaction: &str) -> Result<(), ApplyError> {
        let mut child = tokio::process::Command::new(&self.program)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let feed = async move {
            match stdin {
                Some(mut stdin) => stdin.write_all(transaction.as_bytes()).await,
                None => Ok(()),
            }
        };
        let work = async { tokio::join!(feed, child.wait_with_output()) };
        let (fed, output) = tokio::time::timeout(TIMEOUT, work).await.map_err(|_| ApplyError::Timeout)?;
        let output = output?;
        if output.status.success() {
            return Ok(fed?);
        }
        let text: String = String::from_utf8_lossy(&output.stderr).chars().take(ERROR_TEXT_MAX).collect();
        Err(ApplyError::Refused(text.trim().to_owned()))
    }

    /// Tries the difference to what is installed. Returns the chains left empty, `None` when only a whole replacement
    /// will do.
    async fn try_change(&self, installed: &Installed, rules: &Ruleset) -> Option<BTreeSet<String>> {
        if installed.rules.table != rules.table {
            return None;
        }
        let change = render::change(&installed.rules, &installed.stale, rules);
        match self.run(&change.text).await {
            Ok(()) => Some(change.stale),
            Err(error) => {
                tracing::warn!(%error, "service rules could not be changed in place; replacing them as a whole");
                None
            }
        }
    }
}

#[async_trait]
impl RulesetApplier for NftProgram {
    async fn apply(&self, rules: &Ruleset) -> Result<(), ApplyError> {
        let mut installed = self.installed.lock().await;
        let mut stale = None;
        if let Some(current) = installed.as_ref() {
            if current.rules == *rules {
                return Ok(());
            }
            stale = self.try_change(current, rules).await;
        }
        if stale.is_none() {
            *installed = None;
            self.run(&render::whole(rules)).await?;
        }
        *installed = Some(Installed { rules: rules.clone(), stale: stale.unwrap_or_default() });
        Ok(())
    }

    async fn is_present(&self, table: &str) -> Result<bool, ApplyError> {
        let table = table.to_owned();
        Ok(tokio::task::spawn_blocking(move || table_exists(&table))
            .await
            .map_err(|_| ApplyError::Panicked)??)
    }

    async fn forget(&self) {
        *self.installed.lock().await = None;
    }
}

/// The name of a cluster's table: `knarr-<cluster>`, with what nftables does not allow in a name replaced.
pub fn table_name(cluster: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    format!("knarr-{}", cluster.chars().map(allowed).collect::<String>())
}

/// Removes a cluster's table. Returns what was removed, in words; nothing when it is not there.
///
/// # Errors
/// When the table is there and `nft` is missing or fails.
pub async fn remove_table(cluster: &str) -> Result<Vec<String>, ApplyError> {
    let table = table_name(cluster);
    let name = table.clone();
    let exists =
        tokio::task::spawn_blocking(move || table_exists(&name)).await.map_err(|_| ApplyError::Panicked)?;
    match exists {
        Ok(false) => return Ok(Vec::new()),
        // A kernel without nftables has no table.
        Err(error)
            if matches!(error.errno(), Some(libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL)) =>
        {
            return Ok(Vec::new());
        }
        Ok(true) => {}
        Err(error) => return Err(error.into()),
    }
    NftProgram::find()?.run(&format!("delete table ip {table}\n")).await?;
    Ok(vec![format!("nftables table {table}")])
}
