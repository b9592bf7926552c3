//! Reading one's own writes: a cache that does not show them yet is not planned from.

use api::{Key, Kind, ObjectMeta};
use client::Informer;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A write not shown for this long was overtaken: the object was deleted before the cache ever had it.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

struct Write {
    uid: String,
    revision: u64,
    at: Instant,
}

impl Write {
    /// Whether a cache with this object has caught up with the write.
    fn is_shown_by(&self, meta: &ObjectMeta) -> bool {
        meta.uid.as_deref() != Some(&self.uid) || revision(meta) >= self.revision || self.is_overtaken()
    }

    fn is_overtaken(&self) -> bool {
        self.at.elapsed() > SHOWN_WITHIN
    }
}

/// The revisions of a controller's newest writes that its cache may not show yet; clones share them.
///
/// Planning from an older state would only end in a conflict. Whoever finds the cache behind does nothing: the event that
/// brings the cache up to date brings the key back, too.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<HashMap<Key, Write>>>);

fn revision(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Written {
    /// Notes what the API answered to a write.
    pub(crate) fn note<K: Kind>(&self, written: &K) {
        let meta = written.metadata();
        let uid = meta.uid.clone().unwrap_or_default();
        let write = Write { uid, revision: revision(meta), at: Instant::now() };
        self.0.lock().insert(Key::of(written), write);
    }

    /// The object is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }

    /// Whether the cache shows the last write to this object.
    pub(crate) fn is_shown<K: Kind>(&self, cached: &K) -> bool {
        let mut all = self.0.lock();
        let key = Key::of(cached);
        let Some(write) = all.get(&key) else { return true };
        let shown = write.is_shown_by(cached.metadata());
        if shown {
            all.remove(&key);
        }
        shown
    }

    /// Whether the cache of a namespace shows every last write in it, creations included.
    pub(crate) fn all_shown<K: Kind>(&self, cache: &Informer<K>, namespace: &str) -> bool {
        let mut all = self.0.lock();
        all.retain(|key, write| {
            let cached = cache.get(&key.namespace, &key.name);
            key.namespace != namespace
                || !cached.map_or(write.is_overtaken(), |cached| write.is_shown_by(cached.metadata()))
        });
        !all.keys().any(|key| key.namespace == namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Pod;
    use serde_json::json;

    fn pod(uid: &str, revision: &str) -> Pod {
        Pod::from_value(
            json!({"metadata": {"namespace": "a", "name": "p", "uid": uid, "resourceVersion": revision}}),
        )
        .unwrap()
    }

    #[test]
    fn a_write_is_shown_when_the_cache_has_it_or_another_object() {
        let cases = [("u", "4", false), ("u", "5", true), ("u", "6", true), ("other", "1", true)];
        for (uid, revision, want) in cases {
            let written = Written::default();
            written.note(&pod("u", "5"));
            assert_eq!(written.is_shown(&pod(uid, revision)), want, "{uid} at {revision}");
        }
        let written = Written::default();
        assert!(written.is_shown(&pod("u", "1")), "nothing was written");
        let cache = Informer::<Pod>::detached();
        written.note(&pod("u", "5"));
        assert!(!written.all_shown(&cache, "a"));
        assert!(written.all_shown(&cache, "b"));
        cache.apply(pod("u", "5"));
        assert!(written.all_shown(&cache, "a"));
    }
}
