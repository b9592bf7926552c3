//! Every namespace has the service account `default`, under which pods run that name no other.

use super::per_namespace::{self, Standard};
use crate::context::Context;
use api::{ObjectMeta, ServiceAccount};
use std::sync::Arc;

/// Starts the controller.
pub(crate) fn start(context: &Context) {
    per_namespace::start(context, standard());
}

fn standard() -> Standard<ServiceAccount> {
    Standard {
        account: "service-account-controller",
        name: "default",
        make: Arc::new(|namespace| ServiceAccount {
            metadata: ObjectMeta {
                name: Some("default".into()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        }),
        is_right: |_, _| true,
        correct: |existing, _| existing.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::per_namespace::{Action, plan};
    use super::*;
    use api::{Kind, Namespace};
    use serde_json::json;

    #[test]
    fn only_living_namespaces_without_one_get_one() {
        let namespace = |deleting: bool| {
            let deletion = deleting.then_some("2026-01-01T00:00:00Z");
            Namespace::from_value(json!({"metadata": {"name": "a", "deletionTimestamp": deletion}})).unwrap()
        };
        let existing = (standard().make)("a");
        assert_eq!(plan(&standard(), &namespace(false), None), Action::Create(existing.clone()));
        assert_eq!(plan(&standard(), &namespace(false), Some(&existing)), Action::Nothing);
        assert_eq!(plan(&standard(), &namespace(true), None), Action::Nothing);
    }
}
