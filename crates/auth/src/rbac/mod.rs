//! Role-based access control: which rules apply to a user, and whether they allow an action.
//!
//! Follows upstream's `plugin/pkg/auth/authorizer/rbac` and `k8s.io/component-helpers/auth/rbac/validation`.

mod covers;
mod objects;
mod rule;
mod snapshot;

pub use covers::{compact, covers, escalation_refusal};
pub use objects::{Binding, RoleRef, Subject};
pub use rule::Rule;
pub use snapshot::{Kind, ParseError, Rbac, RulesForUser};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

#[cfg(test)]
mod tests;
