//! A real etcd (Debian's `etcd-server`) on the loopback interface.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::until;

const LIMIT: Duration = Duration::from_secs(60);
/// Another program may take the port between the choice and the start.
const TRIES: u32 = 5;

/// A running etcd of one member, with a directory of its own. Ends when dropped.
pub struct Etcd {
    child: Child,
    directory: TempDir,
    port: u16,
    scheme: &'static str,
    arguments: Vec<String>,
}

impl Etcd {
    /// Starts an etcd on an ephemeral port.
    ///
    /// # Errors
    /// When `etcd` is not installed or does not start.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with("http", &[])
    }

    /// Starts an etcd with further arguments; `scheme` is that of its URLs for clients.
    ///
    /// # Errors
    /// When `etcd` is not installed or does not start.
    pub fn start_with(scheme: &'static str, arguments: &[&str]) -> anyhow::Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut last = None;
        for _ in 0..TRIES {
            let directory = directory()?;
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let child = spawn(directory.path(), port, scheme, &arguments)?;
            let mut etcd = Self { child, directory, port, scheme, arguments: arguments.clone() };
            match etcd.wait() {
                Ok(()) => return Ok(etcd),
                Err(error) => last = Some(error),
            }
        }
        bail!("etcd does not start: {:#}", last.context("no try")?)
    }

    /// Port for clients, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The datastore URL of this etcd.
    #[must_use]
    pub fn url(&self) -> String {
        format!("etcd://127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts again on the same data and port, after [`Etcd::kill`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(self.directory.path(), self.port, self.scheme, &self.arguments)?;
        self.wait()
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        until("etcd", LIMIT, || {
            if let Some(status) = self.child.try_wait()? {
                let said = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                // Not worth waiting any longer.
                return Ok(Some(Err(anyhow::anyhow!("etcd ended ({status}): {said}"))));
            }
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok().map(|_| Ok(())))
        })?
    }
}

/// In memory where that can be had: the tests are about more than one machine's disk.
fn directory() -> anyhow::Result<TempDir> {
    const MEMORY: &str = "/dev/shm";
    let made = tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir());
    made.context("failed to make a directory for etcd")
}

fn spawn(directory: &Path, port: u16, scheme: &str, arguments: &[String]) -> anyhow::Result<Child> {
    let url = format!("{scheme}://127.0.0.1:{port}");
    let log = std::fs::File::create(directory.join("log"))?;
    Command::new("etcd")
        .current_dir(directory)
        // Peers are none; a socket in the directory needs no port.
        .args(["--name", "test", "--data-dir", "data", "--listen-peer-urls", "unix://peer:1"])
        .args(["--initial-advertise-peer-urls", "unix://peer:1", "--initial-cluster", "test=unix://peer:1"])
        // Makes it a cluster of its own.
        .arg("--initial-cluster-token")
        .arg(directory)
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--logger", "zap", "--log-level", "warn"])
        .args(arguments)
        .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("failed to run etcd: install Debian's etcd-server (script/setup test)")
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
