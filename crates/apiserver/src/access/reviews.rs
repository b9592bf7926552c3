//! What may a user do? (upstream: `pkg/registry/authorization`)

use std::borrow::Cow;
use std::collections::BTreeMap;

use auth::{Attributes, Decision, UserInfo};
use machinery::field::{Errors, FieldError, Path};
use machinery::selector::FieldSelector;
use machinery::status::Status;
use serde_json::{Map, Value, json};

use super::{check_namespace, text, texts};
use crate::flow::{Chain, now_seconds};
use crate::http::RequestInfo;

const GROUP: &str = "authorization.k8s.io";

/// SelfSubjectReview: who am I?
pub(super) fn self_subject(user: &UserInfo, mut review: Value) -> Value {
    review["status"] = json!({"userInfo": user});
    if let Ok(now) = jiff::Timestamp::from_second(now_seconds()) {
        review["metadata"]["creationTimestamp"] = machinery::time::rfc3339(now).into();
    }
    review
}

/// SelfSubjectAccessReview: may I?
pub(super) fn self_access(chain: &Chain, user: &UserInfo, mut review: Value) -> Result<Value, Status> {
    let attributes =
        attributes(&review["spec"], Cow::Borrowed(user), "SelfSubjectAccessReview", Errors::new())?;
    let answer = status(&chain.policy.authorize(&attributes));
    review["status"] = answer;
    Ok(review)
}

/// SubjectAccessReview: may someone?
pub(super) fn access(chain: &Chain, mut review: Value) -> Result<Value, Status> {
    let attributes = subject_attributes(&review["spec"], "SubjectAccessReview", Errors::new())?;
    let answer = status(&chain.policy.authorize(&attributes));
    review["status"] = answer;
    Ok(review)
}

/// LocalSubjectAccessReview: may someone, in this namespace?
pub(super) fn local_access(chain: &Chain, info: &RequestInfo, mut review: Value) -> Result<Value, Status> {
    check_namespace(&review, info)?;
    review["metadata"]["namespace"] = info.namespace.as_str().into();
    let spec = &review["spec"];
    let path = Path::new("spec");
    let mut errors = Errors::new();
    let asked = &spec["resourceAttributes"];
    if asked.is_object() && text(asked, "namespace") != info.namespace {
        errors.push(FieldError::invalid(
            &path.child("resourceAttributes").child("namespace"),
            text(asked, "namespace"),
            "must match metadata.namespace",
        ));
    }
    if spec["nonResourceAttributes"].is_object() {
        errors.push(FieldError::invalid(
            &path.child("nonResourceAttributes"),
            spec["nonResourceAttributes"].clone(),
            "disallowed on this kind of request",
        ));
    }
    let attributes = subject_attributes(spec, "LocalSubjectAccessReview", errors)?;
    let answer = status(&chain.policy.authorize(&attributes));
    review["status"] = answer;
    Ok(review)
}

/// SelfSubjectRulesReview: what may I, in a namespace?
pub(super) fn self_rules(chain: &Chain, user: &UserInfo, mut review: Value) -> Result<Value, Status> {
    let namespace = text(&review["spec"], "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let found = chain.policy.rules_for(user, namespace);
    let mut status = json!({"resourceRules": [], "nonResourceRules": [], "incomplete": false});
    for rule in found.rules {
        if rule.non_resource_urls.is_empty() {
            let mut entry =
                json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                entry["resourceNames"] = json!(rule.resource_names);
            }
            push(&mut status["resourceRules"], entry);
        } else {
            push(
                &mut status["nonResourceRules"],
                json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}),
            );
        }
    }
    let mut errors = found.errors;
    if user.node_name().is_some() {
        errors.push("node authorizer does not support user rule resolution".to_owned());
    }
    if !errors.is_empty() {
        status["incomplete"] = true.into();
        status["evaluationError"] = errors.join(", ").into();
    }
    review["status"] = status;
    Ok(review)
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

fn status(decision: &Decision) -> Value {
    let mut status = Map::new();
    status.insert("allowed".into(), decision.allowed().into());
    if !decision.reason().is_empty() {
        status.insert("reason".into(), decision.reason().into());
    }
    status.into()
}

/// The question about the user that the spec names.
fn subject_attributes<'a>(spec: &'a Value, kind: &str, mut errors: Errors) -> Result<Attributes<'a>, Status> {
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra: BTreeMap<String, Vec<String>> =
        extra.map(|(key, _)| (key.to_ascii_lowercase(), texts(&spec["extra"], key))).collect();
    let user = UserInfo {
        name: text(spec, "user").to_owned(),
        uid: text(spec, "uid").to_owned(),
        groups: texts(spec, "groups"),
        extra,
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let path = Path::new("spec").child("user");
        errors.push(FieldError::invalid(&path, "", "at least one of user or group must be specified"));
    }
    attributes(spec, Cow::Owned(user), kind, errors)
}

/// The question of a spec; `errors` are those found before.
fn attributes<'a>(
    spec: &'a Value,
    user: Cow<'a, UserInfo>,
    kind: &str,
    mut errors: Errors,
) -> Result<Attributes<'a>, Status> {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let path = Path::new("spec");
    if resource.is_object() && other.is_object() {
        let detail = "cannot be specified in combination with resourceAttributes";
        errors.push(FieldError::invalid(&path.child("nonResourceAttributes"), other.clone(), detail));
    } else if !resource.is_object() && !other.is_object() {
        let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(FieldError::invalid(&path.child("resourceAttributes"), Value::Null, detail));
    }
    if !errors.is_empty() {
        return Err(Status::invalid(GROUP, kind, "", errors));
    }
    if other.is_object() {
        let (verb, path) = (text(other, "verb"), text(other, "path"));
        return Ok(Attributes { user, verb, path, ..Attributes::default() });
    }
    let own = |key: &str| text(resource, key);
    Ok(Attributes {
        user,
        is_resource: true,
        verb: own("verb"),
        group: own("group"),
        version: own("version"),
        resource: own("resource"),
        subresource: own("subresource"),
        name: own("name"),
        namespace: own("namespace"),
        path: "",
        demanded_fields: demanded_fields(&resource["fieldSelector"]),
    })
}

fn demanded_fields(selector: &Value) -> Vec<(String, String)> {
    let raw = text(selector, "rawSelector");
    if let (false, Ok(selector)) = (raw.is_empty(), FieldSelector::parse(raw)) {
        let terms = selector.terms().iter().filter(|term| term.equal);
        return terms.map(|term| (term.field.clone(), term.value.clone())).collect();
    }
    let requirements = selector["requirements"].as_array().into_iter().flatten();
    requirements
        .filter_map(|requirement| match texts(requirement, "values").as_slice() {
            [value] if text(requirement, "operator") == "In" => {
                Some((text(requirement, "key").to_owned(), value.clone()))
            }
            _ => None,
        })
        .collect()
}
