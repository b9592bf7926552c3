//! VolumeBinding: a pod waits until its claims are bound, and runs where the volumes can be reached.

use crate::framework::{Rejection, Verdict};
use crate::selector::selects;
use crate::snapshot::{NodeInfo, PodInfo, Snapshot};
use api::{PersistentVolume, PersistentVolumeClaim};
use std::sync::Arc;

/// Name of the plugin.
pub(crate) const NAME: &str = "VolumeBinding";

/// The volumes a pod needs.
pub(crate) struct Volumes(Vec<Arc<PersistentVolume>>);

impl Volumes {
    /// The bound volumes, or why the pod must wait.
    pub(crate) fn new(pod: &PodInfo, snapshot: &Snapshot) -> Result<Self, String> {
        let mut volumes = Vec::new();
        for name in claim_names(pod) {
            let key = (pod.namespace().to_owned(), name.clone());
            let Some(claim) = snapshot.claims.get(&key) else {
                return Err(format!("persistentvolumeclaim {name:?} not found"));
            };
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            let Some(volume) = bound_to(claim) else {
                return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
            };
            volumes.extend(snapshot.volumes.get(volume).cloned());
        }
        Ok(Self(volumes))
    }

    pub(crate) fn filter(&self, node: &NodeInfo) -> Verdict {
        let Some(object) = &node.node else { return Ok(()) };
        for volume in &self.0 {
            let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
            let required = affinity.and_then(|affinity| affinity.required.as_ref());
            if required.is_some_and(|required| !selects(required, object)) {
                let reason = "node(s) didn't match PersistentVolume's node affinity";
                return Err(Rejection::unresolvable(NAME, reason));
            }
        }
        Ok(())
    }
}

fn bound_to(claim: &PersistentVolumeClaim) -> Option<&str> {
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| bound && !name.is_empty())
}

fn claim_names(pod: &PodInfo) -> Vec<String> {
    let volumes = pod.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let pod_name = pod.pod.metadata.name.as_deref().unwrap_or("");
    let name = |volume: &api::Volume| {
        let claim = volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone());
        let own = volume.ephemeral.as_ref().map(|_| format!("{pod_name}-{}", volume.name));
        claim.or(own)
    };
    volumes.into_iter().flatten().filter_map(name).collect()
}
