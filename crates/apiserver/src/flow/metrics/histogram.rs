//! Counts of values by size.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Values are summed up in millionths, so that the sum is a whole number that threads can add to.
const SUM_UNIT: f64 = 1e6;

/// Buckets and their sum; the bounds are given with each call, as all of a kind have the same.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// With so many bounds.
    pub fn new(bounds: usize) -> Histogram {
        Histogram { buckets: (0..=bounds).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Adds a value.
    pub fn add(&self, bounds: &[f64], value: f64) {
        self.add_many(bounds, value, 1);
    }

    /// Adds a value so many times.
    pub fn add_many(&self, bounds: &[f64], value: f64, times: u64) {
        let at = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(times, Relaxed);
        }
        self.sum.fetch_add((value * SUM_UNIT) as u64 * times, Relaxed);
    }

    /// The present state.
    pub fn read(&self) -> Reading {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        Reading { buckets, sum: self.sum.load(Relaxed) as f64 / SUM_UNIT }
    }
}

/// A histogram at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    /// One for each bound, and one for what is larger.
    pub buckets: Vec<u64>,
    pub sum: f64,
}

impl Reading {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn merge(&mut self, other: &Reading) {
        self.sum += other.sum;
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(to, from)| *to += from);
    }

    /// The same with the first bounds left out: what is smaller counts under the first that is left.
    pub fn without_first(&self, bounds: usize) -> Reading {
        let (first, rest) = self.buckets.split_at(bounds.min(self.buckets.len()));
        let mut buckets = rest.to_vec();
        if let Some(lowest) = buckets.first_mut() {
            *lowest += first.iter().sum::<u64>();
        }
        Reading { buckets, sum: self.sum }
    }
}
