//! ClusterRoles that gather the rules of others by label (upstream `clusterroleaggregation`).

use crate::context::{Context, Outcome, objects, synced};
use api::{ClusterRole, PolicyRule, selector_matches};
use client::{Informer, Rest, WorkQueue};
use std::sync::Arc;

const NAME: &str = "clusterrole-aggregation-controller";

/// The rules the role should have; `None` when it has them, or gathers none.
pub(crate) fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or(&[]);
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        // `all` is in the order of names.
        for other in all.iter().filter(|other| other.metadata.name != role.metadata.name) {
            if selector_matches(selector, other.metadata.labels.as_ref()) {
                for rule in other.rules.iter().flatten() {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
    }
    (role.rules.as_deref().unwrap_or(&[]) != rules).then_some(rules)
}

/// Starts the controller.
pub(crate) fn start(context: &Context) {
    let roles: Informer<ClusterRole> = context.informers.of();
    let rest = context.rest(NAME);
    let queue = WorkQueue::new();
    let (all, keys) = (roles.clone(), queue.clone());
    roles.on_change(move |_| {
        for role in all.list().iter().filter(|role| role.aggregation_rule.is_some()) {
            keys.add(role.metadata.name.clone().unwrap_or_default());
        }
    });
    let ready = vec![synced(&roles)];
    context.workers(NAME, queue, 1, ready, move |name: String| {
        let (roles, rest) = (roles.clone(), rest.clone());
        async move { reconcile(&roles, &rest, &name).await }
    });
}

async fn reconcile(roles: &Informer<ClusterRole>, rest: &Rest, name: &str) -> Outcome {
    let Some(role) = roles.get("", name) else { return Ok(None) };
    if let Some(rules) = plan(&role, &roles.list()) {
        let role = ClusterRole { rules: Some(rules), ..(*role).clone() };
        objects::<ClusterRole>(rest).replace(&role).await?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::{Value, json};

    fn role(name: &str, labels: Value, rules: Value, gathers: Option<Value>) -> Arc<ClusterRole> {
        let rule = gathers.map(|labels| json!({"clusterRoleSelectors": [{"matchLabels": labels}]}));
        let value =
            json!({"metadata": {"name": name, "labels": labels}, "rules": rules, "aggregationRule": rule});
        Arc::new(ClusterRole::from_value(value).unwrap())
    }

    #[test]
    fn rules_are_gathered_once_in_order() {
        let rule = |resource: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]});
        let all = [
            role("a", json!({"to": "view"}), json!([rule("pods")]), None),
            role("b", json!({"to": "view"}), json!([rule("pods"), rule("nodes")]), None),
            role("c", json!({}), json!([rule("secrets")]), None),
        ];
        let view = role("view", json!({"to": "view"}), json!([]), Some(json!({"to": "view"})));
        let rules = plan(&view, &all).expect("a change");
        assert_eq!(serde_json::to_value(&rules).unwrap(), json!([rule("pods"), rule("nodes")]));
        let done = ClusterRole { rules: Some(rules), ..(*view).clone() };
        assert_eq!(plan(&done, &all), None);
        assert_eq!(plan(&all[0], &all), None);
    }
}
