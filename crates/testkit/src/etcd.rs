//! A real etcd on the loopback interface: Debian's `etcd-server`, or the one that [`PROGRAM`] names.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::until;

/// This variable may name another program than Debian's.
pub const PROGRAM: &str = "KNARR_TEST_ETCD";
const LIMIT: Duration = Duration::from_secs(60);
/// Another program may take the port between the choice and the start.
const TRIES: u32 = 5;

/// A running etcd, the only member of its cluster or one of several. Ends when dropped.
pub struct Etcd {
    child: Child,
    /// Of the cluster: each member has a directory and a log below.
    directory: Arc<TempDir>,
    port: u16,
    scheme: &'static str,
    name: String,
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
        Self::members(1, scheme, arguments)?.pop().context("one member")
    }

    /// Starts a cluster of so many members.
    ///
    /// # Errors
    /// When `etcd` is not installed or does not start.
    pub fn start_cluster(members: usize) -> anyhow::Result<Vec<Self>> {
        Self::members(members, "http", &[])
    }

    fn members(count: usize, scheme: &'static str, arguments: &[&str]) -> anyhow::Result<Vec<Self>> {
        let names: Vec<String> = (0..count).map(|number| format!("m{number}")).collect();
        // Members find each other by sockets in the directory, which need no ports.
        let cluster: Vec<String> = names.iter().map(|name| format!("{name}=unix://{name}:1")).collect();
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.extend(["--initial-cluster".to_owned(), cluster.join(",")]);
        let mut last = None;
        for _ in 0..TRIES {
            let directory = Arc::new(directory()?);
            let start = |name: &String| Self::spawn(directory.clone(), scheme, name, &arguments);
            let mut members = names.iter().map(start).collect::<anyhow::Result<Vec<_>>>()?;
            match members.iter_mut().try_for_each(Self::wait) {
                Ok(()) => return Ok(members),
                Err(error) => last = Some(error),
            }
        }
        bail!("etcd does not start: {:#}", last.context("no try")?)
    }

    fn spawn(
        directory: Arc<TempDir>,
        scheme: &'static str,
        name: &str,
        arguments: &[String],
    ) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let child = spawn(directory.path(), name, port, scheme, arguments)?;
        Ok(Self { child, directory, port, scheme, name: name.to_owned(), arguments: arguments.to_vec() })
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
        self.child = spawn(self.directory.path(), &self.name, self.port, self.scheme, &self.arguments)?;
        self.wait()
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        until("etcd", LIMIT, || {
            if let Some(status) = self.child.try_wait()? {
                let log = self.directory.path().join(&self.name).with_extension("log");
                let said = std::fs::read_to_string(log).unwrap_or_default();
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

fn spawn(
    directory: &Path,
    name: &str,
    port: u16,
    scheme: &str,
    arguments: &[String],
) -> anyhow::Result<Child> {
    let url = format!("{scheme}://127.0.0.1:{port}");
    let peer = format!("unix://{name}:1");
    let log = std::fs::File::create(directory.join(name).with_extension("log"))?;
    Command::new(std::env::var_os(PROGRAM).unwrap_or_else(|| "etcd".into()))
        .current_dir(directory)
        .args(["--name", name, "--data-dir", &format!("{name}.data"), "--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
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
