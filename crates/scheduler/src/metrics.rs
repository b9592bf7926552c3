//! What the scheduler reports of itself (upstream: `pkg/scheduler/metrics`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use machinery::metrics::{Histogram, Kind, Metric, Number, Registry};

use crate::queue::Queue;

/// Attempts of a pod that are told apart; more count together.
const ATTEMPTS_MAX: usize = 15;

static ATTEMPTS: Metric = Metric {
    name: "scheduler_schedule_attempts_total",
    help: "[STABLE] Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.",
    kind: Kind::Counter,
    labels: &["profile", "result"],
};
static DURATION: Metric = Metric {
    name: "scheduler_scheduling_attempt_duration_seconds",
    help: "[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding)",
    kind: TIMES,
    labels: &["profile", "result"],
};
static ALGORITHM: Metric = Metric {
    name: "scheduler_scheduling_algorithm_duration_seconds",
    help: "[ALPHA] Scheduling algorithm latency in seconds",
    kind: TIMES,
    labels: &[],
};
static PENDING: Metric = Metric {
    name: "scheduler_pending_pods",
    help: "[STABLE] Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.",
    kind: Kind::Gauge,
    labels: &["queue"],
};
static POD_ATTEMPTS: Metric = Metric {
    name: "scheduler_pod_scheduling_attempts",
    help: "[STABLE] Number of attempts to successfully schedule a pod.",
    kind: Kind::Histogram(&[1.0, 2.0, 4.0, 8.0, 16.0]),
    labels: &[],
};
static POD_DURATION: Metric = Metric {
    name: "scheduler_pod_scheduling_sli_duration_seconds",
    help: "[BETA] E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.",
    kind: Kind::Histogram(&[
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
        327.68, 655.36, 1310.72, 2621.44, 5242.88,
    ]),
    labels: &["attempts"],
};
const TIMES: Kind = Kind::Histogram(&[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
]);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Scheduled,
    Unschedulable,
    Error,
}

/// One series of each metric.
pub(crate) struct Metrics {
    registry: Registry,
    /// By outcome.
    attempts: [(Number, Arc<Histogram>); 3],
    algorithm: Arc<Histogram>,
    pod_attempts: Arc<Histogram>,
    pod_duration: [OnceLock<Arc<Histogram>>; ATTEMPTS_MAX],
}

impl Metrics {
    pub fn new(registry: &Registry, profile: &str, queue: &Queue) -> Self {
        for (place, name) in ["active", "backoff", "unschedulable", "gated"].into_iter().enumerate() {
            let queue = queue.clone();
            registry.read(&PENDING, &[name], move || queue.pending()[place] as f64);
        }
        let attempts = ["scheduled", "unschedulable", "error"].map(|result| {
            (
                registry.number(&ATTEMPTS, &[profile, result]),
                registry.histogram(&DURATION, &[profile, result]),
            )
        });
        Self {
            attempts,
            algorithm: registry.histogram(&ALGORITHM, &[]),
            pod_attempts: registry.histogram(&POD_ATTEMPTS, &[]),
            pod_duration: Default::default(),
            registry: registry.clone(),
        }
    }

    /// It is known where a pod goes, or that it goes nowhere.
    pub fn decided(&self, took: Duration) {
        self.algorithm.add(took.as_secs_f64());
    }

    /// An attempt has ended.
    pub fn ended(&self, outcome: Outcome, took: Duration) {
        let (count, duration) = &self.attempts[outcome as usize];
        count.increment();
        duration.add(took.as_secs_f64());
    }

    /// A pod has its node, so long after it first asked for one.
    pub fn bound(&self, attempts: u32, waited: Duration) {
        self.pod_attempts.add(f64::from(attempts));
        let at = (attempts.max(1) as usize).min(ATTEMPTS_MAX);
        let series = self.pod_duration[at - 1].get_or_init(|| {
            let label = if at == ATTEMPTS_MAX { format!("{ATTEMPTS_MAX}+") } else { at.to_string() };
            self.registry.histogram(&POD_DURATION, &[&label])
        });
        series.add(waited.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_and_pods_are_counted() {
        let registry = Registry::default();
        let metrics = Metrics::new(&registry, "p", &Queue::default());
        metrics.decided(Duration::from_millis(3));
        metrics.ended(Outcome::Unschedulable, Duration::from_millis(3));
        metrics.ended(Outcome::Scheduled, Duration::from_millis(5));
        metrics.bound(2, Duration::from_secs(1));
        metrics.bound(40, Duration::from_secs(1));
        let mut page = machinery::metrics::Page::new();
        registry.write(&mut page);
        let page = page.finish();
        for line in [
            "scheduler_schedule_attempts_total{profile=\"p\",result=\"scheduled\"} 1",
            "scheduler_schedule_attempts_total{profile=\"p\",result=\"unschedulable\"} 1",
            "scheduler_schedule_attempts_total{profile=\"p\",result=\"error\"} 0",
            "scheduler_scheduling_attempt_duration_seconds_sum{profile=\"p\",result=\"scheduled\"} 0.005",
            "scheduler_scheduling_algorithm_duration_seconds_count 1",
            "scheduler_pending_pods{queue=\"gated\"} 0",
            "scheduler_pod_scheduling_attempts_sum 42",
            "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"2\"} 1",
            "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"15+\"} 1",
        ] {
            assert!(page.lines().any(|have| have == line), "{line}\n{page}");
        }
    }
}
