//! `certificates.k8s.io`: requests for certificates, their approval and signing, and bundles of trust.

mod bundle;
mod pod_request;
mod request;

use super::plain::Plain;
use crate::registry::strategy::Generic;

pub(super) use request::CertificateSigningRequest;

/// The strategy of a resource of the group; requests have their own.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    Some(match plural {
        "clustertrustbundles" => bundle::plain(generic),
        "podcertificaterequests" => pod_request::plain(generic),
        _ => return None,
    })
}
