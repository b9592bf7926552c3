//! What kinds default, refuse and print, driven through the registry in-process.

mod autoscalers;
mod cluster;
mod defaults;
mod odd;
mod pod_containers;
mod pod_updates;
mod pod_volumes;
mod pods;
mod quotas;
mod refusals;
mod rows;
mod services;
mod tables;
mod updates;
mod warnings;
mod workloads;

use serde_json::{Value, json};

/// A pod with one container, and these fields beside it.
fn pod_with(spec: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    pod
}

/// A pod whose container has these fields.
fn container_with(fields: &Value) -> Value {
    let mut pod = pod_with(&json!({}));
    for (field, value) in fields.as_object().into_iter().flatten() {
        pod["spec"]["containers"][0][field] = value.clone();
    }
    pod
}

/// A workload with a template, and these fields in its specification.
fn workload_with(fields: &Value) -> Value {
    let mut object = json!({"metadata": {"name": "w"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    for (field, value) in fields.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

/// A Job with these fields in its specification.
fn job_with(fields: &Value) -> Value {
    let mut object = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {
        "containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}}});
    for (field, value) in fields.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}
