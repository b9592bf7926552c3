//! What may be said of a pod in its status (upstream `ValidatePodStatusUpdate`).

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{internal, names};
use serde_json::{Value, json};

use super::super::addresses;
use super::super::check::{self, MAX_INT32};
use super::super::pod_spec;
use super::super::value::{below, each, fill, has, int, list, map, put, text};
use super::pod_resource_health;

const STATUSES: [&str; 3] = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
/// Conditions whose names are older than the rule for names.
const OLD_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];

/// What a writer left out because it does not know of it stays as it was.
pub(super) fn prepare(pod: &mut Value, old: &Value) {
    let Some(status) = below(pod, "status") else { return };
    let before = &old["status"];
    if text(status, "qosClass").is_empty()
        && let Some(class) = before.get("qosClass")
    {
        put(status, "qosClass", class.clone());
    }
    keep_generation(status, before);
    for condition in each(status, "conditions") {
        let kind = text(condition, "type");
        if let Some(was) = list(before, "conditions").iter().find(|was| text(was, "type") == kind) {
            keep_generation(condition, was);
        }
    }
    one_address(status, "podIP", "podIPs");
}

fn keep_generation(object: &mut Value, old: &Value) {
    const FIELD: &str = "observedGeneration";
    if int(object, FIELD).unwrap_or_default() == 0
        && let Some(generation) = old.get(FIELD)
    {
        put(object, FIELD, generation.clone());
    }
}

/// The one address is the first of all.
fn one_address(status: &mut Value, one: &str, all: &str) {
    let given = text(status, one).to_owned();
    let first = list(status, all).first().map(|address| text(address, "ip").to_owned());
    match first {
        Some(first) if given.is_empty() => fill(status, one, first),
        Some(first) if first == given => {}
        _ if given.is_empty() => {}
        _ => put(status, all, json!([{ "ip": given }])),
    }
}

/// What is wrong with a new status.
pub(super) fn validate(pod: &Value, old: &Value) -> Errors {
    let (status, before, path) = (&pod["status"], &old["status"], Path::new("status"));
    let mut errors = pod_spec::validate_annotations_update(pod, old);
    errors.extend(conditions(status, &path));
    errors.extend(nominated_node(status, old, &path));
    errors.extend(generation(status, &path));
    errors.extend(check::immutable(pod, old, "/status/qosClass", &path.child("qosClass")));
    for field in STATUSES {
        errors.extend(transitions(status, old, field, &path.child(field)));
    }
    errors.extend(resource_claims(status, &pod["spec"], &path.child("resourceClaimStatuses")));
    let extended = &status["extendedResourceClaimStatus"];
    if extended.is_object() {
        errors.extend(extended_claim(extended, &pod["spec"], &path.child("extendedResourceClaimStatus")));
    }
    errors.extend(ips(status, before, "podIPs", &path.child("podIPs")));
    let hosts = path.child("hostIPs");
    if let Some(first) = list(status, "hostIPs").first().map(|address| text(address, "ip")) {
        if first != text(status, "hostIP") {
            let at = hosts.index(0).child("ip");
            errors.push(FieldError::invalid(&at, first, "must be equal to `hostIP`"));
        }
        errors.extend(ips(status, before, "hostIPs", &hosts));
    }
    let windows = text(&pod["spec"]["os"], "name") == "windows";
    for field in STATUSES {
        for (i, container) in list(status, field).iter().enumerate() {
            let at = path.child(field).index(i).child("user").child("linux");
            errors.extend(user(&container["user"], windows, &at));
        }
    }
    for field in STATUSES {
        let (at, of) = (path.child(field), containers_of(field));
        errors.extend(pod_resource_health::validate(list(status, field), &pod["spec"], of, &at));
    }
    errors
}

/// Where containers stand in the specification, by where they stand in the status.
fn containers_of(field: &str) -> &'static str {
    match field {
        "containerStatuses" => "containers",
        "initContainerStatuses" => "initContainers",
        _ => "ephemeralContainers",
    }
}

fn generation(object: &Value, path: &Path) -> Option<FieldError> {
    let generation = int(object, "observedGeneration").filter(|generation| *generation < 0)?;
    let at = path.child("observedGeneration");
    Some(FieldError::invalid(&at, generation, "must be a non-negative integer"))
}

fn conditions(status: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, condition) in list(status, "conditions").iter().enumerate() {
        let (at, kind) = (path.child("conditions").index(i), text(condition, "type"));
        errors.extend(generation(condition, &at));
        if !OLD_CONDITIONS.contains(&kind) {
            errors.extend(check::named(&at.child("Type"), kind, names::qualified_name(kind)));
        }
    }
    errors
}

/// A pod that has a node is promised no other.
fn nominated_node(status: &Value, old: &Value, path: &Path) -> Errors {
    const FIELD: &str = "nominatedNodeName";
    let (name, at) = (text(status, FIELD), path.child(FIELD));
    if name.is_empty() || name == text(&old["status"], FIELD) {
        return Errors::new();
    }
    let mut errors = check::named(&at, name, names::dns1123_subdomain(name));
    if !text(&old["spec"], "nodeName").is_empty() {
        let detail = "may not be set on pods that are already bound to a node";
        errors.push(FieldError::forbidden(&at, detail));
    }
    errors
}

/// A container that has ended and is not to be restarted does not come back.
fn transitions(status: &Value, old: &Value, field: &str, path: &Path) -> Errors {
    let spec = &old["spec"];
    let of = containers_of(field);
    let restartable = of != "ephemeralContainers";
    let mut errors = Errors::new();
    if restartable && any_restarts_all(spec) {
        return errors;
    }
    for (i, was) in list(&old["status"], field).iter().enumerate() {
        let Some(ended) = was["state"].get("terminated").filter(|ended| ended.is_object()) else { continue };
        let name = text(was, "name");
        let now = list(status, field).iter().find(|now| text(now, "name") == name);
        if now.is_none_or(|now| has(&now["state"], "terminated")) {
            continue;
        }
        let code = int(ended, "exitCode").unwrap_or_default();
        let container = list(spec, of).iter().find(|container| text(container, "name") == name);
        if !restartable || !container.is_some_and(|container| restarts(container, spec, code)) {
            let detail = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(&path.index(i).child("state"), detail));
        }
    }
    errors
}

fn any_restarts_all(spec: &Value) -> bool {
    let containers = list(spec, "initContainers").iter().chain(list(spec, "containers"));
    let mut rules = containers.flat_map(|container| list(container, "restartPolicyRules"));
    rules.any(|rule| text(rule, "action") == "RestartAllContainers")
}

/// Whether a container that ended so is started again.
fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    let own = text(container, "restartPolicy");
    let matches = |rule: &&Value| {
        let codes = &rule["exitCodes"];
        let listed = list(codes, "values").iter().any(|value| value.as_i64() == Some(code));
        has(rule, "exitCodes") && listed == (text(codes, "operator") == "In")
    };
    if !own.is_empty() && list(container, "restartPolicyRules").iter().any(|rule| matches(&rule)) {
        return true;
    }
    match if own.is_empty() { text(spec, "restartPolicy") } else { own } {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn resource_claims(status: &Value, spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, claim) in list(status, "resourceClaimStatuses").iter().enumerate() {
        let (at, name) = (path.index(i), text(claim, "name"));
        if !list(spec, "resourceClaims").iter().any(|wanted| text(wanted, "name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(&at.child("name"), name, detail));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at.child("name"), name));
        }
        if has(claim, "resourceClaimName") {
            let name = text(claim, "resourceClaimName");
            errors.extend(check::named(&at.child("resourceClaimName"), name, names::dns1123_subdomain(name)));
        }
    }
    errors
}

/// The claim that was made for resources which containers ask for by a name of their own.
fn extended_claim(claim: &Value, spec: &Value, path: &Path) -> Errors {
    const FIELDS: [&str; 3] = ["containerName", "resourceName", "requestName"];
    let at = path.child("requestMappings");
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    if list(claim, "requestMappings").is_empty() {
        errors.push(FieldError::required(&at, "at least one request mapping is required"));
    }
    for (i, mapping) in list(claim, "requestMappings").iter().enumerate() {
        let at = at.index(i);
        let [container, resource, request] = FIELDS.map(|field| text(mapping, field));
        errors.extend(mapped(container, resource, spec, &at));
        let reasons = names::dns1123_label(request);
        errors.extend(check::named(&path.child("requestName"), request, reasons));
        if !seen.insert((container, resource, request)) {
            let twice = FIELDS.map(|field| FieldError::duplicate(&at.child(field), text(mapping, field)));
            errors.extend(twice);
        }
    }
    let (name, at) = (text(claim, "resourceClaimName"), path.child("resourceClaimName"));
    if name.is_empty() {
        errors.push(FieldError::required(&at, ""));
    } else {
        errors.extend(check::named(&at, name, names::dns1123_subdomain(name)));
    }
    errors
}

/// A container of the pod asks for the resource.
fn mapped(container: &str, resource: &str, spec: &Value, path: &Path) -> Option<FieldError> {
    let mut containers = list(spec, "containers").iter().chain(list(spec, "initContainers"));
    let Some(found) = containers.find(|found| text(found, "name") == container) else {
        let detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
        return Some(FieldError::invalid(&path.child("containerName"), container, detail));
    };
    let asked = map(&found["resources"], "requests").is_some_and(|requests| requests.contains_key(resource));
    let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
    (!asked).then(|| FieldError::invalid(&path.child("resourceName"), resource, detail))
}

/// At most one address of each family.
fn ips(status: &Value, before: &Value, field: &str, path: &Path) -> Errors {
    let all =
        |status| list(status, field).iter().map(|address: &Value| text(address, "ip")).collect::<Vec<_>>();
    let (now, was) = (all(status), all(before));
    let found = now.iter().enumerate().filter_map(|(i, ip)| addresses::new_ip(ip, &was, &path.index(i)));
    let mut errors: Errors = found.collect();
    if now.len() < 2 || addresses::is_dual_stack(&now) {
        return errors;
    }
    if let Some((i, ip)) = now.iter().enumerate().find(|(_, ip)| addresses::ip(ip, path).is_err()) {
        let detail = format!("failed to check for dual stack with error:invalid IP[{i}]: {ip}");
        errors.push(FieldError::internal(path, detail));
    }
    let detail = "may specify no more than one IP for each IP family";
    let shown = internal::compact_list("IP", list(status, field));
    errors.push(FieldError::invalid(path, Value::Null, detail).showing(shown));
    errors
}

fn user(user: &Value, windows: bool, path: &Path) -> Errors {
    let linux = &user["linux"];
    let mut errors = Errors::new();
    if !linux.is_object() {
        return errors;
    }
    if windows {
        return vec![FieldError::forbidden(path, "cannot be set for a windows pod")];
    }
    let mut id = |value: &Value, at: Path| {
        if let Some(id) = value.as_i64().filter(|id| !(0..=MAX_INT32).contains(id)) {
            errors.push(FieldError::invalid(&at, id, names::range_error(0, MAX_INT32)));
        }
    };
    id(&linux["uid"], path.child("uid"));
    id(&linux["gid"], path.child("gid"));
    for (i, group) in list(linux, "supplementalGroups").iter().enumerate() {
        id(group, path.child("supplementalGroups").index(i));
    }
    errors
}

/// Addresses that are written in an unusual way (upstream `GetWarningsForIP`).
pub(super) fn warnings(pod: &Value, old: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for field in ["podIPs", "hostIPs"] {
        if pod["status"].get(field) == old["status"].get(field) {
            continue;
        }
        for (i, address) in list(&pod["status"], field).iter().enumerate() {
            let path = Path::new("status").child(field).index(i).child("ip");
            warnings.extend(addresses::ip_warning(text(address, "ip"), &path));
        }
    }
    warnings
}
