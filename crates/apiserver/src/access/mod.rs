//! Virtual resources about identity and access: answered from the policy and the token signer, never stored.

mod claim_status;
mod escalation;
mod node_tokens;
mod reviews;
mod selectors;
mod signers;
mod token_request;
mod token_review;

use auth::UserInfo;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Method, Response};
use machinery::resources::Resources;
use machinery::schema::Schema;
use machinery::status::Status;
use serde_json::{Value, json};

use crate::ApiBody;
use crate::flow::{Admitted, Chain, header};
use crate::http::{Accept, Offer, RequestInfo, Wishes, read_limited, respond};
use crate::registry::{
    Answer, Body, Expected, WriteOptions, go_type, manager, owned_by_poster, read_body, without_table,
};

pub(crate) use claim_status::claim_status_refusals;
pub(crate) use escalation::RbacEscalation;
pub(crate) use signers::CertificateSigners;

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
    let accept = Accept::negotiate(header(&parts.headers, ACCEPT), Offer::NO_TABLES)?;
    let wishes = Wishes::of(&parts.headers, &query, &accept);
    let body = read_limited(body).await?;
    let options = WriteOptions::parse(&query, "CreateOptions")?;
    let expected = if is_token {
        expected("authentication.k8s.io", "v1", "TokenRequest")
    } else {
        expected(resource.group, resource.version, resource.kind)
    };
    let content_type = header(&parts.headers, CONTENT_TYPE);
    let Body { object, warnings } = read_body(content_type, &body, expected, options.field_validation)?;
    let mut review = with_sections(object, expected.kind);
    if !is_token {
        forget_system_fields(&mut review, resource.namespaced);
    }
    let owners = answers_what_was_asked(expected.kind).then(|| {
        let manager = manager(&options, header(&parts.headers, USER_AGENT));
        owned_by_poster(&review, expected.type_id, &manager, &info.subresource)
    });
    let decided = decide(chain, &info, &user, expected.kind, review).await;
    let mut answered = decided.map_err(|status| status.with_warnings(warnings.clone()))?;
    if let Some(owners) = owners {
        machinery::meta::set(&mut answered, "managedFields", owners);
    }
    let answered = without_table(answered, accept.transform, || go_type(expected.group, expected.kind))?;
    let answer = Answer::with_code(201, answered.to_string()).with_warnings(warnings);
    Ok(respond(answer, wishes).await)
}

async fn decide(
    chain: &Chain,
    info: &RequestInfo,
    user: &UserInfo,
    kind: &str,
    review: Value,
) -> Result<Value, Status> {
    match kind {
        "TokenRequest" => {
            // The account, and what the token is bound to, are looked up in the caches.
            chain.registry.caught_up().await?;
            token_request::answer(chain, info, user, review)
        }
        "TokenReview" => token_review::answer(chain, review),
        "SelfSubjectReview" => Ok(reviews::self_subject(user, &review)),
        "SelfSubjectAccessReview" => reviews::self_access(chain, user, review),
        "SubjectAccessReview" => reviews::access(chain, review),
        "LocalSubjectAccessReview" => reviews::local_access(chain, info, review),
        "SelfSubjectRulesReview" => reviews::self_rules(chain, user, &review),
        _ => Err(Status::no_such_resource()),
    }
}

/// What is posted here: group, version and kind of the body.
fn expected<'a>(group: &'a str, version: &'a str, kind: &'a str) -> Expected<'a> {
    Expected { group, version, kind, type_id: Schema::builtin().kind(group, version, kind) }
}

/// Whether the answer is the posted object with a status. Others are made anew.
fn answers_what_was_asked(kind: &str) -> bool {
    !matches!(kind, "SelfSubjectReview" | "SelfSubjectRulesReview")
}

/// The object with the sections and defaults that are there even when nothing is in them.
fn with_sections(mut object: Value, kind: &str) -> Value {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if !object["spec"].is_object() && kind != "SelfSubjectReview" {
        object["spec"] = json!({});
    }
    if kind == "TokenRequest" && object["spec"]["expirationSeconds"].is_null() {
        object["spec"]["expirationSeconds"] = auth::DEFAULT_EXPIRATION_SECONDS.into();
    }
    object
}

/// What only the server sets, and the namespace of what is in none, counts for nothing when a client sends it.
fn forget_system_fields(review: &mut Value, namespaced: bool) {
    const FIELDS: [&str; 6] = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "managedFields",
    ];
    if let Some(metadata) = review["metadata"].as_object_mut() {
        metadata.retain(|key, _| !FIELDS.contains(&key.as_str()) && (namespaced || key != "namespace"));
    }
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
