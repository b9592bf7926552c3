//! A host of its own: network, mount and process namespaces that hold a whole cluster, so that nothing a test does can
//! leave or alter the machine, and killing one process ends all of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::wait::until;

/// Prepares the namespaces, then stays as their first process and reaps what is orphaned.
const INIT: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mount --bind "$HOST_DIR/var-lib" /var/lib
ip link set lo up
ip link add uplink type bridge
ip link set uplink addrgenmode none
ip address add 198.18.0.10/15 dev uplink
ip link set uplink up
touch "$HOST_DIR/ready"
sleep infinity &
wait
"#;

/// Namespaces with a cluster in them. Dropping it ends every process inside and removes what they left in the cgroup file
/// system, the one thing the namespaces do not hold.
pub struct Host {
    init: Child,
    pid: i32,
    name: String,
    dir: tempfile::TempDir,
}

impl Host {
    /// A new host. `name` becomes the default name of the cluster inside; it must differ between tests that run side by side.
    ///
    /// # Errors
    /// When not root, or namespaces cannot be made.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("end-to-end tests need root: they make namespaces, mounts and cgroups");
        }
        let dir = tempfile::Builder::new().prefix("knarr-host-").tempdir()?;
        for sub in ["var-lib", "home"] {
            std::fs::create_dir(dir.path().join(sub))?;
        }
        let init = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", INIT])
            .env("HOST_DIR", dir.path())
            .stdin(Stdio::null())
            .spawn()
            .context("failed to run unshare")?;
        let mut host = Self { pid: 0, init, name: format!("{name}-{}", std::process::id()), dir };
        let ready = host.dir.path().join("ready");
        until("the test host", Duration::from_secs(10), || Ok(ready.exists().then_some(())))?;
        host.pid = child_of(host.init.id())?;
        Ok(host)
    }

    /// Name of the cluster inside.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Address of the host on its only outside link.
    pub const ADDRESS: &'static str = "198.18.0.10";

    /// A directory seen inside and outside under the same path; also the home directory inside.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A command that runs inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--net", "--mount", "--pid", "--wd=/", "--"])
            // nsenter waits for a child in the process namespace; killing the one must end the other.
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program)
            .env("HOME", self.home())
            .env("KNARR_NAME", &self.name)
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command inside and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> anyhow::Result<String> {
        output(self.command(program).args(args))
    }

    /// Runs `work` on a thread inside the host's network.
    ///
    /// # Errors
    /// What `work` says, or that the network could not be entered.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let namespace =
            File::open(format!("/proc/{}/ns/net", self.pid)).context("failed to open the host's network")?;
        let enter = move || {
            nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join())
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the thread in the host's network panicked")))
    }

    /// What a cluster could leave behind, to compare before and after.
    ///
    /// # Errors
    /// When a tool that lists it fails.
    pub fn left(&self) -> anyhow::Result<Left> {
        let lines = |program: &str, args: &[&str]| -> anyhow::Result<BTreeSet<String>> {
            Ok(self.run(program, args)?.lines().map(|line| line.trim().to_owned()).collect())
        };
        Ok(Left {
            processes: lines(
                "sh",
                &["-c", "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done 2>/dev/null"],
            )?
            .into_iter()
            .filter(|line| line.contains("knarr"))
            .collect(),
            mounts: lines("sh", &["-c", "cut -d' ' -f5 /proc/self/mountinfo"])?,
            links: lines("sh", &["-c", "ip -br link | cut -d' ' -f1"])?,
            routes: lines("ip", &["route", "show", "table", "all"])?,
            ruleset: lines("nft", &["list", "tables"])?,
            cgroups: cgroups(&self.name),
        })
    }
}

/// What is on a host besides files.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    pub processes: BTreeSet<String>,
    pub mounts: BTreeSet<String>,
    pub links: BTreeSet<String>,
    pub routes: BTreeSet<String>,
    pub ruleset: BTreeSet<String>,
    pub cgroups: BTreeSet<String>,
}

impl Drop for Host {
    fn drop(&mut self) {
        // The first process of a PID namespace takes all others with it.
        let _ =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), nix::sys::signal::Signal::SIGKILL);
        let _ = self.init.kill();
        let _ = self.init.wait();
        let left = cgroups(&self.name);
        for dir in left.iter().rev() {
            let _ = until("cgroup", Duration::from_secs(2), || match std::fs::remove_dir(dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Ok(None),
                _ => Ok(Some(())),
            });
        }
    }
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("failed to run {command:?}"))?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() {
        bail!("{command:?}: {status}\n{text}{}", String::from_utf8_lossy(&stderr));
    }
    Ok(text)
}

fn child_of(pid: u32) -> anyhow::Result<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    children.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("unshare has no child")
}

/// Every cgroup directory of a cluster, parents first.
fn cgroups(name: &str) -> BTreeSet<String> {
    fn walk(dir: &Path, wanted: &str, inside: bool, found: &mut BTreeSet<String>) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Clusters side by side on one host add to its name.
            let here = inside
                || name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
            if here {
                found.insert(entry.path().display().to_string());
            }
            walk(&entry.path(), wanted, here, found);
        }
    }
    let mut found = BTreeSet::new();
    walk(Path::new("/sys/fs/cgroup"), name, false, &mut found);
    found
}
