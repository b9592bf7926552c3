//! Who makes a request.

use std::collections::BTreeMap;

/// The user that requests without credentials act as.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of requests without credentials.
pub const UNAUTHENTICATED_GROUP: &str = "system:unauthenticated";
/// The group of every request with valid credentials.
pub const AUTHENTICATED_GROUP: &str = "system:authenticated";
/// Members of this group may do everything.
pub const MASTERS_GROUP: &str = "system:masters";
/// The group of node agents.
pub const NODES_GROUP: &str = "system:nodes";
/// Node agents are named by this prefix and their node's name.
pub const NODE_USER_PREFIX: &str = "system:node:";

/// An authenticated (or anonymous) user, with the terms of `authentication.k8s.io/v1` UserInfo.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UserInfo {
    /// Unique name.
    #[serde(rename = "username", default)]
    pub name: String,
    /// Tells apart users that had the same name at different times; empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Names of the groups the user is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Further facts from the authenticator, for example the pod a token is bound to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user with a name and groups and nothing else.
    #[must_use]
    pub fn new(name: impl Into<String>, groups: &[&str]) -> UserInfo {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        UserInfo { name: name.into(), groups, ..UserInfo::default() }
    }

    /// The user of requests without credentials.
    #[must_use]
    pub fn anonymous() -> UserInfo {
        UserInfo::new(ANONYMOUS, &[UNAUTHENTICATED_GROUP])
    }

    /// Adds `system:authenticated`, unless the user is the anonymous one or has it already
    /// (upstream: `pkg/authentication/group/authenticated_group_adder.go`).
    #[must_use]
    pub fn authenticated(mut self) -> UserInfo {
        let settled = self.in_group(AUTHENTICATED_GROUP) || self.in_group(UNAUTHENTICATED_GROUP);
        if self.name != ANONYMOUS && !settled {
            self.groups.push(AUTHENTICATED_GROUP.to_owned());
        }
        self
    }

    /// Whether the user is in `group`.
    #[must_use]
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node's name when the user is a node agent: named `system:node:<name>` and in `system:nodes`.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE_USER_PREFIX)?;
        self.in_group(NODES_GROUP).then_some(name)
    }
}

/// The user name of a service account.
#[must_use]
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Namespace and name of the service account that a user name stands for.
#[must_use]
pub fn split_service_account_user(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}
