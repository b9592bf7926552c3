//! What every cluster has from its first moment: namespaces, roles, priority classes, the `kubernetes` Service, and what
//! the server says of itself.

use futures::future::try_join_all;
use jiff::Timestamp;
use machinery::meta;
use serde_json::{Map, Value, json};

use super::kinds::flow_control;
use super::steps::Step;
use super::{Registry, StartError, allocator, presence, published};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// Name, value and description of the priority classes of upstream.
const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// Creates what is missing, and brings up to date what may be. What does not depend on each other is written at once, so
/// that it shares commits of the store.
pub(super) async fn run(registry: &Registry) -> Result<(), StartError> {
    let namespace = |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    try_join_all(NAMESPACES.map(|name| ensure(registry, namespace(name)))).await?;
    registry.steps().done(Step::SystemNamespaces);
    let class = |(name, value, description): (&str, i64, &str)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority",
        })
    };
    let roles =
        try_join_all(auth::bootstrap::objects().into_iter().map(|role| reconcile(registry, role.object)));
    let classes = try_join_all(PRIORITY_CLASSES.map(|named| ensure(registry, class(named))));
    let flow_control = try_join_all(flow_control::initial().iter().map(|one| settle(registry, one)));
    let services = try_join_all(published::api_services().into_iter().map(|one| ensure(registry, one)));
    tokio::try_join!(
        done(registry, Step::BootstrapRoles, roles),
        done(registry, Step::PriorityClasses, classes),
        flow_control,
        services,
        authentication(registry),
        addresses(registry),
    )?;
    let schemas = flow_control::initial().iter().filter(|one| meta::kind(&one.object) == "FlowSchema");
    let levels = try_join_all(schemas.map(|one| tell_level(registry, &one.object)));
    let services = published::api_services().into_iter();
    let available = try_join_all(services.map(|one| change(registry, one, "status", published::available)));
    tokio::try_join!(
        done(registry, Step::FlowProducer, levels),
        done(registry, Step::Registration, available),
    )?;
    Ok(())
}

/// Notes that a step is done once the work is.
async fn done<T>(
    registry: &Registry,
    step: Step,
    work: impl Future<Output = Result<T, StartError>>,
) -> Result<(), StartError> {
    work.await?;
    registry.steps().done(step);
    Ok(())
}

/// What others have to know to authenticate clients, and since when legacy tokens are watched.
async fn authentication(registry: &Registry) -> Result<(), StartError> {
    let ca_pem = &registry.config().ca_pem;
    let with_ca = |old: &Value| published::with_client_ca(old, ca_pem);
    let info = change(registry, published::authentication_info(ca_pem), "", with_ca);
    let tracking = ensure(registry, published::legacy_tokens(Timestamp::now()));
    tokio::try_join!(
        done(registry, Step::AuthenticationInfo, info),
        done(registry, Step::LegacyTokens, tracking),
    )?;
    Ok(())
}

/// The range of cluster IPs, what was handed out of it, and the Service through which pods reach the servers.
async fn addresses(registry: &Registry) -> Result<(), StartError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |status| StartError::Bootstrap { what, status }
    };
    allocator::default_range(registry).await.map_err(failed("ServiceCIDR kubernetes"))?;
    registry.steps().done(Step::ServiceRange);
    allocator::repair(registry, Timestamp::now()).await.map_err(failed("IPAddresses of Services"))?;
    presence::service(registry).await.map_err(failed("Service kubernetes"))?;
    presence::announce(registry).await.map_err(failed("Endpoints kubernetes"))?;
    registry.steps().done(Step::Bootstrap);
    Ok(())
}

async fn ensure(registry: &Registry, object: Value) -> Result<(), StartError> {
    let what = format!("{} {}", meta::kind(&object), meta::name(&object));
    registry.ensure(object).await.map(|_| ()).map_err(|status| StartError::Bootstrap { what, status })
}

/// Creates an object of flow control, or makes its specification what it should be, where that is the server's to say.
async fn settle(registry: &Registry, initial: &flow_control::Initial) -> Result<(), StartError> {
    let spec = &initial.object["spec"];
    change(registry, initial.object.clone(), "", |old| {
        let ours = initial.mandatory || meta::annotation(old, flow_control::AUTOUPDATE) == Some("true");
        if !ours || old["spec"] == *spec {
            return None;
        }
        let mut new = old.clone();
        new["spec"] = spec.clone();
        Some(new)
    })
    .await
}

/// Says of a flow schema that the level it names is there: kubectl shows that in a column.
async fn tell_level(registry: &Registry, schema: &Value) -> Result<(), StartError> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let condition = json!({
        "type": "Dangling",
        "status": "False",
        "lastTransitionTime": machinery::time::rfc3339(Timestamp::now()),
        "reason": "Found",
        "message": format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"),
    });
    change(registry, schema.clone(), "status", |old| {
        if old["status"]["conditions"].as_array().is_some_and(|conditions| !conditions.is_empty()) {
            return None;
        }
        let mut new = old.clone();
        new["status"] = json!({"conditions": [condition]});
        Some(new)
    })
    .await
}

/// Creates a role or binding, or adds what it lacks, unless somebody took it out of care (upstream:
/// `pkg/registry/rbac/reconciliation`).
async fn reconcile(registry: &Registry, object: Value) -> Result<(), StartError> {
    let wanted = object.clone();
    change(registry, object, "", move |old| {
        if meta::annotation(old, AUTOUPDATE) == Some("false") {
            return None;
        }
        let mut new = old.clone();
        for key in ["rules", "subjects"] {
            add_missing(&mut new, &wanted, key);
        }
        if let Some(aggregation) = wanted.get("aggregationRule") {
            new["aggregationRule"] = aggregation.clone();
        }
        for key in ["labels", "annotations"] {
            let missing = wanted["metadata"].get(key).and_then(Value::as_object).cloned().unwrap_or_default();
            let have = new["metadata"].get(key).and_then(Value::as_object).cloned().unwrap_or_default();
            let merged: Map<String, Value> = missing.into_iter().chain(have).collect();
            if !merged.is_empty() {
                new["metadata"][key] = merged.into();
            }
        }
        (new != *old).then_some(new)
    })
    .await
}

fn add_missing(new: &mut Value, wanted: &Value, key: &str) {
    let Some(wanted) = wanted.get(key).and_then(Value::as_array) else { return };
    match new.get_mut(key).and_then(Value::as_array_mut) {
        Some(have) => {
            let missing: Vec<Value> = wanted.iter().filter(|item| !have.contains(item)).cloned().collect();
            have.extend(missing);
        }
        None => new[key] = wanted.clone().into(),
    }
}

async fn change(
    registry: &Registry,
    object: Value,
    subresource: &str,
    edit: impl Fn(&Value) -> Option<Value> + Send + Sync,
) -> Result<(), StartError> {
    let what = format!("{} {}", meta::kind(&object), meta::name(&object));
    let changed = registry.settle(object, subresource, &edit).await;
    changed.map_err(|status| StartError::Bootstrap { what, status })
}
