//! Service account tokens: signed statements of who a pod is (upstream: `pkg/serviceaccount`).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurveKeyParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{UserInfo, service_account_user};

/// Tokens live at least this long, seconds.
pub const MIN_EXPIRATION_SECONDS: i64 = 600;
/// Tokens without a wish live this long, seconds.
pub const DEFAULT_EXPIRATION_SECONDS: i64 = 3600;
/// Tokens live at most this long, seconds.
pub const MAX_EXPIRATION_SECONDS: i64 = 1 << 32;

/// Extra fields of UserInfo, as upstream names them.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Name and UID of an object that a token speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ref {
    /// Name.
    pub name: String,
    /// UID; tokens end with the object of this UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The private claims, under `kubernetes.io`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesClaims {
    /// Namespace of the service account and of whatever the token is bound to.
    pub namespace: String,
    /// Node that the bound pod runs on, or that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Ref>,
    /// Pod that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Ref>,
    /// Secret that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Ref>,
    /// Who the bearer is.
    pub serviceaccount: Ref,
    /// Seconds since the epoch after which the kubelet's projected token should have been replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// All claims of a token. Times are seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Audiences.
    pub aud: Vec<String>,
    /// Expires at.
    pub exp: i64,
    /// Issued at.
    pub iat: i64,
    /// Issuer.
    pub iss: String,
    /// Unique ID of the token.
    pub jti: String,
    /// Kubernetes' own claims.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    /// Not valid before.
    pub nbf: i64,
    /// The service account's user name.
    pub sub: String,
}

/// What a token is asked to say; the rest follows from the signer.
#[derive(Debug, Clone, Default)]
pub struct TokenSpec {
    /// Kubernetes' own claims.
    pub kubernetes: KubernetesClaims,
    /// Audiences; must not be empty.
    pub audiences: Vec<String>,
    /// Lifetime, seconds.
    pub expiration_seconds: i64,
}

/// The signing key is no P-256 key in PKCS#8 PEM.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the service account signing key: {0}")]
pub struct KeyError(String);

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not a token of this issuer at all; another authenticator may know it.
    #[error("token is not issued by this server")]
    Foreign,
    /// Signature, format or claims are wrong.
    #[error("invalid bearer token: {0}")]
    Invalid(String),
    /// Too old.
    #[error("service account token has expired")]
    Expired,
    /// Not yet valid.
    #[error("service account token is not valid yet")]
    NotYet,
    /// Issued by a clock that is ahead.
    #[error("service account token is issued in the future")]
    FromTheFuture,
    /// Meant for someone else.
    #[error("token audiences {} is invalid for the target audiences {}", go_list(.found), go_list(.wanted))]
    Audience {
        /// Audiences of the token.
        found: Vec<String>,
        /// Audiences asked for.
        wanted: Vec<String>,
    },
    /// The service account is gone.
    #[error("serviceaccounts {0:?} not found")]
    NoAccount(String),
    /// What the token is bound to is gone.
    #[error("service account token has been invalidated")]
    Invalidated,
    /// The service account or what the token is bound to is another one of its name.
    #[error("{} UID ({found}) does not match {}claim ({claimed})", .subject.name(), .subject.claim())]
    Replaced {
        /// What it is.
        subject: Subject,
        /// UID of what is there.
        found: String,
        /// UID that the token speaks of.
        claimed: String,
    },
    /// The token could not be signed.
    #[error("failed to sign the token: {0}")]
    Sign(String),
}

/// What a token speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Its service account.
    Account,
    /// A secret it is bound to.
    Secret,
    /// Likewise a pod.
    Pod,
    /// Likewise a node.
    Node,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Account => "service account",
            Subject::Secret => "secret",
            Subject::Pod => "pod",
            Subject::Node => "node",
        }
    }

    /// What upstream calls the claim that names it.
    fn claim(self) -> &'static str {
        match self {
            Subject::Account => "",
            Subject::Secret => "service account secret ref ",
            Subject::Pod => "service account pod ref ",
            Subject::Node => "service account node ref ",
        }
    }
}

/// A list of texts as Go's `%q` prints it.
fn go_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

/// Looks up objects that tokens speak of.
pub trait TokenSubjects: Send + Sync {
    /// UID of a service account.
    fn service_account_uid(&self, namespace: &str, name: &str) -> Option<String>;
    /// UID of a pod that is not past its deletion.
    fn pod_uid(&self, namespace: &str, name: &str) -> Option<String>;
    /// UID of a secret.
    fn secret_uid(&self, namespace: &str, name: &str) -> Option<String>;
    /// UID of a node.
    fn node_uid(&self, name: &str) -> Option<String>;
}

/// Signs and verifies tokens with one ES256 key.
pub struct TokenSigner {
    issuer: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    key_id: String,
    jwk: Value,
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSigner")
            .field("issuer", &self.issuer)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl TokenSigner {
    /// Reads a P-256 private key in PKCS#8 PEM.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn new(issuer: impl Into<String>, key_pem: &str) -> Result<TokenSigner, KeyError> {
        let failed = |e: jsonwebtoken::errors::Error| KeyError(e.to_string());
        let encoding = EncodingKey::from_ec_pem(key_pem.as_bytes()).map_err(failed)?;
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::ES256).map_err(failed)?;
        let AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters { x, y, .. }) = &jwk.algorithm
        else {
            return Err(KeyError("not an elliptic curve key".to_owned()));
        };
        let decoding = DecodingKey::from_ec_components(x, y).map_err(failed)?;
        let key_id = key_id(x, y)?;
        let jwk =
            json!({"alg": "ES256", "crv": "P-256", "kid": key_id, "kty": "EC", "use": "sig", "x": x, "y": y});
        Ok(TokenSigner { issuer: issuer.into(), encoding, decoding, key_id, jwk })
    }

    /// The issuer that tokens name.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Signs a token. `now` is seconds since the epoch, `id` a fresh UUID.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue(&self, spec: &TokenSpec, now: i64, id: &str) -> Result<(String, Claims), TokenError> {
        let kubernetes = spec.kubernetes.clone();
        let claims = Claims {
            aud: spec.audiences.clone(),
            exp: now + spec.expiration_seconds,
            iat: now,
            iss: self.issuer.clone(),
            jti: id.to_owned(),
            nbf: now,
            sub: service_account_user(&kubernetes.namespace, &kubernetes.serviceaccount.name),
            kubernetes,
        };
        let header = Header { typ: None, kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.encoding)
            .map_err(|e| TokenError::Sign(e.to_string()))?;
        Ok((token, claims))
    }

    /// [`TokenSigner::signed_claims`] and [`accept_claims`] in one.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        now: i64,
        subjects: &dyn TokenSubjects,
    ) -> Result<Verified, TokenError> {
        accept_claims(&self.signed_claims(token)?, audiences, now, subjects)
    }

    /// The claims of a token of this issuer whose signature is good. Nothing else is checked: not the times either.
    ///
    /// # Errors
    /// [`TokenError::Foreign`] and [`TokenError::Invalid`].
    pub fn signed_claims(&self, token: &str) -> Result<Claims, TokenError> {
        let unverified = jsonwebtoken::dangerous::insecure_decode_claims::<Issuer>(token)
            .map_err(|_| TokenError::Foreign)?;
        if unverified.iss != self.issuer {
            return Err(TokenError::Foreign);
        }
        let mut validation = Validation::new(Algorithm::ES256);
        // Times and audiences are the business of `accept_claims`, with the caller's clock and list.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation)
            .map(|token| token.claims)
            .map_err(|e| TokenError::Invalid(e.to_string()))
    }

    /// `/openid/v1/jwks`: the public keys.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.jwk]})
    }

    /// `/.well-known/openid-configuration`: where the public keys are. `base` is the server's URL, used when the
    /// issuer is not a URL of its own.
    #[must_use]
    pub fn openid_configuration(&self, base: &str) -> Value {
        let base = if self.issuer.starts_with("https://") { base } else { self.issuer.as_str() };
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", base.trim_end_matches('/')),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

/// A token that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The bearer.
    pub user: UserInfo,
    /// Which of the wanted audiences the token names.
    pub audiences: Vec<String>,
}

#[derive(Deserialize)]
struct Issuer {
    #[serde(default)]
    iss: String,
}

/// Upstream's key ID: the SHA-256 of the public key's DER form.
fn key_id(x: &str, y: &str) -> Result<String, KeyError> {
    // SubjectPublicKeyInfo of an uncompressed P-256 point, up to the point itself.
    const PREFIX: [u8; 27] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    let mut der = PREFIX.to_vec();
    for coordinate in [x, y] {
        der.extend(URL_SAFE_NO_PAD.decode(coordinate).map_err(|e| KeyError(e.to_string()))?);
    }
    Ok(URL_SAFE_NO_PAD.encode(Sha256::digest(&der)))
}

/// How far clocks may be apart, seconds: so much longer and so much earlier a token is accepted.
const LEEWAY: i64 = 60;

/// Checks audience (one of `audiences` must be named), times (`now` is seconds since the epoch) and that everything the
/// token is bound to still exists with the same UID; of several reasons upstream's first is told.
///
/// # Errors
/// See [`TokenError`].
pub fn accept_claims(
    claims: &Claims,
    audiences: &[String],
    now: i64,
    subjects: &dyn TokenSubjects,
) -> Result<Verified, TokenError> {
    let accepted: Vec<String> = audiences.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
    if accepted.is_empty() {
        return Err(TokenError::Audience { found: claims.aud.clone(), wanted: audiences.to_vec() });
    }
    if now + LEEWAY < claims.nbf {
        return Err(TokenError::NotYet);
    }
    if now - LEEWAY > claims.exp {
        return Err(TokenError::Expired);
    }
    if now + LEEWAY < claims.iat {
        return Err(TokenError::FromTheFuture);
    }
    check_alive(&claims.kubernetes, subjects)?;
    Ok(Verified { user: user_info(claims), audiences: accepted })
}

fn check_alive(claims: &KubernetesClaims, subjects: &dyn TokenSubjects) -> Result<(), TokenError> {
    let same = |subject: Subject, found: Option<String>, wanted: &Ref| match found {
        Some(uid) if uid == wanted.uid => Ok(()),
        Some(found) => Err(TokenError::Replaced { subject, found, claimed: wanted.uid.clone() }),
        None if subject == Subject::Account => Err(TokenError::NoAccount(wanted.name.clone())),
        None => Err(TokenError::Invalidated),
    };
    let (namespace, account) = (&claims.namespace, &claims.serviceaccount);
    same(Subject::Account, subjects.service_account_uid(namespace, &account.name), account)?;
    if let Some(secret) = &claims.secret {
        same(Subject::Secret, subjects.secret_uid(namespace, &secret.name), secret)?;
    }
    if let Some(pod) = &claims.pod {
        same(Subject::Pod, subjects.pod_uid(namespace, &pod.name), pod)?;
    } else if let Some(node) = &claims.node {
        // With a pod the node is a mere fact; alone it is what the token is bound to.
        same(Subject::Node, subjects.node_uid(&node.name), node)?;
    }
    Ok(())
}

/// The bearer of a token: name, groups and facts (upstream: `ServiceAccountInfo.UserInfo`).
#[must_use]
pub fn user_info(claims: &Claims) -> UserInfo {
    let kubernetes = &claims.kubernetes;
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(key.to_owned(), vec![value.to_owned()]);
        }
    };
    if let Some(pod) = &kubernetes.pod {
        add(POD_NAME, &pod.name);
        add(POD_UID, &pod.uid);
    }
    if let Some(node) = &kubernetes.node {
        add(NODE_NAME, &node.name);
        add(NODE_UID, &node.uid);
    }
    add(CREDENTIAL_ID, &format!("JTI={}", claims.jti));
    UserInfo {
        name: claims.sub.clone(),
        uid: kubernetes.serviceaccount.uid.clone(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", kubernetes.namespace),
        ],
        extra,
    }
}

#[cfg(test)]
mod tests;
