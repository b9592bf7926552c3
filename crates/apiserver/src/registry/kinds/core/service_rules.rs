//! Defaults and refusals of Services (upstream `ValidateService`).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::{Value, json};

use super::super::check;
use super::super::rules::Rules;
use super::super::value::{each, fill, has, int, list, map, put, strings, text};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const AFFINITIES: [&str; 2] = ["ClientIP", "None"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
/// How long a client stays with its pod when nothing is said, and at most.
const AFFINITY_SECONDS: i64 = 10_800;
const AFFINITY_SECONDS_MAX: i64 = 86_400;

static DEFAULTS: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(
        r#"
        spec.type = "ClusterIP"
        spec.sessionAffinity = "None"
        spec.ports[].protocol = "TCP"
        "#,
    )
});

pub(super) fn default(service: &mut Value) {
    DEFAULTS.apply(service);
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    for port in each(spec, "ports").filter(|port| port.is_object()) {
        if !port.get("targetPort").is_some_and(|target| *target != 0 && *target != "") {
            let number = port.get("port").cloned().unwrap_or_default();
            put(port, "targetPort", number);
        }
    }
    if text(spec, "sessionAffinity") == "ClientIP"
        && !has(&spec["sessionAffinityConfig"]["clientIP"], "timeoutSeconds")
    {
        put(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}));
    }
    if text(spec, "sessionAffinity") == "None" {
        spec.as_object_mut().map(|spec| spec.remove("sessionAffinityConfig"));
    }
    let kind = text(spec, "type").to_owned();
    if kind == "ExternalName" {
        return;
    }
    if is_external(spec) {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    fill(spec, "internalTrafficPolicy", "Cluster");
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// Whether clients outside the cluster may reach it.
fn is_external(spec: &Value) -> bool {
    let kind = text(spec, "type");
    matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !list(spec, "externalIPs").is_empty())
}

pub(super) fn validate(service: &Value) -> Errors {
    let (spec, path) = (&service["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    let (kind, headless) = (text(spec, "type"), text(spec, "clusterIP") == "None");
    let ports = list(spec, "ports");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    errors.extend(by_type(spec, kind, headless, &path));
    errors.extend(all_ports(ports, kind, &path.child("ports")));
    errors.extend(check::labels(map(spec, "selector"), &path.child("selector")));
    errors.extend(affinity(spec, &path));
    for (i, address) in list(spec, "externalIPs").iter().enumerate() {
        errors.extend(check::ip(address.as_str().unwrap_or_default(), &path.child("externalIPs").index(i)));
    }
    errors.extend(check::one_of(spec, "type", &TYPES, &path));
    errors.extend(only_load_balancers(spec, kind, &path));
    errors.extend(policies(spec, &path));
    errors.extend(families(spec, &path));
    errors
}

fn by_type(spec: &Value, kind: &str, headless: bool, path: &Path) -> Errors {
    match kind {
        "ExternalName" => external_name(spec, path),
        "NodePort" | "LoadBalancer" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            vec![FieldError::invalid(&path.child("clusterIPs").index(0), "None", detail)]
        }
        _ => Errors::new(),
    }
}

fn affinity(spec: &Value, path: &Path) -> Errors {
    let (kind, at) = (text(spec, "sessionAffinity"), path.child("sessionAffinityConfig"));
    let mut errors: Errors = check::one_of(spec, "sessionAffinity", &AFFINITIES, path).into_iter().collect();
    let config = &spec["sessionAffinityConfig"];
    if kind == "ClientIP" {
        let seconds = int(&config["clientIP"], "timeoutSeconds").unwrap_or_default();
        if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
            let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
            errors.push(FieldError::invalid(&at.child("clientIP").child("timeoutSeconds"), seconds, detail));
        }
    } else if kind == "None" && has(spec, "sessionAffinityConfig") {
        let detail = "must not be set when session affinity is None";
        errors.push(FieldError::forbidden(&at, detail));
    }
    errors
}

fn only_load_balancers(spec: &Value, kind: &str, path: &Path) -> Errors {
    if kind == "LoadBalancer" {
        return Errors::new();
    }
    let refuse = |field: &&str| {
        FieldError::forbidden(&path.child(field), "may only be used when `type` is 'LoadBalancer'")
    };
    ["loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "loadBalancerClass"]
        .iter()
        .filter(|field| has(spec, field))
        .map(refuse)
        .collect()
}

fn policies(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (external, at) = (text(spec, "externalTrafficPolicy"), path.child("externalTrafficPolicy"));
    if is_external(spec) {
        errors.extend(check::one_of(spec, "externalTrafficPolicy", &POLICIES, path));
    } else if !external.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(&at, external, detail));
    }
    errors.extend(check::enumeration(spec, "internalTrafficPolicy", &POLICIES, path));
    if let Some(port) = int(spec, "healthCheckNodePort").filter(|port| *port != 0)
        && (text(spec, "type") != "LoadBalancer" || external != "Local")
    {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(&path.child("healthCheckNodePort"), port, detail));
    }
    errors
}

/// Addresses and their families.
fn families(spec: &Value, path: &Path) -> Errors {
    const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
    if text(spec, "type") == "ExternalName" {
        return Errors::new();
    }
    let mut errors: Errors =
        check::enumeration(spec, "ipFamilyPolicy", &POLICIES, path).into_iter().collect();
    for (i, family) in strings(spec, "ipFamilies").into_iter().enumerate() {
        if !FAMILIES.contains(&family) {
            errors.push(FieldError::not_supported(&path.child("ipFamilies").index(i), family, &FAMILIES));
        }
    }
    let all = strings(spec, "clusterIPs");
    let at = path.child("clusterIPs");
    if let Some(first) = all.first().filter(|first| **first != text(spec, "clusterIP")) {
        errors.push(FieldError::invalid(&at.index(0), *first, "must match `clusterIP`"));
    }
    for (i, address) in all.iter().enumerate().filter(|(i, address)| *i > 0 || **address != "None") {
        errors.extend(check::ip(address, &at.index(i)));
    }
    errors
}

/// An address once given stays, as long as the type needs one.
pub(super) fn validate_update(service: &Value, old: &Value) -> Errors {
    let (spec, before) = (&service["spec"], &old["spec"]);
    let (now, was) = (text(spec, "clusterIP"), text(before, "clusterIP"));
    let named = |spec: &Value| text(spec, "type") == "ExternalName";
    if was.is_empty() || named(spec) || named(before) || now == was {
        return Errors::new();
    }
    let path = Path::new("spec").child("clusterIPs").index(0);
    if now.is_empty() {
        return vec![FieldError::invalid(
            &path,
            spec["clusterIPs"].clone(),
            "primary clusterIP can not be unset",
        )];
    }
    vec![FieldError::invalid(&path, spec["clusterIPs"].clone(), "may not change once set")]
}

fn external_name(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["clusterIP", "clusterIPs"] {
        if !text(spec, field).is_empty() || !list(spec, field).is_empty() {
            errors
                .push(FieldError::forbidden(&path.child(field), "may not be set for ExternalName services"));
        }
    }
    let (name, at) = (text(spec, "externalName"), path.child("externalName"));
    match name.trim_end_matches('.') {
        "" => errors.push(FieldError::required(&at, "")),
        trimmed => errors.extend(check::named(&at, name, names::dns1123_subdomain(trimmed))),
    }
    errors
}

fn all_ports(ports: &[Value], kind: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (mut seen_names, mut seen_ports, mut seen_nodes) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (i, port) in ports.iter().enumerate() {
        let at = path.index(i);
        let (name, protocol) = (text(port, "name"), text(port, "protocol"));
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if !name.is_empty() {
            errors.extend(check::named(&at.child("name"), name, names::dns1123_label(name)));
            if !seen_names.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), name));
            }
        }
        errors.extend(one_port(port, kind, &at));
        if !seen_ports.insert((protocol, int(port, "port"))) {
            let shown = json!({"protocol": protocol, "port": port["port"]});
            errors.push(FieldError::duplicate(&at, shown));
        }
        let node_port = int(port, "nodePort").filter(|number| *number != 0);
        if let Some(number) = node_port.filter(|number| !seen_nodes.insert((protocol, *number))) {
            errors.push(FieldError::duplicate(&at.child("nodePort"), number));
        }
    }
    errors
}

fn one_port(port: &Value, kind: &str, path: &Path) -> Errors {
    let mut errors = check::port(int(port, "port").unwrap_or_default(), &path.child("port"));
    errors.extend(check::one_of(port, "protocol", &PROTOCOLS, path));
    errors.extend(check::port_or_name(&port["targetPort"], &path.child("targetPort")));
    let application = text(port, "appProtocol");
    if !application.is_empty() {
        let reasons = names::qualified_name(application);
        errors.extend(check::named(&path.child("appProtocol"), application, reasons));
    }
    if kind == "ClusterIP" && int(port, "nodePort").is_some_and(|number| number != 0) {
        let detail = "may not be used when `type` is 'ClusterIP'";
        errors.push(FieldError::forbidden(&path.child("nodePort"), detail));
    }
    errors
}
