//! Roles and bindings as far as evaluation needs them.

use serde::Deserialize;

use super::rule::{Rule, null_is_empty};
use crate::{UserInfo, service_account_user};

/// To whom a binding grants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    #[serde(default)]
    pub kind: String,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Namespace of a service account; in a RoleBinding its own when absent.
    #[serde(default)]
    pub namespace: String,
}

/// What a binding grants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    #[serde(default)]
    pub kind: String,
    /// Name.
    #[serde(default)]
    pub name: String,
}

/// A RoleBinding, or with an empty namespace a ClusterRoleBinding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binding {
    /// Name.
    pub name: String,
    /// Namespace; empty for a ClusterRoleBinding.
    pub namespace: String,
    /// What is granted.
    pub role: RoleRef,
    /// To whom.
    pub subjects: Vec<Subject>,
}

impl Subject {
    fn is(&self, user: &UserInfo, binding_namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => user.name == self.name,
            "Group" => user.in_group(&self.name),
            "ServiceAccount" => {
                let namespace = self.namespace_or(binding_namespace);
                !namespace.is_empty() && user.name == service_account_user(namespace, &self.name)
            }
            _ => false,
        }
    }

    fn namespace_or<'a>(&'a self, binding_namespace: &'a str) -> &'a str {
        if self.namespace.is_empty() { binding_namespace } else { &self.namespace }
    }

    fn describe(&self, binding_namespace: &str) -> String {
        if self.kind == "ServiceAccount" {
            let name = format!("{}/{}", self.name, self.namespace_or(binding_namespace));
            format!("{} {name:?}", self.kind)
        } else {
            format!("{} {:?}", self.kind, self.name)
        }
    }
}

impl Binding {
    /// The subject by which the binding applies to `user`, if any.
    #[must_use]
    pub fn subject_for(&self, user: &UserInfo) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.is(user, &self.namespace))
    }

    /// The binding as reasons print it.
    #[must_use]
    pub fn describe(&self, subject: &Subject) -> String {
        let (kind, name) = if self.namespace.is_empty() {
            ("ClusterRoleBinding", self.name.clone())
        } else {
            ("RoleBinding", format!("{}/{}", self.name, self.namespace))
        };
        let subject = subject.describe(&self.namespace);
        format!("{kind} {name:?} of {} {:?} to {subject}", self.role.kind, self.role.name)
    }
}

#[derive(Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub namespace: String,
}

#[derive(Deserialize)]
pub(super) struct RoleObject {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub rules: Vec<Rule>,
}

#[derive(Deserialize)]
pub(super) struct BindingObject {
    pub metadata: Metadata,
    #[serde(rename = "roleRef", default)]
    pub role: RoleRef,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub subjects: Vec<Subject>,
}
