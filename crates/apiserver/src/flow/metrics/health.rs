//! How health checks went (component-base `metrics/prometheus/slis`).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use machinery::metrics::{Kind, Page};

use crate::flow::health::{CHECKS, ENDPOINTS, checks};

/// One check of one endpoint.
#[derive(Default)]
struct Check {
    /// Of failures and successes.
    counts: [AtomicU64; 2],
    /// Whether it passed last; meaningless before the first time.
    last: AtomicU8,
}

/// All checks, by endpoint.
#[derive(Default)]
pub(super) struct Checks([[Check; CHECKS]; ENDPOINTS.len()]);

impl Checks {
    pub fn add(&self, endpoint: usize, check: usize, passed: bool) {
        if let Some(check) = self.0.get(endpoint).and_then(|checks| checks.get(check)) {
            check.counts[usize::from(passed)].fetch_add(1, Relaxed);
            check.last.store(passed.into(), Relaxed);
        }
    }

    /// Name and endpoint of each check that was ever run.
    fn run(&self) -> impl Iterator<Item = (&'static str, &'static str, &Check)> {
        ENDPOINTS.iter().zip(&self.0).flat_map(|(endpoint, states)| {
            let name = endpoint.trim_start_matches('/');
            checks(endpoint).filter_map(move |(number, check)| Some((check, name, states.get(number)?)))
        })
    }

    pub fn write(&self, page: &mut Page) {
        let name = "kubernetes_healthcheck";
        page.head(name, "[STABLE] This metric records the result of a single healthcheck.", &Kind::Gauge);
        for (check, endpoint, state) in self.run() {
            if state.counts.iter().any(|count| count.load(Relaxed) > 0) {
                let labels = format!("name={check:?},type={endpoint:?}");
                page.line(name, &labels, f64::from(state.last.load(Relaxed)));
            }
        }
        let name = "kubernetes_healthchecks_total";
        page.head(name, "[STABLE] This metric records the results of all healthcheck.", &Kind::Counter);
        for (check, endpoint, state) in self.run() {
            for (status, count) in ["error", "success"].into_iter().zip(&state.counts) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let labels = format!("name={check:?},status={status:?},type={endpoint:?}");
                    page.line(name, &labels, count as f64);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_and_the_last_is_kept() {
        let checks = Checks::default();
        checks.add(2, 0, true);
        checks.add(2, 2, true);
        checks.add(2, 2, false);
        let mut page = Page::new();
        checks.write(&mut page);
        let lines = page.finish();
        for line in [
            "kubernetes_healthcheck{name=\"ping\",type=\"readyz\"} 1",
            "kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 0",
            "kubernetes_healthchecks_total{name=\"etcd\",status=\"error\",type=\"readyz\"} 1",
            "kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"readyz\"} 1",
        ] {
            assert!(lines.lines().any(|have| have == line), "{line}\n{lines}");
        }
        assert!(!lines.contains("livez"));
    }
}
