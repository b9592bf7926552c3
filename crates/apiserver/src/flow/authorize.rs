//! From a request to the questions that authorization answers.

use std::borrow::Cow;

use auth::{Attributes, UserInfo};
use http::HeaderMap;
use machinery::selector::FieldSelector;
use smallvec::{SmallVec, smallvec};

use crate::http::{Query, RequestInfo};

/// What the user must be allowed in order to make this request: one question, for interactive sessions two.
pub(super) fn questions<'a>(
    info: &'a RequestInfo,
    query: &Query,
    user: &'a UserInfo,
    headers: &HeaderMap,
) -> SmallVec<[Attributes<'a>; 1]> {
    let asked = attributes(info, query, user);
    let session = info.is_resource
        && (info.group.as_str(), info.resource.as_str()) == ("", "pods")
        && matches!(info.subresource.as_str(), "exec" | "attach" | "portforward");
    // WebSockets begin with GET, which must not make "get" enough to run commands.
    if session && info.verb == "get" && headers.contains_key(http::header::UPGRADE) {
        let create = Attributes { verb: "create", ..asked.clone() };
        return smallvec![asked, create];
    }
    smallvec![asked]
}

/// The request in the terms of authorizers.
pub(super) fn attributes<'a>(info: &'a RequestInfo, query: &Query, user: &'a UserInfo) -> Attributes<'a> {
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
        user: Cow::Borrowed(user),
        verb: &info.verb,
        is_resource: info.is_resource,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        name: &info.name,
        namespace: &info.namespace,
        path: &info.path,
        demanded_fields,
    }
}
