//! One object in every namespace: what the service account and root CA controllers have in common.

use crate::context::{Context, Failure, Outcome, objects, synced};
use api::{Key, Kind, Namespace, is_terminating};
use client::{ChangeKind, Informer, Rest, WorkQueue};
use std::sync::Arc;

const WORKERS: usize = 2;

/// What every namespace must have.
pub(super) struct Standard<K> {
    /// Service account of the controller.
    pub account: &'static str,
    /// Name of the object.
    pub name: &'static str,
    /// The object for a namespace.
    pub make: Arc<dyn Fn(&str) -> K + Send + Sync>,
    /// Whether an existing object is as it should be.
    pub is_right: fn(existing: &K, wanted: &K) -> bool,
    /// An existing object brought to what it should be.
    pub correct: fn(existing: &K, wanted: &K) -> K,
}

impl<K> Clone for Standard<K> {
    fn clone(&self) -> Self {
        Self { make: self.make.clone(), ..*self }
    }
}

/// What to do in one namespace.
#[derive(Debug, PartialEq)]
pub(super) enum Action<K> {
    Nothing,
    Create(K),
    Replace(K),
}

/// Compares what a namespace must have with what it has.
pub(super) fn plan<K: Kind>(
    standard: &Standard<K>,
    namespace: &Namespace,
    existing: Option<&K>,
) -> Action<K> {
    if is_terminating(&namespace.metadata) {
        return Action::Nothing;
    }
    let wanted = (standard.make)(namespace.metadata.name.as_deref().unwrap_or(""));
    match existing {
        None => Action::Create(wanted),
        Some(existing) if (standard.is_right)(existing, &wanted) => Action::Nothing,
        Some(existing) => Action::Replace((standard.correct)(existing, &wanted)),
    }
}

struct Controller<K> {
    standard: Standard<K>,
    namespaces: Informer<Namespace>,
    existing: Informer<K>,
    rest: Rest,
}

impl<K> Clone for Controller<K> {
    fn clone(&self) -> Self {
        Self {
            standard: self.standard.clone(),
            namespaces: self.namespaces.clone(),
            existing: self.existing.clone(),
            rest: self.rest.clone(),
        }
    }
}

/// Starts a controller that keeps the object in every namespace.
pub(super) fn start<K: Kind>(context: &Context, standard: Standard<K>) {
    let (account, name) = (standard.account, standard.name);
    let controller = Controller {
        standard,
        namespaces: context.informers.of(),
        existing: context.informers.of_selected(&format!("metadata.name={name}")),
        rest: context.rest(account),
    };
    let queue = WorkQueue::new();
    let keys = queue.clone();
    controller.namespaces.on_change(move |change| {
        if change.kind == ChangeKind::Applied && !is_terminating(&change.object.metadata) {
            keys.add(change.object.metadata.name.clone().unwrap_or_default());
        }
    });
    let keys = queue.clone();
    controller.existing.on_change(move |change| {
        let key = Key::of(&*change.object);
        if key.name == name {
            keys.add(key.namespace);
        }
    });
    let ready = vec![synced(&controller.namespaces), synced(&controller.existing)];
    context.workers(account, queue, WORKERS, ready, move |namespace: String| {
        let controller = controller.clone();
        async move { controller.reconcile(&namespace).await }
    });
}

impl<K: Kind> Controller<K> {
    async fn reconcile(&self, name: &str) -> Outcome {
        let Some(namespace) = self.namespaces.get("", name) else { return Ok(None) };
        let existing = self.existing.get(name, self.standard.name);
        let access = objects::<K>(&self.rest);
        let result = match plan(&self.standard, &namespace, existing.as_deref()) {
            Action::Nothing => return Ok(None),
            Action::Create(object) => access.create(&object).await,
            Action::Replace(object) => access.replace(&object).await,
        };
        match result {
            Ok(_) => Ok(None),
            // The namespace is going or gone, or the cache is about to show the object.
            Err(error)
                if client::is_already_exists(&error)
                    || client::is_not_found(&error)
                    || crate::workload::namespace_is_terminating(&error) =>
            {
                Ok(None)
            }
            Err(error) => Err(Failure::Request(error)),
        }
    }
}
