//! Startup, liveness and readiness probes: one task a container, which reports only what changes.

mod exec;
mod grpc;
pub(crate) mod http;
mod tcp;
mod tls;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::{Container, IntOrString, Probe};
use client::EventType;
use container::Runtime;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::events::PodEvents;
use crate::worker::state::{ProbeFailure, State};

/// While a server is not listening yet, it is tried again this soon instead of after a whole period.
const EAGER_FIRST: Duration = Duration::from_millis(50);

/// The three kinds of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What one attempt found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attempt {
    Success,
    /// The probe's target is unwell; `refused`: nothing listens there yet.
    Failure {
        output: String,
        refused: bool,
    },
    /// The probe itself could not be carried out; says nothing about the target.
    Error(String),
}

impl Attempt {
    fn failure(output: impl Into<String>) -> Self {
        Self::Failure { output: output.into(), refused: false }
    }
}

/// News about one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbeReport {
    pub container: String,
    pub container_id: String,
    pub kind: ProbeKind,
    pub success: bool,
}

/// Who is told of news.
pub(crate) type Reporter = Arc<dyn Fn(ProbeReport) + Send + Sync>;

/// The probes of one pod's running containers.
pub(crate) struct ProbeSet {
    runtime: Arc<dyn Runtime>,
    report: Reporter,
    tasks: HashMap<String, JoinHandle<()>>,
}

impl Drop for ProbeSet {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

impl ProbeSet {
    pub fn new(runtime: Arc<dyn Runtime>, report: Reporter) -> Self {
        Self { runtime, report, tasks: HashMap::new() }
    }

    /// Starts probes of containers that run now and ends those of containers that do not.
    pub fn reconcile(&mut self, state: &State, events: &PodEvents) {
        self.tasks.retain(|id, task| {
            let runs = state.containers.values().any(|view| {
                view.current.as_ref().is_some_and(|current| current.is_running() && current.id == *id)
            });
            if !runs {
                task.abort();
            }
            runs
        });
        for (_, container) in state.pod.containers() {
            let probed = container.startup_probe.is_some()
                || container.liveness_probe.is_some()
                || container.readiness_probe.is_some();
            let Some(view) = state.view(&container.name).filter(|_| probed) else { continue };
            let Some(current) = view.current.as_ref().filter(|current| current.is_running()) else {
                continue;
            };
            if self.tasks.contains_key(&current.id) {
                continue;
            }
            let runner = Runner {
                runtime: self.runtime.clone(),
                report: self.report.clone(),
                events: events.clone(),
                container: container.clone(),
                container_id: current.id.clone(),
                host: state.pod_ips().into_iter().next().unwrap_or_default(),
                started_at: current.started_at.unwrap_or_else(Timestamp::now),
                startup_done: view.probe_of_current().is_some_and(|probe| probe.started == Some(true)),
                was_ready: view.probe_of_current().is_some_and(|probe| probe.ready == Some(true)),
            };
            // Kept in `tasks` and aborted with this set; a panic ends only this container's probes.
            self.tasks.insert(current.id.clone(), tokio::spawn(runner.run()));
        }
    }
}

struct Runner {
    runtime: Arc<dyn Runtime>,
    report: Reporter,
    events: PodEvents,
    container: Container,
    container_id: String,
    host: String,
    started_at: Timestamp,
    startup_done: bool,
    was_ready: bool,
}

impl Runner {
    async fn run(self) {
        if let Some(probe) = &self.container.startup_probe
            && !self.startup_done
            && !self.until_started(probe).await
        {
            return;
        }
        let liveness = async {
            if let Some(probe) = &self.container.liveness_probe {
                self.watch(probe, ProbeKind::Liveness, Judge::new(probe, true)).await;
            }
        };
        let readiness = async {
            if let Some(probe) = &self.container.readiness_probe {
                self.watch(probe, ProbeKind::Readiness, Judge::new(probe, self.was_ready)).await;
            }
        };
        futures::future::join(liveness, readiness).await;
    }

    /// Runs the startup probe until it succeeds (true) or has failed for good.
    async fn until_started(&self, probe: &Probe) -> bool {
        self.watch(probe, ProbeKind::Startup, Judge::new(probe, false)).await
    }

    /// Repeats a probe and reports changes of its judgement. Readiness never ends; the other kinds end with a
    /// judgement that cannot change for this container: failed, or for startup either. Returns the judgement.
    async fn watch(&self, probe: &Probe, kind: ProbeKind, mut judge: Judge) -> bool {
        let period = seconds(probe.period_seconds, 10);
        self.wait_initial(probe, kind).await;
        let mut eager = Some(EAGER_FIRST);
        loop {
            let attempt = self.attempt(probe).await;
            if let (Attempt::Failure { refused: true, .. }, Some(pause)) = (&attempt, eager)
                && pause < period
            {
                eager = Some(pause * 2);
                tokio::time::sleep(pause).await;
                continue;
            }
            eager = None;
            self.tell(kind, &attempt);
            if let Some(success) = judge.hear(&attempt) {
                (self.report)(ProbeReport {
                    container: self.container.name.clone(),
                    container_id: self.container_id.clone(),
                    kind,
                    success,
                });
                let last = match kind {
                    ProbeKind::Startup => true,
                    ProbeKind::Liveness => !success,
                    ProbeKind::Readiness => false,
                };
                if last {
                    return success;
                }
            }
            tokio::time::sleep(period).await;
        }
    }

    async fn wait_initial(&self, probe: &Probe, kind: ProbeKind) {
        let mut delay = seconds(probe.initial_delay_seconds, 0);
        if kind == ProbeKind::Liveness {
            // A process that has just begun is not dead for not answering yet.
            delay = delay.max(seconds(probe.period_seconds, 10));
        }
        let running = Timestamp::now().duration_since(self.started_at);
        let running = Duration::try_from(running).unwrap_or_default();
        if let Some(left) = delay.checked_sub(running) {
            tokio::time::sleep(left).await;
        }
    }

    fn tell(&self, kind: ProbeKind, attempt: &Attempt) {
        let message = match attempt {
            Attempt::Success => return,
            Attempt::Failure { output, .. } => format!("{} probe failed: {output}", kind.name()),
            Attempt::Error(error) => {
                format!("{} probe errored and resulted in unknown state: {error}", kind.name())
            }
        };
        self.events.container(&self.container, EventType::Warning, "Unhealthy", &message);
    }

    async fn attempt(&self, probe: &Probe) -> Attempt {
        let timeout = seconds(probe.timeout_seconds, 1);
        if let Some(action) = &probe.exec {
            let command = action.command.clone().unwrap_or_default();
            return exec::probe(&*self.runtime, &self.container_id, command, timeout).await;
        }
        if let Some(action) = &probe.http_get {
            return match http::target(action, &self.container, &self.host) {
                Ok(target) => http::probe(&target, timeout).await,
                Err(error) => Attempt::Error(error),
            };
        }
        if let Some(action) = &probe.tcp_socket {
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&self.host);
            return match port(&action.port, &self.container) {
                Ok(port) => tcp::probe(host, port, timeout).await,
                Err(error) => Attempt::Error(error),
            };
        }
        if let Some(action) = &probe.grpc {
            return grpc::probe(&self.host, action, timeout).await;
        }
        Attempt::Error("missing probe handler".to_owned())
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    let value = value.and_then(|value| u64::try_from(value).ok());
    Duration::from_secs(match value {
        // The API's defaults make zero mean the default for everything but delays.
        None | Some(0) => default,
        Some(value) => value,
    })
}

/// Turns single attempts into a judgement by the probe's thresholds.
#[derive(Debug, Clone)]
struct Judge {
    success_threshold: i32,
    failure_threshold: i32,
    judgement: bool,
    run: i32,
    last: Option<bool>,
}

impl Judge {
    fn new(probe: &Probe, initial: bool) -> Self {
        Self {
            success_threshold: probe.success_threshold.unwrap_or(1).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(3).max(1),
            judgement: initial,
            run: 0,
            last: None,
        }
    }

    /// The new judgement if this attempt changes it, or reaches a threshold for the first time.
    fn hear(&mut self, attempt: &Attempt) -> Option<bool> {
        let success = match attempt {
            Attempt::Success => true,
            Attempt::Failure { .. } => false,
            Attempt::Error(_) => return None,
        };
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        if self.run < threshold {
            return None;
        }
        let changed = self.judgement != success || self.run == threshold;
        self.judgement = success;
        changed.then_some(success)
    }
}

/// The number of a port given by number or by name.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name.parse().map_err(|_| format!("port {name} not found"))?,
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

/// Runs `attempt` within `timeout`.
async fn within<T>(timeout: Duration, attempt: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(timeout, attempt).await.ok()
}

/// Joins host and port for a URL or dial address.
fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A dial error in Go's words.
fn dial_error(address: &str, error: &std::io::Error) -> Attempt {
    use std::io::ErrorKind;
    let (what, refused) = match error.kind() {
        ErrorKind::ConnectionRefused => ("connect: connection refused".to_owned(), true),
        ErrorKind::HostUnreachable => ("connect: no route to host".to_owned(), false),
        ErrorKind::NetworkUnreachable => ("connect: network is unreachable".to_owned(), false),
        ErrorKind::TimedOut => ("i/o timeout".to_owned(), false),
        _ => (error.to_string(), false),
    };
    Attempt::Failure { output: format!("dial tcp {address}: {what}"), refused }
}

/// The verdict a failed probe leads to.
pub(crate) fn failure_of(kind: ProbeKind) -> Option<ProbeFailure> {
    match kind {
        ProbeKind::Startup => Some(ProbeFailure::Startup),
        ProbeKind::Liveness => Some(ProbeFailure::Liveness),
        ProbeKind::Readiness => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(success: i32, failure: i32, initial: bool) -> Judge {
        let probe =
            Probe { success_threshold: Some(success), failure_threshold: Some(failure), ..Probe::default() };
        Judge::new(&probe, initial)
    }

    #[test]
    fn thresholds() {
        let (ok, bad) = (Attempt::Success, Attempt::failure("x"));
        let mut readiness = judge(2, 3, false);
        let said: Vec<_> =
            [&ok, &bad, &ok, &ok, &ok, &bad, &bad, &ok, &bad, &bad, &bad].map(|a| readiness.hear(a)).to_vec();
        let want = [None, None, None, Some(true), None, None, None, None, None, None, Some(false)];
        assert_eq!(said, want);
        let mut liveness = judge(1, 1, true);
        assert_eq!(liveness.hear(&Attempt::Error("x".into())), None);
        assert_eq!(liveness.hear(&bad), Some(false));
    }

    #[test]
    fn ports_by_name() {
        let container = Container {
            ports: Some(vec![api::ContainerPort {
                name: Some("web".into()),
                container_port: 8080,
                ..api::ContainerPort::default()
            }]),
            ..Container::default()
        };
        assert_eq!(port(&IntOrString::Int(80), &container), Ok(80));
        assert_eq!(port(&IntOrString::String("web".into()), &container), Ok(8080));
        assert_eq!(port(&IntOrString::String("81".into()), &container), Ok(81));
        assert!(port(&IntOrString::String("none".into()), &container).is_err());
        assert!(port(&IntOrString::Int(70_000), &container).is_err());
    }
}
