//! What becomes of a Service that is changed: it keeps what was given to it, and lets go of what its type does not need.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use serde_json::{Value, json};

use super::super::value::{each, fill, has, int, list, put, strings, text};
use super::service_rules;

fn needs_address(spec: &Value) -> bool {
    text(spec, "type") != "ExternalName"
}

fn needs_node_ports(spec: &Value) -> bool {
    match text(spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

/// Whether a load balancer asks its nodes whether they have pods.
pub(super) fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

/// Whether clients outside the cluster may reach it.
pub(super) fn is_external(spec: &Value) -> bool {
    match text(spec, "type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !list(spec, "externalIPs").is_empty(),
        _ => false,
    }
}

/// The one address is the first of all (upstream `NormalizeClusterIPs`).
pub(super) fn one_address(spec: &mut Value, old: Option<&Value>) {
    let (now, all) = (text(spec, "clusterIP").to_owned(), strings(spec, "clusterIPs").len());
    let Some(old) = old else {
        if !now.is_empty() && all == 0 {
            put(spec, "clusterIPs", json!([now]));
        }
        return;
    };
    if now == text(old, "clusterIP") || strings(spec, "clusterIPs") != strings(old, "clusterIPs") {
        if now.is_empty() || all > 0 {
            return;
        }
        // The one was given where there was none before.
        if text(old, "clusterIP").is_empty() {
            put(spec, "clusterIPs", json!([now]));
        }
    } else if now.is_empty() {
        remove(spec, "clusterIPs");
    } else {
        put(spec, "clusterIPs", json!([now]));
    }
}

fn remove(spec: &mut Value, field: &str) {
    spec.as_object_mut().map(|spec| spec.remove(field));
}

/// What an update leaves out stays as it is (upstream `patchAllocatedValues`).
fn keep_given(spec: &mut Value, old: &Value) {
    if needs_address(old) && needs_address(spec) {
        if text(spec, "clusterIP").is_empty() && has(old, "clusterIP") {
            put(spec, "clusterIP", old["clusterIP"].clone());
        }
        let same = text(spec, "clusterIP") == text(old, "clusterIP");
        if same && list(spec, "clusterIPs").is_empty() && has(old, "clusterIPs") {
            put(spec, "clusterIPs", old["clusterIPs"].clone());
        }
    }
    if needs_node_ports(old) && needs_node_ports(spec) {
        let mut used: BTreeSet<i64> = node_ports(old).intersection(&node_ports(spec)).copied().collect();
        for port in each(spec, "ports").filter(|port| int(port, "nodePort").unwrap_or_default() == 0) {
            let was = list(old, "ports").iter().rfind(|was| text(was, "name") == text(port, "name"));
            if let Some(number) =
                was.and_then(|was| int(was, "nodePort")).filter(|number| used.insert(*number))
            {
                put(port, "nodePort", number);
            }
        }
    }
    let unset = int(spec, "healthCheckNodePort").unwrap_or_default() == 0;
    if unset && needs_health_check(old) && needs_health_check(spec) && has(old, "healthCheckNodePort") {
        put(spec, "healthCheckNodePort", old["healthCheckNodePort"].clone());
    }
}

fn node_ports(spec: &Value) -> BTreeSet<i64> {
    list(spec, "ports")
        .iter()
        .filter_map(|port| int(port, "nodePort"))
        .filter(|number| *number != 0)
        .collect()
}

/// Lets go of what the new type does not need and the update left alone (upstream `dropTypeDependentFields`).
fn let_go(spec: &mut Value, old: &Value) {
    type Needs = fn(&Value) -> bool;
    let rules: [(Needs, &[&str]); 5] = [
        (needs_address, &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]),
        (needs_health_check, &["healthCheckNodePort"]),
        (is_load_balancer, &["allocateLoadBalancerNodePorts"]),
        (is_load_balancer, &["loadBalancerClass"]),
        (is_external, &["externalTrafficPolicy"]),
    ];
    if needs_node_ports(old) && !needs_node_ports(spec) && node_ports(old) == node_ports(spec) {
        each(spec, "ports").for_each(|port| remove(port, "nodePort"));
    }
    for (needs, fields) in rules {
        if !needs(old) || needs(spec) {
            continue;
        }
        // Both forms of the address go, or none.
        let addresses = spec.get("clusterIPs") == old.get("clusterIPs")
            && text(spec, "clusterIP") == text(old, "clusterIP");
        for field in fields {
            let same = match *field {
                "clusterIP" | "clusterIPs" => addresses,
                field => spec.get(field) == old.get(field),
            };
            if same {
                remove(spec, field);
            }
        }
    }
}

fn is_load_balancer(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer"
}

/// Readies an update.
pub(super) fn prepare(service: &mut Value, old: &Value) {
    let (Some(spec), old) = (service.get_mut("spec"), &old["spec"]) else { return };
    if !spec.is_object() {
        return;
    }
    one_address(spec, Some(old));
    keep_given(spec, old);
    let_go(spec, old);
}

/// An address once given stays, as long as the type needs one; a second one may come and go.
pub(super) fn validate(service: &Value, old: &Value) -> Errors {
    let (spec, before, path) = (&service["spec"], &old["spec"], Path::new("spec"));
    let named = |spec: &Value| text(spec, "type") == "ExternalName";
    let headless = |spec: &Value| strings(spec, "clusterIPs") == ["None"];
    let mut errors = Errors::new();
    if !named(spec) && !named(before) {
        if !(headless(spec) && headless(before)) {
            errors.extend(addresses(spec, before, &path));
        }
        if !headless(spec) && !headless(before) {
            errors.extend(families(spec, before, &path));
        }
    }
    if is_load_balancer(spec) && is_load_balancer(before) {
        let field = "loadBalancerClass";
        if spec.get(field) != before.get(field) {
            let shown = spec.get(field).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(&path.child(field), shown, "may not change once set"));
        }
    }
    // Told again with all that is wrong with the Service itself.
    errors.extend(service_rules::class(spec, &path));
    if needs_health_check(spec) && needs_health_check(before) {
        let field = "healthCheckNodePort";
        if int(spec, field) != int(before, field) {
            errors.push(FieldError::forbidden(&path.child(field), "field is immutable"));
        }
    }
    errors
}

fn addresses(spec: &Value, before: &Value, path: &Path) -> Errors {
    let (now, was, at) =
        (strings(spec, "clusterIPs"), strings(before, "clusterIPs"), path.child("clusterIPs"));
    let refuse = |i: usize, detail: &str| {
        FieldError::invalid(&at.index(i), spec.get("clusterIPs").cloned().unwrap_or_default(), detail)
    };
    if now.len() == was.len() {
        let changed = was.iter().zip(&now).enumerate().filter(|(_, (was, now))| was != now);
        return changed.map(|(i, _)| refuse(i, "may not change once set")).collect();
    }
    let mut errors = Errors::new();
    if now.is_empty() {
        errors.push(refuse(0, "primary clusterIP can not be unset"));
    }
    if let (Some(now), Some(was)) = (now.first(), was.first())
        && now != was
    {
        errors.push(refuse(0, "may not change once set"));
    }
    errors.extend(released(spec, now.len(), was.len(), "clusterIP", path));
    errors
}

/// The second of two goes only when one is said to be enough.
fn released(spec: &Value, now: usize, was: usize, what: &str, path: &Path) -> Option<FieldError> {
    let field = "ipFamilyPolicy";
    let shown = spec.get(field).cloned().unwrap_or_default();
    let detail = format!("must be set to 'SingleStack' when releasing the secondary {what}");
    (now == 1 && was > 1 && shown != "SingleStack")
        .then(|| FieldError::invalid(&path.child(field), shown, detail))
}

fn families(spec: &Value, before: &Value, path: &Path) -> Errors {
    let (now, was) = (strings(spec, "ipFamilies"), strings(before, "ipFamilies"));
    let at = path.child("ipFamilies").index(0);
    let refuse = |field: &str, detail: &str| {
        FieldError::invalid(&at, spec.get(field).cloned().unwrap_or_default(), detail)
    };
    if now.len() == was.len() {
        let changed = was.iter().zip(&now).filter(|(was, now)| was != now);
        return changed.map(|_| refuse("ipFamilies", "may not change once set")).collect();
    }
    let mut errors = Errors::new();
    if now.len() < was.len() && list(spec, "clusterIPs").is_empty() {
        errors.push(refuse("ipFamilies", "primary ipFamily can not be unset"));
    }
    if let (Some(now), Some(was)) = (now.first(), was.first())
        && now != was
    {
        errors.push(refuse("clusterIPs", "may not change once set"));
    }
    errors.extend(released(spec, now.len(), was.len(), "ipFamily", path));
    errors
}

/// Traffic may come in where it did not before; fills nothing else.
pub(super) fn default_policies(spec: &mut Value) {
    if is_external(spec) && text(spec, "externalTrafficPolicy").is_empty() {
        put(spec, "externalTrafficPolicy", "Cluster");
    }
    fill(spec, "internalTrafficPolicy", "Cluster");
}
