//! Controllers that say where a Service's pods are, and the one of the ranges Services have addresses from.

mod endpoint_slice;
mod endpoints;
mod service_cidrs;
mod targets;

use crate::context::Context;
use api::{Key, Pod, Service, selector_labels};
use client::{Change, ChangeKind, Informer, WorkQueue};

pub(crate) fn start(context: &Context) {
    endpoint_slice::start(context);
    endpoints::start(context);
    service_cidrs::start(context);
}

/// Adds every Service that selects the pod now or did before, when the change matters to endpoints.
fn services_of_pod(services: &Informer<Service>, change: &Change<Pod>, queue: &WorkQueue<Key>) {
    let new = &change.object;
    if change.kind == ChangeKind::Applied
        && let Some(old) = &change.previous
        && !targets::matters(old, new)
    {
        return;
    }
    let namespace = new.metadata.namespace.as_deref().unwrap_or("");
    let old_labels = change.previous.as_ref().and_then(|old| old.metadata.labels.as_ref());
    for service in services.list_namespace(namespace) {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selects = selector.is_some_and(|selector| {
            selector_labels(selector, new.metadata.labels.as_ref()) || selector_labels(selector, old_labels)
        });
        if selects {
            queue.add(Key::of(&*service));
        }
    }
}
