//! Counts of values by size.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Values are summed up in millionths, so that the sum is a whole number that threads can add to.
const SUM_UNIT: f64 = 1e6;

/// Buckets and their sum. Adding a value is two atomic additions.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is larger.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one with these upper bounds, the smallest first.
    pub fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// Adds a value.
    pub fn add(&self, value: f64) {
        self.add_many(value, 1);
    }

    /// Adds a value so many times.
    pub fn add_many(&self, value: f64, times: u64) {
        let at = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(times, Relaxed);
        }
        self.sum.fetch_add((value * SUM_UNIT).round() as u64 * times, Relaxed);
    }

    /// The present state.
    pub fn read(&self) -> Reading {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        Reading { bounds: self.bounds, buckets, sum: self.sum.load(Relaxed) as f64 / SUM_UNIT }
    }
}

/// A histogram at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub(super) bounds: &'static [f64],
    pub(super) buckets: Vec<u64>,
    pub(super) sum: f64,
}

impl Reading {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds the values of another with the same bounds.
    pub fn merge(&mut self, other: &Reading) {
        self.sum += other.sum;
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(to, from)| *to += from);
    }

    /// The same with the first bounds left out: what is smaller counts under the first that is left.
    #[must_use]
    pub fn without_first(&self, bounds: usize) -> Reading {
        let bounds = bounds.min(self.bounds.len());
        let (first, rest) = self.buckets.split_at(bounds);
        let mut buckets = rest.to_vec();
        if let Some(lowest) = buckets.first_mut() {
            *lowest += first.iter().sum::<u64>();
        }
        Reading { bounds: &self.bounds[bounds..], buckets, sum: self.sum }
    }
}
