//! Nodes: node agents register themselves with their status.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::text::go_quote;
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::{age, or_none};
use super::super::rules::Rules;
use super::super::value::{fill, flag, has, int, list, map, put, strings, text};
use super::super::{addresses, check, resources};
use crate::registry::strategy::Strategy;

/// The strategy of Nodes.
pub struct Node;

static DEFAULTS: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(
        r#"
        spec = {}
        status = {}
        status.daemonEndpoints = {}
        status.daemonEndpoints.kubeletEndpoint = {}
        status.daemonEndpoints.kubeletEndpoint.Port = 0
        status.nodeInfo = {}
        status.nodeInfo.architecture = ""
        status.nodeInfo.bootID = ""
        status.nodeInfo.containerRuntimeVersion = ""
        status.nodeInfo.kernelVersion = ""
        status.nodeInfo.kubeProxyVersion = ""
        status.nodeInfo.kubeletVersion = ""
        status.nodeInfo.machineID = ""
        status.nodeInfo.operatingSystem = ""
        status.nodeInfo.osImage = ""
        status.nodeInfo.systemUUID = ""
        "#,
    )
});

impl Strategy for Node {
    fn clears_status(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        DEFAULTS.apply(object);
        if let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) {
            let (one, all) = (text(spec, "podCIDR").to_owned(), strings(spec, "podCIDRs"));
            match all.first().map(|first| (*first).to_owned()) {
                Some(first) if one.is_empty() => put(spec, "podCIDR", first),
                // The older field is believed.
                first if !one.is_empty() && first.as_ref() != Some(&one) => {
                    put(spec, "podCIDRs", json!([one]));
                }
                _ => {}
            }
        }
        let Some(status) = object.get_mut("status") else { return };
        if let Some(capacity) = status.get("capacity").filter(|c| c.is_object()).cloned() {
            fill(status, "allocatable", capacity);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_settings(object, &Value::Null);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        drop_settings(object, old);
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        drop_settings(object, old);
    }

    fn validate(&self, object: &Value) -> Errors {
        let spec = &object["spec"];
        let mut errors = taints(list(spec, "taints"));
        errors.extend(amounts(&object["status"]));
        errors.extend(swap(&object["status"]["nodeInfo"]["swap"]));
        errors.extend(features(&object["status"]));
        let (ranges, path) = (strings(spec, "podCIDRs"), Path::new("spec").child("podCIDRs"));
        for (i, range) in ranges.iter().enumerate() {
            errors.extend(addresses::new_range(range, &[], &path.index(i)));
        }
        errors.extend(families(&ranges, &path));
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        update(object, old)
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> Errors {
        update(object, old)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings(&object["spec"])
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", flag(&object["spec"], "unschedulable").to_string())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(row(object, now))
    }
}

/// Settings that nodes once took from the API are gone, and one is not switched on yet, but for nodes that have them.
fn drop_settings(object: &mut Value, old: &Value) {
    for (holder, field) in [("spec", "configSource"), ("spec", "podPreemptionPolicy"), ("status", "config")] {
        if !has(&old[holder], field)
            && let Some(holder) = object.get_mut(holder).and_then(Value::as_object_mut)
        {
            holder.remove(field);
        }
    }
}

fn warnings(spec: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if has(spec, "configSource") {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !text(spec, "externalID").is_empty() {
        let what = "this field is deprecated, and is unused by Kubernetes";
        warnings.push(format!("spec.externalID: {what}"));
    }
    for (i, range) in strings(spec, "podCIDRs").into_iter().enumerate() {
        warnings.extend(addresses::range_warnings(range, &Path::new("spec").child("podCIDRs").index(i)));
    }
    warnings
}

fn swap(swap: &Value) -> Option<FieldError> {
    let capacity = int(swap, "capacity").filter(|capacity| *capacity <= 0)?;
    let path = Path::new("metadata").child("nodeSwapStatus").child("capacity");
    Some(FieldError::invalid(&path, capacity, "must be greater than zero"))
}

/// That several ranges are one of each family.
fn families(ranges: &[&str], path: &Path) -> Errors {
    let mut errors = Errors::new();
    if ranges.len() < 2 {
        return errors;
    }
    let unread = ranges.iter().position(|range| addresses::lenient_range(range).is_none());
    if let Some(i) = unread {
        let what = "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR";
        let detail = format!("{what}[{i}]: <nil> (invalid CIDR address: {})", ranges[i]);
        errors.push(FieldError::internal(path, detail));
    }
    if ranges.len() > 2 || unread.is_some() || !addresses::is_dual_stack(ranges) {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(path, ranges.to_vec(), detail));
    }
    errors
}

/// What a node has.
fn amounts(status: &Value) -> Errors {
    let mut errors = Errors::new();
    for field in ["capacity", "allocatable"] {
        for (name, amount) in map(status, field).into_iter().flatten() {
            errors.extend(resources::amount(name, amount, &Path::new("status").child(field).child(name)));
        }
    }
    errors
}

/// What a node can do.
fn features(status: &Value) -> Errors {
    let mut errors = Errors::new();
    let (features, path) =
        (strings(status, "declaredFeatures"), Path::new("status").child("declaredFeatures"));
    for (i, feature) in features.iter().enumerate() {
        errors.extend(feature_name(feature).map(|why| FieldError::invalid(&path.index(i), *feature, why)));
        match features.get(i + 1) {
            Some(next) if next == feature => {
                errors.push(FieldError::duplicate(&path.index(i + 1), *next));
            }
            Some(next) if next < feature => {
                let detail = "list must be sorted alphabetically";
                errors.push(FieldError::invalid(&path.index(i + 1), *next, detail));
            }
            _ => {}
        }
    }
    errors
}

/// Why this is no name of a feature: `MyFeature/mySubFeature`.
fn feature_name(name: &str) -> Option<String> {
    const LENGTH_MAX: usize = 253;
    let quoted = go_quote(name);
    if name.len() > LENGTH_MAX {
        return Some(format!("invalid feature name {quoted}: must be no more than {LENGTH_MAX} characters"));
    }
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let fits = name.split('/').all(plain) && name.starts_with(|c: char| c.is_ascii_uppercase());
    let form = "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes";
    (!fits).then(|| format!("invalid feature name {quoted}: {form}"))
}

/// Ranges and the provider's name are given once.
fn update(object: &Value, old: &Value) -> Errors {
    let (path, spec, before) = (Path::new("spec"), &object["spec"], &old["spec"]);
    let mut errors = amounts(&object["status"]);
    errors.extend(features(&object["status"]));
    let addresses = list(&object["status"], "addresses");
    for (i, address) in addresses.iter().enumerate().filter(|(i, address)| addresses[..*i].contains(address))
    {
        let path = Path::new("status").child("addresses").index(i);
        errors.push(FieldError::duplicate(&path, address.clone()).as_struct("NodeAddress"));
    }
    let (now, was) = (strings(spec, "podCIDRs"), strings(before, "podCIDRs"));
    let changed = match (was.len(), now.len()) {
        (0, _) => 0,
        (was, now) if was != now => 1,
        _ => was.iter().zip(&now).filter(|(was, now)| was != now).count(),
    };
    for _ in 0..changed {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden(&path.child("podCIDRs"), detail));
    }
    let provider = text(before, "providerID");
    if !provider.is_empty() && provider != text(spec, "providerID") {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(&path.child("providerID"), detail));
    }
    errors.extend(taints(list(spec, "taints")));
    if text(spec, "externalID") != text(before, "externalID") {
        errors.push(FieldError::forbidden(&path.child("externalID"), "may not be updated"));
    }
    errors
}

fn taints(taints: &[Value]) -> Errors {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let at = Path::new("metadata").child("taints").index(i);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        errors.extend(check::named(&at.child("key"), key, names::qualified_name(key)));
        let reasons = names::label_value(value);
        if !reasons.is_empty() {
            errors.push(FieldError::invalid(&at.child("value"), value, reasons.join(";")));
        }
        errors.extend(check::one_of(taint, "effect", &EFFECTS, &at));
        if !seen.insert((key, effect)) {
            let detail = "taints must be unique by key and effect pair";
            let error = FieldError::duplicate(&at, taint.clone()).with_detail(detail);
            errors.push(error.as_struct("Taint"));
        }
    }
    errors
}

/// Cells of a node: Name, Status, Roles, Age, Version, Internal-IP, External-IP, OS-Image, Kernel-Version, Container-Runtime.
fn row(node: &Value, now: i64) -> Vec<Value> {
    const ROLE: &str = "node-role.kubernetes.io/";
    let (status, info) = (&node["status"], &node["status"]["nodeInfo"]);
    let ready =
        list(status, "conditions").iter().find(|c| text(c, "type") == "Ready").map(|c| text(c, "status"));
    let mut state = match ready {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if flag(&node["spec"], "unschedulable") {
        state.push_str(",SchedulingDisabled");
    }
    let labels = || meta::labels(node).into_iter().flatten();
    let mut roles: BTreeSet<&str> = labels().filter_map(|(key, _)| key.strip_prefix(ROLE)).collect();
    roles.extend(meta::label(node, "kubernetes.io/role"));
    roles.remove("");
    let roles: Vec<&str> = roles.into_iter().collect();
    let address = |kind: &str| {
        let found = list(status, "addresses").iter().find(|a| text(a, "type") == kind);
        json!(or_none(found.map_or("", |a| text(a, "address"))))
    };
    let known = |field: &str| {
        let value = text(info, field);
        json!(if value.is_empty() { "<unknown>" } else { value })
    };
    // A kernel is told with the machine it is for.
    let kernel = match (known("kernelVersion"), text(info, "architecture")) {
        (kernel, "") => kernel,
        (kernel, machine) => json!(format!("{} ({machine})", kernel.as_str().unwrap_or_default())),
    };
    vec![
        json!(meta::name(node)),
        json!(state),
        json!(or_none(roles.join(","))),
        age(node, now),
        json!(text(info, "kubeletVersion")),
        address("InternalIP"),
        address("ExternalIP"),
        known("osImage"),
        kernel,
        known("containerRuntimeVersion"),
    ]
}
