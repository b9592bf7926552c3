//! How long admission takes (apiserver `pkg/admission/metrics`).

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use machinery::metrics::{Histogram, Kind, Metric, Registry};

use super::Operation;

const BOUNDS: Kind = Kind::Histogram(&[0.005, 0.025, 0.1, 0.5, 1.0, 2.5]);

static STEP: Metric = Metric {
    name: "apiserver_admission_step_admission_duration_seconds",
    help: "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).",
    kind: BOUNDS,
    labels: &["operation", "rejected", "type"],
};
static CONTROLLER: Metric = Metric {
    name: "apiserver_admission_controller_admission_duration_seconds",
    help: "[STABLE] Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
    kind: BOUNDS,
    labels: &["name", "operation", "rejected", "type"],
};

/// What a rule does: it changes objects, or it only looks at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Admit,
    Validate,
}

/// Times of one step of one plugin, or of all plugins together. Each series is looked up once.
pub(super) struct Times {
    registry: Registry,
    /// None for all together.
    plugin: Option<&'static str>,
    step: Step,
    /// By operation, and whether it was refused.
    series: [[OnceLock<Arc<Histogram>>; 2]; 3],
}

impl Times {
    pub fn new(registry: &Registry, plugin: Option<&'static str>, step: Step) -> Self {
        Self { registry: registry.clone(), plugin, step, series: Default::default() }
    }

    /// Counts what began at `started` and has just ended; returns the time.
    pub fn add(&self, operation: Operation, rejected: bool, started: Instant) -> Instant {
        let now = Instant::now();
        let series = &self.series[operation as usize][usize::from(rejected)];
        let series = series.get_or_init(|| self.series_of(operation, rejected));
        series.add(now.duration_since(started).as_secs_f64());
        now
    }

    fn series_of(&self, operation: Operation, rejected: bool) -> Arc<Histogram> {
        let operation = match operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        };
        let step = if self.step == Step::Admit { "admit" } else { "validate" };
        let rejected = if rejected { "true" } else { "false" };
        match self.plugin {
            Some(name) => self.registry.histogram(&CONTROLLER, &[name, operation, rejected, step]),
            None => self.registry.histogram(&STEP, &[operation, rejected, step]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_apart() {
        let registry = Registry::default();
        let started = Instant::now();
        Times::new(&registry, Some("Priority"), Step::Admit).add(Operation::Create, false, started);
        Times::new(&registry, None, Step::Validate).add(Operation::Delete, true, started);
        let mut page = machinery::metrics::Page::new();
        registry.write(&mut page);
        let page = page.finish();
        for line in [
            "apiserver_admission_controller_admission_duration_seconds_count{name=\"Priority\",operation=\"CREATE\",rejected=\"false\",type=\"admit\"} 1",
            "apiserver_admission_step_admission_duration_seconds_count{operation=\"DELETE\",rejected=\"true\",type=\"validate\"} 1",
        ] {
            assert!(page.lines().any(|have| have == line), "{line}\n{page}");
        }
    }
}
