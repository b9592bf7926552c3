//! What is special about each kind: one file a kind, one line here.

mod addresses;
mod admission_policy;
mod apps;
mod autoscaling;
mod batch;
mod cells;
mod certificates;
mod check;
mod conditions;
mod coordination;
pub mod core;
mod definition;
mod devices;
mod discovery;
mod expressions;
mod extensions;
pub(super) mod flow_control;
mod lifecycle;
mod match_rules;
mod networking;
mod node_labels;
mod plain;
mod pod_spec;
mod policy;
mod rbac;
mod resources;
mod rules;
mod runtime_class;
mod scheduling;
mod shape;
mod signers;
mod storage;
mod storage_version;
pub(crate) mod value;
mod webhooks;
mod workload;

pub(super) use pod_spec::aggregate;

use std::sync::Arc;

use super::strategy::{Generic, Strategy};

/// The strategy of a resource. A kind that is not listed is served by the generic engine alone.
pub fn strategy(group: &str, plural: &str) -> Arc<dyn Strategy> {
    match (group, plural) {
        ("", "namespaces") => Arc::new(core::namespace::Namespace),
        ("", "nodes") => Arc::new(core::node::Node),
        ("", "pods") => Arc::new(core::pod::Pod),
        ("apps", "daemonsets") => Arc::new(apps::DaemonSet),
        ("", "services") => Arc::new(core::service::Service),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            Arc::new(certificates::CertificateSigningRequest)
        }
        _ => plain(group, plural),
    }
}

/// Kinds whose differences are data.
fn plain(group: &str, plural: &str) -> Arc<dyn Strategy> {
    let generic = generic(group, plural);
    let plain = match group {
        "" => core::plain(plural, generic),
        "admissionregistration.k8s.io" => webhooks::plain(plural, generic),
        "apps" => apps::plain(plural, generic),
        "autoscaling" => autoscaling::plain(plural, generic),
        "batch" => batch::plain(plural, generic),
        "certificates.k8s.io" => certificates::plain(plural, generic),
        "coordination.k8s.io" => coordination::plain(plural, generic),
        "flowcontrol.apiserver.k8s.io" => flow_control::plain(plural, generic),
        "discovery.k8s.io" => discovery::plain(plural, generic),
        "lifecycle.k8s.io" => lifecycle::plain(plural, generic),
        "networking.k8s.io" => networking::plain(plural, generic),
        "node.k8s.io" => runtime_class::plain(plural, generic),
        "policy" => policy::plain(plural, generic),
        "resource.k8s.io" => devices::plain(plural, generic),
        "rbac.authorization.k8s.io" => rbac::plain(plural, generic),
        "scheduling.k8s.io" => scheduling::plain(plural, generic),
        "storage.k8s.io" => storage::plain(plural, generic),
        _ => extensions::plain(group, plural, generic),
    };
    match plain {
        Some(plain) => Arc::new(plain),
        None => Arc::new(generic),
    }
}

/// Kinds of which nothing is special but a few switches.
fn generic(group: &str, plural: &str) -> Generic {
    Generic {
        generation: counts_generations(group, plural),
        conditional: must_name_version(group, plural),
        create_on_update: matches!(
            (group, plural),
            ("", "endpoints" | "events" | "limitranges")
                | ("coordination.k8s.io" | "rbac.authorization.k8s.io", _)
                | ("node.k8s.io", "runtimeclasses")
        ),
        returns_deleted: returns_deleted(group, plural),
        path_names: matches!(group, "rbac.authorization.k8s.io" | "apiregistration.k8s.io" | "policy")
            || matches!(
                (group, plural),
                ("certificates.k8s.io", "certificatesigningrequests" | "clustertrustbundles")
            ),
        status_alone: matches!(
            plural,
            "compositepodgroups"
                | "devicetaintrules"
                | "flowschemas"
                | "podcertificaterequests"
                | "podgroups"
                | "prioritylevelconfigurations"
                | "resourceclaims"
                | "resourcepoolstatusrequests"
                | "servicecidrs"
                | "storageversionmigrations"
                | "storageversions"
                | "validatingadmissionpolicies"
                | "volumeattachments"
        ),
    }
}

/// Kinds whose deletion answers with what was deleted.
fn returns_deleted(group: &str, plural: &str) -> bool {
    match group {
        "storage.k8s.io" => plural != "csistoragecapacities",
        "resource.k8s.io" => true,
        "" => matches!(
            plural,
            "persistentvolumeclaims"
                | "persistentvolumes"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
        ),
        _ => false,
    }
}

/// Kinds whose strategy upstream sets `metadata.generation`.
fn counts_generations(group: &str, plural: &str) -> bool {
    match group {
        "apps" => plural != "controllerrevisions",
        "" => matches!(plural, "replicationcontrollers" | "podtemplates"),
        "batch"
        | "admissionregistration.k8s.io"
        | "apiextensions.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "policy"
        | "discovery.k8s.io" => true,
        "networking.k8s.io" => !matches!(plural, "ipaddresses" | "servicecidrs"),
        "resource.k8s.io" => matches!(plural, "deviceclasses" | "devicetaintrules" | "resourceslices"),
        "scheduling.k8s.io" | "lifecycle.k8s.io" => true,
        "storage.k8s.io" => plural == "csidrivers",
        _ => false,
    }
}

/// Kinds that upstream updates only against a named version.
fn must_name_version(group: &str, plural: &str) -> bool {
    match group {
        "admissionregistration.k8s.io"
        | "apiextensions.k8s.io"
        | "apiregistration.k8s.io"
        | "coordination.k8s.io"
        | "node.k8s.io"
        | "storagemigration.k8s.io"
        | "internal.apiserver.k8s.io" => true,
        "certificates.k8s.io" => matches!(plural, "clustertrustbundles" | "podcertificaterequests"),
        "resource.k8s.io" => plural == "resourcepoolstatusrequests",
        "storage.k8s.io" => {
            matches!(plural, "csidrivers" | "csinodes" | "csistoragecapacities" | "volumeattachments")
        }
        "policy" => plural == "poddisruptionbudgets",
        _ => false,
    }
}

#[cfg(test)]
mod tests;
