//! Acting as someone else (upstream: apiserver `pkg/endpoints/filters/impersonation`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use auth::{
    ANONYMOUS, AUTHENTICATED_GROUP, Attributes, UNAUTHENTICATED_GROUP, UserInfo, split_service_account_user,
};
use http::HeaderMap;
use machinery::status::Status;

use crate::http::percent_decode;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// Whom the headers ask to act as. `None`: no such header.
///
/// # Errors
/// When groups, a UID or extras come without a user, or a header is no text.
pub(super) fn requested(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let all = |name: &str| -> Result<Vec<String>, Status> {
        let values = headers.get_all(name).iter();
        values.map(|value| value.to_str().map(str::to_owned).map_err(|_| bad(name))).collect()
    };
    let name = all(USER)?.pop().unwrap_or_default();
    let groups = all(GROUP)?;
    let uid = all(UID)?.pop().unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for header in headers.keys() {
        if let Some(key) = header.as_str().strip_prefix(EXTRA_PREFIX) {
            let key = percent_decode(key).unwrap_or_else(|| key.to_owned());
            extra.insert(key, all(header.as_str())?);
        }
    }
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(Status::internal(
            "requested impersonation of groups, a UID or extra fields without impersonating a user",
        ));
    }
    Ok(Some(UserInfo { name, uid, groups, extra }))
}

fn bad(header: &str) -> Status {
    Status::bad_request(format!("header {header:?} is not valid text"))
}

/// Everything the requesting user must be allowed to impersonate, one question each.
pub(super) fn questions<'a>(requester: &'a UserInfo, wanted: &'a UserInfo) -> Vec<Attributes<'a>> {
    let ask = |group: &'a str, resource: &'a str, subresource: &'a str, namespace: &'a str, name: &'a str| {
        Attributes {
            user: Cow::Borrowed(requester),
            verb: "impersonate",
            is_resource: true,
            group,
            version: "v1",
            resource,
            subresource,
            namespace,
            name,
            ..Attributes::default()
        }
    };
    let mut questions = vec![match split_service_account_user(&wanted.name) {
        Some((namespace, name)) => ask("", "serviceaccounts", "", namespace, name),
        None => ask("", "users", "", "", &wanted.name),
    }];
    questions.extend(wanted.groups.iter().map(|group| ask("", "groups", "", "", group)));
    const IDENTITY: &str = "authentication.k8s.io";
    if !wanted.uid.is_empty() {
        questions.push(ask(IDENTITY, "uids", "", "", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        questions.extend(values.iter().map(|value| ask(IDENTITY, "userextras", key, "", value)));
    }
    questions
}

/// The impersonated user with the groups that come by themselves.
pub(super) fn complete(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty()
        && let Some((namespace, _)) = split_service_account_user(&user.name)
    {
        let own = format!("system:serviceaccounts:{namespace}");
        user.groups = vec!["system:serviceaccounts".to_owned(), own];
    }
    let implied = if user.name == ANONYMOUS { UNAUTHENTICATED_GROUP } else { AUTHENTICATED_GROUP };
    // Who asks to be unauthenticated stays so.
    let settled = user.in_group(implied) || user.in_group(UNAUTHENTICATED_GROUP);
    if !settled {
        user.groups.push(implied.to_owned());
    }
    user
}

/// Removes credentials and impersonation, so that nothing further down passes them on.
pub(super) fn strip(headers: &mut HeaderMap) {
    headers.remove(http::header::AUTHORIZATION);
    let impersonation: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn headers_name_the_wanted_user() {
        let wanted = requested(&headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "dev"),
            ("impersonate-group", "ops"),
            ("impersonate-extra-acme.com%2fproject", "x"),
        ]));
        let wanted = wanted.unwrap().unwrap();
        assert_eq!((wanted.name.as_str(), wanted.groups.len()), ("jane", 2));
        assert_eq!(wanted.extra["acme.com/project"], ["x"]);
        let asked: Vec<String> =
            questions(&UserInfo::new("root", &[]), &wanted).iter().map(Attributes::refusal).collect();
        assert_eq!(asked.len(), 4);
        assert_eq!(
            asked[0],
            r#"User "root" cannot impersonate resource "users" in API group "" at the cluster scope"#
        );
        assert_eq!(complete(wanted).groups, ["dev", "ops", "system:authenticated"]);
    }

    #[test]
    fn groups_without_a_user_are_refused() {
        assert!(requested(&headers(&[("impersonate-group", "dev")])).is_err());
        assert_eq!(requested(&headers(&[])).unwrap(), None);
    }

    #[test]
    fn service_accounts_get_their_groups() {
        let user = complete(UserInfo::new("system:serviceaccount:a:b", &[]));
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
        );
        assert_eq!(complete(UserInfo::new(ANONYMOUS, &[])).groups, [UNAUTHENTICATED_GROUP]);
    }
}
