//! Who makes the request: client certificate, service account token, or nobody.

use std::collections::HashMap;
use std::sync::Arc;

use auth::{Claims, TokenError, TokenSigner, TokenSubjects, UserInfo, Verified};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use machinery::status::Status;
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::Authenticated;
use crate::registry::Registry;

/// So many verified signatures are remembered; when full, all are forgotten.
const SIGNATURES_MAX: usize = 4096;

/// Establishes the user of a request.
pub struct Authenticator {
    signer: TokenSigner,
    audiences: Vec<String>,
    anonymous: bool,
    registry: Arc<Registry>,
    /// Claims of tokens whose signature was found good, by the token's hash: checking a signature costs more than the
    /// rest of a small request. Times and subjects are checked each time.
    signatures: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Authenticator {
    pub fn new(
        signer: TokenSigner,
        audiences: Vec<String>,
        anonymous: bool,
        registry: Arc<Registry>,
    ) -> Self {
        Authenticator { signer, audiences, anonymous, registry, signatures: Mutex::default() }
    }

    /// The issuer and checker of tokens.
    pub fn signer(&self) -> &TokenSigner {
        &self.signer
    }

    /// Audiences of this server.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// What the transport vouches for wins over a token; a bad token is refused even where nobody would be let in.
    ///
    /// # Errors
    /// 401.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        transport: Option<&Authenticated>,
    ) -> Result<Arc<UserInfo>, Status> {
        if let Some(known) = transport {
            return Ok(known.user().clone());
        }
        if let Some(token) = bearer_token(headers)? {
            return match self.verify(token, &self.audiences) {
                Ok(verified) => Ok(Arc::new(verified.user.authenticated())),
                Err(error) => {
                    tracing::debug!(%error, "a bearer token was refused");
                    Err(Status::unauthorized())
                }
            };
        }
        if self.anonymous { Ok(Arc::new(UserInfo::anonymous())) } else { Err(Status::unauthorized()) }
    }

    /// Checks a token for one of the audiences.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &str, audiences: &[String]) -> Result<Verified, TokenError> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.signatures.lock().get(&hash).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.signer.signed_claims(token)?);
                let mut signatures = self.signatures.lock();
                if signatures.len() >= SIGNATURES_MAX {
                    signatures.clear();
                }
                signatures.insert(hash, claims.clone());
                claims
            }
        };
        auth::accept_claims(&claims, audiences, now_seconds(), &Subjects(&self.registry))
    }
}

/// The token of `Authorization: Bearer …`. Other schemes are none of this server's business, but are no anonymity either.
fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, Status> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let header = header.to_str().map_err(|_| Status::unauthorized())?.trim();
    let Some((scheme, token)) = header.split_once(' ') else { return Ok(None) };
    let token = token.trim();
    Ok((scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token))
}

pub(crate) fn now_seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Looks up the subjects of tokens in the registry's caches.
pub(crate) struct Subjects<'a>(pub &'a Registry);

#[derive(Deserialize)]
struct Identity {
    metadata: IdentityMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityMeta {
    uid: String,
    deletion_timestamp: Option<String>,
}

impl Subjects<'_> {
    fn uid(&self, plural: &str, namespace: &str, name: &str) -> Option<String> {
        let item = self.0.object("", plural, namespace, name)?;
        let Identity { metadata } = serde_json::from_slice(&item.entry.bytes).ok()?;
        // A minute after its end an object no longer lends its identity, even if a finalizer keeps it.
        let ended = metadata.deletion_timestamp.as_deref().and_then(machinery::time::parse);
        let alive = ended.is_none_or(|at| now_seconds() <= at.as_second() + 60);
        alive.then_some(metadata.uid)
    }
}

impl TokenSubjects for Subjects<'_> {
    fn service_account_uid(&self, namespace: &str, name: &str) -> Option<String> {
        self.uid("serviceaccounts", namespace, name)
    }

    fn pod_uid(&self, namespace: &str, name: &str) -> Option<String> {
        self.uid("pods", namespace, name)
    }

    fn secret_uid(&self, namespace: &str, name: &str) -> Option<String> {
        self.uid("secrets", namespace, name)
    }

    fn node_uid(&self, name: &str) -> Option<String> {
        self.uid("nodes", "", name)
    }
}
