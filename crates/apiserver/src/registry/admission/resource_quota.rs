//! ResourceQuota: what a namespace may use in all (upstream: `pkg/plugin/resourcequota`, `pkg/quota/v1`).
//!
//! Usage is counted from the cache, plus what was admitted and the cache has not seen yet, under one lock: two requests
//! cannot both take the last place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use machinery::meta;
use machinery::quantity::Quantity;
use machinery::status::{Status, qualified};
use parking_lot::Mutex;
use serde_json::Value;

use super::{AdmissionContext, Operation, Plugin};

/// After this long a write has either reached the cache or failed.
const ADMITTED_FOR: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct ResourceQuota {
    admitted: Mutex<Vec<Admitted>>,
}

/// A new object that the cache may not show yet.
struct Admitted {
    group: String,
    plural: String,
    namespace: String,
    object: Value,
    since: Instant,
}

type Amounts = BTreeMap<String, Quantity>;

#[async_trait::async_trait]
impl Plugin for ResourceQuota {
    async fn validate(
        &self,
        context: &AdmissionContext<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if context.namespace.is_empty()
            || !is_counted(context)
            || context.registry.quotas(context.namespace).is_empty()
        {
            return Ok(());
        }
        context.registry.fresh().await?;
        let quotas = context.registry.quotas(context.namespace);
        let mut admitted = self.admitted.lock();
        admitted.retain(|a| a.since.elapsed() < ADMITTED_FOR && !is_cached(context, a));
        for quota in &quotas {
            check(context, quota, object, old, &admitted)?;
        }
        if old.is_some() {
            return Ok(());
        }
        if !context.dry_run {
            admitted.push(Admitted {
                group: context.handle.group.clone(),
                plural: context.handle.plural.clone(),
                namespace: context.namespace.to_owned(),
                object: object.clone(),
                since: Instant::now(),
            });
        }
        Ok(())
    }
}

impl super::Registry {
    fn quotas(&self, namespace: &str) -> Vec<Value> {
        self.values("", "resourcequotas", namespace)
    }
}

/// Whether the request can raise what is used: a new object, or a change of those of which more is counted than that
/// they are there.
fn is_counted(context: &AdmissionContext<'_>) -> bool {
    let plural = context.handle.plural.as_str();
    match (context.operation, context.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "") => {
            context.handle.group.is_empty() && matches!(plural, "services" | "persistentvolumeclaims")
        }
        (Operation::Update, "resize") => context.of("", "pods"),
        _ => false,
    }
}

fn is_cached(context: &AdmissionContext<'_>, admitted: &Admitted) -> bool {
    context
        .registry
        .object(&admitted.group, &admitted.plural, &admitted.namespace, meta::name(&admitted.object))
        .is_some()
}

fn check(
    context: &AdmissionContext<'_>,
    quota: &Value,
    object: &Value,
    old: Option<&Value>,
    admitted: &[Admitted],
) -> Result<(), Status> {
    let (group, plural) = (context.handle.group.as_str(), context.handle.plural.as_str());
    if (group, plural) == ("", "pods") && !in_scope(quota, object) {
        return Ok(());
    }
    let hard = amounts(quota.pointer("/spec/hard"));
    let mut wanted = usage(group, plural, object);
    if let Some(old) = old {
        subtract(&mut wanted, &usage(group, plural, old));
    }
    wanted.retain(|name, _| hard.contains_key(name));
    let missing = if old.is_none() { unspecified(&hard, plural, object) } else { String::new() };
    if !missing.is_empty() {
        return Err(context.forbidden(format!("failed quota: {}: must specify {missing}", meta::name(quota))));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut used = Amounts::new();
    let mut count = |object: &Value| {
        if plural != "pods" || in_scope(quota, object) {
            add(&mut used, usage(group, plural, object));
        }
    };
    context.registry.values(group, plural, context.namespace).iter().for_each(&mut count);
    let same = |a: &&Admitted| {
        (a.group.as_str(), a.plural.as_str(), a.namespace.as_str()) == (group, plural, context.namespace)
    };
    admitted.iter().filter(same).for_each(|a| count(&a.object));
    let exceeds = |name: &String, amount: &Quantity| {
        let total = used.get(name).map_or(amount.clone(), |used| used.add(amount));
        hard.get(name).is_some_and(|hard| total > *hard)
    };
    let exceeded: Vec<String> =
        wanted.iter().filter(|(n, a)| !a.is_zero() && exceeds(n, a)).map(|(n, _)| n.clone()).collect();
    if exceeded.is_empty() {
        return Ok(());
    }
    let show = |amounts: &Amounts| {
        let zero = Quantity::from_i128(0);
        let shown: Vec<String> =
            exceeded.iter().map(|n| format!("{n}={}", amounts.get(n).unwrap_or(&zero))).collect();
        shown.join(",")
    };
    Err(context.forbidden(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        meta::name(quota),
        show(&wanted),
        show(&used),
        show(&hard)
    )))
}

fn amounts(value: Option<&Value>) -> Amounts {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount).ok()?))).collect()
}

fn add(total: &mut Amounts, more: Amounts) {
    for (name, amount) in more {
        let sum = total.get(&name).map_or(amount.clone(), |have| have.add(&amount));
        total.insert(name, sum);
    }
}

/// What remains of the wanted above what there is.
fn subtract(wanted: &mut Amounts, there: &Amounts) {
    for (name, amount) in wanted.iter_mut() {
        if let Some(there) = there.get(name) {
            *amount = amount.sub(there);
        }
    }
    wanted.retain(|_, amount| !amount.is_negative() && !amount.is_zero());
}

/// What one object uses, under all names that a quota may limit it by.
fn usage(group: &str, plural: &str, object: &Value) -> Amounts {
    let one = || Quantity::from_i128(1);
    let mut usage = Amounts::from([(format!("count/{}", qualified(group, plural)), one())]);
    if !group.is_empty() {
        return usage;
    }
    match plural {
        "pods" => add(&mut usage, pod_usage(object)),
        "services" => add(&mut usage, service_usage(object)),
        "persistentvolumeclaims" => add(&mut usage, claim_usage(object)),
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => {
            usage.insert(plural.to_owned(), one());
        }
        _ => {}
    }
    usage
}

/// Pods that are over still count as objects, but use nothing.
fn pod_usage(pod: &Value) -> Amounts {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return Amounts::new();
    }
    let mut usage = Amounts::from([("pods".to_owned(), Quantity::from_i128(1))]);
    for key in ["requests", "limits"] {
        for (name, amount) in pod_total(pod, key) {
            if key == "requests" && matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                usage.insert(name.clone(), amount.clone());
            }
            usage.insert(format!("{key}.{name}"), amount);
        }
    }
    usage
}

/// All containers together, or the largest init container.
fn pod_total(pod: &Value, key: &str) -> Amounts {
    let of = |list: &str| -> Vec<Amounts> {
        let containers = pod.pointer(list).and_then(Value::as_array).into_iter().flatten();
        containers.map(|container| amounts(container.pointer(&format!("/resources/{key}")))).collect()
    };
    let mut total = Amounts::new();
    of("/spec/containers").into_iter().for_each(|container| add(&mut total, container));
    for (name, amount) in of("/spec/initContainers").into_iter().flatten() {
        if total.get(&name).is_none_or(|have| *have < amount) {
            total.insert(name, amount);
        }
    }
    add(&mut total, amounts(pod.pointer("/spec/overhead")));
    total
}

fn service_usage(service: &Value) -> Amounts {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).map_or(0, Vec::len);
    let count = |n: usize| Quantity::from_i128(i128::try_from(n).unwrap_or_default());
    let kind = service.pointer("/spec/type").and_then(Value::as_str).unwrap_or_default();
    let (node_ports, balancers) = match kind {
        "NodePort" => (ports, 0),
        "LoadBalancer" => (ports, 1),
        _ => (0, 0),
    };
    Amounts::from([
        ("services".to_owned(), count(1)),
        ("services.nodeports".to_owned(), count(node_ports)),
        ("services.loadbalancers".to_owned(), count(balancers)),
    ])
}

fn claim_usage(claim: &Value) -> Amounts {
    let mut usage = Amounts::from([("persistentvolumeclaims".to_owned(), Quantity::from_i128(1))]);
    let class = claim.pointer("/spec/storageClassName").and_then(Value::as_str).unwrap_or_default();
    let storage = claim.pointer("/spec/resources/requests/storage").and_then(|s| Quantity::from_json(s).ok());
    if !class.is_empty() {
        let below = format!("{class}.storageclass.storage.k8s.io/");
        usage.insert(format!("{below}persistentvolumeclaims"), Quantity::from_i128(1));
        usage.extend(storage.clone().map(|storage| (format!("{below}requests.storage"), storage)));
    }
    usage.extend(storage.map(|storage| ("requests.storage".to_owned(), storage)));
    usage
}

/// Resources that are limited and that a container does not name: such a pod cannot be counted.
fn unspecified(hard: &Amounts, plural: &str, pod: &Value) -> String {
    if plural != "pods" {
        return String::new();
    }
    let mut missing = Vec::new();
    for name in hard.keys() {
        let (key, resource) = match name.as_str() {
            "cpu" | "memory" => ("requests", name.as_str()),
            name => match name.split_once('.') {
                Some((key @ ("requests" | "limits"), resource @ ("cpu" | "memory"))) => (key, resource),
                _ => continue,
            },
        };
        let lists = ["/spec/containers", "/spec/initContainers"];
        let containers = lists.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
        let mut without: Vec<&str> = containers
            .filter(|container| container.pointer(&format!("/resources/{key}/{resource}")).is_none())
            .filter_map(|container| container.get("name")?.as_str())
            .collect();
        without.sort_unstable();
        if !without.is_empty() {
            missing.push(format!("{name} for: {}", without.join(",")));
        }
    }
    missing.join("; ")
}

/// Whether a quota with scopes is about this pod.
fn in_scope(quota: &Value, pod: &Value) -> bool {
    let scopes = quota.pointer("/spec/scopes").and_then(Value::as_array).into_iter().flatten();
    let plain = scopes.filter_map(Value::as_str).all(|scope| fits(pod, scope, "Exists", &[]));
    let selected =
        quota.pointer("/spec/scopeSelector/matchExpressions").and_then(Value::as_array).into_iter().flatten();
    plain
        && selected.into_iter().all(|expression| {
            let text = |key: &str| expression.get(key).and_then(Value::as_str).unwrap_or_default();
            let values =
                expression.get("values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            fits(pod, text("scopeName"), text("operator"), values)
        })
}

fn fits(pod: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    let terminating =
        || pod.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64).is_some_and(|s| s >= 0);
    let best_effort = || pod_total(pod, "requests").is_empty() && pod_total(pod, "limits").is_empty();
    match scope {
        "Terminating" => terminating(),
        "NotTerminating" => !terminating(),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => {
            let class = pod.pointer("/spec/priorityClassName").and_then(Value::as_str).unwrap_or_default();
            let listed = values.iter().any(|value| value == class);
            match operator {
                "In" => listed,
                "NotIn" => !listed,
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        _ => false,
    }
}
