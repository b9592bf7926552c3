//! From a request to the questions that authorization answers.

use auth::{Attributes, UserInfo};
use http::HeaderMap;
use machinery::selector::FieldSelector;

use crate::http::{Query, RequestInfo};

/// What the user must be allowed in order to make this request: one question, for interactive sessions two.
pub(super) fn questions(
    info: &RequestInfo,
    query: &Query,
    user: &UserInfo,
    headers: &HeaderMap,
) -> Vec<Attributes> {
    let asked = attributes(info, query, user);
    let session = info.is_resource
        && (info.group.as_str(), info.resource.as_str()) == ("", "pods")
        && matches!(info.subresource.as_str(), "exec" | "attach" | "portforward");
    // WebSockets begin with GET, which must not make "get" enough to run commands.
    if session && info.verb == "get" && headers.contains_key(http::header::UPGRADE) {
        let create = Attributes { verb: "create".to_owned(), ..asked.clone() };
        return vec![asked, create];
    }
    vec![asked]
}

/// The request in the terms of authorizers.
pub(super) fn attributes(info: &RequestInfo, query: &Query, user: &UserInfo) -> Attributes {
    let selector = matches!(info.verb.as_str(), "list" | "watch" | "deletecollection")
        .then(|| query.get_set("fieldSelector"))
        .flatten()
        .and_then(|text| FieldSelector::parse(text).ok());
    let demanded_fields = selector
        .iter()
        .flat_map(FieldSelector::terms)
        .filter(|term| term.equal)
        .map(|term| (term.field.clone(), term.value.clone()))
        .collect();
    Attributes {
        user: user.clone(),
        verb: info.verb.clone(),
        is_resource: info.is_resource,
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        name: info.name.clone(),
        namespace: info.namespace.clone(),
        path: info.path.clone(),
        demanded_fields,
    }
}
