//! What a request wants to do, in the terms that authorizers decide on.

use std::borrow::Cow;

use machinery::status::Status;

use crate::UserInfo;

/// One action to be authorized (upstream: apiserver `pkg/authorization/authorizer.Attributes`).
#[derive(Debug, Clone, Default)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: Cow<'a, UserInfo>,
    /// For example `get`; the lower-case HTTP method for non-resource paths.
    pub verb: &'a str,
    /// Whether an API resource is addressed; otherwise only `path` counts.
    pub is_resource: bool,
    /// API group, empty for the core group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Subresource, empty for none.
    pub subresource: &'a str,
    /// Object name, empty for none.
    pub name: &'a str,
    /// Namespace, empty for cluster scope and for all namespaces.
    pub namespace: &'a str,
    /// URL path of a non-resource request.
    pub path: &'a str,
    /// `path=value` demands of the field selector: a node may list the pods that are bound to it.
    pub demanded_fields: Vec<(String, String)>,
}

impl Attributes<'_> {
    /// `pods/log`, or `pods` without a subresource.
    #[must_use]
    pub fn combined_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// Changes nothing, as far as the verb tells.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.verb, "get" | "list" | "watch")
    }

    /// The sentence that says what is not allowed (upstream: `handlers/responsewriters/errors.go`).
    #[must_use]
    pub fn refusal(&self) -> String {
        let (user, verb) = (&self.user.name, self.verb);
        if !self.is_resource {
            return format!("User {user:?} cannot {verb} path {:?}", self.path);
        }
        let (resource, group) = (self.combined_resource(), self.group);
        if self.namespace.is_empty() {
            format!(
                "User {user:?} cannot {verb} resource {resource:?} in API group {group:?} at the cluster scope"
            )
        } else {
            let namespace = self.namespace;
            format!(
                "User {user:?} cannot {verb} resource {resource:?} in API group {group:?} in the namespace {namespace:?}"
            )
        }
    }

    /// The 403 answer; `reason` is what the authorizers had to say, possibly nothing.
    #[must_use]
    pub fn forbidden(&self, reason: &str) -> Status {
        let why = if reason.is_empty() { self.refusal() } else { format!("{}: {reason}", self.refusal()) };
        if self.is_resource {
            Status::forbidden(self.group, self.resource, self.name, why)
        } else {
            Status::forbidden("", "", "", why)
        }
    }
}

/// What an authorizer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, and why.
    Allow(String),
    /// Not allowed by this authorizer; another may. With the reason, if there is one.
    NoOpinion(String),
}

impl Decision {
    /// Whether the action is allowed.
    #[must_use]
    pub fn allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Decision::Allow(reason) | Decision::NoOpinion(reason) => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(user: &UserInfo) -> Attributes<'_> {
        Attributes {
            user: Cow::Borrowed(user),
            verb: "list",
            is_resource: true,
            resource: "configmaps",
            namespace: "default",
            ..Attributes::default()
        }
    }

    #[test]
    fn refusals_are_worded_as_upstream_words_them() {
        let alice = UserInfo::new("alice", &[]);
        let listing = attributes(&alice);
        assert_eq!(
            listing.forbidden("").message,
            r#"configmaps is forbidden: User "alice" cannot list resource "configmaps" in API group "" in the namespace "default""#
        );
        let log = Attributes {
            verb: "get",
            resource: "pods",
            subresource: "log",
            name: "web",
            ..attributes(&alice)
        };
        assert_eq!(
            log.forbidden("").message,
            r#"pods "web" is forbidden: User "alice" cannot get resource "pods/log" in API group "" in the namespace "default""#
        );
        let cluster =
            Attributes { namespace: "", group: "apps", resource: "deployments", ..attributes(&alice) };
        assert_eq!(
            cluster.forbidden("because").message,
            r#"deployments.apps is forbidden: User "alice" cannot list resource "deployments" in API group "apps" at the cluster scope: because"#
        );
        let path = Attributes {
            user: Cow::Owned(UserInfo::anonymous()),
            verb: "get",
            path: "/",
            ..Attributes::default()
        };
        assert_eq!(path.forbidden("").message, r#"forbidden: User "system:anonymous" cannot get path "/""#);
    }
}
