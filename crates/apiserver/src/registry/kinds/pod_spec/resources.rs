//! Requests and limits of containers, and of pods as a whole.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::{Map, Value};

use super::super::value::{has, list, map, put, text};
use super::super::{check, resources};

/// Checks one name; see [`resources::container_name`].
type CheckName = fn(&str, &Path) -> Errors;

/// What a container asks for. `claims` are the names of the pod's resource claims.
pub(super) fn of_container(resources: &Value, claims: &[&str], path: &Path) -> Errors {
    requirements(resources, resources::container_name, claims, path)
}

/// What a pod costs beside its containers.
pub(super) fn overhead(spec: &Value, path: &Path) -> Errors {
    overhead_amounts(&spec["overhead"], &path.child("overhead"))
}

/// The same where only the amounts are told.
pub(in super::super) fn overhead_amounts(amounts: &Value, path: &Path) -> Errors {
    if amounts.is_null() {
        return Errors::new();
    }
    requirements(&serde_json::json!({ "limits": amounts }), resources::container_name, &[], path)
}

fn requirements(wanted: &Value, check_name: CheckName, claims: &[&str], path: &Path) -> Errors {
    let (limits, requests) = (map(wanted, "limits"), map(wanted, "requests"));
    let mut errors = Errors::new();
    for (name, amount) in limits.into_iter().flatten() {
        let at = path.child("limits").key(name);
        errors.extend(one(name, amount, check_name, &at));
        errors.extend(whole_pages(name, amount, &at));
    }
    for (name, amount) in requests.into_iter().flatten() {
        let at = path.child("requests").key(name);
        errors.extend(one(name, amount, check_name, &at));
        errors.extend(against_limit(name, amount, limits, path));
        errors.extend(whole_pages(name, amount, &at));
    }
    let any = |fits: fn(&str) -> bool| {
        limits.into_iter().chain(requests).flat_map(Map::keys).any(|name| fits(name))
    };
    if any(resources::is_huge_pages) && !any(|name| matches!(name, "cpu" | "memory")) {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    errors.extend(claimed(list(wanted, "claims"), claims, path));
    errors
}

fn one(name: &str, amount: &Value, check_name: CheckName, path: &Path) -> Errors {
    let mut errors = check_name(name, path);
    errors.extend(resources::amount(name, amount, path));
    errors
}

/// There are no parts of huge pages.
fn whole_pages(name: &str, amount: &Value, path: &Path) -> Option<FieldError> {
    let pages = Quantity::from_json(amount).ok().filter(|_| resources::is_huge_pages(name))?;
    let why = resources::indivisible_pages(name, &pages)?;
    Some(FieldError::invalid(path, pages.to_string(), why))
}

/// A request is at most the limit; where more may not be promised than there is, both are the same.
fn against_limit(
    name: &str,
    amount: &Value,
    limits: Option<&Map<String, Value>>,
    path: &Path,
) -> Option<FieldError> {
    let fixed = !resources::allows_overcommit(name);
    let Some(limit) = limits.and_then(|limits| limits.get(name)) else {
        let detail = "Limit must be set for non overcommitable resources";
        return fixed.then(|| FieldError::required(&path.child("limits"), detail));
    };
    let (wanted, limit) = (Quantity::from_json(amount).ok()?, Quantity::from_json(limit).ok()?);
    let relation = match wanted.cmp(&limit) {
        std::cmp::Ordering::Equal => return None,
        _ if fixed => "must be equal to",
        std::cmp::Ordering::Greater => "must be less than or equal to",
        std::cmp::Ordering::Less => return None,
    };
    let detail = format!("{relation} {name} limit of {limit}");
    Some(FieldError::invalid(&path.child("requests"), wanted.to_string(), detail))
}

/// Claims of a container name claims of its pod, each once.
fn claimed(wanted: &[Value], known: &[&str], path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (i, claim) in wanted.iter().enumerate() {
        let at = path.child("claims").index(i);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        if seen.contains(name) {
            errors.push(FieldError::duplicate(&at, name));
        } else {
            let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            if !request.is_empty() {
                errors.extend(check::named(&at.child("request"), request, names::dns1123_label(request)));
            }
            let part_of = |key: &&String| key.split_once('/').is_some_and(|(claim, _)| claim == name);
            if seen.contains(&key) {
                errors.push(FieldError::duplicate(&at, key.clone()));
            } else if request.is_empty() {
                seen.iter().filter(part_of).for_each(|_| errors.push(FieldError::duplicate(&at, name)));
            }
            seen.insert(key);
        }
        if !known.contains(&name) {
            let mut known: Vec<&str> = known.to_vec();
            known.sort_unstable();
            let rest =
                if known.is_empty() { " which is empty".into() } else { format!(": {}", known.join(", ")) };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{rest}");
            errors.push(FieldError::not_found(&at, name).with_detail(detail));
        }
    }
    errors
}

/// Resources a pod as a whole may ask for.
fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || resources::is_huge_pages(name)
}

fn pod_level_name(name: &str, path: &Path) -> Errors {
    let errors = resources::name(name, path);
    if errors.is_empty() && !is_pod_level(name) {
        return vec![FieldError::not_supported(path, name, &["cpu", "hugepages-", "memory"])];
    }
    errors
}

/// What a pod asks for as a whole, and that its containers fit into it.
pub(super) fn of_pod(spec: &Value, claims: &[&str], path: &Path) -> Errors {
    if !has(spec, "resources") {
        return Errors::new();
    }
    let (whole, at) = (&spec["resources"], path.child("resources"));
    if text(&spec["os"], "name") == "windows" {
        return vec![FieldError::forbidden(&at, "may not be set for a windows pod")];
    }
    let mut errors = Errors::new();
    if has(whole, "claims") {
        let detail = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&at.child("claims"), detail));
    }
    errors.extend(requirements(whole, pod_level_name, claims, &at));
    errors.extend(fits_containers(spec, whole, &at));
    errors
}

fn fits_containers(spec: &Value, whole: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let amount = |field: &str, name: &str| Quantity::from_json(map(whole, field)?.get(name)?).ok();
    for (field, what, only_pages) in [("requests", "requests", false), ("limits", "limits", true)] {
        for (name, sum) in aggregate(spec, field) {
            if only_pages && !resources::is_huge_pages(&name) {
                continue;
            }
            if let Some(given) = amount(field, &name).filter(|given| sum > *given) {
                let detail = format!("must be greater than or equal to aggregate container {what} of {sum}");
                errors.push(FieldError::invalid(&path.child(field).key(&name), given.to_string(), detail));
            }
        }
    }
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (name, limit) in map(&container["resources"], "limits").into_iter().flatten() {
            let (Ok(limit), Some(most)) = (Quantity::from_json(limit), amount("limits", name)) else {
                continue;
            };
            if limit > most {
                let at = path.child("containers").index(i).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {most}");
                errors.push(FieldError::invalid(&at, limit.to_string(), detail));
            }
        }
    }
    errors
}

/// Amounts by the name of the resource.
pub(in crate::registry) type Amounts = BTreeMap<String, Quantity>;

/// What a pod's containers need together: those that run side by side are added, and init containers that run before
/// them count when they need more (upstream `resourcehelper.AggregateContainerRequests`).
pub(in crate::registry) fn aggregate(spec: &Value, field: &str) -> Amounts {
    let mut sum = Amounts::new();
    for container in list(spec, "containers") {
        add(&mut sum, container, field);
    }
    let (mut sidecars, mut before) = (Amounts::new(), Amounts::new());
    for container in list(spec, "initContainers") {
        let mut during = if text(container, "restartPolicy") == "Always" {
            add(&mut sum, container, field);
            add(&mut sidecars, container, field);
            sidecars.clone()
        } else {
            let mut during = sidecars.clone();
            add(&mut during, container, field);
            during
        };
        greatest(&mut before, &mut during);
    }
    greatest(&mut sum, &mut before);
    sum
}

fn add(sum: &mut Amounts, container: &Value, field: &str) {
    for (name, amount) in map(&container["resources"], field).into_iter().flatten() {
        let Ok(amount) = Quantity::from_json(amount) else { continue };
        let total = sum.get(name).map_or_else(|| amount.clone(), |have| have.add(&amount));
        sum.insert(name.clone(), total);
    }
}

fn greatest(all: &mut Amounts, others: &mut Amounts) {
    for (name, amount) in std::mem::take(others) {
        if all.get(&name).is_none_or(|have| *have < amount) {
            all.insert(name, amount);
        }
    }
}

/// Defaults of a pod's own resources from those of its containers (upstream `defaultPodRequests` and its neighbours).
pub(super) fn default_pod_level(spec: &mut Value) {
    let set = |spec: &Value, field: &str| map(&spec["resources"], field).is_some();
    if !set(spec, "limits") && !set(spec, "requests") {
        return;
    }
    let limits = aggregate(spec, "limits");
    let missing = |spec: &Value, field: &str, name: &str| !has(&spec["resources"][field], name);
    for (name, amount) in limits.iter().filter(|(name, _)| resources::is_huge_pages(name)) {
        if missing(spec, "requests", name) && missing(spec, "limits", name) {
            set_amount(spec, "limits", name, amount.to_string().into());
        }
    }
    if set(spec, "limits") {
        for (name, amount) in aggregate(spec, "requests") {
            if is_pod_level(&name) && resources::allows_overcommit(&name) && missing(spec, "requests", &name)
            {
                set_amount(spec, "requests", &name, amount.to_string().into());
            }
        }
        for (name, amount) in map(&spec["resources"], "limits").cloned().into_iter().flatten() {
            if is_pod_level(&name) && missing(spec, "requests", &name) {
                set_amount(spec, "requests", &name, amount);
            }
        }
        return;
    }
    for (name, amount) in limits {
        if is_pod_level(&name) && resources::allows_overcommit(&name) && all_limit(spec, &name) {
            set_amount(spec, "limits", &name, amount.to_string().into());
        }
    }
}

/// Whether every container that stays has a limit of the resource.
fn all_limit(spec: &Value, name: &str) -> bool {
    let limited = |container: &Value| has(&container["resources"]["limits"], name);
    let sidecars = list(spec, "initContainers").iter().filter(|c| text(c, "restartPolicy") == "Always");
    list(spec, "containers").iter().chain(sidecars).all(limited)
}

fn set_amount(spec: &mut Value, field: &str, name: &str, amount: Value) {
    if let Some(amounts) =
        spec.get_mut("resources").and_then(|resources| super::super::value::below(resources, field))
    {
        put(amounts, name, amount);
    }
}

/// Amounts are kept to a thousandth, rounded up (upstream `SetDefaults_ResourceList`).
pub(in super::super) fn round_up(amounts: Option<&mut Value>) {
    const MILLI: i32 = -3;
    for (_, amount) in amounts.and_then(Value::as_object_mut).into_iter().flatten() {
        let fine = amount.as_str().is_some_and(|text| text.contains(['n', 'u', '.', 'e', 'E']));
        let Some(exact) = fine.then(|| Quantity::from_json(amount).ok()).flatten() else { continue };
        let rounded = exact.round_up(MILLI);
        if rounded != exact {
            *amount = rounded.to_string().into();
        }
    }
}
