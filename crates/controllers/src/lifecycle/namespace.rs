//! Namespace: empties a namespace that is being deleted, then lets it go (upstream `pkg/controller/namespace`).

use crate::context::{Context, Failure, Outcome, objects, synced};
use crate::discovery::{Discovered, Resource, discover};
use api::{Key, Kind as _, Namespace, NamespaceCondition, Time, is_terminating};
use client::{ChangeKind, Informer, ObjectHeader, Rest, WorkQueue};
use jiff::Timestamp;
use kube::api::DeleteParams;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "namespace-controller";
const WORKERS: usize = 5;
const FINALIZER: &str = "kubernetes";
/// Pause before looking again at what remains and sends no event; doubles up to [`AGAIN_MAX`].
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(20);

/// What one pass over a namespace found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Found {
    pub discovery_failures: Vec<String>,
    pub deletion_failures: Vec<String>,
    /// Objects left, by resource.
    pub remaining: BTreeMap<String, usize>,
    /// Objects left that wait for a finalizer, by finalizer.
    pub finalizers: BTreeMap<String, usize>,
}

impl Found {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn note(&mut self, resource: &Resource, left: &[ObjectHeader]) {
        if left.is_empty() {
            return;
        }
        self.remaining.insert(resource.qualified(), left.len());
        for finalizer in left.iter().flat_map(|object| &object.finalizers) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }
}

/// The conditions that tell a user why a namespace is still there.
pub(crate) fn conditions(
    old: &[NamespaceCondition],
    found: &Found,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let list = |counts: &BTreeMap<String, usize>, middle: &str| {
        let part = |(name, count): (&String, &usize)| format!("{name} {middle} {count} resource instances");
        counts.iter().map(part).collect::<Vec<_>>().join(", ")
    };
    let discovery = (!found.discovery_failures.is_empty()).then(|| {
        let count = found.discovery_failures.len();
        let text = format!(
            "Discovery failed for some groups, {count} failing: {}",
            found.discovery_failures.join(", ")
        );
        ("DiscoveryFailed", text)
    });
    let deletion = (!found.deletion_failures.is_empty()).then(|| {
        let text = found.deletion_failures.join(", ");
        (
            "ContentDeletionFailed",
            format!(
                "Failed to delete all resource types, {} remaining: {text}",
                found.deletion_failures.len()
            ),
        )
    });
    let remaining = (!found.remaining.is_empty()).then(|| {
        ("SomeResourcesRemain", format!("Some resources are remaining: {}", list(&found.remaining, "has")))
    });
    let finalizers = (!found.finalizers.is_empty()).then(|| {
        let text = list(&found.finalizers, "in");
        ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {text}"))
    });
    let all = [
        (
            "NamespaceDeletionDiscoveryFailure",
            discovery,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            deletion,
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        ("NamespaceContentRemaining", remaining, ("ContentRemoved", "All content successfully removed")),
        (
            "NamespaceFinalizersRemaining",
            finalizers,
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    all.into_iter()
        .map(|(type_, trouble, (reason, message))| {
            let status = if trouble.is_some() { "True" } else { "False" };
            let (reason, message) = trouble.unwrap_or((reason, message.to_owned()));
            let same = old.iter().find(|old| old.type_ == type_ && old.status == status);
            NamespaceCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: same
                    .and_then(|old| old.last_transition_time.clone())
                    .or(Some(Time(now))),
            }
        })
        .collect()
}

#[derive(Clone)]
struct Controller {
    namespaces: Informer<Namespace>,
    rest: Rest,
    /// How often a namespace was found not empty.
    attempts: Arc<Mutex<HashMap<String, u32>>>,
}

/// Starts the controller.
pub(crate) fn start(context: &Context) {
    let controller =
        Controller { namespaces: context.informers.of(), rest: context.rest(NAME), attempts: Arc::default() };
    let queue = WorkQueue::new();
    let keys = queue.clone();
    controller.namespaces.on_change(move |change| {
        if change.kind == ChangeKind::Applied && is_terminating(&change.object.metadata) {
            keys.add(Key::of(&*change.object).name);
        }
    });
    // Pods take longest to go: the last one brings the namespace back at once.
    let (namespaces, keys) = (controller.namespaces.clone(), queue.clone());
    context.informers.of::<api::Pod>().on_change(move |change| {
        if change.kind == ChangeKind::Deleted {
            let namespace = change.object.metadata.namespace.as_deref().unwrap_or("");
            if namespaces.get("", namespace).is_some_and(|object| is_terminating(&object.metadata)) {
                keys.add(namespace.to_owned());
            }
        }
    });
    let ready = vec![synced(&controller.namespaces)];
    context.workers(NAME, queue, WORKERS, ready, move |name: String| {
        let controller = controller.clone();
        async move { controller.reconcile(&name).await }
    });
}

fn finalizers(namespace: &Namespace) -> &[String] {
    namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref()).unwrap_or(&[])
}

impl Controller {
    async fn reconcile(&self, name: &str) -> Outcome {
        let known = self.namespaces.get("", name);
        if known.is_none_or(|known| !is_terminating(&known.metadata)) {
            self.attempts.lock().remove(name);
            return Ok(None);
        }
        // The cache may lag behind our own writes; what is decided here is final.
        let access = objects::<Namespace>(&self.rest);
        let Some(namespace) = access.get_opt("", name).await? else { return Ok(None) };
        let owned = finalizers(&namespace).iter().any(|own| own == FINALIZER);
        if !is_terminating(&namespace.metadata) || !owned {
            return Ok(None);
        }
        let found = self.empty(name).await?;
        if found.is_empty() {
            self.attempts.lock().remove(name);
            self.finalize(namespace).await?;
            return Ok(None);
        }
        self.write_conditions(namespace, &found).await?;
        let mut attempts = self.attempts.lock();
        let attempt = attempts.entry(name.to_owned()).or_default();
        *attempt += 1;
        Ok(Some(AGAIN_FIRST.saturating_mul(1 << (*attempt - 1).min(10)).min(AGAIN_MAX)))
    }

    /// Deletes everything in the namespace: pods first, so that they still have what they mount and need to shut down.
    async fn empty(&self, namespace: &str) -> Result<Found, Failure> {
        let discovered = discover(&self.rest).await?;
        let mut found = Found { discovery_failures: discovered.failures.clone(), ..Found::default() };
        let (pods, others) = split(&discovered);
        for resource in pods {
            self.delete_all(&resource, namespace, &mut found).await;
        }
        if found.remaining.is_empty() && found.deletion_failures.is_empty() {
            for resource in others {
                self.delete_all(&resource, namespace, &mut found).await;
            }
        }
        Ok(found)
    }

    async fn delete_all(&self, resource: &Resource, namespace: &str, found: &mut Found) {
        let result = async {
            let path = resource.collection(namespace);
            let there = self.rest.list_metadata(&path).await?;
            if there.is_empty() {
                return Ok(there);
            }
            let options = DeleteParams::background();
            if resource.can("deletecollection") {
                self.rest.delete(&path, &options).await?;
            } else {
                for object in &there {
                    match self.rest.delete(&resource.object(namespace, &object.name), &options).await {
                        Err(error) if !client::is_not_found(&error) => return Err(error),
                        _ => {}
                    }
                }
            }
            self.rest.list_metadata(&path).await
        };
        match result.await {
            Ok(left) => found.note(resource, &left),
            // The resource is no longer served, or cannot be listed here.
            Err(error) if matches!(client::status_code(&error), Some(404 | 405)) => {}
            Err(error) => found.deletion_failures.push(format!("{}: {error}", resource.qualified())),
        }
    }

    async fn write_conditions(&self, mut namespace: Namespace, found: &Found) -> Result<(), Failure> {
        let status = namespace.status.get_or_insert_default();
        let old = status.conditions.clone().unwrap_or_default();
        let mut new = conditions(&old, found, Timestamp::now());
        new.extend(
            old.iter()
                .filter(|old| !new.iter().any(|new| new.type_ == old.type_))
                .cloned()
                .collect::<Vec<_>>(),
        );
        if old == new {
            return Ok(());
        }
        status.conditions = Some(new);
        match objects::<Namespace>(&self.rest).replace_status(&namespace).await {
            Err(error) if !client::is_not_found(&error) && !client::is_conflict(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Takes our finalizer off; the API server then removes the namespace.
    async fn finalize(&self, mut namespace: Namespace) -> Result<(), Failure> {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        if let Some(all) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            all.retain(|own| own != FINALIZER);
        }
        let path = format!("{}/{name}/finalize", Namespace::collection(None));
        match self.rest.put(&path, namespace.encode()).await {
            Err(error) if !client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// The resources to delete: pods, and all others.
fn split(discovered: &Discovered) -> (Vec<Arc<Resource>>, Vec<Arc<Resource>>) {
    let deletable = discovered.preferred.iter().filter(|resource| {
        // `events.k8s.io` shows the same objects as the core group.
        let alias = resource.api_version.starts_with("events.k8s.io/");
        resource.namespaced && resource.can("delete") && resource.can("list") && !alias
    });
    deletable.cloned().partition(|resource| resource.api_version == "v1" && resource.plural == "pods")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(found: &Found) -> Vec<(String, String, String)> {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let part =
            |c: NamespaceCondition| (c.status, c.reason.unwrap_or_default(), c.message.unwrap_or_default());
        conditions(&[], found, now).into_iter().map(part).collect()
    }

    #[test]
    fn conditions_say_what_is_left() {
        let quiet = summary(&Found::default());
        assert!(quiet.iter().all(|(status, _, _)| status == "False"));
        let found = Found {
            discovery_failures: vec!["x/v1: down".into()],
            remaining: BTreeMap::from([("pods.".into(), 2), ("widgets.example.com".into(), 1)]),
            finalizers: BTreeMap::from([("example.com/hold".into(), 1)]),
            ..Found::default()
        };
        let got = summary(&found);
        assert_eq!((got[0].0.as_str(), got[0].1.as_str()), ("True", "DiscoveryFailed"));
        assert_eq!(got[1].0, "False");
        assert_eq!(
            got[3].2,
            "Some resources are remaining: pods. has 2 resource instances, widgets.example.com has 1 resource instances"
        );
        assert_eq!(
            got[4].2,
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        );
    }

    #[test]
    fn transition_times_stay_while_nothing_changes() {
        let early: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let late: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let first = conditions(&[], &Found::default(), early);
        assert_eq!(conditions(&first, &Found::default(), late), first);
    }
}
