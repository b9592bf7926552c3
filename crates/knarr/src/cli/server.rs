//! `knarr server`: a control plane in the foreground, without a node. Needs no root where its data directory can be written.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::ClusterName;
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
    /// Where objects are kept: etcd://HOST[:PORT][,HOST[:PORT]...] [default: in the data directory]
    #[arg(long, value_name = "URL")]
    datastore: Option<String>,
    /// CA of the datastore's certificates, PEM; turns TLS on
    #[arg(long, value_name = "FILE", requires = "datastore")]
    datastore_cafile: Option<PathBuf>,
    /// Certificate to show to the datastore, PEM
    #[arg(long, value_name = "FILE", requires_all = ["datastore_cafile", "datastore_keyfile"])]
    datastore_certfile: Option<PathBuf>,
    /// Key of that certificate, PEM
    #[arg(long, value_name = "FILE", requires = "datastore_certfile")]
    datastore_keyfile: Option<PathBuf>,
}

pub(super) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let paths = options.cluster.paths()?;
    let datastore = options.datastore().map(|datastore| datastore.options()).transpose()?;
    let settings = settings(&paths, options.port)?;
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
    cluster::serve(&paths, &settings, options.bind_address, datastore, report)?;
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn datastore(&self) -> Option<Datastore> {
        Some(Datastore {
            url: self.datastore.clone()?,
            ca_file: self.datastore_cafile.clone(),
            identity: self.datastore_certfile.clone().zip(self.datastore_keyfile.clone()),
        })
    }
}

/// What the server was started with before, or new settings. Servers of the same name have the same ranges, wherever they run.
fn settings(paths: &Paths, port: Option<u16>) -> anyhow::Result<Settings> {
    match Settings::load(paths)? {
        Some(settings) => Ok(Settings { port: port.unwrap_or(settings.port), ..settings }),
        None => Ok(Settings::new(&paths.name, port.unwrap_or(DEFAULT_PORT), &hostname()?, &[])),
    }
}
