//! A control plane without a node: `knarr server`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use store::{Etcd, EtcdError, EtcdOptions, EtcdTls, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::control_plane::{ControlPlane, Place};
use super::pki::Pki;
use super::{Paths, Settings, node, run};

/// So long etcd may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);

/// What the user is told while a control plane starts.
pub(crate) enum ServerMilestone {
    Step(String),
    /// Something is not as it should be, but may become so.
    Waiting(String),
    Ready {
        url: String,
        kubeconfig: String,
    },
}

/// Where the objects are kept, if not in the data directory.
pub(crate) struct Datastore {
    pub url: String,
    pub ca_file: Option<PathBuf>,
    /// Certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Datastore {
    /// Reads the files.
    pub(crate) fn options(&self) -> anyhow::Result<EtcdOptions> {
        let read = |file: &Path| {
            std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))
        };
        let mut options = EtcdOptions::from_url(&self.url)?;
        if let Some(ca_file) = &self.ca_file {
            let identity =
                self.identity.as_ref().map(|(certificate, key)| anyhow::Ok((read(certificate)?, read(key)?)));
            options.tls = Some(EtcdTls { ca_pem: read(ca_file)?, identity: identity.transpose()? });
        }
        Ok(options)
    }
}

/// Runs a control plane until it is asked to end.
pub(crate) fn serve(
    paths: &Paths,
    settings: &Settings,
    bind: IpAddr,
    datastore: Option<EtcdOptions>,
    report: impl Fn(ServerMilestone),
) -> anyhow::Result<()> {
    let _lock = run::lock(paths)?;
    if Settings::load(paths)?.as_ref() != Some(settings) {
        settings.save(paths)?;
    }
    run::runtime()?.block_on(async {
        let elect = datastore.is_some();
        let pki = Pki::open(&paths.pki())?;
        report(ServerMilestone::Step("certificates".to_owned()));
        let store = open(paths, settings, datastore, &report).await?;
        report(ServerMilestone::Step("store".to_owned()));
        let advertise = Some(bind).filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
        let advertise = advertise.unwrap_or_else(|| node::address(settings));
        let place = Place { bind, advertise, shared: elect };
        let mut plane = ControlPlane::start(paths, settings, pki, store, place).await?;
        let outcome = match plane.check_authority(paths).await {
            Ok(()) => {
                plane.start_components(elect);
                let kubeconfig = paths.kubeconfig().display().to_string();
                report(ServerMilestone::Ready { url: plane.local_url.clone(), kubeconfig });
                ended(&*plane.store).await
            }
            refused => refused,
        };
        plane.stop().await;
        outcome
    })
}

async fn open(
    paths: &Paths,
    settings: &Settings,
    datastore: Option<EtcdOptions>,
    report: &impl Fn(ServerMilestone),
) -> anyhow::Result<Arc<dyn Store>> {
    let Some(options) = datastore else {
        return Ok(Arc::new(store::Embedded::open(&paths.store(), settings.store_options())?));
    };
    let deadline = Instant::now() + PATIENCE;
    let mut told = false;
    loop {
        match Etcd::open(options.clone()).await {
            Ok(store) => return Ok(Arc::new(store)),
            Err(error @ EtcdError::Unreachable { .. }) if Instant::now() < deadline => {
                if !std::mem::replace(&mut told, true) {
                    report(ServerMilestone::Waiting(format!("{error}; trying for {PATIENCE:?}")));
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for the end.
async fn ended(store: &dyn Store) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        reason = store.failed() => bail!("the store can no longer be used, so the server ends: {reason}; start it again"),
    }
}
