//! Objects that another API server has stored, upstream's or an earlier version of it: as upstream does whenever it reads, they
//! are converted to the version that is stored here and given their defaults.

use std::collections::HashMap;
use std::sync::Arc;

use machinery::meta;
use machinery::resources::Resources;
use serde_json::Value;

use super::strategy::Strategy;
use super::{convert, kinds, storage_of};

/// What is to be done to the objects of a kind.
struct Kind {
    /// Of the stored version.
    api_version: String,
    name: String,
    strategy: Arc<dyn Strategy>,
}

/// All built-in kinds.
pub struct Stored {
    /// By group and kind.
    kinds: HashMap<&'static str, HashMap<&'static str, Kind>>,
}

impl Stored {
    /// The kinds of this version.
    #[must_use]
    pub fn new() -> Self {
        let resources = Resources::builtin();
        let kind = |resource| {
            let stored = storage_of(resources, resource);
            let strategy = kinds::strategy(stored.group, stored.plural);
            Kind { api_version: stored.api_version(), name: stored.kind.to_owned(), strategy }
        };
        let mut kinds: HashMap<_, HashMap<_, _>> = HashMap::new();
        for resource in resources.iter().filter(|resource| resource.is_stored()) {
            kinds.entry(resource.group).or_default().insert(resource.kind, kind(resource));
        }
        Self { kinds }
    }

    fn kind(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        let (group, _) = meta::split_api_version(api_version);
        self.kinds.get(group)?.get(kind)
    }
}

impl Default for Stored {
    fn default() -> Self {
        Self::new()
    }
}

impl store::Completion for Stored {
    fn is_for(&self, api_version: &str, kind: &str) -> bool {
        self.kind(api_version, kind).is_some()
    }

    fn complete(&self, object: &mut Value) {
        let Some(kind) = self.kind(meta::api_version(object), meta::kind(object)) else { return };
        if meta::api_version(object) != kind.api_version {
            *object = convert::convert(std::mem::take(object), &kind.api_version, &kind.name);
        }
        kind.strategy.default(object);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use store::Completion;

    use super::*;

    #[test]
    fn what_upstream_stores_is_read_as_upstream_reads_it() {
        let stored = Stored::new();
        for (object, path, want) in [
            (
                json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a"}, "spec": {
                    "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {}}]}}),
                "/spec/volumeClaimTemplates/0/kind",
                json!("PersistentVolumeClaim"),
            ),
            (
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {
                    "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}}),
                "/metadata/labels",
                json!({"a": "b"}),
            ),
            (
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "a"}, "spec": {}}),
                "/status/phase",
                json!("Pending"),
            ),
            (
                json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"}, "note": "n"}),
                "/message",
                json!("n"),
            ),
            (
                json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
                    "spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}}),
                "/apiVersion",
                json!("autoscaling/v2"),
            ),
        ] {
            let mut read = object.clone();
            assert!(stored.is_for(meta::api_version(&read), meta::kind(&read)));
            stored.complete(&mut read);
            assert_eq!(read.pointer(path), Some(&want), "{object}: {read}");
            let once = read.clone();
            stored.complete(&mut read);
            assert_eq!(read, once, "a second time changes nothing");
        }
    }

    #[test]
    fn custom_resources_are_left_as_they_are() {
        let mut object = json!({"apiVersion": "example.com/v1", "kind": "Pod", "metadata": {}});
        let stored = Stored::new();
        assert!(!stored.is_for("example.com/v1", "Pod"));
        stored.complete(&mut object);
        assert_eq!(object, json!({"apiVersion": "example.com/v1", "kind": "Pod", "metadata": {}}));
    }
}
