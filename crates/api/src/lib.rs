//! Typed kinds for clients of the API.
//!
//! The generated structs of `k8s-openapi` under their plain names, decode and encode compiled once ([`Kind`]), and the
//! small questions every component asks of an object: is this pod ready, who controls it, does this selector match.
//! This is the one crate that names `k8s-openapi`; a component that needs a type which is not re-exported reaches it
//! through [`openapi`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod kind;
mod meta;
mod pod;
mod selector;

pub use k8s_openapi as openapi;

pub use k8s_openapi::api::apps::v1::*;
pub use k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest, TokenRequestSpec, TokenRequestStatus, TokenReview, TokenReviewSpec,
    TokenReviewStatus,
};
pub use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
pub use k8s_openapi::api::batch::v1::*;
pub use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
pub use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
pub use k8s_openapi::api::core::v1::*;
pub use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort as SlicePort, EndpointSlice, ForZone,
};
pub use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, IPAddress, IPBlock, Ingress, IngressBackend, IngressClass,
    IngressRule, IngressServiceBackend, IngressSpec, IngressTLS, NetworkPolicy, NetworkPolicyEgressRule,
    NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec, ServiceBackendPort,
    ServiceCIDR,
};
pub use k8s_openapi::api::node::v1::RuntimeClass;
pub use k8s_openapi::api::policy::v1::{Eviction, PodDisruptionBudget, PodDisruptionBudgetSpec};
pub use k8s_openapi::api::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
pub use k8s_openapi::api::scheduling::v1::PriorityClass;
pub use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, StorageClass, VolumeAttachment, VolumeAttributesClass,
};
pub use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    Condition, DeleteOptions, LabelSelector, LabelSelectorRequirement, ListMeta, MicroTime, ObjectMeta,
    OwnerReference, Preconditions, Status, StatusCause, StatusDetails, Time,
};
pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub use kind::{DecodeError, Kind};
pub use meta::{
    Key, Labels, controller_of, controller_ref, is_controlled_by, is_terminating, object_reference, owner_of,
    owner_ref,
};
pub use pod::{
    container_status, is_mirror, is_pod_active, is_pod_finished, pod_available, pod_condition, pod_phase,
    pod_ready, pod_ready_since, set_pod_condition,
};
pub use selector::{SelectorError, selector_labels, selector_matches, selector_query, selector_validate};
