//! What PEM texts hold: certificates, and requests for them.

use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};

/// One block of a PEM text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemBlock {
    /// What stands after `BEGIN`.
    pub label: String,
    /// The decoded bytes.
    pub der: Vec<u8>,
}

/// The blocks of a PEM text, up to the first that is malformed. What stands between blocks is passed over.
#[must_use]
pub fn pem_blocks(text: &[u8]) -> Vec<PemBlock> {
    Pem::iter_from_buffer(text)
        .map_while(Result::ok)
        .map(|pem| PemBlock { label: pem.label, der: pem.contents })
        .collect()
}

/// What a certificate signing request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SigningRequest {
    /// Common names of the subject.
    pub common_names: Vec<String>,
    /// Organizations of the subject.
    pub organizations: Vec<String>,
    /// The public key with its algorithm, DER.
    pub public_key: Vec<u8>,
}

/// A text that is no certificate signing request, in upstream's words where it has its own.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// There is no such block.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    NoRequest,
    /// The block does not parse.
    #[error("x509: malformed certificate request")]
    Malformed,
    /// Whoever asks does not hold the key.
    #[error("x509: the request's signature is not that of its key")]
    Signature,
}

/// Reads a PEM-encoded PKCS#10 request, and checks that its key signed it.
///
/// # Errors
/// See [`RequestError`].
pub fn signing_request(pem: &[u8]) -> Result<SigningRequest, RequestError> {
    let block = pem_blocks(pem).into_iter().next().ok_or(RequestError::NoRequest)?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(RequestError::NoRequest);
    }
    signing_request_der(&block.der)
}

/// The same for bare DER.
///
/// # Errors
/// See [`RequestError`].
pub fn signing_request_der(der: &[u8]) -> Result<SigningRequest, RequestError> {
    let (_, request) = X509CertificationRequest::from_der(der).map_err(|_| RequestError::Malformed)?;
    request.verify_signature().map_err(|_| RequestError::Signature)?;
    let info = &request.certification_request_info;
    let texts =
        |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    Ok(SigningRequest {
        common_names: info.subject.iter_common_name().filter_map(texts).collect(),
        organizations: info.subject.iter_organization().filter_map(texts).collect(),
        public_key: info.subject_pki.raw.to_vec(),
    })
}

/// The few things that rules about certificates look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Seconds since the epoch.
    pub not_before: i64,
    /// Seconds since the epoch.
    pub not_after: i64,
    /// The public key with its algorithm, DER.
    pub public_key: Vec<u8>,
    /// What tells it from others.
    pub digest: [u8; 32],
}

/// Reads a certificate; `None` when it is none.
#[must_use]
pub fn certificate(der: &[u8]) -> Option<CertificateFacts> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then(|| CertificateFacts {
        is_ca: certificate.is_ca(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        public_key: certificate.public_key().raw.to_vec(),
        digest: Sha256::digest(der).into(),
    })
}
