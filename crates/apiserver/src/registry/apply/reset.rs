//! What a path of the API does not write, so that nobody owns it by writing there (upstream: `GetResetFields` of the
//! strategies).

use super::set::Set;

const METADATA: &[&[&str]] = &[&["metadata"]];

/// What `/status` leaves alone besides `spec`, by resource.
const STATUS: &[(&str, &[&[&str]])] = &[
    ("pods", &[&["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]),
    ("deployments", &[&["metadata", "labels"]]),
    ("certificatesigningrequests", &[&["status", "conditions"]]),
    ("compositepodgroups", METADATA),
    ("customresourcedefinitions", METADATA),
    ("devicetaintrules", METADATA),
    ("flowschemas", METADATA),
    ("podgroups", METADATA),
    ("prioritylevelconfigurations", METADATA),
    ("resourceclaims", METADATA),
    ("resourcepoolstatusrequests", METADATA),
    ("servicecidrs", METADATA),
    ("storageversionmigrations", METADATA),
    ("storageversions", METADATA),
    ("validatingadmissionpolicies", METADATA),
    ("volumeattachments", METADATA),
];

/// The fields that writes to the resource or its subresource leave alone.
pub fn unwritten(plural: &str, has_status: bool, subresource: &str) -> Set {
    match subresource {
        "" if has_status => Set::of_paths(&[&["status"]]),
        "status" => {
            let more = STATUS.iter().find(|(name, _)| *name == plural).map_or(&[][..], |(_, paths)| paths);
            let mut set = Set::of_paths(more);
            set.add(Set::of_paths(&[&["spec"]]));
            set
        }
        "approval" => Set::of_paths(&[&["spec"], &["status", "certificate"]]),
        _ => Set::default(),
    }
}
