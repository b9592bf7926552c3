//! What clients are told of kinds that will not always be served (kubernetes/api `APILifecycleDeprecated`, apiserver
//! `pkg/endpoints/deprecation`).

/// Version and kind; since which minor release it is deprecated, from which it is gone, and what is used instead.
const TABLE: &str = "
v1 ComponentStatus 19
v1 Endpoints 33 - discovery.k8s.io/v1 EndpointSlice
admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicy 35 38
admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicyBinding 35 38
admissionregistration.k8s.io/v1beta1 MutatingAdmissionPolicy 37 40 admissionregistration.k8s.io/v1 MutatingAdmissionPolicy
admissionregistration.k8s.io/v1beta1 MutatingAdmissionPolicyBinding 37 40 admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding
certificates.k8s.io/v1beta1 ClusterTrustBundle 37 40 certificates.k8s.io/v1 ClusterTrustBundle
certificates.k8s.io/v1beta1 PodCertificateRequest 37 40 certificates.k8s.io/v1 PodCertificateRequest
coordination.k8s.io/v1alpha2 LeaseCandidate 35 38
coordination.k8s.io/v1beta1 LeaseCandidate 36 39
resource.k8s.io/v1alpha3 DeviceTaintRule 36 39
resource.k8s.io/v1beta1 DeviceClass 35 38
resource.k8s.io/v1beta1 ResourceClaim 35 38
resource.k8s.io/v1beta1 ResourceClaimTemplate 35 38
resource.k8s.io/v1beta1 ResourceSlice 35 38
resource.k8s.io/v1beta2 DeviceClass 36 39
resource.k8s.io/v1beta2 ResourceClaim 36 39
resource.k8s.io/v1beta2 ResourceClaimTemplate 36 39
resource.k8s.io/v1beta2 ResourceSlice 36 39
storagemigration.k8s.io/v1beta1 StorageVersionMigration 37 40 storagemigration.k8s.io/v1 StorageVersionMigration
";

/// The warning for requests about a kind, when it is deprecated.
pub(super) fn warning(api_version: &str, kind: &str) -> Option<String> {
    let lines = TABLE.lines().map(|line| line.split(' ').collect::<Vec<&str>>());
    let words = lines.into_iter().find(|words| words[..] != [""] && words[..2] == [api_version, kind])?;
    let mut warning = format!("{api_version} {kind} is deprecated in v1.{}+", words.get(2)?);
    if let Some(gone) = words.get(3).filter(|gone| **gone != "-") {
        warning += &format!(", unavailable in v1.{gone}+");
    }
    if let [_, _, _, _, version, kind] = words[..] {
        warning += &format!("; use {version} {kind}");
    }
    Some(warning)
}

#[cfg(test)]
mod tests {
    use machinery::resources::Resources;

    use super::*;

    #[test]
    fn warnings_are_in_upstreams_words() {
        for (api_version, kind, wanted) in [
            ("v1", "ConfigMap", None),
            (
                "v1",
                "Endpoints",
                Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
            ),
            ("v1", "ComponentStatus", Some("v1 ComponentStatus is deprecated in v1.19+")),
            (
                "resource.k8s.io/v1beta1",
                "DeviceClass",
                Some("resource.k8s.io/v1beta1 DeviceClass is deprecated in v1.35+, unavailable in v1.38+"),
            ),
            (
                "storagemigration.k8s.io/v1beta1",
                "StorageVersionMigration",
                Some(
                    "storagemigration.k8s.io/v1beta1 StorageVersionMigration is deprecated in v1.37+, unavailable in v1.40+; \
                     use storagemigration.k8s.io/v1 StorageVersionMigration",
                ),
            ),
        ] {
            assert_eq!(warning(api_version, kind).as_deref(), wanted, "{api_version} {kind}");
        }
    }

    /// A line for what is not served any more would never be read.
    #[test]
    fn all_kinds_of_the_table_are_served() {
        for line in TABLE.lines().filter(|line| !line.is_empty()) {
            let mut words = line.split(' ');
            let (version, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let (group, version) = machinery::meta::split_api_version(version);
            assert!(Resources::builtin().by_kind(group, version, kind).is_some(), "{line}");
        }
    }
}
