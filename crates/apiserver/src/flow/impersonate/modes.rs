//! The ways in which one may be allowed to act as someone else, and what each of them asks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use auth::{Attributes, MASTERS_GROUP, UserInfo, split_service_account_user};
use machinery::field::{Path, aggregate};
use machinery::names;
use machinery::status::Status;

const IDENTITY: &str = "authentication.k8s.io";
const NODE_PREFIX: &str = "system:node:";
const NODES_GROUP: &str = "system:nodes";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const ASSOCIATED_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// From so many values on it is asked first whether all are allowed.
const MANY: usize = 4;

/// A way of acting as someone else. All but the last are allowed a verb at a time: `impersonate-on:user-info:list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A pod's service account as the node the pod runs on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Everybody who is neither a node nor a service account.
    UserInfo,
    /// As ever, for all that the other user may do.
    Legacy,
}

impl Mode {
    /// In the order in which they are tried.
    pub(super) const ALL: [Self; 5] =
        [Self::AssociatedNode, Self::ArbitraryNode, Self::ServiceAccount, Self::UserInfo, Self::Legacy];

    fn verb(self) -> &'static str {
        match self {
            Self::AssociatedNode => "impersonate:associated-node",
            Self::ArbitraryNode => "impersonate:arbitrary-node",
            Self::ServiceAccount => "impersonate:serviceaccount",
            Self::UserInfo => "impersonate:user-info",
            Self::Legacy => "impersonate",
        }
    }

    /// The verb that allows this mode for a verb.
    fn on(self, verb: &str) -> Option<String> {
        let mode = self.verb().strip_prefix("impersonate:")?;
        Some(format!("impersonate-on:{mode}:{verb}"))
    }

    /// Whether it is meant for such a user.
    pub(super) fn fits(self, requester: &UserInfo, wanted: &UserInfo) -> bool {
        let node = node_of(&wanted.name);
        let account = split_service_account_user(&wanted.name).is_some();
        let name_only = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        match self {
            Self::AssociatedNode => {
                let own = requester.extra.get(NODE_NAME).and_then(|names| match names.as_slice() {
                    [name] => Some(name.as_str()),
                    _ => None,
                });
                let is_account = split_service_account_user(&requester.name).is_some();
                name_only && is_account && node.is_some() && node == own
            }
            Self::ArbitraryNode => name_only && node.is_some(),
            Self::ServiceAccount => name_only && account,
            Self::UserInfo => node.is_none() && !account,
            Self::Legacy => true,
        }
    }

    /// Asks all there is to ask.
    ///
    /// # Errors
    /// The first refusal.
    pub(super) fn check(
        self,
        asked: &Attributes<'_>,
        wanted: &UserInfo,
        allow: &impl Fn(&Attributes<'_>) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let requester = self.requester(&asked.user);
        if let Some(on) = self.on(asked.verb) {
            allow(&Attributes { user: Cow::Borrowed(&requester), verb: &on, ..asked.clone() })?;
        }
        let group = if self == Self::Legacy { "" } else { IDENTITY };
        let ask = Ask { requester: &requester, mode: self, group };
        allow(&ask.about_name(&wanted.name))?;
        if !wanted.uid.is_empty() {
            allow(&ask.about(IDENTITY, "uids", &wanted.uid))?;
        }
        ask.about_groups(&wanted.groups, allow)?;
        ask.about_extra(&wanted.extra, allow)
    }

    /// Who asks. What is allowed for the own node is allowed for any, so that nothing tells one node from another.
    fn requester(self, user: &UserInfo) -> UserInfo {
        let mut user = user.clone();
        if self == Self::AssociatedNode {
            let keys = user.extra.into_keys().collect();
            user.extra = BTreeMap::from([(ASSOCIATED_KEYS.to_owned(), keys)]);
        }
        user
    }

    /// Groups that come with the name.
    pub(super) fn groups(self, name: &str) -> Option<Vec<String>> {
        let is_node = self != Self::Legacy && node_of(name).is_some();
        is_node.then(|| vec![NODES_GROUP.to_owned()])
    }
}

/// The node that a user name stands for.
fn node_of(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_PREFIX).filter(|name| names::dns1123_subdomain(name).is_empty())
}

struct Ask<'a> {
    requester: &'a UserInfo,
    mode: Mode,
    /// Of users and groups.
    group: &'static str,
}

impl<'a> Ask<'a> {
    fn about(&self, group: &'static str, resource: &'static str, name: &'a str) -> Attributes<'a> {
        Attributes {
            user: Cow::Borrowed(self.requester),
            verb: self.mode.verb(),
            is_resource: true,
            group,
            version: "v1",
            resource,
            name,
            ..Attributes::default()
        }
    }

    fn about_name(&self, user: &'a str) -> Attributes<'a> {
        if let Some((namespace, name)) = split_service_account_user(user) {
            return Attributes { namespace, ..self.about(self.group, "serviceaccounts", name) };
        }
        match node_of(user).filter(|_| self.mode != Mode::Legacy) {
            Some(_) if self.mode == Mode::AssociatedNode => self.about(self.group, "nodes", "*"),
            Some(node) => self.about(self.group, "nodes", node),
            None => self.about(self.group, "users", user),
        }
    }

    fn about_groups(
        &self,
        groups: &'a [String],
        allow: &impl Fn(&Attributes<'_>) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let ask = |name: &'a str| self.about(self.group, "groups", name);
        if self.mode != Mode::Legacy {
            if groups.iter().any(String::is_empty) {
                return Err(ask("").forbidden("impersonating the empty string group is not allowed"));
            }
            if groups.iter().any(|group| group == MASTERS_GROUP) {
                let why = "impersonating the system:masters group is not allowed";
                return Err(ask(MASTERS_GROUP).forbidden(why));
            }
            if groups.len() >= MANY && allow(&ask("*")).is_ok() {
                return Ok(());
            }
        }
        groups.iter().try_for_each(|group| allow(&ask(group)))
    }

    fn about_extra(
        &self,
        extra: &'a BTreeMap<String, Vec<String>>,
        allow: &impl Fn(&Attributes<'_>) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let ask = |key: &'a str, value: &'a str| Attributes {
            subresource: key,
            ..self.about(IDENTITY, "userextras", value)
        };
        if self.mode != Mode::Legacy && !extra.is_empty() {
            if let Some(why) = extra.iter().find_map(|(key, values)| bad_extra(key, values)) {
                return Err(ask("", "").forbidden(&why));
            }
            let count: usize = extra.values().map(Vec::len).sum();
            if (extra.len() >= MANY || count >= MANY) && allow(&ask("*", "*")).is_ok() {
                return Ok(());
            }
        }
        for (key, values) in extra {
            values.iter().try_for_each(|value| allow(&ask(key, value)))?;
        }
        Ok(())
    }
}

/// What nobody may take on in the newer modes.
fn bad_extra(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let errors = names::domain_prefixed_path(key, &Path::new("extra").child("key"));
    if !errors.is_empty() {
        return Some(format!("impersonating an invalid key in extra is not allowed: {}", aggregate(&errors)));
    }
    if key.chars().any(char::is_uppercase) {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
    }
    if values.is_empty() {
        return Some("impersonating empty values in extra is not allowed".to_owned());
    }
    let empty = values.iter().any(String::is_empty);
    empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
}
