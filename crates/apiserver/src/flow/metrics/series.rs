//! Series of requests by what they ask for.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use machinery::metrics::Histogram;
use parking_lot::RwLock;

use super::{DURATIONS, Started};
use crate::http::RequestInfo;

/// Buckets of answers' sizes, bytes.
pub(super) const SIZES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Buckets of the sizes of watch events, bytes.
pub(super) const EVENT_SIZES: &[f64] =
    &[1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0];
/// Series kept at most; requests beyond that are counted together.
const SERIES_MAX: usize = 4096;
/// Status codes that are counted apart; others count as the last.
pub(super) const CODES: [u16; 25] = [
    200, 101, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429,
    502, 503, 504, 500,
];

/// Values by the hash of their labels. Two kinds of requests whose hashes are the same would be counted as one, which
/// does not happen in practice.
pub(super) struct SeriesMap<T> {
    known: RwLock<HashMap<u64, Arc<T>>>,
    state: RandomState,
}

impl<T> Default for SeriesMap<T> {
    fn default() -> Self {
        SeriesMap { known: RwLock::default(), state: RandomState::new() }
    }
}

impl<T> SeriesMap<T> {
    /// The series of these labels, made when it is new.
    pub fn get<K: Hash>(&self, labels: K, new: impl FnOnce() -> T) -> Arc<T> {
        let mut hash = self.state.hash_one(labels);
        if let Some(series) = self.known.read().get(&hash) {
            return series.clone();
        }
        let mut known = self.known.write();
        if known.len() >= SERIES_MAX {
            hash = 0;
        }
        known.entry(hash).or_insert_with(|| Arc::new(new())).clone()
    }

    /// All series.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.known.read().values().cloned().collect()
    }
}

/// What a request is counted under.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) struct Labels<'a> {
    verb: &'static str,
    dry_run: &'static str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    scope: &'static str,
}

impl<'a> Labels<'a> {
    pub fn of(started: &Started, info: &'a RequestInfo, known: bool) -> Labels<'a> {
        let verb = reported_verb(info, started.applies);
        let dry_run = started.dry_run;
        let mut labels =
            Labels { verb, dry_run, group: "", version: "", resource: "", subresource: "", scope: "" };
        if known {
            labels.group = &info.group;
            labels.version = &info.version;
            labels.resource = &info.resource;
            labels.subresource = &info.subresource;
            labels.scope = scope(info);
        } else if matches!(info.path.as_str(), "/healthz" | "/livez" | "/readyz") {
            labels.subresource = &info.path;
        }
        labels
    }

    pub fn series(&self) -> Series {
        Series::new(self)
    }

    /// Whether the size of the answer is counted.
    pub fn reads(&self) -> bool {
        matches!(self.verb, "GET" | "LIST")
    }
}

/// Requests of one kind.
#[derive(Debug)]
pub(super) struct Series {
    pub verb: &'static str,
    pub dry_run: &'static str,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub scope: &'static str,
    codes: [AtomicU64; CODES.len()],
    pub took: Histogram,
    pub size: Histogram,
    /// Requests that are under way, of the long-running kinds.
    pub running: AtomicI64,
    /// Events that watches have sent.
    pub events: Histogram,
}

impl Series {
    fn new(labels: &Labels<'_>) -> Series {
        Series {
            verb: labels.verb,
            dry_run: labels.dry_run,
            group: labels.group.to_owned(),
            version: labels.version.to_owned(),
            resource: labels.resource.to_owned(),
            subresource: labels.subresource.to_owned(),
            scope: labels.scope,
            codes: Default::default(),
            took: Histogram::new(DURATIONS),
            size: Histogram::new(SIZES),
            running: AtomicI64::new(0),
            events: Histogram::new(EVENT_SIZES),
        }
    }

    pub fn count(&self, code: u16) {
        let at = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len() - 1);
        self.codes[at].fetch_add(1, Relaxed);
    }

    /// Status codes that occurred, with their number.
    pub fn codes(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let all = CODES.into_iter().zip(&self.codes).map(|(code, count)| (code, count.load(Relaxed)));
        all.filter(|(_, count)| *count > 0)
    }

    /// The labels that every metric of requests has.
    pub fn labels(&self) -> String {
        let Series { group, version, resource, subresource, scope, verb, .. } = self;
        format!(
            "component=\"apiserver\",group={group:?},resource={resource:?},scope={scope:?},subresource={subresource:?},\
             verb={verb:?},version={version:?}"
        )
    }
}

/// Upstream reports verbs in capitals and only those it knows.
fn reported_verb(info: &RequestInfo, applies: bool) -> &'static str {
    if info.is_resource
        && matches!(info.subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy")
    {
        return "CONNECT";
    }
    match info.verb.as_str() {
        "get" | "head" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if applies => "APPLY",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "proxy" => "CONNECT",
        _ => "other",
    }
}

fn scope(info: &RequestInfo) -> &'static str {
    if !info.name.is_empty() || info.verb == "create" {
        "resource"
    } else if !info.namespace.is_empty() {
        "namespace"
    } else {
        "cluster"
    }
}
