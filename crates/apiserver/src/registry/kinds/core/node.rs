//! Nodes: node agents register themselves with their status.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::{age, or_none};
use super::super::check;
use super::super::rules::Rules;
use super::super::value::{fill, flag, has, list, text};
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
        let Some(status) = object.get_mut("status") else { return };
        if let Some(capacity) = status.get("capacity").filter(|c| c.is_object()).cloned() {
            fill(status, "allocatable", capacity);
        }
    }

    fn validate(&self, object: &Value) -> Errors {
        taints(list(&object["spec"], "taints"))
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        let (path, spec, before) = (Path::new("spec"), &object["spec"], &old["spec"]);
        let changed = |field: &str| has(before, field) && before[field] != spec[field];
        let mut errors = Errors::new();
        if changed("podCIDRs") || changed("podCIDR") {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(FieldError::forbidden(&path.child("podCIDRs"), detail));
        }
        if !text(before, "providerID").is_empty() && changed("providerID") {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.push(FieldError::forbidden(&path.child("providerID"), detail));
        }
        errors
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

fn taints(taints: &[Value]) -> Errors {
    const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let at = Path::new("metadata").child("taints").index(i);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        errors.extend(check::named(&at.child("key"), key, names::qualified_name(key)));
        errors.extend(check::named(&at.child("value"), value, names::label_value(value)));
        errors.extend(check::one_of(taint, "effect", &EFFECTS, &at));
        if !seen.insert((key, effect)) {
            errors.push(FieldError::duplicate(&at, taint.clone()));
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
    let roles: Vec<&str> =
        meta::labels(node).into_iter().flatten().filter_map(|(key, _)| key.strip_prefix(ROLE)).collect();
    let address = |kind: &str| {
        let found = list(status, "addresses").iter().find(|a| text(a, "type") == kind);
        json!(or_none(found.map_or("", |a| text(a, "address"))))
    };
    let known = |field: &str| {
        let value = text(info, field);
        json!(if value.is_empty() { "<unknown>" } else { value })
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
        known("kernelVersion"),
        known("containerRuntimeVersion"),
    ]
}
