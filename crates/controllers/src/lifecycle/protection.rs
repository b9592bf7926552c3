//! Volumes, claims and classes of volume attributes stay while something uses them (upstream
//! `pkg/controller/volume/{pvprotection,pvcprotection,vacprotection}`).

use crate::context::{Context, Failure, Outcome, Ready, objects, synced};
use api::{
    Key, Kind, ObjectMeta, PersistentVolume, PersistentVolumeClaim, Pod, VolumeAttributesClass,
    is_controlled_by, is_terminating,
};
use client::{ChangeKind, Informer, Rest, WorkQueue};
use std::sync::Arc;

const VOLUMES: &str = "pv-protection-controller";
const CLAIMS: &str = "pvc-protection-controller";
const CLASSES: &str = "volumeattributesclass-protection-controller";

/// What is done about an object.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Step {
    /// It gets the finalizer that it was not born with.
    Hold,
    /// It may go.
    LetGo,
}

/// The step for an object that is held by this finalizer while something uses it.
pub(crate) fn plan(meta: &ObjectMeta, finalizer: &str, is_used: bool) -> Option<Step> {
    let held = meta.finalizers.iter().flatten().any(|one| one == finalizer);
    match (is_terminating(meta), held) {
        (false, false) => Some(Step::Hold),
        (true, true) if !is_used => Some(Step::LetGo),
        _ => None,
    }
}

fn carry_out(step: Step, meta: &mut ObjectMeta, finalizer: &str) {
    let finalizers = meta.finalizers.get_or_insert_default();
    match step {
        Step::Hold => finalizers.push(finalizer.to_owned()),
        Step::LetGo => finalizers.retain(|one| one != finalizer),
    }
}

/// Whether a pod that has a node names the claim. One that is gone from its node needs no claim that was made for it.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let Some(spec) = pod.spec.as_ref().filter(|spec| spec.node_name.is_some()) else { return false };
    let (pod_name, name) = (pod.metadata.name.as_deref().unwrap_or_default(), claim.metadata.name.as_deref());
    let is_shut_down =
        is_terminating(&pod.metadata) && pod.metadata.deletion_grace_period_seconds.unwrap_or(1) == 0;
    spec.volumes.iter().flatten().any(|volume| {
        let named = volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.as_str());
        let is_own = || {
            Some(format!("{pod_name}-{}", volume.name).as_str()) == name
                && is_controlled_by(&claim.metadata, &pod.metadata)
        };
        (named.is_some() && named == name) || (volume.ephemeral.is_some() && !is_shut_down && is_own())
    })
}

fn is_bound(volume: &PersistentVolume) -> bool {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

/// The classes that a claim has or wants.
fn classes_of(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &str> {
    let wanted = claim.spec.iter().filter_map(|spec| spec.volume_attributes_class_name.as_deref());
    let had = claim.status.iter().flat_map(|status| {
        let target = status.modify_volume_status.as_ref();
        let target = target.and_then(|modify| modify.target_volume_attributes_class_name.as_deref());
        status.current_volume_attributes_class_name.as_deref().into_iter().chain(target)
    });
    wanted.chain(had)
}

fn class_of(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref()?.volume_attributes_class_name.as_deref()
}

/// A kind whose objects are held.
struct Guard<K> {
    finalizer: &'static str,
    objects: Informer<K>,
    rest: Rest,
    is_used: Box<dyn Fn(&K) -> bool + Send + Sync>,
    queue: WorkQueue<Key>,
}

impl<K: Kind> Guard<K> {
    fn new(
        context: &Context,
        name: &str,
        finalizer: &'static str,
        is_used: impl Fn(&K) -> bool + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            finalizer,
            objects: context.informers.of(),
            rest: context.rest(name),
            is_used: Box::new(is_used),
            queue: WorkQueue::new(),
        })
    }

    /// Looks again at what waits to go, in a namespace or everywhere.
    fn look_again(&self, namespace: &str) {
        let of_namespace = |key: &Key| namespace.is_empty() || key.namespace == namespace;
        let waiting = self.objects.list().into_iter().filter(|object| is_terminating(object.metadata()));
        waiting.map(|object| Key::of(&*object)).filter(of_namespace).for_each(|key| self.queue.add(key));
    }

    fn start(self: &Arc<Self>, context: &Context, name: &'static str, mut ready: Vec<Ready>) {
        let queue = self.queue.clone();
        self.objects.on_change(move |change| queue.add(Key::of(&*change.object)));
        ready.push(synced(&self.objects));
        let guard = Arc::clone(self);
        context.workers(name, self.queue.clone(), 1, ready, move |key: Key| {
            let guard = Arc::clone(&guard);
            async move { guard.reconcile(&key).await }
        });
    }

    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(object) = self.objects.get(&key.namespace, &key.name) else { return Ok(None) };
        let is_used = (self.is_used)(&object);
        let Some(step) = plan(object.metadata(), self.finalizer, is_used) else { return Ok(None) };
        let mut changed = (*object).clone();
        carry_out(step, changed.metadata_mut(), self.finalizer);
        match objects::<K>(&self.rest).replace(&changed).await {
            Err(error) if !client::is_not_found(&error) => Err(Failure::from(error)),
            _ => Ok(None),
        }
    }
}

/// Starts the controllers.
pub(crate) fn start(context: &Context) {
    Guard::new(context, VOLUMES, "kubernetes.io/pv-protection", is_bound).start(context, VOLUMES, vec![]);
    start_claims(context);
    start_classes(context);
}

fn start_claims(context: &Context) {
    let pods: Informer<Pod> = context.informers.of();
    let all = pods.clone();
    let is_used = move |claim: &PersistentVolumeClaim| {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        all.list_namespace(namespace).iter().any(|pod| uses(pod, claim))
    };
    let claims = Guard::new(context, CLAIMS, "kubernetes.io/pvc-protection", is_used);
    let guard = Arc::clone(&claims);
    pods.on_change(move |change| {
        let metadata = &change.object.metadata;
        if change.kind == ChangeKind::Deleted || is_terminating(metadata) {
            guard.look_again(metadata.namespace.as_deref().unwrap_or_default());
        }
    });
    claims.start(context, CLAIMS, vec![synced(&pods)]);
}

fn start_classes(context: &Context) {
    let volumes: Informer<PersistentVolume> = context.informers.of();
    let claims: Informer<PersistentVolumeClaim> = context.informers.of();
    let (all, every) = (volumes.clone(), claims.clone());
    let is_used = move |class: &VolumeAttributesClass| {
        let name = class.metadata.name.as_deref().unwrap_or_default();
        all.list().iter().any(|volume| class_of(volume) == Some(name))
            || every.list().iter().any(|claim| classes_of(claim).any(|class| class == name))
    };
    let classes = Guard::new(context, CLASSES, "kubernetes.io/vac-protection", is_used);
    let guard = Arc::clone(&classes);
    volumes.on_change(move |_| guard.look_again(""));
    let guard = Arc::clone(&classes);
    claims.on_change(move |_| guard.look_again(""));
    classes.start(context, CLASSES, vec![synced(&volumes), synced(&claims)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_nothing_uses_may_go() {
        let meta = |deleted: bool, finalizers: &[&str]| ObjectMeta {
            deletion_timestamp: deleted.then_some(api::Time(jiff::Timestamp::UNIX_EPOCH)),
            finalizers: Some(finalizers.iter().map(|&one| one.to_owned()).collect()),
            ..ObjectMeta::default()
        };
        let cases = [
            (meta(false, &[]), true, Some(Step::Hold)),
            (meta(false, &["f"]), false, None),
            (meta(true, &["f"]), true, None),
            (meta(true, &["other", "f"]), false, Some(Step::LetGo)),
            (meta(true, &["other"]), false, None),
        ];
        for (mut meta, is_used, want) in cases {
            assert_eq!(plan(&meta, "f", is_used), want, "{meta:?}");
            if let Some(step) = want {
                carry_out(step, &mut meta, "f");
                assert_eq!(plan(&meta, "f", is_used), None, "{meta:?}");
            }
        }
    }

    fn pod(meta: &Value, node: Option<&str>, volume: &Value) -> Pod {
        let mut value = json!({"metadata": {"name": "p", "uid": "u"},
            "spec": {"nodeName": node, "containers": [], "volumes": [{"name": "data"}]}});
        let merge = |into: &mut Value, from: &Value| {
            into.as_object_mut().unwrap().extend(from.as_object().unwrap().clone());
        };
        merge(&mut value["metadata"], meta);
        merge(&mut value["spec"]["volumes"][0], volume);
        Pod::from_value(value).unwrap()
    }

    #[test]
    fn a_claim_is_used_by_pods_that_have_a_node() {
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]);
        let claim = |name: &str, owners: &Value| {
            let metadata = json!({"name": name, "ownerReferences": owners});
            PersistentVolumeClaim::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let (none, gone) = (
            json!({}),
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}),
        );
        let named = json!({"persistentVolumeClaim": {"claimName": "c"}});
        let own = json!({"ephemeral": {}});
        let cases = [
            (pod(&none, Some("n"), &named), claim("c", &json!([])), true),
            (pod(&gone, Some("n"), &named), claim("c", &json!([])), true),
            (pod(&none, None, &named), claim("c", &json!([])), false),
            (pod(&none, Some("n"), &named), claim("d", &json!([])), false),
            (pod(&none, Some("n"), &own), claim("p-data", &owner), true),
            (pod(&none, Some("n"), &own), claim("p-data", &json!([])), false),
            (pod(&gone, Some("n"), &own), claim("p-data", &owner), false),
        ];
        for (pod, claim, want) in cases {
            assert_eq!(uses(&pod, &claim), want, "{pod:?} {:?}", claim.metadata);
        }
    }

    #[test]
    fn a_claim_holds_the_classes_that_it_has_and_wants() {
        let claim = json!({"spec": {"volumeAttributesClassName": "a"}, "status": {"currentVolumeAttributesClassName": "b",
            "modifyVolumeStatus": {"status": "Pending", "targetVolumeAttributesClassName": "c"}}});
        let claim = PersistentVolumeClaim::from_value(claim).unwrap();
        assert_eq!(classes_of(&claim).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
