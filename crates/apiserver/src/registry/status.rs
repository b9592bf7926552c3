//! Writes to `/status`: which metadata they leave alone (upstream: `PrepareForUpdate` of the status strategies).

use machinery::meta;
use serde_json::Value;

/// All that clients may otherwise change.
const ALL: &[&str] = &["labels", "annotations", "finalizers", "ownerReferences"];

/// By resource; what is not listed may be changed.
const KEPT: &[(&str, &[&str])] = &[
    ("apiservices", ALL),
    ("compositepodgroups", ALL),
    ("deployments", &["labels"]),
    ("flowschemas", ALL),
    ("podcertificaterequests", ALL),
    ("podgroups", ALL),
    // Old kubelets lost them.
    ("pods", &["ownerReferences"]),
    ("prioritylevelconfigurations", ALL),
    ("resourceclaims", ALL),
    ("servicecidrs", ALL),
    ("storageversionmigrations", ALL),
    ("validatingadmissionpolicies", ALL),
    ("volumeattachments", ALL),
];

/// The present object with the wanted status and metadata, as far as the path writes it.
pub(super) fn written(plural: &str, wanted: &Value, old: &Value) -> Value {
    let mut result = old.clone();
    if let Some(map) = result.as_object_mut() {
        for key in ["metadata", "status"] {
            match wanted.get(key) {
                Some(value) => map.insert(key.to_owned(), value.clone()),
                None => map.remove(key),
            };
        }
    }
    let kept = KEPT.iter().find(|(name, _)| *name == plural).map_or(&[][..], |(_, kept)| kept);
    for key in kept {
        let before = old.get("metadata").and_then(|metadata| metadata.get(*key)).cloned();
        meta::set(&mut result, key, before.unwrap_or_default());
    }
    result
}
