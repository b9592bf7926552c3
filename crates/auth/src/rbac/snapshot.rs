//! All roles and bindings of a cluster, ready to decide.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::objects::{Binding, BindingObject, RoleObject, Subject};
use super::rule::Rule;
use crate::{Attributes, Decision, UserInfo};

/// The four kinds that make up RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `roles`
    Role,
    /// `rolebindings`
    RoleBinding,
    /// `clusterroles`
    ClusterRole,
    /// `clusterrolebindings`
    ClusterRoleBinding,
}

impl Kind {
    /// All four.
    pub const ALL: [Kind; 4] = [Kind::Role, Kind::RoleBinding, Kind::ClusterRole, Kind::ClusterRoleBinding];

    /// The plural resource name.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Role => "roles",
            Kind::RoleBinding => "rolebindings",
            Kind::ClusterRole => "clusterroles",
            Kind::ClusterRoleBinding => "clusterrolebindings",
        }
    }
}

/// An object that is not a role or binding.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {kind:?}: {source}")]
pub struct ParseError {
    kind: Kind,
    source: serde_json::Error,
}

/// Every role and binding. Roles are kept apart from bindings because a binding may come before its role.
#[derive(Debug, Clone, Default)]
pub struct Rbac {
    roles: HashMap<(String, String), Arc<[Rule]>>,
    cluster_roles: HashMap<String, Arc<[Rule]>>,
    bindings: HashMap<String, BTreeMap<String, Binding>>,
    cluster_bindings: BTreeMap<String, Binding>,
}

/// What [`Rbac::rules_for`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulesForUser {
    /// Rules that apply, in the order of the bindings.
    pub rules: Vec<Rule>,
    /// What could not be resolved, in upstream's words.
    pub errors: Vec<String>,
}

impl Rbac {
    /// Adds or replaces an object, given as JSON.
    ///
    /// # Errors
    /// When the JSON is not an object of this kind.
    pub fn apply(&mut self, kind: Kind, json: &[u8]) -> Result<(), ParseError> {
        let failed = |source| ParseError { kind, source };
        match kind {
            Kind::Role => {
                let role: RoleObject = serde_json::from_slice(json).map_err(failed)?;
                self.roles.insert((role.metadata.namespace, role.metadata.name), role.rules.into());
            }
            Kind::ClusterRole => {
                let role: RoleObject = serde_json::from_slice(json).map_err(failed)?;
                self.cluster_roles.insert(role.metadata.name, role.rules.into());
            }
            Kind::RoleBinding | Kind::ClusterRoleBinding => {
                let object: BindingObject = serde_json::from_slice(json).map_err(failed)?;
                let (name, namespace) = (object.metadata.name, object.metadata.namespace);
                let binding = Binding {
                    name: name.clone(),
                    namespace: namespace.clone(),
                    role: object.role,
                    subjects: object.subjects,
                };
                if kind == Kind::RoleBinding {
                    self.bindings.entry(namespace).or_default().insert(name, binding);
                } else {
                    self.cluster_bindings.insert(name, binding);
                }
            }
        }
        Ok(())
    }

    /// Removes an object.
    pub fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        match kind {
            Kind::Role => {
                self.roles.remove(&(namespace.to_owned(), name.to_owned()));
            }
            Kind::ClusterRole => {
                self.cluster_roles.remove(name);
            }
            Kind::RoleBinding => {
                if let Some(bindings) = self.bindings.get_mut(namespace) {
                    bindings.remove(name);
                    if bindings.is_empty() {
                        self.bindings.remove(namespace);
                    }
                }
            }
            Kind::ClusterRoleBinding => {
                self.cluster_bindings.remove(name);
            }
        }
    }

    /// Whether some rule that applies to the user allows the action. Unresolvable role references become the reason
    /// when nothing allows it.
    #[must_use]
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let mut errors = Vec::new();
        let allowed = self.visit(&attributes.user, attributes.namespace, |grant| match grant {
            Ok((binding, subject, rules)) if rules.iter().any(|rule| rule.allows(attributes)) => {
                ControlFlow::Break(format!("RBAC: allowed by {}", binding.describe(subject)))
            }
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                errors.push(error);
                ControlFlow::Continue(())
            }
        });
        match allowed {
            ControlFlow::Break(reason) => Decision::Allow(reason),
            ControlFlow::Continue(()) => Decision::NoOpinion(aggregate("RBAC: ", errors)),
        }
    }

    /// The rules that apply to the user in a namespace; an empty namespace means the cluster-wide ones only.
    #[must_use]
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> RulesForUser {
        let mut found = RulesForUser::default();
        let _: ControlFlow<()> = self.visit(user, namespace, |grant| {
            match grant {
                Ok((_, _, rules)) => found.rules.extend_from_slice(rules),
                Err(error) => found.errors.push(error),
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// The rules of the role that a binding in `namespace` refers to: what the creator of the binding must hold.
    ///
    /// # Errors
    /// When there is no such role, in upstream's words.
    pub fn role_rules(&self, kind: &str, name: &str, namespace: &str) -> Result<Arc<[Rule]>, String> {
        let missing = |plural: &str| format!("{plural}.rbac.authorization.k8s.io {name:?} not found");
        match kind {
            "Role" => self
                .roles
                .get(&(namespace.to_owned(), name.to_owned()))
                .cloned()
                .ok_or_else(|| missing("role")),
            "ClusterRole" => self.cluster_roles.get(name).cloned().ok_or_else(|| missing("clusterrole")),
            other => Err(format!("unsupported role reference kind: {other:?}")),
        }
    }

    fn visit<B>(
        &self,
        user: &UserInfo,
        namespace: &str,
        mut visitor: impl FnMut(Result<(&Binding, &Subject, &[Rule]), String>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let local = self.bindings.get(namespace).filter(|_| !namespace.is_empty());
        let local = local.into_iter().flat_map(BTreeMap::values);
        for binding in self.cluster_bindings.values().chain(local) {
            let Some(subject) = binding.subject_for(user) else { continue };
            match self.role_rules(&binding.role.kind, &binding.role.name, &binding.namespace) {
                Ok(rules) => visitor(Ok((binding, subject, &rules)))?,
                Err(error) => visitor(Err(error))?,
            }
        }
        ControlFlow::Continue(())
    }
}

/// Several messages as apimachinery's aggregate prints them.
fn aggregate(prefix: &str, mut errors: Vec<String>) -> String {
    let mut seen = std::collections::HashSet::new();
    errors.retain(|error| seen.insert(error.clone()));
    match errors.as_slice() {
        [] => String::new(),
        [only] => format!("{prefix}{only}"),
        several => format!("{prefix}[{}]", several.join(", ")),
    }
}
