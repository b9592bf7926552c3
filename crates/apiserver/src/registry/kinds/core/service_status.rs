//! What load balancers say of a Service, and what to warn of.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::value::{each, has, list, put, text};
use super::super::{addresses, check};

/// An address is that of the Service unless something else is said.
pub(super) fn prepare(service: &mut Value) {
    let Some(balancer) = service.pointer_mut("/status/loadBalancer") else { return };
    for ingress in each(balancer, "ingress").filter(|ingress| !text(ingress, "ip").is_empty()) {
        if !has(ingress, "ipMode") {
            put(ingress, "ipMode", "VIP");
        }
    }
}

/// What is wrong with a new status (upstream `ValidateLoadBalancerStatus`).
pub(super) fn validate(service: &Value, old: &Value) -> Errors {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let given = list(&service["status"]["loadBalancer"], "ingress");
    let before = list(&old["status"]["loadBalancer"], "ingress");
    if given == before {
        return Errors::new();
    }
    let mut errors = Errors::new();
    if text(&service["spec"], "type") != "LoadBalancer" && !given.is_empty() {
        let detail = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(&path, detail));
        return errors;
    }
    let known: Vec<&str> = before.iter().map(|ingress| text(ingress, "ip")).collect();
    for (i, ingress) in given.iter().enumerate() {
        let (at, ip, host) = (path.index(i), text(ingress, "ip"), text(ingress, "hostname"));
        if !ip.is_empty() {
            errors.extend(addresses::new_ip(ip, &known, &at.child("ip")));
        }
        errors.extend(ip_mode(ingress, &at.child("ipMode")));
        if !host.is_empty() {
            errors.extend(check::named(&at.child("hostname"), host, names::dns1123_subdomain(host)));
            if host.parse::<std::net::IpAddr>().is_ok() {
                let detail = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(&at.child("hostname"), host, detail));
            }
        }
    }
    errors
}

/// Addresses have a mode, names have none.
fn ip_mode(ingress: &Value, path: &Path) -> Option<FieldError> {
    const MODES: [&str; 2] = ["Proxy", "VIP"];
    let is_address = !text(ingress, "ip").is_empty();
    match ingress.get("ipMode").filter(|mode| !mode.is_null()) {
        None => is_address.then(|| FieldError::required(path, "must be specified when `ip` is set")),
        Some(_) if !is_address => {
            Some(FieldError::forbidden(path, "may not be specified when `ip` is not set"))
        }
        Some(mode) if MODES.iter().any(|known| mode == known) => None,
        Some(mode) => Some(FieldError::not_supported(path, mode.clone(), &MODES)),
    }
}
