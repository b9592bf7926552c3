//! The command line. Each command is a file; this one only parses and dispatches.

mod datastore;
mod down;
mod image;
mod logs;
mod progress;
mod server;
mod snapshot;
mod status;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::cluster::Paths;

/// Kubernetes in one program.
#[derive(Parser)]
#[command(name = "knarr", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster on this machine
    Up(up::Options),
    /// Stop the cluster and leave the machine as it was; its objects are kept in the data directory
    Down(down::Options),
    /// Run a control plane without a node: API server, controllers and scheduler, on a store of its own or on etcd
    Server(server::Options),
    /// Show whether the cluster runs and how its parts are
    Status(ClusterName),
    /// Show the cluster's own log
    Logs(logs::Options),
    /// Import, list and remove container images on this node
    #[command(subcommand)]
    Image(image::Command),
    /// Save all objects of a cluster to a file, and restore them
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Run the demonstration web server that the image knarr.local/demo contains
    Demo(crate::demo::Options),
}

/// Which of several clusters on a machine is meant.
#[derive(Args, Clone)]
pub(crate) struct ClusterName {
    /// Name of the cluster; several run side by side under different names and ports
    #[arg(long, default_value = "knarr", env = "KNARR_NAME")]
    name: String,
    /// Where the cluster keeps its state [default: /var/lib/knarr/<name>]
    #[arg(long, value_name = "DIR", env = "KNARR_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

impl ClusterName {
    fn paths(&self) -> anyhow::Result<Paths> {
        Paths::new(&self.name, self.data_dir.as_deref())
    }
}

/// Parses the arguments and carries the command out. An error is one line on standard error and exit code 1.
pub(crate) fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Up(options) => up::run(options),
        Command::Down(options) => down::run(&options),
        Command::Server(options) => server::run(options),
        Command::Status(name) => status::run(&name),
        Command::Logs(options) => logs::run(&options),
        Command::Image(command) => image::run(command),
        Command::Snapshot(command) => snapshot::run(command),
        Command::Demo(options) => crate::demo::run(options).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("knarr: {error:#}");
        ExitCode::FAILURE
    })
}
