//! Decode and encode of typed kinds, instantiated here and nowhere else.

use crate as api;
use k8s_openapi::{Metadata, Resource};

/// Why bytes are not the kind that was asked for.
pub type DecodeError = serde_json::Error;

/// A typed kind that clients read and write.
///
/// Generated (de)serialisation is large; the functions of this trait are compiled in this crate only, so that a crate
/// that uses a kind pays for a call and not for the code.
pub trait Kind: Resource + Metadata<Ty = api::ObjectMeta> + Clone + Send + Sync + 'static {
    /// Whether objects live in a namespace.
    const NAMESPACED: bool;

    /// Reads one JSON object.
    ///
    /// # Errors
    /// When the bytes are not JSON or not of this kind.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// Reads one JSON object already parsed.
    ///
    /// # Errors
    /// When the value is not of this kind.
    fn from_value(value: serde_json::Value) -> Result<Self, DecodeError>;

    /// Writes the object as JSON with `apiVersion` and `kind`.
    fn encode(&self) -> Vec<u8>;

    /// The object as a JSON value.
    fn to_value(&self) -> serde_json::Value;

    /// The path of the collection: all namespaces when `namespace` is `None`.
    #[must_use]
    fn collection(namespace: Option<&str>) -> String {
        let root = if Self::GROUP.is_empty() {
            format!("/api/{}", Self::VERSION)
        } else {
            format!("/apis/{}/{}", Self::GROUP, Self::VERSION)
        };
        match namespace {
            Some(namespace) if Self::NAMESPACED => {
                format!("{root}/namespaces/{namespace}/{}", Self::URL_PATH_SEGMENT)
            }
            _ => format!("{root}/{}", Self::URL_PATH_SEGMENT),
        }
    }
}

macro_rules! kinds {
    ($($namespaced:literal: $($kind:path),+ $(,)?;)+) => { $($(
        impl Kind for $kind {
            const NAMESPACED: bool = $namespaced;

            #[inline(never)]
            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                serde_json::from_slice(bytes)
            }

            #[inline(never)]
            fn from_value(value: serde_json::Value) -> Result<Self, DecodeError> {
                serde_json::from_value(value)
            }

            #[inline(never)]
            fn encode(&self) -> Vec<u8> {
                // The structs hold strings, numbers and maps with string keys: writing them cannot fail.
                serde_json::to_vec(self).unwrap_or_default()
            }

            #[inline(never)]
            fn to_value(&self) -> serde_json::Value {
                serde_json::to_value(self).unwrap_or_default()
            }
        }
    )+)+ };
}

kinds! {
    true:
        api::ConfigMap, api::Endpoints, api::Event, api::LimitRange, api::PersistentVolumeClaim, api::Pod,
        api::ReplicationController, api::ResourceQuota, api::Secret, api::Service, api::ServiceAccount,
        api::ControllerRevision, api::DaemonSet, api::Deployment, api::ReplicaSet, api::StatefulSet,
        api::CronJob, api::Job, api::Lease, api::EndpointSlice, api::Ingress, api::NetworkPolicy,
        api::PodDisruptionBudget, api::Role, api::RoleBinding;
    false:
        api::Namespace, api::Node, api::PersistentVolume, api::ClusterRole, api::ClusterRoleBinding,
        api::PriorityClass, api::RuntimeClass, api::StorageClass, api::CSIDriver, api::CSINode,
        api::IngressClass, api::CertificateSigningRequest, api::VolumeAttachment, api::VolumeAttributesClass,
        api::IPAddress, api::ServiceCIDR;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_follow_group_and_scope() {
        let cases = [
            (api::Pod::collection(Some("a")), "/api/v1/namespaces/a/pods"),
            (api::Pod::collection(None), "/api/v1/pods"),
            (api::Node::collection(Some("ignored")), "/api/v1/nodes"),
            (api::Deployment::collection(Some("b")), "/apis/apps/v1/namespaces/b/deployments"),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn round_trip_names_the_kind() {
        let pod =
            api::Pod::decode(br#"{"metadata":{"name":"p"},"spec":{"containers":[]}}"#).expect("decodes");
        let value = pod.to_value();
        assert_eq!(value["kind"], "Pod");
        assert_eq!(value["metadata"]["name"], "p");
        assert!(api::Pod::decode(br#"{"kind":"Node"}"#).is_err());
    }
}
