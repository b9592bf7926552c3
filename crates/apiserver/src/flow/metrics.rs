//! Counters of the API server in Prometheus' text format, under upstream's names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;

use crate::http::RequestInfo;

/// Upper bounds of the duration histogram's buckets, seconds: a part of upstream's.
const BUCKETS: [f64; 14] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Series kept at most; requests beyond that are counted under empty names.
const SERIES_MAX: usize = 4096;

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

#[derive(Debug, Default)]
struct Series {
    requests: BTreeMap<(Target, u16), u64>,
    durations: BTreeMap<Target, Histogram>,
}

/// What was asked and how long it took.
#[derive(Debug, Default)]
pub struct Metrics {
    series: Mutex<Series>,
}

/// A gauge to be printed beside the counters.
pub struct Gauge<'a> {
    pub name: &'static str,
    pub help: &'static str,
    pub values: Vec<(String, f64)>,
    pub label: &'a str,
}

impl Metrics {
    /// Counts one request. `known` tells whether the resource exists: names made up by clients must not fill memory.
    pub fn observe(&self, info: &RequestInfo, known: bool, code: u16, took: Duration) {
        let mut target = Target { verb: reported_verb(&info.verb), ..Target::default() };
        if known {
            target.group.clone_from(&info.group);
            target.version.clone_from(&info.version);
            target.resource.clone_from(&info.resource);
            target.subresource.clone_from(&info.subresource);
        }
        let mut series = self.series.lock();
        if series.requests.len() >= SERIES_MAX {
            target = Target { verb: target.verb, ..Target::default() };
        }
        *series.requests.entry((target.clone(), code)).or_default() += 1;
        if !info.is_long_running() {
            series.durations.entry(target).or_default().add(took.as_secs_f64());
        }
    }

    /// Everything in Prometheus' text format, followed by the gauges.
    pub fn render(&self, gauges: &[Gauge<'_>]) -> String {
        let mut out = String::with_capacity(16 * 1024);
        {
            let series = self.series.lock();
            head(&mut out, "apiserver_request_total", "Counter of apiserver requests.", "counter");
            for ((target, code), count) in &series.requests {
                line(
                    &mut out,
                    "apiserver_request_total",
                    &format!("code=\"{code}\",{}", target.labels()),
                    *count as f64,
                );
            }
            let name = "apiserver_request_duration_seconds";
            head(&mut out, name, "Response latency distribution in seconds.", "histogram");
            for (target, histogram) in &series.durations {
                histogram.render(&mut out, name, &target.labels());
            }
        }
        for gauge in gauges {
            head(&mut out, gauge.name, gauge.help, "gauge");
            for (value, number) in &gauge.values {
                let labels =
                    if gauge.label.is_empty() { String::new() } else { format!("{}={value:?}", gauge.label) };
                line(&mut out, gauge.name, &labels, *number);
            }
        }
        out
    }
}

impl Target {
    fn labels(&self) -> String {
        let Target { verb, group, version, resource, subresource } = self;
        format!(
            "group={group:?},resource={resource:?},subresource={subresource:?},verb={verb:?},version={version:?}"
        )
    }
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        let mut total = 0;
        for (bound, count) in BUCKETS.iter().zip(self.buckets) {
            total += count;
            line(out, &format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), total as f64);
        }
        line(out, &format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), self.count as f64);
        line(out, &format!("{name}_sum"), labels, self.sum);
        line(out, &format!("{name}_count"), labels, self.count as f64);
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a String cannot fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

/// Upstream reports verbs in capitals and only those it knows.
fn reported_verb(verb: &str) -> &'static str {
    match verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "proxy" => "CONNECT",
        _ => "other",
    }
}

/// Resident memory of this process, bytes; zero where `/proc` does not tell.
pub(crate) fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kilobytes.unwrap_or_default() * 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_target_and_code() {
        let metrics = Metrics::default();
        let info = RequestInfo {
            is_resource: true,
            verb: "list".into(),
            version: "v1".into(),
            resource: "pods".into(),
            ..RequestInfo::default()
        };
        metrics.observe(&info, true, 200, Duration::from_millis(7));
        metrics.observe(&info, true, 200, Duration::from_secs(100));
        metrics.observe(&info, false, 404, Duration::from_millis(1));
        let text =
            metrics.render(&[Gauge { name: "g", help: "h", values: vec![("a".into(), 2.0)], label: "l" }]);
        let labels = "group=\"\",resource=\"pods\",subresource=\"\",verb=\"LIST\",version=\"v1\"";
        for expected in [
            format!("apiserver_request_total{{code=\"200\",{labels}}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 0"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.025\"}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 2"),
            "g{l=\"a\"} 2".to_owned(),
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
        }
    }
}
