//! Numbers that components report and one page shows.
//!
//! A component is handed a [`Registry`], asks it for its series once and keeps them; reporting is an atomic addition. The
//! owner of the page writes the registry to it. Names, labels and bounds are upstream's; a help text begins with
//! upstream's level of stability.
//!
//! # Guarantees
//! - A series that is asked for again, as by a component that was restarted, goes on counting.
//! - Metrics and their series are written in the order of names and labels.

mod histogram;
mod page;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use histogram::{Histogram, Reading};
pub use page::Page;

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size; with the upper bounds, the smallest first.
    Histogram(&'static [f64]),
}

/// A metric, of which there may be several series.
#[derive(Debug)]
pub struct Metric {
    /// As upstream has it.
    pub name: &'static str,
    /// Upstream's level of stability in brackets, and what is counted.
    pub help: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// Names of labels, sorted.
    pub labels: &'static [&'static str],
}

/// A counter or gauge; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Number(Arc<AtomicI64>);

impl Number {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Takes one away.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Makes it another number.
    pub fn set(&self, value: usize) {
        self.0.store(i64::try_from(value).unwrap_or(i64::MAX), Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// A number that is looked up when the page is written.
type Read = Box<dyn Fn() -> f64 + Send + Sync>;

enum Series {
    Number(Number),
    Read(Read),
    Histogram(Arc<Histogram>),
}

struct Family {
    metric: &'static Metric,
    /// By labels as they are written.
    series: BTreeMap<String, Series>,
}

/// All metrics of a program; clones share them.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<&'static str, Family>>>);

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registry").field(&self.families().len()).finish()
    }
}

impl Registry {
    /// The counter or gauge with these values of its labels.
    pub fn number(&self, metric: &'static Metric, values: &[&str]) -> Number {
        let mut families = self.families();
        match entry(&mut families, metric, values, || Series::Number(Number::default())) {
            Series::Number(number) => number.clone(),
            _ => Number::default(),
        }
    }

    /// The histogram with these values of its labels.
    pub fn histogram(&self, metric: &'static Metric, values: &[&str]) -> Arc<Histogram> {
        let Kind::Histogram(bounds) = metric.kind else { return Arc::new(Histogram::new(&[])) };
        let mut families = self.families();
        match entry(&mut families, metric, values, || Series::Histogram(Arc::new(Histogram::new(bounds)))) {
            Series::Histogram(histogram) => histogram.clone(),
            _ => Arc::new(Histogram::new(bounds)),
        }
    }

    /// Has a number looked up whenever the page is written, in place of what was looked up before.
    pub fn read(
        &self,
        metric: &'static Metric,
        values: &[&str],
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let mut families = self.families();
        *entry(&mut families, metric, values, || Series::Number(Number::default())) =
            Series::Read(Box::new(read));
    }

    /// Writes everything to a page.
    pub fn write(&self, page: &mut Page) {
        for (name, Family { metric, series }) in &*self.families() {
            page.head(name, metric.help, &metric.kind);
            for (labels, series) in series {
                match series {
                    Series::Number(number) => page.line(name, labels, number.get() as f64),
                    Series::Read(read) => page.line(name, labels, read()),
                    Series::Histogram(histogram) => page.histogram(name, labels, &histogram.read()),
                }
            }
        }
    }

    fn families(&self) -> MutexGuard<'_, BTreeMap<&'static str, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a series, filled when it is new.
fn entry<'f>(
    families: &'f mut BTreeMap<&'static str, Family>,
    metric: &'static Metric,
    values: &[&str],
    new: impl FnOnce() -> Series,
) -> &'f mut Series {
    let family = families.entry(metric.name).or_insert_with(|| Family { metric, series: BTreeMap::new() });
    family.series.entry(labels(metric.labels, values)).or_insert_with(new)
}

/// Labels as they are written.
pub fn labels(names: &[&str], values: &[&str]) -> String {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs = names.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escape(value)));
    pairs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    static QUEUED: Metric =
        Metric { name: "queued", help: "[ALPHA] Things.", kind: Kind::Gauge, labels: &["kind", "name"] };
    static TOOK: Metric = Metric {
        name: "took_seconds",
        help: "[BETA] Time.",
        kind: Kind::Histogram(&[1e-8, 0.5]),
        labels: &[],
    };

    fn page(registry: &Registry) -> String {
        let mut page = Page::new();
        registry.write(&mut page);
        page.finish()
    }

    #[test]
    fn what_is_reported_is_written() {
        let registry = Registry::default();
        let queued = registry.number(&QUEUED, &["a\"b", "x"]);
        queued.set(3);
        registry.number(&QUEUED, &["a\"b", "x"]).increment();
        queued.decrement();
        registry.read(&QUEUED, &["a", "y"], || 1.5e6);
        let took = registry.histogram(&TOOK, &[]);
        took.add(0.25);
        took.add_many(2.0, 2);
        let want = "# HELP queued [ALPHA] Things.\n# TYPE queued gauge\n\
            queued{kind=\"a\",name=\"y\"} 1.5e+06\nqueued{kind=\"a\\\"b\",name=\"x\"} 3\n\
            # HELP took_seconds [BETA] Time.\n# TYPE took_seconds histogram\n\
            took_seconds_bucket{le=\"1e-08\"} 0\ntook_seconds_bucket{le=\"0.5\"} 1\ntook_seconds_bucket{le=\"+Inf\"} 3\n\
            took_seconds_sum 4.25\ntook_seconds_count 3\n";
        assert_eq!(page(&registry), want);
    }

    #[test]
    fn bounds_may_be_left_out() {
        let histogram = Histogram::new(&[1.0, 2.0, 3.0]);
        [0.5, 1.5, 2.5, 9.0].into_iter().for_each(|value| histogram.add(value));
        let fewer = histogram.read().without_first(2);
        assert_eq!(
            (fewer.bounds, fewer.buckets.as_slice(), fewer.count()),
            ([3.0].as_slice(), [3, 1].as_slice(), 4)
        );
    }
}
