//! The specification of a pod, shared by pods and everything with a pod template.

mod containers;
mod defaults;
mod probes;
mod qos;
mod scheduling;
mod validate;
mod volumes;

pub(super) use defaults::{apply as apply_defaults, apply_pod_only as apply_pod_defaults};
pub(super) use qos::qos_class;
pub(super) use validate::{validate, validate_template};

/// The fields of a pod's specification that hold containers, in the order upstream looks at them.
const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
