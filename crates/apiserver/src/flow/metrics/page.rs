//! The text that `/metrics` answers.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use machinery::metrics::{Kind, Page, Reading};

use super::series::Series;
use super::store::Operation;
use super::{Bodies, Check, Metrics, USERS};

/// Bounds of [`super::DURATIONS`] that the histogram of service levels does not have.
const SLI_WITHOUT: usize = 2;

/// A metric without buckets that is read when the page is asked for.
pub(crate) struct Gauge {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    /// Labels as they are written, and the value.
    pub values: Vec<(String, f64)>,
}

impl Metrics {
    /// Everything in Prometheus' text format, with the gauges.
    pub fn render(&self, gauges: &[Gauge]) -> String {
        let mut page = Sections(Page::new());
        let mut series = self.requests.all();
        series.sort_by_key(|series| (series.labels(), series.dry_run));
        page.requests(&series);
        page.watches(&series);
        let mut operations = self.store.all();
        operations.sort_by_key(|operation| operation.labels());
        page.store(&operations);
        page.bodies(&self.bodies.all());
        let name = "apiserver_tls_handshake_errors_total";
        let help = "[ALPHA] Number of requests dropped with 'TLS handshake error from' error";
        page.head(name, help, Kind::Counter);
        page.line(name, "", self.handshakes_failed.load(Relaxed) as f64);
        let name = "authenticated_user_requests";
        page.head(name, "[ALPHA] Counter of authenticated requests broken out by username.", Kind::Counter);
        for (user, count) in USERS.iter().zip(&self.users).map(|(user, count)| (user, count.load(Relaxed))) {
            if count > 0 {
                page.line(name, &format!("username={user:?}"), count as f64);
            }
        }
        page.checks(
            "authentication_attempts",
            "authentication_duration_seconds",
            "[ALPHA] Counter of authenticated attempts.",
            [("success", &self.authentication[0]), ("failure", &self.authentication[1])],
        );
        page.checks(
            "authorization_attempts_total",
            "authorization_duration_seconds",
            "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.",
            [("allowed", &self.authorization[0]), ("no-opinion", &self.authorization[1])],
        );
        for gauge in gauges {
            page.head(gauge.name, gauge.help, gauge.kind);
            for (labels, value) in &gauge.values {
                page.line(gauge.name, labels, *value);
            }
        }
        self.health.write(&mut page.0);
        page.0.finish()
    }

    /// The page of service levels: health checks, and when the process began.
    pub fn render_service_levels(&self, started: Option<Gauge>) -> String {
        let mut page = Page::new();
        self.health.write(&mut page);
        if let Some(Gauge { name, kind, help, values }) = started {
            page.head(name, help, &kind);
            values.iter().for_each(|(labels, value)| page.line(name, labels, *value));
        }
        page.finish()
    }
}

impl Operation {
    fn labels(&self) -> String {
        format!("group={:?},operation={:?},resource={:?}", self.group, self.name, self.resource)
    }
}

/// What is written for several metrics at once.
struct Sections(Page);

impl Sections {
    fn head(&mut self, name: &str, help: &str, kind: Kind) {
        self.0.head(name, help, &kind);
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        self.0.line(name, labels, value);
    }

    fn histogram(&mut self, name: &str, labels: &str, reading: &Reading) {
        self.0.histogram(name, labels, reading);
    }

    fn requests(&mut self, all: &[std::sync::Arc<Series>]) {
        let name = "apiserver_request_total";
        self.head(name, "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.", Kind::Counter);
        for series in all {
            for (code, count) in series.codes() {
                let labels = format!("code=\"{code}\",{},dry_run={:?}", series.labels(), series.dry_run);
                self.line(name, &labels, count as f64);
            }
        }
        let timed: Vec<(&Series, Reading)> = all
            .iter()
            .map(|series| (series.as_ref(), series.took.read()))
            .filter(|(_, reading)| reading.count() > 0)
            .collect();
        let name = "apiserver_request_duration_seconds";
        self.head(name, "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.", Kind::Histogram(&[]));
        for (series, reading) in &timed {
            let labels = format!("{},dry_run={:?}", series.labels(), series.dry_run);
            self.histogram(name, &labels, reading);
        }
        let name = "apiserver_request_sli_duration_seconds";
        self.head(name, "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.", Kind::Histogram(&[]));
        for (series, reading) in timed.iter().filter(|(series, _)| series.dry_run.is_empty()) {
            let reading = reading.without_first(SLI_WITHOUT);
            self.histogram(name, &series.labels(), &reading);
        }
        let name = "apiserver_response_sizes";
        self.head(name, "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.", Kind::Histogram(&[]));
        for series in all.iter().filter(|series| series.dry_run.is_empty()) {
            let reading = series.size.read();
            if reading.count() > 0 {
                self.histogram(name, &series.labels(), &reading);
            }
        }
    }

    fn watches(&mut self, all: &[std::sync::Arc<Series>]) {
        let name = "apiserver_longrunning_requests";
        self.head(name, "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.", Kind::Gauge);
        for series in all.iter().filter(|series| matches!(series.verb, "WATCH" | "CONNECT")) {
            self.line(name, &series.labels(), series.running.load(Relaxed) as f64);
        }
        // Events are not told apart by scope.
        let mut events: BTreeMap<String, Reading> = BTreeMap::new();
        for series in all.iter().filter(|series| series.verb == "WATCH") {
            let labels = format!(
                "group={:?},resource={:?},version={:?}",
                series.group, series.resource, series.version
            );
            let reading = series.events.read();
            events.entry(labels).and_modify(|sum| sum.merge(&reading)).or_insert(reading);
        }
        self.head(
            "apiserver_watch_events_total",
            "[BETA] Number of events sent in watch clients",
            Kind::Counter,
        );
        for (labels, reading) in &events {
            self.line("apiserver_watch_events_total", labels, reading.count() as f64);
        }
        self.head(
            "apiserver_watch_events_sizes",
            "[BETA] Watch event size distribution in bytes",
            Kind::Histogram(&[]),
        );
        for (labels, reading) in &events {
            self.histogram("apiserver_watch_events_sizes", labels, reading);
        }
    }

    fn bodies(&mut self, all: &[std::sync::Arc<Bodies>]) {
        let name = "apiserver_request_body_size_bytes";
        let help = "[ALPHA] Apiserver request body size in bytes broken out by resource and verb.";
        self.head(name, help, Kind::Histogram(&[]));
        let mut all: Vec<&Bodies> = all.iter().map(AsRef::as_ref).collect();
        all.sort_by_key(|bodies| &bodies.labels);
        for bodies in all {
            self.histogram(name, &bodies.labels, &bodies.sizes.read());
        }
    }

    fn store(&mut self, operations: &[std::sync::Arc<Operation>]) {
        let name = "etcd_request_duration_seconds";
        self.head(
            name,
            "[ALPHA] Etcd request latency in seconds for each operation and object type.",
            Kind::Histogram(&[]),
        );
        let readings: Vec<(String, Reading, f64)> = operations
            .iter()
            .map(|op| (op.labels(), op.took.read(), op.errors.load(Relaxed) as f64))
            .collect();
        for (labels, reading, _) in &readings {
            self.histogram(name, labels, reading);
        }
        let name = "etcd_requests_total";
        self.head(name, "[ALPHA] Etcd request counts for each operation and object type.", Kind::Counter);
        for (labels, reading, _) in &readings {
            self.line(name, labels, reading.count() as f64);
        }
        let name = "etcd_request_errors_total";
        self.head(
            name,
            "[ALPHA] Etcd failed request counts for each operation and object type.",
            Kind::Counter,
        );
        for (labels, _, errors) in readings.iter().filter(|(_, _, errors)| *errors > 0.0) {
            self.line(name, labels, *errors);
        }
    }

    fn checks(&mut self, counter: &str, histogram: &str, help: &str, checks: [(&str, &Check); 2]) {
        self.head(counter, help, Kind::Counter);
        for (result, check) in checks {
            self.line(counter, &format!("result={result:?}"), check.count.load(Relaxed) as f64);
        }
        let what = histogram.trim_end_matches("_duration_seconds");
        let help = format!(
            "[ALPHA] {}{} duration in seconds broken out by result.",
            what[..1].to_uppercase(),
            &what[1..]
        );
        self.head(histogram, &help, Kind::Histogram(&[]));
        for (result, check) in checks {
            self.histogram(histogram, &format!("result={result:?}"), &check.took.read());
        }
    }
}
