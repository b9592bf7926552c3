//! How many lists there were of a resource, and of how many objects (upstream: apiserver `pkg/storage/cacher/metrics`,
//! `pkg/storage/etcd3/metrics`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Lists that were answered from one place.
#[derive(Debug, Default)]
pub struct ListCounts {
    lists: AtomicU64,
    fetched: AtomicU64,
    returned: AtomicU64,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListReading {
    /// Lists.
    pub lists: u64,
    /// Objects that were looked at.
    pub fetched: u64,
    /// Objects that clients got.
    pub returned: u64,
}

impl ListCounts {
    /// Counts one list.
    pub fn add(&self, fetched: usize, returned: usize) {
        self.lists.fetch_add(1, Relaxed);
        self.fetched.fetch_add(fetched as u64, Relaxed);
        self.returned.fetch_add(returned as u64, Relaxed);
    }

    /// What was counted so far; none without a list.
    pub fn read(&self) -> Option<ListReading> {
        let lists = self.lists.load(Relaxed);
        let (fetched, returned) = (self.fetched.load(Relaxed), self.returned.load(Relaxed));
        (lists > 0).then_some(ListReading { lists, fetched, returned })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_add_up() {
        let counts = ListCounts::default();
        assert_eq!(counts.read(), None);
        counts.add(5, 2);
        counts.add(0, 0);
        assert_eq!(counts.read(), Some(ListReading { lists: 2, fetched: 5, returned: 2 }));
    }
}
