//! The specification of a pod, shared by pods and everything with a pod template.

mod annotations;
mod containers;
mod defaults;
mod disabled;
mod disks;
mod environment;
mod images;
mod mounts;
mod overlaps;
mod port_warnings;
mod ports;
mod probes;
mod projections;
mod qos;
mod resources;
mod scheduling;
mod security;
mod sources;
mod template;
mod validate;
mod volumes;
mod warnings;
mod windows;

pub(super) use annotations::{
    match_fields as annotations_match_fields, sync_app_armor, validate_update as validate_annotations_update,
};
pub(super) use containers::padded_image;
pub(super) use defaults::{apply as apply_defaults, apply_pod_only as apply_pod_defaults};
pub(super) use disabled::drop_disabled;
pub(super) use qos::qos_class;
pub(in crate::registry) use resources::aggregate;
pub(super) use resources::{overhead_amounts, round_up};
pub(super) use scheduling::{merge_label_keys, node_selector, tolerations};
pub(super) use sources::of_persistent_volume;
pub(super) use template::{metadata as validate_template_metadata, validate as validate_template};
pub(super) use validate::validate_pod;
pub(super) use warnings::{
    dead_volume, of_claim as claim_warnings, of_pod as pod_warnings, of_template as template_warnings,
};

use std::collections::BTreeMap;

use machinery::field::Path;
use serde_json::Value;

use super::value::{int, list, text};

/// The fields of a pod's specification that hold containers, in the order upstream validates them.
const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// What is around a container in its pod.
struct Surroundings<'a> {
    spec: &'a Value,
    /// Volumes by name, those that are all right.
    volumes: BTreeMap<&'a str, &'a Value>,
    /// Names of the pod's resource claims.
    claims: Vec<&'a str>,
}

impl<'a> Surroundings<'a> {
    fn grace(&self) -> Option<i64> {
        int(self.spec, "terminationGracePeriodSeconds")
    }

    fn restart_policy(&self) -> &'a str {
        text(self.spec, "restartPolicy")
    }

    fn shares_users_with_host(&self) -> bool {
        shares_users_with_host(self.spec)
    }
}

/// Whether users of the pod are those of the host, as they are unless it says otherwise.
fn shares_users_with_host(spec: &Value) -> bool {
    spec.get("hostUsers") != Some(&Value::Bool(false))
}

/// Every container with its path, init containers first (upstream `VisitContainersWithPath`).
fn every_container<'a>(spec: &'a Value, path: &'a Path) -> impl Iterator<Item = (&'a Value, Path)> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |field| {
        list(spec, field)
            .iter()
            .enumerate()
            .map(move |(i, container)| (container, path.child(field).index(i)))
    })
}

/// Whether a container is started before others and stays.
fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}
