//! Acting as someone else (upstream: apiserver `pkg/endpoints/filters/impersonation`): for one verb at a time by a mode that
//! is meant for such a user, or for all that the other user may do.

mod modes;

use std::collections::BTreeMap;

use auth::{
    ANONYMOUS, AUTHENTICATED_GROUP, Attributes, UNAUTHENTICATED_GROUP, UserInfo, split_service_account_user,
};
use http::HeaderMap;
use machinery::status::Status;

use self::modes::Mode;
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
        let wanted = go_syntax(&UserInfo { name, uid, groups, extra });
        return Err(Status::bad_request(format!("requested {wanted} without impersonating a user name")));
    }
    Ok(Some(UserInfo { name, uid, groups, extra }))
}

/// A user as upstream's message shows it.
fn go_syntax(user: &UserInfo) -> String {
    let list = |items: &[String]| {
        let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
        format!("[]string{{{}}}", items.join(", "))
    };
    let groups = if user.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&user.groups) };
    let extra = if user.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let entries: Vec<String> =
            user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
        format!("map[string][]string{{{}}}", entries.join(", "))
    };
    format!("&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:{extra}}}", user.name, user.uid)
}

fn bad(header: &str) -> Status {
    Status::bad_request(format!("header {header:?} is not valid text"))
}

/// The user that the request is made as, when one of the modes allows it.
///
/// # Errors
/// The refusal of the first mode that was tried.
pub(super) fn authorize(
    asked: &Attributes<'_>,
    wanted: &UserInfo,
    allow: impl Fn(&Attributes<'_>) -> Result<(), Status>,
) -> Result<UserInfo, Status> {
    let mut refusal = None;
    for mode in Mode::ALL.into_iter().filter(|mode| mode.fits(&asked.user, wanted)) {
        match mode.check(asked, wanted, &allow) {
            Ok(()) => return Ok(complete(mode, wanted.clone())),
            Err(status) => refusal = refusal.or(Some(status)),
        }
    }
    Err(refusal.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

/// The impersonated user with the groups that come by themselves.
fn complete(mode: Mode, mut user: UserInfo) -> UserInfo {
    if let Some(groups) = mode.groups(&user.name) {
        user.groups = groups;
    }
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
        let (user, questions) = allowed_by(|_| true, &UserInfo::new("root", &[]), &wanted);
        assert_eq!(user.unwrap().groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(
            questions[..2],
            ["impersonate-on:user-info:list pods", "impersonate:user-info users jane"]
        );
    }

    /// Who the request is made as when these questions are answered with yes, and the questions.
    fn allowed_by(
        yes: impl Fn(&str) -> bool,
        requester: &UserInfo,
        wanted: &UserInfo,
    ) -> (Result<UserInfo, Status>, Vec<String>) {
        let questions = std::cell::RefCell::new(Vec::new());
        let asked = Attributes {
            user: std::borrow::Cow::Borrowed(requester),
            verb: "list",
            is_resource: true,
            resource: "pods",
            ..Attributes::default()
        };
        let user = authorize(&asked, wanted, |question| {
            let words = [question.verb, &question.combined_resource(), question.name];
            let text = words.join(" ").trim_end().to_owned();
            questions.borrow_mut().push(text.clone());
            if yes(&text) { Ok(()) } else { Err(question.forbidden("")) }
        });
        (user, questions.into_inner())
    }

    #[test]
    fn the_first_refusal_is_told() {
        let (user, questions) =
            allowed_by(|_| false, &UserInfo::new("alice", &[]), &UserInfo::new("bob", &[]));
        assert_eq!(
            user.unwrap_err().message,
            r#"pods is forbidden: User "alice" cannot impersonate-on:user-info:list resource "pods" in API group "" at the cluster scope"#
        );
        assert_eq!(questions, ["impersonate-on:user-info:list pods", "impersonate users bob"]);
    }

    #[test]
    fn the_old_verb_allows_everything() {
        let wanted = UserInfo { uid: "u".into(), ..UserInfo::new("bob", &["system:masters"]) };
        let legacy = |question: &str| question.starts_with("impersonate ");
        let (user, questions) = allowed_by(legacy, &UserInfo::new("alice", &[]), &wanted);
        assert_eq!(user.unwrap().groups, ["system:masters", "system:authenticated"]);
        assert_eq!(
            questions[1..],
            ["impersonate users bob", "impersonate uids u", "impersonate groups system:masters"]
        );
    }

    #[test]
    fn nobody_becomes_an_administrator_by_the_newer_verbs() {
        let newer = |question: &str| !question.starts_with("impersonate ");
        let wanted = UserInfo::new("bob", &["system:masters"]);
        let (user, _) = allowed_by(newer, &UserInfo::new("alice", &[]), &wanted);
        let message = user.unwrap_err().message;
        assert!(message.ends_with("impersonating the system:masters group is not allowed"), "{message}");
    }

    #[test]
    fn a_pod_acts_as_its_node() {
        let mut pod = UserInfo::new("system:serviceaccount:a:b", &[]);
        pod.extra.insert("authentication.kubernetes.io/node-name".into(), vec!["n".into()]);
        let own = |question: &str| question.contains("associated-node");
        let (user, questions) = allowed_by(own, &pod, &UserInfo::new("system:node:n", &[]));
        assert_eq!(user.unwrap().groups, ["system:nodes", "system:authenticated"]);
        assert_eq!(
            questions,
            ["impersonate-on:associated-node:list pods", "impersonate:associated-node nodes *"]
        );
        let (user, _) = allowed_by(own, &pod, &UserInfo::new("system:node:other", &[]));
        assert!(user.is_err());
    }

    #[test]
    fn many_values_are_asked_about_at_once() {
        let wanted = UserInfo::new("bob", &["a", "b", "c", "d"]);
        let (user, questions) = allowed_by(|_| true, &UserInfo::new("alice", &[]), &wanted);
        assert!(user.is_ok());
        assert_eq!(questions.last().map(String::as_str), Some("impersonate:user-info groups *"));
    }

    #[test]
    fn groups_without_a_user_are_refused() {
        let refused = requested(&headers(&[("impersonate-group", "dev")])).unwrap_err();
        let shown =
            r#"&user.DefaultInfo{Name:"", UID:"", Groups:[]string{"dev"}, Extra:map[string][]string(nil)}"#;
        let message = format!("requested {shown} without impersonating a user name");
        assert_eq!((refused.code, refused.message), (400, message));
        assert_eq!(requested(&headers(&[])).unwrap(), None);
    }

    #[test]
    fn service_accounts_get_their_groups() {
        let user = complete(Mode::Legacy, UserInfo::new("system:serviceaccount:a:b", &[]));
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
        );
        assert_eq!(complete(Mode::Legacy, UserInfo::new(ANONYMOUS, &[])).groups, [UNAUTHENTICATED_GROUP]);
    }
}
