//! `knarr up`: starts a cluster in the foreground, or in the background with `-d`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::Args;
use machinery::quantity::Quantity;

use super::ClusterName;
use super::datastore::DatastoreOptions;
use super::progress::{Progress, say};
use crate::cluster::{self, ControlError, ControlRequest, Milestone, Paths, Settings};

/// Port of the API server where none is given, as upstream's.
pub(super) const DEFAULT_PORT: u16 = 6443;
/// Ends the progress of a program in the background: what follows is its own affair.
const READY_LINE: &str = "ready";
/// Begins the line in which a program in the background says why it did not start.
const FAILED: &str = "failed: ";

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    cluster: ClusterName,
    /// HTTPS port of the API server [default: 6443, or what the cluster was started with]
    #[arg(long, short)]
    port: Option<u16>,
    /// How much objects and their history may take, such as 500Mi; later starts keep it [default: 8Gi]
    #[arg(long, value_name = "QUANTITY", value_parser = quota)]
    datastore_quota: Option<u64>,
    #[command(flatten)]
    datastore: DatastoreOptions,
    /// Go to the background once the node is ready
    #[arg(long, short)]
    detach: bool,
    /// Set by -d for the process it starts.
    #[arg(long, hide = true)]
    detached: bool,
}

pub(super) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let paths = options.cluster.paths()?;
    refuse_if_running(&paths)?;
    let settings = settings(&options, &paths)?;
    cluster::preflight(&paths, &settings)?;
    create_directories(&paths)?;
    if options.detach {
        return detach(&options, &paths);
    }
    if !options.detached {
        return foreground(&options, &paths, &settings).map(|()| ExitCode::SUCCESS);
    }
    // A session of its own: closing the terminal does not end the cluster.
    nix::unistd::setsid().context("failed to leave the terminal's session")?;
    // Standard error is the log by now; who waits for the start reads standard output.
    foreground(&options, &paths, &settings).inspect_err(|error| say(&format!("{FAILED}{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the cluster in this process until it ends.
fn foreground(options: &Options, paths: &Paths, settings: &Settings) -> anyhow::Result<()> {
    log_to(paths)?;
    let progress = Progress::begin();
    say(&format!("Starting cluster {:?} (data in {})", settings.name, paths.data.display()));
    let detached = options.detached;
    let name = settings.name.clone();
    let report = move |milestone: Milestone| match milestone {
        Milestone::Step(what) => progress.step(what),
        Milestone::Waiting(what) => say(&what),
        Milestone::NodeReady { kubeconfig, merged } => {
            progress.step("node ready");
            if let Some(file) = merged {
                say(&format!(
                    "\nContext {name:?} is in {file} and current. Or: export KUBECONFIG={kubeconfig}"
                ));
            } else {
                say(&format!("\nexport KUBECONFIG={kubeconfig}"));
            }
            say(if detached { READY_LINE } else { "Ctrl-C stops the cluster." });
        }
    };
    cluster::run(paths, settings, report)
}

fn refuse_if_running(paths: &Paths) -> anyhow::Result<()> {
    match cluster::control_call(&paths.control(), &ControlRequest::Status) {
        Err(ControlError::NotRunning) => Ok(()),
        Ok(facts) => bail!(
            "cluster {:?} is already running (process {}); see: knarr status --name {0}",
            paths.name,
            facts["pid"]
        ),
        Err(error) => Err(error.into()),
    }
}

/// What the cluster was started with before, or new settings; what is given now wins.
fn settings(options: &Options, paths: &Paths) -> anyhow::Result<Settings> {
    let datastore = options.datastore.datastore()?;
    let mut settings = match Settings::load(paths)? {
        Some(settings) => settings,
        None => Settings::new(&paths.name, DEFAULT_PORT, &hostname()?, &taken(paths)),
    };
    settings.port = options.port.unwrap_or(settings.port);
    settings.datastore_quota = options.datastore_quota.or(settings.datastore_quota);
    settings.datastore = datastore.or(settings.datastore);
    Ok(settings)
}

/// This machine's name, as a node's.
pub(super) fn hostname() -> anyhow::Result<String> {
    let hostname = nix::unistd::gethostname().context("failed to read the host's name")?;
    Ok(hostname.to_string_lossy().to_lowercase())
}

/// A number of bytes as Kubernetes writes it. The least is what an empty cluster needs, with room to spare.
fn quota(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 16 << 20;
    let bytes = Quantity::parse(text).map_err(|error| error.to_string())?.value();
    u64::try_from(bytes)
        .ok()
        .filter(|bytes| *bytes >= LEAST)
        .ok_or_else(|| "at least 16Mi are needed".to_owned())
}

/// Addresses that the ranges of a new cluster must not hold: the machine's, and those of clusters kept beside this one.
fn taken(paths: &Paths) -> Vec<IpAddr> {
    let mut taken = cluster::all_addresses();
    let beside = paths.data.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    for entry in beside.into_iter().flatten().flatten() {
        let other = Paths::new(&entry.file_name().to_string_lossy(), Some(&entry.path()));
        if let Ok(Some(settings)) = other.and_then(|other| Settings::load(&other)) {
            taken.extend([IpAddr::V4(settings.gateway()), settings.api_service_ip()]);
        }
    }
    taken
}

fn create_directories(paths: &Paths) -> anyhow::Result<()> {
    create_directory(&paths.data)?;
    create_directory(&paths.run)
}

pub(super) fn create_directory(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))
}

pub(super) fn log_to(paths: &Paths) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("KNARR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(open_log(paths)?).init();
    Ok(())
}

fn open_log(paths: &Paths) -> anyhow::Result<File> {
    let file = paths.log();
    File::options()
        .create(true)
        .append(true)
        .open(&file)
        .with_context(|| format!("failed to open {}", file.display()))
}

/// Starts the same command in the background and shows its progress until it is ready.
fn detach(options: &Options, paths: &Paths) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("failed to find this program's file")?;
    let mut command = Command::new(program);
    command.args(["up", "--detached", "--name", &paths.name, "--data-dir"]).arg(&paths.data);
    if let Some(port) = options.port {
        command.args(["--port", &port.to_string()]);
    }
    if let Some(bytes) = options.datastore_quota {
        command.args(["--datastore-quota", &bytes.to_string()]);
    }
    options.datastore.pass_on(&mut command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(open_log(paths)?)
        .spawn()
        .context("failed to start the cluster in the background")?;
    follow(&mut child)?;
    Ok(ExitCode::SUCCESS)
}

/// Copies the child's progress until it is ready. An error when it ends before, with its reason.
fn follow(child: &mut Child) -> anyhow::Result<()> {
    let output = child.stdout.take().context("the cluster's process has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("failed to read the cluster's progress")?;
        if line == READY_LINE {
            return Ok(());
        }
        match line.strip_prefix(FAILED) {
            Some(reason) => {
                // It has the data directory until it has ended; the next try must not find it there.
                let _ = child.wait();
                bail!("{reason}");
            }
            None => say(&line),
        }
    }
    let status = child.wait().context("failed to wait for the cluster's process")?;
    bail!("the cluster's process ended ({status}); see knarr logs")
}
