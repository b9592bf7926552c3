//! Defaults and refusals of Services (upstream `ValidateService`).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::text::go_json;
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::rules::Rules;
use super::super::value::{each, fill, has, int, list, map, put, strings, text};
use super::super::{addresses, check};
use super::service_update::{default_policies, is_external, needs_health_check};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const AFFINITIES: [&str; 2] = ["ClientIP", "None"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
const ONLY_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";
/// How long a client stays with its pod when nothing is said, and at most.
const AFFINITY_SECONDS: i64 = 10_800;
const AFFINITY_SECONDS_MAX: i64 = 86_400;

static DEFAULTS: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(
        r#"
        spec.type ?= "ClusterIP"
        spec.sessionAffinity ?= "None"
        spec.ports[].protocol ?= "TCP"
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
    default_policies(spec);
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// What is refused. `old` is what was there before.
pub(super) fn validate(service: &Value, old: Option<&Value>) -> Errors {
    let (spec, path) = (&service["spec"], Path::new("spec"));
    let mut errors: Errors = topology(service).into_iter().collect();
    let (kind, headless) = (text(spec, "type"), strings(spec, "clusterIPs") == ["None"]);
    let ports = list(spec, "ports");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    errors.extend(by_type(spec, kind, headless, &path));
    errors.extend(each_port(ports, &path.child("ports")));
    errors.extend(check::labels(map(spec, "selector"), &path.child("selector")));
    errors.extend(affinity(spec, &path));
    let before = |field: &str| old.map_or_else(Vec::new, |old| strings(&old["spec"], field));
    errors.extend(families(spec, &before("clusterIPs"), &path));
    let known = before("externalIPs");
    for (i, text) in strings(spec, "externalIPs").into_iter().enumerate() {
        let at = path.child("externalIPs").index(i);
        match addresses::new_ip(text, &known, &at) {
            Some(error) => errors.push(error),
            None => {
                let address = text.parse().ok();
                errors.extend(address.into_iter().flat_map(|ip| addresses::endpoint(ip, text, &at)));
            }
        }
    }
    errors.extend(check::one_of(spec, "type", &TYPES, &path));
    errors.extend(twice(ports, kind, &path.child("ports")));
    errors.extend(sources(service, &before("loadBalancerSourceRanges"), &path));
    errors.extend(load_balancers(spec, kind, &path));
    errors.extend(policies(spec, &path));
    errors
}

/// Two annotations that say the same.
fn topology(service: &Value) -> Option<FieldError> {
    const MODE: &str = "service.kubernetes.io/topology-mode";
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let (mode, hints) = (meta::annotation(service, MODE)?, meta::annotation(service, HINTS)?);
    let path = Path::new("metadata").child("annotations").key(MODE);
    let detail = format!("must match annotations[{HINTS}] when both are specified");
    (mode != hints).then(|| FieldError::invalid(&path, mode, detail))
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

/// From where a load balancer may be reached, which was an annotation once.
fn sources(service: &Value, before: &[&str], path: &Path) -> Errors {
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let spec = &service["spec"];
    let given = strings(spec, "loadBalancerSourceRanges");
    let other = text(spec, "type") != "LoadBalancer";
    let mut errors = Errors::new();
    if !given.is_empty() {
        let at = path.child("LoadBalancerSourceRanges");
        if other {
            errors.push(FieldError::forbidden(&at, ONLY_BALANCERS));
        }
        let before: Vec<&str> = before.iter().map(|range| range.trim()).collect();
        for (i, range) in given.into_iter().enumerate() {
            errors.extend(addresses::new_range(range.trim(), &before, &at.index(i)));
        }
    } else if let Some(ranges) = meta::annotation(service, ANNOTATION) {
        let at = Path::new("metadata").child("annotations").key(ANNOTATION);
        if other {
            errors.push(FieldError::forbidden(&at, ONLY_BALANCERS));
        }
        let ranges = Some(ranges.trim()).filter(|ranges| !ranges.is_empty());
        let ranges = ranges.into_iter().flat_map(|ranges| ranges.split(','));
        errors.extend(ranges.filter_map(|range| addresses::new_range(range.trim(), &[], &at)));
    }
    errors
}

/// What only load balancers have, and what they have to have.
fn load_balancers(spec: &Value, kind: &str, path: &Path) -> Errors {
    let field = "allocateLoadBalancerNodePorts";
    let mut errors = Errors::new();
    match (kind == "LoadBalancer", has(spec, field)) {
        (true, false) => errors.push(FieldError::required(&Path::new(field), "")),
        (false, true) => errors.push(FieldError::forbidden(&path.child(field), ONLY_BALANCERS)),
        _ => {}
    }
    errors.extend(class(spec, path));
    errors
}

/// The class of a load balancer, which nothing else has.
pub(super) fn class(spec: &Value, path: &Path) -> Errors {
    let (name, at) = (text(spec, "loadBalancerClass"), path.child("loadBalancerClass"));
    match text(spec, "type") {
        _ if !has(spec, "loadBalancerClass") => Errors::new(),
        "LoadBalancer" => check::named(&at, name, names::qualified_name(name)),
        _ => vec![FieldError::forbidden(&at, ONLY_BALANCERS)],
    }
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
    let (field, number) = ("healthCheckNodePort", int(spec, "healthCheckNodePort").unwrap_or_default());
    let at = path.child(field);
    match (needs_health_check(spec), number) {
        (true, 0) => errors.push(FieldError::required(&at, "")),
        (true, number) => errors.extend(check::port(number, &at)),
        (false, 0) => {}
        (false, number) => {
            let detail =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&at, number, detail));
        }
    }
    if text(spec, "type") != "ExternalName" && !has(spec, "internalTrafficPolicy") {
        errors.push(FieldError::required(&path.child("internalTrafficPolicy"), ""));
    }
    errors.extend(check::known(spec, "internalTrafficPolicy", &POLICIES, path));
    if has(spec, "trafficDistribution") {
        let wanted = text(spec, "trafficDistribution");
        if !DISTRIBUTIONS.contains(&wanted) {
            let at = path.child("trafficDistribution");
            errors.push(FieldError::not_supported(&at, wanted, &DISTRIBUTIONS));
        }
    }
    errors
}

/// Addresses and their families (upstream `ValidateServiceClusterIPsRelatedFields`).
pub(crate) fn families(spec: &Value, before: &[&str], path: &Path) -> Errors {
    const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
    let mut errors = Errors::new();
    if text(spec, "type") == "ExternalName" {
        return errors;
    }
    let (one, all, at) = (text(spec, "clusterIP"), strings(spec, "clusterIPs"), path.child("clusterIPs"));
    let refuse = |detail: &str| FieldError::invalid(&at, spec["clusterIPs"].clone(), detail);
    match all.first() {
        None if !one.is_empty() => errors.push(FieldError::required(&at, "")),
        Some(_) if one.is_empty() => errors.push(refuse("must be empty when `clusterIP` is not specified")),
        Some(first) if *first != one => errors.push(refuse("first value must match `clusterIP`")),
        _ => {}
    }
    let families = strings(spec, "ipFamilies");
    for (i, family) in families.iter().enumerate() {
        let at = path.child("ipFamilies").index(i);
        if !FAMILIES.contains(family) {
            errors.push(FieldError::not_supported(&at, *family, &FAMILIES));
        }
        if families[..i].contains(family) {
            errors.push(FieldError::duplicate(&at, *family));
        }
    }
    errors.extend(check::known(spec, "ipFamilyPolicy", &POLICIES, path));
    let mut wrong = Errors::new();
    for (i, address) in all.iter().enumerate() {
        if i > 0 || *address != "None" {
            wrong.extend(addresses::new_ip(address, before, &at.index(i)));
        } else if all.len() > 1 {
            wrong.push(refuse("'None' must be the first and only value"));
        }
    }
    let fine = wrong.is_empty();
    errors.extend(wrong);
    if all.len() > 2 {
        errors.push(refuse("may only hold up to 2 values"));
    }
    if fine && all.len() > 1 && !addresses::is_dual_stack(&all) {
        errors.push(refuse("may specify no more than one IP for each IP family"));
    }
    for (i, (address, family)) in all.iter().zip(&families).enumerate().filter(|_| fine && all != ["None"]) {
        let is = if address.contains(':') { "IPv6" } else { "IPv4" };
        if FAMILIES.contains(family) && is != *family {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.push(FieldError::invalid(&at.index(i), *address, detail));
        }
    }
    errors
}

fn external_name(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let pointer = field == "ipFamilyPolicy";
        if spec.get(field).is_some_and(|value| pointer || !check::is_zero(value)) {
            errors
                .push(FieldError::forbidden(&path.child(field), "may not be set for ExternalName services"));
        }
    }
    let (name, at) = (text(spec, "externalName"), path.child("externalName"));
    match name.strip_suffix('.').unwrap_or(name) {
        "" => errors.push(FieldError::required(&at, "")),
        trimmed => errors.extend(check::named(&at, trimmed, names::dns1123_subdomain(trimmed))),
    }
    errors
}

/// Each port by itself, and that no two have the same name.
fn each_port(ports: &[Value], path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let (at, name) = (path.index(i), text(port, "name"));
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if !name.is_empty() {
            errors.extend(check::named(&at.child("name"), name, names::dns1123_label(name)));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), name));
            }
        }
        errors.extend(check::port(int(port, "port").unwrap_or_default(), &at.child("port")));
        errors.extend(check::one_of(port, "protocol", &PROTOCOLS, &at));
        errors.extend(check::port_or_name(&port["targetPort"], &at.child("targetPort")));
        if has(port, "appProtocol") {
            let name = text(port, "appProtocol");
            errors.extend(check::named(&at.child("appProtocol"), name, names::qualified_name(name)));
        }
    }
    errors
}

/// A port that is there twice. Upstream shows its number and protocol alone, in a struct of the whole.
fn same_port(protocol: &str, number: i64, path: &Path) -> FieldError {
    let protocol = go_json(&protocol.into());
    let shown = format!(
        r#"{{"Name":"","Protocol":{protocol},"AppProtocol":null,"Port":{number},"TargetPort":0,"NodePort":0}}"#
    );
    FieldError::duplicate(path, Value::Null).without_value().with_detail(shown)
}

/// Ports of nodes where there should be none, and ports that are there twice.
fn twice(ports: &[Value], kind: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let node_port = |port: &Value| int(port, "nodePort").filter(|number| *number != 0);
    for (i, _) in
        ports.iter().enumerate().filter(|(_, port)| kind == "ClusterIP" && node_port(port).is_some())
    {
        let detail = "may not be used when `type` is 'ClusterIP'";
        errors.push(FieldError::forbidden(&path.index(i).child("nodePort"), detail));
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        if let Some(number) = node_port(port).filter(|number| !seen.insert((text(port, "protocol"), *number)))
        {
            errors.push(FieldError::duplicate(&path.index(i).child("nodePort"), number));
        }
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let protocol = text(port, "protocol");
        if !seen.insert((protocol, int(port, "port"))) {
            errors.push(same_port(protocol, int(port, "port").unwrap_or_default(), &path.index(i)));
        }
    }
    errors
}
