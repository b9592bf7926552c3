//! Nobody may hand out more rights than they hold (upstream: `pkg/registry/rbac/…/policybased`).

use std::borrow::Cow;

use auth::rbac::{GROUP, Kind, Rbac, Rule, covers, escalation_refusal};
use auth::{Attributes, MASTERS_GROUP};
use machinery::status::Status;
use serde::Deserialize;
use serde_json::Value;

use crate::registry::Registry;
use crate::registry::admission::{AdmissionContext, Operation, Plugin};

/// Checks writes of roles and bindings against the writer's own rights.
pub(crate) struct RbacEscalation;

#[async_trait::async_trait]
impl Plugin for RbacEscalation {
    async fn validate(
        &self,
        context: &AdmissionContext<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if context.handle.group != GROUP
            || !context.subresource.is_empty()
            || context.operation == Operation::Delete
        {
            return Ok(());
        }
        // Administrators hold everything; the server itself acts as one.
        if context.user.in_group(MASTERS_GROUP) {
            return Ok(());
        }
        match context.handle.plural.as_str() {
            "roles" | "clusterroles" => check_role(context, object, old),
            "rolebindings" | "clusterrolebindings" => check_binding(context, object, old),
            _ => Ok(()),
        }
    }
}

/// The roles and bindings of this moment. Writes of them are rare, so nothing is kept for this.
pub(super) fn snapshot(registry: &Registry) -> Rbac {
    let mut rbac = Rbac::default();
    for kind in Kind::ALL {
        for item in registry.objects(GROUP, kind.plural()) {
            // What cannot be read grants nothing.
            if let Err(error) = rbac.apply(kind, &item.entry.bytes) {
                tracing::error!(key = %item.entry.key, %error, "an object that authorization needs is unreadable");
            }
        }
    }
    rbac
}

fn asks<'a>(
    context: &AdmissionContext<'a>,
    verb: &'a str,
    resource: &'a str,
    name: &'a str,
) -> Attributes<'a> {
    Attributes {
        user: Cow::Borrowed(context.user),
        verb,
        is_resource: true,
        group: GROUP,
        version: "v1",
        resource,
        name,
        namespace: context.namespace,
        ..Attributes::default()
    }
}

#[derive(Deserialize, Default)]
struct Role {
    #[serde(default)]
    rules: Option<Vec<Rule>>,
}

fn check_role(context: &AdmissionContext<'_>, object: &Value, old: Option<&Value>) -> Result<(), Status> {
    if old.is_some_and(|old| only_lets_go(object, old)) {
        return Ok(());
    }
    let rbac = snapshot(context.registry);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if rbac.authorize(&asks(context, "escalate", &context.handle.plural, name)).allowed() {
        return Ok(());
    }
    let wanted = Role::deserialize(object).map_err(Status::internal)?.rules.unwrap_or_default();
    confirm(context, &rbac, &wanted)?;
    // An aggregate can grow to anything, and one that exists may have.
    let aggregates = gathers(object) || old.is_some_and(gathers);
    if aggregates && !missing(context, &rbac, &everything()).is_empty() {
        return Err(context.forbidden("must have cluster-admin privileges to use the aggregationRule"));
    }
    Ok(())
}

fn gathers(role: &Value) -> bool {
    role["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|selectors| !selectors.is_empty())
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

/// Whether an update changes no more than owners and finalizers: who may do that may help an object to its end.
fn only_lets_go(object: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                metadata.remove(field);
            }
        }
        object
    };
    rest(object) == rest(old)
}

fn check_binding(context: &AdmissionContext<'_>, object: &Value, old: Option<&Value>) -> Result<(), Status> {
    if old.is_some_and(|old| only_lets_go(object, old)) {
        return Ok(());
    }
    let text = |key: &str| object["roleRef"][key].as_str().unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    let plural = if kind == "Role" { "roles" } else { "clusterroles" };
    let rbac = snapshot(context.registry);
    if rbac.authorize(&asks(context, "bind", plural, name)).allowed() {
        return Ok(());
    }
    // Upstream speaks of the resource of the request here, although it is the role that is missing.
    let rules = rbac
        .role_rules(kind, name, context.namespace)
        .map_err(|_| Status::not_found(GROUP, &context.handle.plural, name))?;
    confirm(context, &rbac, &rules)
}

fn missing(context: &AdmissionContext<'_>, rbac: &Rbac, wanted: &[Rule]) -> Vec<Rule> {
    covers(&rbac.rules_for(context.user, context.namespace).rules, wanted)
}

fn confirm(context: &AdmissionContext<'_>, rbac: &Rbac, wanted: &[Rule]) -> Result<(), Status> {
    let held = rbac.rules_for(context.user, context.namespace);
    let missing = covers(&held.rules, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    Err(context.forbidden(escalation_refusal(context.user, &missing, &held.errors)))
}
