//! Prometheus' text format.

use std::fmt::Write;

use super::{Kind, Reading};
use crate::text::go_float;

/// A page that is being written. Writing to a String cannot fail.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Self(String::with_capacity(64 * 1024))
    }

    /// Begins a metric: all its series follow.
    pub fn head(&mut self, name: &str, help: &str, kind: &Kind) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One number. `labels` are as they are written, without braces.
    pub fn line(&mut self, name: &str, labels: &str, value: f64) {
        let value = go_float(value);
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    /// The buckets, the sum and the count of a histogram.
    pub fn histogram(&mut self, name: &str, labels: &str, reading: &Reading) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (bound, count) in reading.bounds.iter().zip(&reading.buckets) {
            total += count;
            let bound = go_float(*bound);
            let _ =
                writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {}", go_float(total as f64));
        }
        let count = go_float(reading.count() as f64);
        let _ = writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        self.line(&format!("{name}_sum"), labels, reading.sum);
        self.line(&format!("{name}_count"), labels, reading.count() as f64);
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }
}
