//! A control plane without a node: `knarr server`.

use std::net::IpAddr;

use anyhow::bail;
use store::Store;
use tokio::signal::unix::{SignalKind, signal};

use super::control_plane::{ControlPlane, Place};
use super::pki::Pki;
use super::{Paths, Settings, datastore, node, run};

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

/// Runs a control plane until it is asked to end.
pub(crate) fn serve(
    paths: &Paths,
    settings: &Settings,
    bind: IpAddr,
    report: impl Fn(ServerMilestone),
) -> anyhow::Result<()> {
    let _lock = run::lock(paths)?;
    run::runtime()?.block_on(async {
        let shared = settings.datastore.is_some();
        let pki = Pki::open(&paths.pki())?;
        report(ServerMilestone::Step("certificates".to_owned()));
        let opened = datastore::open(paths, settings, |why| report(ServerMilestone::Waiting(why))).await?;
        settings.keep(paths)?;
        report(ServerMilestone::Step("store".to_owned()));
        let advertise = Some(bind).filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
        let advertise = advertise.unwrap_or_else(|| node::address(settings));
        let place = Place { bind, advertise, shared };
        let mut plane = ControlPlane::start(paths, settings, pki, opened.store, place).await?;
        let outcome = match plane.check_authority(paths).await {
            Ok(()) => {
                plane.start_components(shared);
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

/// Waits for the end.
async fn ended(store: &dyn Store) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        reason = store.failed() => bail!("the store can no longer be used, so the server ends: {reason}; start it again"),
    }
}
