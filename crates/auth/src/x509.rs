//! The user that a client certificate names (upstream: apiserver `pkg/authentication/request/x509`).

use std::fmt::Write;

use sha2::{Digest, Sha256};
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::UserInfo;

/// Subject attribute that carries the user's UID (1.3.6.1.4.1.57683.2).
const UID_ATTRIBUTE: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];

/// A certificate that names no user.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CertificateError {
    /// Not a certificate.
    #[error("failed to parse the client certificate: {0}")]
    Malformed(String),
    /// The subject has no common name.
    #[error("the client certificate's subject has no common name")]
    NoCommonName,
}

/// Common name → user, organizations → groups. Whether the certificate can be trusted is not checked here.
///
/// # Errors
/// See [`CertificateError`].
pub fn user_from_certificate(der: &[u8]) -> Result<UserInfo, CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|e| CertificateError::Malformed(e.to_string()))?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().find_map(|attribute| attribute.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Err(CertificateError::NoCommonName);
    }
    let groups = subject.iter_organization().filter_map(|attribute| attribute.as_str().ok());
    let uid = Oid::from(UID_ATTRIBUTE).ok().and_then(|oid| {
        subject.iter_by_oid(&oid).find_map(|attribute| attribute.as_str().ok().map(str::to_owned))
    });
    let mut user = UserInfo {
        name: name.to_owned(),
        groups: groups.map(str::to_owned).collect(),
        uid: uid.unwrap_or_default(),
        ..UserInfo::default()
    };
    let mut credential = String::from("X509SHA256=");
    for byte in Sha256::digest(der) {
        // Writing to a String cannot fail.
        let _ = write!(credential, "{byte:02x}");
    }
    user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![credential]);
    Ok(user)
}
