//! Who may use the node's API: holders of a certificate of the cluster whom the API server lets.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use client::Rest;
use http::{Method, Request, StatusCode, header};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

const ALLOWED_FOR: Duration = Duration::from_secs(300);
const DENIED_FOR: Duration = Duration::from_secs(30);
/// Decisions remembered; when more are needed all are asked for again.
const CACHE_MAX: usize = 1024;
/// Group that may do everything, everywhere.
const MASTERS: &str = "system:masters";

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub message: String,
}

/// Who holds the client certificate; no name without one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    user: String,
    groups: Vec<String>,
}

impl Identity {
    /// The subject of a verified certificate chain: common name and organisations.
    pub fn of(chain: Option<&[CertificateDer<'_>]>) -> Self {
        let Some(leaf) = chain.and_then(|chain| chain.first()) else { return Self::default() };
        let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Self::default() };
        let subject = certificate.subject();
        let text =
            |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().map(str::to_owned).ok();
        Self {
            user: subject.iter_common_name().find_map(text).unwrap_or_default(),
            groups: subject.iter_organization().filter_map(text).collect(),
        }
    }
}

/// The resource and verb of the Node that a request touches.
fn attributes<B>(request: &Request<B>) -> (&'static str, &'static str) {
    let verb = match *request.method() {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let first = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
    let subresource = match first {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "healthz" => "healthz",
        "pods" | "runningpods" => "pods",
        _ => "proxy",
    };
    (subresource, verb)
}

/// Who asked for what: identity, subresource, verb.
type Question = (Identity, &'static str, &'static str);

/// Asks the API server and remembers what it said.
pub(crate) struct Authorizer {
    rest: Rest,
    node: String,
    decisions: Mutex<HashMap<Question, (bool, Instant)>>,
}

impl Authorizer {
    pub fn new(rest: Rest, node: String) -> Self {
        Self { rest, node, decisions: Mutex::default() }
    }

    /// Whether the holder may send this request.
    pub async fn check<B>(&self, identity: &Identity, request: &Request<B>) -> Result<(), Refusal> {
        let unauthorized =
            || Refusal { status: StatusCode::UNAUTHORIZED, message: "Unauthorized".to_owned() };
        let identity = if identity.user.is_empty() {
            self.bearer(request).await.ok_or_else(unauthorized)?
        } else {
            identity.clone()
        };
        if identity.groups.iter().any(|group| group == MASTERS) {
            return Ok(());
        }
        let (subresource, verb) = attributes(request);
        if self.allowed(&identity, subresource, verb).await || self.allowed(&identity, "proxy", verb).await {
            return Ok(());
        }
        let message = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])",
            identity.user
        );
        Err(Refusal { status: StatusCode::FORBIDDEN, message })
    }

    /// The user of a bearer token that the API server vouches for.
    async fn bearer<B>(&self, request: &Request<B>) -> Option<Identity> {
        let header = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        let token = header.strip_prefix("Bearer ")?;
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        });
        let answer = self.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await?;
        if answer["status"]["authenticated"] != true {
            return None;
        }
        let user = &answer["status"]["user"];
        let groups = user["groups"].as_array().into_iter().flatten();
        Some(Identity {
            user: user["username"].as_str()?.to_owned(),
            groups: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    async fn allowed(&self, identity: &Identity, subresource: &'static str, verb: &'static str) -> bool {
        let key = (identity.clone(), subresource, verb);
        if let Some((allowed, until)) = self.decisions.lock().get(&key)
            && *until > Instant::now()
        {
            return *allowed;
        }
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": identity.user,
                "groups": identity.groups,
                "resourceAttributes": {
                    "version": "v1", "resource": "nodes", "subresource": subresource,
                    "name": self.node, "verb": verb,
                },
            },
        });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        // Without an answer nobody is let in, and nothing is remembered.
        let Some(answer) = self.post(path, &review).await else { return false };
        let allowed = answer["status"]["allowed"] == true;
        let until = Instant::now() + if allowed { ALLOWED_FOR } else { DENIED_FOR };
        let mut decisions = self.decisions.lock();
        if decisions.len() >= CACHE_MAX {
            decisions.clear();
        }
        decisions.insert(key, (allowed, until));
        allowed
    }

    async fn post(&self, path: &str, body: &Value) -> Option<Value> {
        match self.rest.post(path, body.to_string().into_bytes()).await {
            Ok(answer) => serde_json::from_str(&answer).ok(),
            Err(error) => {
                tracing::warn!(%error, path, "failed to ask the API server about a client");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_map_to_subresources() {
        let cases = [
            (Method::GET, "/stats/summary", ("stats", "get")),
            (Method::GET, "/metrics/resource", ("metrics", "get")),
            (Method::GET, "/pods", ("pods", "get")),
            (Method::POST, "/exec/ns/p/c", ("proxy", "create")),
            (Method::GET, "/containerLogs/ns/p/c", ("proxy", "get")),
            (Method::GET, "/healthz", ("healthz", "get")),
        ];
        for (method, path, want) in cases {
            let request = Request::builder().method(method).uri(path).body(()).expect("request");
            assert_eq!(attributes(&request), want, "{path}");
        }
    }
}
