//! `knarr server`: a control plane in the foreground, without a node. Needs no root where its data directory can be written.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use clap::Args;

use super::ClusterName;
use super::datastore::DatastoreOptions;
use super::progress::{Progress, say};
use super::up::{DEFAULT_PORT, create_directory, hostname, log_to};
use crate::cluster::{self, Datastore, Paths, ServerMilestone, Settings};

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    cluster: ClusterName,
    /// Address the API server listens on
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind_address: IpAddr,
    /// HTTPS port of the API server; 0 is any free one [default: 6443, or what the server was started with]
    #[arg(long, short)]
    port: Option<u16>,
    #[command(flatten)]
    datastore: DatastoreOptions,
}

pub(super) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let paths = options.cluster.paths()?;
    let settings = settings(&paths, options.port, options.datastore.datastore()?)?;
    cluster::preflight_server(&paths, options.bind_address, settings.port)?;
    create_directory(&paths.data)?;
    log_to(&paths)?;
    let progress = Progress::begin();
    say(&format!("Starting the control plane of {:?} (data in {})", settings.name, paths.data.display()));
    let report = move |milestone: ServerMilestone| match milestone {
        ServerMilestone::Step(what) => progress.step(&what),
        ServerMilestone::Waiting(what) => say(&what),
        ServerMilestone::Ready { url, kubeconfig } => {
            progress.step(&format!("API ready at {url}"));
            say(&format!("\nexport KUBECONFIG={kubeconfig}\nCtrl-C stops the server."));
        }
    };
    cluster::serve(&paths, &settings, options.bind_address, report)?;
    Ok(ExitCode::SUCCESS)
}

/// What the server was started with before, or new settings. Servers of the same name have the same ranges, wherever they run.
fn settings(paths: &Paths, port: Option<u16>, datastore: Option<Datastore>) -> anyhow::Result<Settings> {
    let settings = match Settings::load(paths)? {
        Some(settings) => Settings { port: port.unwrap_or(settings.port), ..settings },
        None => Settings::new(&paths.name, port.unwrap_or(DEFAULT_PORT), &hostname()?, &[]),
    };
    Ok(Settings { datastore: datastore.or(settings.datastore), ..settings })
}
