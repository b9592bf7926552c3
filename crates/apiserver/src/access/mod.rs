//! Virtual resources about identity and access: answered from the policy and the token signer, never stored.

mod escalation;
mod reviews;
mod signers;
mod token_request;
mod token_review;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Response, StatusCode};
use machinery::decode;
use machinery::resources::Resources;
use machinery::schema::Schema;
use machinery::status::Status;
use serde_json::{Value, json};

use crate::ApiBody;
use crate::flow::{Admitted, Chain, header};
use crate::http::{Accept, BodyError, RequestInfo, Wishes, read_limited, read_object};

pub(crate) use escalation::RbacEscalation;
pub(crate) use signers::CertificateSigners;

/// What is posted here: group, version and kind of the body.
struct Expected<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

/// Answers a request to one of these resources; all of them know `create` only.
///
/// # Errors
/// The Status that the client gets.
pub(crate) async fn answer(chain: &Chain, admitted: Admitted) -> Result<Response<ApiBody>, Status> {
    let Admitted { info, query, user, request, .. } = admitted;
    let resource = Resources::builtin()
        .lookup(&info.group, &info.version, &info.resource)
        .ok_or_else(Status::no_such_resource)?;
    let is_token = info.subresource == "token";
    if !is_token && !info.subresource.is_empty() {
        return Err(Status::no_such_resource());
    }
    let fits = if is_token { !info.name.is_empty() } else { info.name.is_empty() };
    if request.method() != Method::POST || !fits || resource.namespaced && info.namespace.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let (parts, body) = request.into_parts();
    let accept = Accept::negotiate(header(&parts.headers, ACCEPT))?;
    let wishes = Wishes::of(&parts.headers, &query, &accept);
    let body = read_limited(body).await?;
    let expected = if is_token {
        Expected { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" }
    } else {
        Expected { group: resource.group, version: resource.version, kind: resource.kind }
    };
    let strict = query.get("fieldValidation") == Some("Strict");
    let review = read(&body, header(&parts.headers, CONTENT_TYPE), &expected, strict)?;
    if is_token {
        // The account, and what the token is bound to, are looked up in the caches.
        chain.registry.caught_up().await?;
    }
    let answered = match expected.kind {
        "TokenRequest" => token_request::answer(chain, &info, &user, review)?,
        "TokenReview" => token_review::answer(chain, review)?,
        "SelfSubjectReview" => reviews::self_subject(&user, review),
        "SelfSubjectAccessReview" => reviews::self_access(chain, &user, review)?,
        "SubjectAccessReview" => reviews::access(chain, review)?,
        "LocalSubjectAccessReview" => reviews::local_access(chain, &info, review)?,
        "SelfSubjectRulesReview" => reviews::self_rules(chain, &user, review)?,
        _ => return Err(Status::no_such_resource()),
    };
    Ok(crate::http::json(StatusCode::CREATED, &answered, wishes).await)
}

/// Decodes the body and makes sure that it is what is expected here.
fn read(
    body: &[u8],
    content_type: Option<&str>,
    expected: &Expected<'_>,
    strict: bool,
) -> Result<Value, Status> {
    let ty = Schema::builtin().kind(expected.group, expected.version, expected.kind);
    let kind = expected.kind;
    let wanted = machinery::meta::join_api_version(expected.group, expected.version);
    let unrecognized = |why: String| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why}"))
    };
    let decoded = read_object(content_type, body, ty).map_err(|error| match error {
        BodyError::Media(status) => status,
        BodyError::Unrecognized(why) | BodyError::Broken { why, .. } => unrecognized(why),
    })?;
    let mut object = decoded.value;
    if !object.is_object() {
        return Err(unrecognized("couldn't get version/kind; not an object".to_owned()));
    }
    for (key, value) in [("apiVersion", wanted.as_str()), ("kind", kind)] {
        if object[key].as_str().unwrap_or_default().is_empty() {
            object[key] = value.into();
        }
        if object[key] != value {
            let found = format!("{}, Kind={}", object["apiVersion"], object["kind"]);
            return Err(Status::bad_request(format!("{found} cannot be handled as a {kind} of {wanted}")));
        }
    }
    let cannot = |why: String| {
        Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {why}",
            expected.version
        ))
    };
    let mut odd = decoded.duplicates;
    if let Some(id) = ty {
        odd.extend(decode::check(&mut object, id).map_err(|error| cannot(error.to_string()))?);
    }
    if strict && !odd.is_empty() {
        return Err(cannot(format!("strict decoding error: {}", odd.join(", "))));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if !object["spec"].is_object() && kind != "SelfSubjectReview" {
        object["spec"] = json!({});
    }
    Ok(object)
}

/// A text at a path; empty when it is not there.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The list of texts at a key.
fn texts(value: &Value, key: &str) -> Vec<String> {
    value[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether the object's own namespace, when given, is that of the path.
fn check_namespace(review: &Value, info: &RequestInfo) -> Result<(), Status> {
    let own = text(&review["metadata"], "namespace");
    if own.is_empty() || own == info.namespace {
        return Ok(());
    }
    Err(Status::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}
