//! Counters of the API server in Prometheus' text format, under upstream's names and with upstream's labels and buckets
//! (apiserver `pkg/endpoints/metrics`, `pkg/endpoints/filters`, `pkg/storage/etcd3/metrics`).
//!
//! A request costs one hash of what it asks for, a look-up under a read lock and a few atomic additions; only the first of
//! its kind allocates.

mod body;
mod health;
mod page;
mod process;
mod resources;
mod series;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::Response;
use http_body::Body;
use machinery::metrics::Histogram;
use machinery::status::Status;

use crate::ApiBody;
use crate::http::{Query, RequestInfo};
pub(crate) use page::Gauge;
pub(crate) use process::{gauges as process_gauges, start as process_start};
pub(crate) use resources::gauges as resource_gauges;
use series::{Labels, Series, SeriesMap};
pub(crate) use store::Observed;

/// Buckets of request durations, seconds.
const DURATIONS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
/// Buckets of the time that authentication and authorization take, seconds.
const CHECKS: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];

/// Buckets of the sizes of bodies, bytes.
static BODY_SIZES: [f64; 31] = body_sizes();

const fn body_sizes() -> [f64; 31] {
    let mut sizes = [50_000.0; 31];
    let mut at = 1;
    while at < sizes.len() {
        sizes[at] = sizes[at - 1] + 100_000.0;
        at += 1;
    }
    sizes
}

/// Kinds of users' names that are told apart: the last but one is for all that look like an address, the last for all others.
const USERS: [&str; 7] = [
    "admin",
    "client",
    "kube_proxy",
    "kubelet",
    "system:serviceaccount:kube-system:default",
    "email_id",
    "other",
];

/// What was asked, how long it took and how it ended.
#[derive(Default)]
pub struct Metrics {
    requests: SeriesMap<Series>,
    /// By what kind of name the user has.
    users: [AtomicU64; USERS.len()],
    authentication: [Check; 2],
    authorization: [Check; 2],
    store: Arc<store::Operations>,
    health: health::Checks,
    /// Sizes of what is sent, by group, resource and verb.
    bodies: SeriesMap<Bodies>,
    handshakes_failed: AtomicU64,
}

/// Bodies of one kind of request.
struct Bodies {
    labels: String,
    sizes: Histogram,
}

/// How often a check came out one way, and how long it took.
struct Check {
    count: AtomicU64,
    took: Histogram,
}

impl Default for Check {
    fn default() -> Self {
        Check { count: AtomicU64::new(0), took: Histogram::new(CHECKS) }
    }
}

impl Check {
    fn add(&self, took: Duration) {
        self.count.fetch_add(1, Relaxed);
        self.took.add(took.as_secs_f64());
    }
}

/// One request on its way.
pub(crate) struct Started {
    at: Instant,
    /// A patch is an apply.
    applies: bool,
    dry_run: &'static str,
}

impl Metrics {
    /// Notes what is not known at the end any more.
    pub fn start(query: &Query, content_type: Option<&str>) -> Started {
        let dry_run = match query.get("dryRun") {
            None => "",
            Some("All") => "All",
            Some(_) => "invalid",
        };
        let applies = content_type.is_some_and(|media| media.starts_with("application/apply-patch"));
        Started { at: Instant::now(), applies, dry_run }
    }

    /// Counts one request, whose answer's head is ready. `known` tells whether the resource exists: names made up by clients
    /// must not fill memory. The body of a long-running request is watched until its end.
    pub fn observe(
        &self,
        started: &Started,
        info: &RequestInfo,
        known: bool,
        response: Response<ApiBody>,
    ) -> Response<ApiBody> {
        let labels = Labels::of(started, info, known);
        let series = self.requests.get(labels, || labels.series());
        series.count(response.status().as_u16());
        if info.is_long_running() {
            if response.status().is_success() {
                return response.map(|inner| body::counted(inner, series));
            }
        } else {
            series.took.add(started.at.elapsed().as_secs_f64());
        }
        if let (true, Some(size)) = (labels.reads(), response.body().size_hint().exact()) {
            series.size.add(size as f64);
        }
        response
    }

    /// Counts one authentication.
    pub fn authenticated(
        &self,
        started: Instant,
        result: Result<Arc<auth::UserInfo>, Status>,
    ) -> Result<Arc<auth::UserInfo>, Status> {
        self.authentication[usize::from(result.is_err())].add(started.elapsed());
        if let Ok(user) = &result {
            let kind = if user.name.contains('@') { USERS.len() - 2 } else { USERS.len() - 1 };
            let at = USERS[..5].iter().position(|known| *known == user.name).unwrap_or(kind);
            self.users[at].fetch_add(1, Relaxed);
        }
        result
    }

    /// Counts one authorization.
    pub fn authorized(&self, started: Instant, result: Result<(), Status>) -> Result<(), Status> {
        self.authorization[usize::from(result.is_err())].add(started.elapsed());
        result
    }

    /// Counts the body of one request that writes.
    pub fn received(&self, info: &RequestInfo, known: bool, bytes: usize) {
        if !known {
            return;
        }
        let (group, resource, verb) = (&info.group, &info.resource, &info.verb);
        let series = self.bodies.get((group, resource, verb), || Bodies {
            labels: format!("group={group:?},resource={resource:?},verb={verb:?}"),
            sizes: Histogram::new(&BODY_SIZES),
        });
        series.sizes.add(bytes as f64);
    }

    /// Counts a connection that ended before its TLS handshake was done.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Relaxed);
    }

    /// Counts one health check: the numbers of its endpoint, and of itself there.
    pub fn checked(&self, endpoint: usize, check: usize, passed: bool) {
        self.health.add(endpoint, check, passed);
    }

    /// A store that counts what is asked of it.
    pub fn observed(&self, store: Arc<dyn ::store::Store>) -> Observed {
        Observed::new(store, self.store.clone())
    }
}

#[cfg(test)]
mod tests;
