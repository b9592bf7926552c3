//! What a node says of the devices of containers (upstream `validateContainerStatusAllocatedResourcesStatus`).

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use serde_json::Value;

use super::super::value::{has, list, map, text};

const FIELD: &str = "allocatedResourcesStatus";
const HEALTH: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
const MESSAGE_MAX: usize = 1024;

/// Of containers of one kind; `field` is where they stand in the specification.
pub(super) fn validate(statuses: &[Value], spec: &Value, field: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, status) in statuses.iter().enumerate() {
        let at = path.index(i).child(FIELD);
        let allocated = list(status, FIELD);
        if field == "ephemeralContainers" {
            let refuse = || FieldError::forbidden(&at, "must not be specified in container status");
            errors.extend((!allocated.is_empty()).then(refuse));
            continue;
        }
        let name = text(status, "name");
        let container = list(spec, field).iter().find(|container| text(container, "name") == name);
        for (j, resource) in allocated.iter().enumerate() {
            errors.extend(container.and_then(|container| asked(resource, container, &at.index(j))));
            errors.extend(health(resource, &at.index(j).child("resources")));
        }
    }
    errors
}

/// The container asks for what it is said to have.
fn asked(resource: &Value, container: &Value, path: &Path) -> Option<FieldError> {
    let (name, wanted) = (text(resource, "name"), &container["resources"]);
    let (found, detail) = match name.strip_prefix("claim:") {
        Some(claimed) => (
            list(wanted, "claims").iter().any(|claim| is_claim(claim, claimed)),
            "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
        ),
        None => (
            map(wanted, "requests").is_some_and(|requests| requests.contains_key(name)),
            "must match one of the container's resource requests",
        ),
    };
    (!found).then(|| FieldError::invalid(&path.child("name"), name, detail))
}

fn is_claim(claim: &Value, claimed: &str) -> bool {
    match (text(claim, "name"), text(claim, "request")) {
        (name, "") => name == claimed,
        (name, request) => claimed.split_once('/') == Some((name, request)),
    }
}

fn health(resource: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, device) in list(resource, "resources").iter().enumerate() {
        let (at, health, id) = (path.index(i), text(device, "health"), text(device, "resourceID"));
        if !HEALTH.contains(&health) {
            errors.push(FieldError::not_supported(&at.child("health"), health, &HEALTH));
        }
        let (message, at_message) = (text(device, "message"), at.child("message"));
        if has(device, "message") && message.is_empty() {
            errors.push(FieldError::required(&at_message, "must be non-empty if specified"));
        } else if message.len() > MESSAGE_MAX {
            errors.push(FieldError::too_long(&at_message, MESSAGE_MAX));
        }
        if !seen.insert(id) {
            errors.push(FieldError::duplicate(&at.child("resourceID"), id));
        }
    }
    errors
}
