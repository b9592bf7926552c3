//! Who may do what: pure evaluation, no HTTP and no storage.
//!
//! Authentication: [`TokenSigner`] for service account tokens, [`user_from_certificate`] for client certificates.
//! Authorization: [`rbac::Rbac`] for everybody, [`NodeAuthorizer`] for node agents. [`bootstrap`] holds the roles that
//! every cluster starts with.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attributes;
pub mod bootstrap;
mod node;
mod pkix;
pub mod rbac;
mod token;
mod user;
mod x509;

pub use attributes::{Attributes, Decision};
pub use node::{NodeAuthorizer, NodeGraph, NodeGraphError, NodeRelations, Related};
pub use pkix::{
    CertificateFacts, PemBlock, RequestError, SigningRequest, certificate, pem_blocks, signing_request,
    signing_request_der,
};
pub use token::{
    Claims, DEFAULT_EXPIRATION_SECONDS, KeyError, KubernetesClaims, MAX_EXPIRATION_SECONDS,
    MIN_EXPIRATION_SECONDS, Ref, Subject, TokenError, TokenSigner, TokenSpec, TokenSubjects, Verified,
    accept_claims, user_info,
};
pub use user::*;
pub use x509::{CertificateError, user_from_certificate};
