//! The server that all suites share while any of them runs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use machinery::resources::Resources;
use testkit::{Cluster, Host, until};

use crate::page::Suite;

/// Directory of the scripts.
pub const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity");
const LIMIT: Duration = Duration::from_secs(60);

/// A cluster in a host of its own.
pub struct Server {
    pub host: Host,
}

impl Server {
    /// The running server, or a new one.
    pub fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    fn start() -> Self {
        let server = Self { host: Host::new("parity").unwrap() };
        server.cluster().knarr(&["up", "-d"]).unwrap();
        server
    }

    fn cluster(&self) -> Cluster<'_> {
        Cluster::new(&self.host, Path::new(env!("CARGO_BIN_EXE_knarr"))).unwrap()
    }

    /// Path of the administrator's kubeconfig, the same inside the host and outside.
    pub fn kubeconfig(&self) -> String {
        self.host.home().join(".kube/config").display().to_string()
    }

    /// Runs a suite to its end; what it says when it fails names kind, verb and answer.
    pub fn run(&self, program: &Path, arguments: &[&str]) {
        if let Err(error) = self.host.run(program, arguments) {
            panic!("{error:#}\n{}", self.cluster().state());
        }
    }

    /// Panics unless the server has counted a success of each of the suite's verbs for every stored resource.
    pub fn has_served(&self, suite: &Suite) {
        let wanted: BTreeSet<String> = Resources::builtin()
            .iter()
            .filter(|resource| resource.is_stored())
            .flat_map(|r| {
                suite
                    .verbs
                    .iter()
                    .filter(|verb| verb.is_served_by(r))
                    .map(|verb| line(verb.counted, r.group, r.version, r.plural))
            })
            .collect();
        // A watch is counted when it has ended.
        until("every verb of every resource", LIMIT, || {
            let counted = successes(&self.cluster().kubectl("get --raw /metrics")?);
            let missing: Vec<&String> = wanted.difference(&counted).collect();
            anyhow::ensure!(missing.is_empty(), "never served: {missing:?}");
            Ok(Some(()))
        })
        .unwrap();
    }
}

fn line(verb: &str, group: &str, version: &str, resource: &str) -> String {
    format!("{verb} {group}/{version} {resource}")
}

/// What `apiserver_request_total` has counted with a code of success.
fn successes(metrics: &str) -> BTreeSet<String> {
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix("apiserver_request_total{"))
        .filter_map(|labels| {
            let value = |name: &str| {
                let rest = labels.split(&format!("{name}=\"")).nth(1)?;
                rest.split('"').next()
            };
            let success =
                value("code")?.starts_with('2') && labels.split("subresource=\"").nth(1)?.starts_with('"');
            success.then_some(line(value("verb")?, value("group")?, value("version")?, value("resource")?))
        })
        .collect()
}
