//! What clients report of themselves (component-base `metrics/prometheus/{workqueue,restclient}`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use machinery::metrics::{Histogram, Kind, Metric, Number, Registry};

/// Buckets of the times in work queues: ten, from ten nanoseconds to ten seconds. As upstream computes them.
const QUEUE_TIMES: Kind = Kind::Histogram(&[
    1e-8,
    1e-7,
    1e-6,
    9.999_999_999_999_999e-6,
    9.999_999_999_999_999e-5,
    0.001,
    0.01,
    0.1,
    1.0,
    10.0,
]);
/// Buckets of the times that requests take.
const REQUEST_TIMES: Kind =
    Kind::Histogram(&[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0]);

static ADDS: Metric =
    of_queue("workqueue_adds_total", "[BETA] Total number of adds handled by workqueue", Kind::Counter);
static DEPTH: Metric = of_queue("workqueue_depth", "[BETA] Current depth of workqueue", Kind::Gauge);
static RETRIES: Metric =
    of_queue("workqueue_retries_total", "[BETA] Total number of retries handled by workqueue", Kind::Counter);
static WAITED: Metric = of_queue(
    "workqueue_queue_duration_seconds",
    "[BETA] How long in seconds an item stays in workqueue before being requested.",
    QUEUE_TIMES,
);
static WORKED: Metric = of_queue(
    "workqueue_work_duration_seconds",
    "[BETA] How long in seconds processing an item from workqueue takes.",
    QUEUE_TIMES,
);
static UNFINISHED: Metric = of_queue(
    "workqueue_unfinished_work_seconds",
    "[BETA] How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases.",
    Kind::Gauge,
);
static LONGEST: Metric = of_queue(
    "workqueue_longest_running_processor_seconds",
    "[BETA] How many seconds has the longest running processor for workqueue been running.",
    Kind::Gauge,
);

const fn of_queue(name: &'static str, help: &'static str, kind: Kind) -> Metric {
    Metric { name, help, kind, labels: &["name"] }
}

static REQUESTS: Metric = Metric {
    name: "rest_client_requests_total",
    help: "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.",
    kind: Kind::Counter,
    labels: &["code", "host", "method"],
};
static REQUEST_DURATION: Metric = Metric {
    name: "rest_client_request_duration_seconds",
    help: "[ALPHA] Request latency in seconds. Broken down by verb, and host.",
    kind: REQUEST_TIMES,
    labels: &["host", "verb"],
};

/// What a work queue counts.
pub(crate) struct QueueMetrics {
    pub adds: Number,
    pub retries: Number,
    /// Until an item is taken, from when it was added.
    pub waited: Arc<Histogram>,
    /// Until an item is given back.
    pub worked: Arc<Histogram>,
}

impl QueueMetrics {
    pub fn new(registry: &Registry, name: &str) -> Self {
        Self {
            adds: registry.number(&ADDS, &[name]),
            retries: registry.number(&RETRIES, &[name]),
            waited: registry.histogram(&WAITED, &[name]),
            worked: registry.histogram(&WORKED, &[name]),
        }
    }

    /// What a work queue is asked for when the page is written.
    pub fn look(
        registry: &Registry,
        name: &str,
        depth: impl Fn() -> f64 + Send + Sync + 'static,
        unfinished: impl Fn() -> f64 + Send + Sync + 'static,
        longest: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        registry.read(&DEPTH, &[name], depth);
        registry.read(&UNFINISHED, &[name], unfinished);
        registry.read(&LONGEST, &[name], longest);
    }
}

/// Methods that clients use.
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
/// Codes from 100 to 599 have places of their own.
const CODES: usize = 500;

/// Requests that clients make to one server. Each kind of request looks its series up once.
pub struct Requests {
    registry: Registry,
    host: String,
    counts: Box<[OnceLock<Number>]>,
    took: [OnceLock<Arc<Histogram>>; METHODS.len()],
}

impl Requests {
    /// `host` is the server as clients know it.
    #[must_use]
    pub fn new(registry: Registry, host: impl Into<String>) -> Self {
        let counts = (0..METHODS.len() * CODES).map(|_| OnceLock::new()).collect();
        Self { registry, host: host.into(), counts, took: Default::default() }
    }

    /// Counts a request whose answer has begun.
    pub fn count(&self, method: &Method, code: StatusCode, took: Duration) {
        let Some(at) = METHODS.iter().position(|known| known == method) else { return };
        let code = code.as_u16();
        let Some(place) = self.counts.get(at * CODES + usize::from(code.saturating_sub(100)) % CODES) else {
            return;
        };
        let number = place.get_or_init(|| {
            self.registry.number(&REQUESTS, &[&code.to_string(), &self.host, method.as_str()])
        });
        number.increment();
        let histogram = self.took[at]
            .get_or_init(|| self.registry.histogram(&REQUEST_DURATION, &[&self.host, method.as_str()]));
        histogram.add(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_method_and_code() {
        let registry = Registry::default();
        let requests = Requests::new(registry.clone(), "h:1");
        requests.count(&Method::GET, StatusCode::OK, Duration::from_millis(30));
        requests.count(&Method::GET, StatusCode::OK, Duration::from_secs(90));
        requests.count(&Method::PATCH, StatusCode::CONFLICT, Duration::ZERO);
        let mut page = machinery::metrics::Page::new();
        registry.write(&mut page);
        let page = page.finish();
        for line in [
            "rest_client_requests_total{code=\"200\",host=\"h:1\",method=\"GET\"} 2",
            "rest_client_requests_total{code=\"409\",host=\"h:1\",method=\"PATCH\"} 1",
            "rest_client_request_duration_seconds_bucket{host=\"h:1\",verb=\"GET\",le=\"0.1\"} 1",
            "rest_client_request_duration_seconds_count{host=\"h:1\",verb=\"GET\"} 2",
        ] {
            assert!(page.lines().any(|have| have == line), "{line}\n{page}");
        }
    }
}
