//! SchedulingGates: a pod waits until every gate is taken off. The condition that says so
//! is written by the API server when it admits the pod.

use api::Pod;

/// Whether the pod may enter the queue.
pub(crate) fn is_open(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_none_or(Vec::is_empty)
}
