//! The annotations that tie a Deployment and its ReplicaSets together.

use api::{Deployment, ObjectMeta, ReplicaSet};

/// Revision of a Deployment or ReplicaSet; counts up with each rollout.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier revisions of a ReplicaSet that was rolled back to.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's size when the ReplicaSet was last scaled.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The Deployment's size with surge at that time.
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Longest revision history kept, in bytes.
const HISTORY_BYTES_MAX: usize = 2000;

/// Annotations of a Deployment that its ReplicaSets do not inherit.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

pub(super) fn get<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Sets an annotation; returns whether it changed.
pub(super) fn set(meta: &mut ObjectMeta, key: &str, value: &str) -> bool {
    if get(meta, key) == Some(value) {
        return false;
    }
    meta.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    true
}

/// The revision of an object, 0 when it has none.
pub(super) fn revision(meta: &ObjectMeta) -> i64 {
    get(meta, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The Deployment's size that the ReplicaSet was scaled for.
pub(super) fn desired(set: &ReplicaSet) -> Option<i32> {
    get(&set.metadata, DESIRED)?.parse().ok()
}

/// The Deployment's size with surge that the ReplicaSet was scaled for.
pub(super) fn max(set: &ReplicaSet) -> Option<i32> {
    get(&set.metadata, MAX)?.parse().ok()
}

/// Notes the sizes on a ReplicaSet; returns whether anything changed.
pub(super) fn set_sizes(set: &mut ReplicaSet, desired: i32, max: i32) -> bool {
    let changed = self::set(&mut set.metadata, DESIRED, &desired.to_string());
    self::set(&mut set.metadata, MAX, &max.to_string()) || changed
}

/// Copies the Deployment's annotations to its newest ReplicaSet and raises its revision to `revision`.
/// Returns whether anything changed.
pub(super) fn sync(deployment: &Deployment, set: &mut ReplicaSet, revision: i64) -> bool {
    let mut changed = false;
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            changed |= self::set(&mut set.metadata, key, value);
        }
    }
    let old = self::revision(&set.metadata);
    if old < revision {
        let had = get(&set.metadata, REVISION).map(str::to_owned);
        self::set(&mut set.metadata, REVISION, &revision.to_string());
        if let Some(had) = had {
            remember(&mut set.metadata, &had);
        }
        changed = true;
    }
    changed
}

/// Appends a past revision to the history, dropping the oldest that no longer fit.
fn remember(meta: &mut ObjectMeta, revision: &str) {
    let history = get(meta, REVISION_HISTORY).unwrap_or("").to_owned();
    let mut parts: Vec<&str> = history.split(',').filter(|part| !part.is_empty()).collect();
    parts.push(revision);
    while parts.iter().map(|part| part.len() + 1).sum::<usize>() > HISTORY_BYTES_MAX {
        parts.remove(0);
    }
    let joined = parts.join(",");
    set(meta, REVISION_HISTORY, &joined);
}
