//! What may a user do? (upstream: `pkg/registry/authorization`)

use std::borrow::Cow;
use std::collections::BTreeMap;

use auth::{Attributes, UserInfo};
use machinery::field::{Errors, FieldError, Path};
use machinery::status::Status;
use serde_json::{Value, json};

use super::{check_namespace, selectors, text, texts};
use crate::flow::{Chain, now_seconds};
use crate::http::RequestInfo;

const GROUP: &str = "authorization.k8s.io";

/// SelfSubjectReview: who am I?
pub(super) fn self_subject(user: &UserInfo, asked: &Value) -> Value {
    let mut review = fresh(asked);
    review["status"] = json!({"userInfo": user});
    if let Ok(now) = jiff::Timestamp::from_second(now_seconds()) {
        review["metadata"]["creationTimestamp"] = machinery::time::rfc3339(now).into();
    }
    review
}

/// An answer that says nothing of what was posted but its kind.
fn fresh(asked: &Value) -> Value {
    json!({"kind": asked["kind"], "apiVersion": asked["apiVersion"], "metadata": {}})
}

/// SelfSubjectAccessReview: may I?
pub(super) fn self_access(chain: &Chain, user: &UserInfo, review: Value) -> Result<Value, Status> {
    let mut errors = one_question(&review["spec"]);
    errors.extend(selector_errors(&review["spec"]));
    errors.extend(metadata(&review, "must be empty"));
    refuse(errors)?;
    Ok(answered(chain, Cow::Borrowed(user), review))
}

/// SubjectAccessReview: may someone?
pub(super) fn access(chain: &Chain, review: Value) -> Result<Value, Status> {
    let mut errors = about_someone(&review["spec"]);
    errors.extend(metadata(&review, "must be empty"));
    refuse(errors)?;
    let subject = subject(&review["spec"]);
    Ok(answered(chain, Cow::Owned(subject), review))
}

/// LocalSubjectAccessReview: may someone, in this namespace?
pub(super) fn local_access(chain: &Chain, info: &RequestInfo, mut review: Value) -> Result<Value, Status> {
    check_namespace(&review, info)?;
    let spec = &review["spec"];
    let path = Path::new("spec");
    let mut errors = about_someone(spec);
    errors.extend(metadata(&review, "must be empty except for namespace"));
    let asked = &spec["resourceAttributes"];
    if asked.is_object() && text(asked, "namespace") != info.namespace {
        errors.push(FieldError::invalid(
            &path.child("resourceAttributes").child("namespace"),
            text(asked, "namespace"),
            "must match metadata.namespace",
        ));
    }
    if spec["nonResourceAttributes"].is_object() {
        errors.push(other_question(spec, "disallowed on this kind of request"));
    }
    refuse(errors)?;
    let subject = subject(spec);
    review["metadata"]["namespace"] = info.namespace.as_str().into();
    Ok(answered(chain, Cow::Owned(subject), review))
}

/// SelfSubjectRulesReview: what may I, in a namespace?
pub(super) fn self_rules(chain: &Chain, user: &UserInfo, asked: &Value) -> Result<Value, Status> {
    let namespace = text(&asked["spec"], "namespace");
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
    let mut review = fresh(asked);
    review["spec"] = json!({});
    review["status"] = status;
    Ok(review)
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

/// The review with what the policy says to it.
fn answered(chain: &Chain, user: Cow<'_, UserInfo>, mut review: Value) -> Value {
    let asked = attributes(&review["spec"], user);
    let decision = chain.policy.authorize(&asked);
    let mut status = json!({"allowed": decision.allowed()});
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    let ignored = selectors::ignored(&review["spec"]["resourceAttributes"]);
    if !ignored.is_empty() {
        status["evaluationError"] = ignored.join("; ").into();
    }
    review["status"] = status;
    review
}

/// Upstream's errors here name no kind: the object has lost it by then.
fn refuse(errors: Errors) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(GROUP, "", "", errors)) }
}

/// A review is not kept, so that it has no use for a name or labels.
fn metadata(review: &Value, detail: &str) -> Option<FieldError> {
    let given = review["metadata"].as_object()?;
    let says = |(key, value): (&String, &Value)| key != "namespace" && !is_empty(value);
    given
        .iter()
        .any(says)
        .then(|| FieldError::invalid(&Path::new("metadata"), review["metadata"].clone(), detail))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) => false,
    }
}

/// Either about a resource or about a path.
fn one_question(spec: &Value) -> Errors {
    match (spec["resourceAttributes"].is_object(), spec["nonResourceAttributes"].is_object()) {
        (true, true) => {
            vec![other_question(spec, "cannot be specified in combination with resourceAttributes")]
        }
        (false, false) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let path = Path::new("spec").child("resourceAttributes");
            vec![FieldError::invalid(&path, Value::Null, detail)]
        }
        _ => Errors::new(),
    }
}

/// An error about the question for a path, which is shown as Go names its fields.
fn other_question(spec: &Value, detail: &str) -> FieldError {
    let other = &spec["nonResourceAttributes"];
    let shown = json!({"Path": text(other, "path"), "Verb": text(other, "verb")});
    FieldError::invalid(&Path::new("spec").child("nonResourceAttributes"), shown, detail)
}

fn about_someone(spec: &Value) -> Errors {
    let mut errors = one_question(spec);
    if text(spec, "user").is_empty() && texts(spec, "groups").is_empty() {
        let path = Path::new("spec").child("user");
        errors.push(FieldError::invalid(&path, "", "at least one of user or group must be specified"));
    }
    errors.extend(selector_errors(spec));
    errors
}

fn selector_errors(spec: &Value) -> Errors {
    selectors::check(&spec["resourceAttributes"], &Path::new("spec").child("resourceAttributes"))
}

/// The user that the spec names.
fn subject(spec: &Value) -> UserInfo {
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra: BTreeMap<String, Vec<String>> =
        extra.map(|(key, _)| (key.to_ascii_lowercase(), texts(&spec["extra"], key))).collect();
    UserInfo {
        name: text(spec, "user").to_owned(),
        uid: text(spec, "uid").to_owned(),
        groups: texts(spec, "groups"),
        extra,
    }
}

/// The question of a spec.
fn attributes<'a>(spec: &'a Value, user: Cow<'a, UserInfo>) -> Attributes<'a> {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if other.is_object() {
        let (verb, path) = (text(other, "verb"), text(other, "path"));
        return Attributes { user, verb, path, ..Attributes::default() };
    }
    let own = |key: &str| text(resource, key);
    Attributes {
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
        demanded_fields: selectors::demanded_fields(&resource["fieldSelector"]),
    }
}
