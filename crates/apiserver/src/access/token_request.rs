//! `serviceaccounts/<name>/token`: a token for a service account (upstream: `pkg/registry/core/serviceaccount/storage/token.go`).

use auth::{KubernetesClaims, MAX_EXPIRATION_SECONDS, MIN_EXPIRATION_SECONDS, Ref, TokenSpec, UserInfo};
use jiff::Timestamp;
use machinery::field::{Errors, FieldError, Path};
use machinery::meta::split_api_version;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{check_namespace, node_tokens, text, texts};
use crate::flow::{Chain, new_uuid, now_seconds};
use crate::http::RequestInfo;
use crate::registry::admission::ending;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
/// What kubelets ask for on behalf of pods that name no lifetime of their own: these tokens are replaced long before, but a
/// program that reads its token only once must not break.
const KUBELET_EXPIRATION_SECONDS: i64 = 3607;
/// So long such tokens are in fact good for.
const EXTENDED_EXPIRATION_SECONDS: i64 = 365 * 24 * 3600;

/// Issues a token.
pub(super) fn answer(
    chain: &Chain,
    info: &RequestInfo,
    user: &UserInfo,
    mut request: Value,
) -> Result<Value, Status> {
    check_namespace(&request, info)?;
    check_lifecycle(chain, info)?;
    check_name(&request, info)?;
    let account = chain
        .registry
        .object_value("", "serviceaccounts", &info.namespace, &info.name)
        .ok_or_else(|| Status::not_found("", "serviceaccounts", &info.name))?;
    let uid = check_uid(&request, &account, info)?;
    let wished = wishes(chain, &request["spec"])?;
    let mut kubernetes = KubernetesClaims {
        namespace: info.namespace.clone(),
        serviceaccount: reference(&account),
        ..KubernetesClaims::default()
    };
    let bound = request["spec"]["boundObjectRef"].clone();
    node_tokens::restrict(chain, info, user, &request["spec"])?;
    if bound.is_object() {
        bind(chain, info, &bound, &mut kubernetes)?;
    }

    let now = now_seconds();
    let seconds = wished.seconds;
    let own_audience = wished.audiences == chain.authenticator.audiences();
    let extended = seconds == KUBELET_EXPIRATION_SECONDS && kubernetes.pod.is_some() && own_audience;
    let mut expiration_seconds = seconds;
    if extended {
        kubernetes.warnafter = Some(now + seconds);
        expiration_seconds = EXTENDED_EXPIRATION_SECONDS;
    }
    let spec = TokenSpec { kubernetes, audiences: wished.audiences.clone(), expiration_seconds };
    let (token, _) = chain.authenticator.signer().issue(&spec, now, &new_uuid()).map_err(Status::internal)?;

    request["metadata"]["name"] = info.name.as_str().into();
    request["metadata"]["namespace"] = info.namespace.as_str().into();
    request["metadata"]["uid"] = uid.into();
    request["metadata"]["creationTimestamp"] = rfc3339(now)?.into();
    request["spec"]["audiences"] = json!(wished.audiences);
    if !bound.is_object() {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    request["status"] = json!({"token": token, "expirationTimestamp": rfc3339(now + seconds)?});
    Ok(request)
}

/// A token is new content of its namespace (upstream: the NamespaceLifecycle admission plugin).
fn check_lifecycle(chain: &Chain, info: &RequestInfo) -> Result<(), Status> {
    let found = chain.registry.object_value("", "namespaces", "", &info.namespace);
    let namespace = found.ok_or_else(|| Status::not_found("", "namespaces", &info.namespace))?;
    if namespace["status"]["phase"] != "Terminating" {
        return Ok(());
    }
    let forbidden = |why: String| Status::forbidden("", "serviceaccounts", &info.name, why);
    Err(ending(&info.namespace, forbidden))
}

/// The name of the account, when the body has one.
fn check_name(request: &Value, info: &RequestInfo) -> Result<(), Status> {
    let name = text(&request["metadata"], "name");
    if name.is_empty() || name == info.name {
        return Ok(());
    }
    let path = Path::new("metadata").child("name");
    let detail = "must match the service account name if specified";
    let errors: Errors = vec![FieldError::invalid(&path, name, detail)];
    Err(Status::invalid(GROUP, KIND, &info.name, errors))
}

/// The account's UID. A client that names one means this account and none that has its name since.
fn check_uid(request: &Value, account: &Value, info: &RequestInfo) -> Result<String, Status> {
    let (wanted, found) = (text(&request["metadata"], "uid"), text(&account["metadata"], "uid"));
    if wanted.is_empty() || wanted == found {
        return Ok(found.to_owned());
    }
    let why = format!(
        "the UID in the token request ({wanted}) does not match the UID of the service account ({found})"
    );
    // Upstream names the kind here, not the resource.
    Err(Status::conflict(GROUP, KIND, &info.name, why))
}

struct Wishes {
    audiences: Vec<String>,
    seconds: i64,
}

fn wishes(chain: &Chain, spec: &Value) -> Result<Wishes, Status> {
    let mut audiences = texts(spec, "audiences");
    if audiences.is_empty() {
        audiences = chain.authenticator.audiences().to_vec();
    }
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or_default();
    let path = Path::new("spec").child("expirationSeconds");
    let detail = if seconds < MIN_EXPIRATION_SECONDS {
        "may not specify a duration less than 10 minutes"
    } else if seconds > MAX_EXPIRATION_SECONDS {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(Wishes { audiences, seconds });
    };
    let errors: Errors = vec![FieldError::invalid(&path, seconds, detail)];
    Err(Status::invalid(GROUP, KIND, "", errors))
}

fn rfc3339(seconds: i64) -> Result<String, Status> {
    Timestamp::from_second(seconds).map(machinery::time::rfc3339).map_err(Status::internal)
}

fn reference(object: &Value) -> Ref {
    Ref {
        name: text(&object["metadata"], "name").to_owned(),
        uid: text(&object["metadata"], "uid").to_owned(),
    }
}

/// Ties the token to the life of an object.
fn bind(
    chain: &Chain,
    info: &RequestInfo,
    bound: &Value,
    claims: &mut KubernetesClaims,
) -> Result<(), Status> {
    let (kind, name) = (text(bound, "kind"), text(bound, "name"));
    let (group, version) = split_api_version(text(bound, "apiVersion"));
    let (plural, namespace) = match (group, kind) {
        ("", "Pod") => ("pods", info.namespace.as_str()),
        ("", "Secret") => ("secrets", info.namespace.as_str()),
        ("", "Node") => ("nodes", ""),
        _ => {
            let message = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(message));
        }
    };
    let object = chain
        .registry
        .object_value("", plural, namespace, name)
        .ok_or_else(|| Status::not_found("", plural, name))?;
    if kind == "Pod" && text(&object["spec"], "serviceAccountName") != info.name {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            info.name
        )));
    }
    let found = reference(&object);
    let wanted = text(bound, "uid");
    if !wanted.is_empty() && wanted != found.uid {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        // Upstream names the kind here, not the resource.
        return Err(Status::conflict("", kind, name, why));
    }
    match kind {
        "Pod" => {
            claims.node = pod_node(chain, &object);
            claims.pod = Some(found);
        }
        "Secret" => claims.secret = Some(found),
        _ => claims.node = Some(found),
    }
    Ok(())
}

/// The node that a pod runs on. Its UID is left out when the node is not known (any more).
fn pod_node(chain: &Chain, pod: &Value) -> Option<Ref> {
    let name = text(&pod["spec"], "nodeName");
    if name.is_empty() {
        return None;
    }
    let node = chain.registry.object_value("", "nodes", "", name);
    Some(node.as_ref().map_or_else(|| Ref { name: name.to_owned(), uid: String::new() }, reference))
}
