//! Endpoints.

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::{age, shortened};
use super::super::plain::Plain;
use super::super::value::{has, int, list, text};
use super::super::{addresses, check};
use crate::registry::strategy::Generic;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: "subsets[].ports[].protocol ?= \"TCP\"",
        validate_create: validate,
        // What is there may have been let through by older rules.
        validate_update: |object, old| {
            if object.get("subsets") == old.get("subsets") { Errors::new() } else { validate(object) }
        },
        row: Some(row),
        warnings,
        update_warnings: |object, _| warnings(object),
        ..Plain::new(generic)
    }
}

/// Addresses that are written in an unusual way. Those of the controller are not.
fn warnings(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if meta::label(object, "endpoints.kubernetes.io/managed-by") == Some("endpoint-controller") {
        return warnings;
    }
    for (i, subset) in list(object, "subsets").iter().enumerate() {
        for field in ["addresses", "notReadyAddresses"] {
            let path = Path::new("subsets").index(i).child(field);
            for (j, address) in list(subset, field).iter().enumerate() {
                let path = path.index(j).child("ip");
                warnings.extend(addresses::ip_warning(text(address, "ip"), &path));
            }
        }
    }
    warnings
}

fn validate(object: &Value) -> Errors {
    let mut errors = Errors::new();
    for (i, subset) in list(object, "subsets").iter().enumerate() {
        let path = Path::new("subsets").index(i);
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|field| list(subset, field).is_empty()) {
            errors.push(FieldError::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for field in lists {
            for (j, address) in list(subset, field).iter().enumerate() {
                errors.extend(one_address(address, &path.child(field).index(j)));
            }
        }
        let ports = list(subset, "ports");
        for (j, port) in ports.iter().enumerate() {
            errors.extend(one_port(port, ports.len() > 1, &path.child("ports").index(j)));
        }
    }
    errors
}

fn one_address(address: &Value, path: &Path) -> Errors {
    let (ip, at) = (text(address, "ip"), path.child("ip"));
    let parsed = addresses::ip(ip, &at);
    let mut errors: Errors = parsed.as_ref().err().cloned().into_iter().collect();
    let name = text(address, "hostname");
    if !name.is_empty() {
        errors.extend(check::named(&path.child("hostname"), name, names::dns1123_label(name)));
    }
    if has(address, "nodeName") {
        let name = text(address, "nodeName");
        errors.extend(check::named(&path.child("nodeName"), name, names::dns1123_subdomain(name)));
    }
    match parsed {
        Ok(parsed) => errors.extend(addresses::endpoint(parsed, ip, &at)),
        Err(_) => errors.push(FieldError::invalid(&at, ip, "must be a valid IP address")),
    }
    errors
}

fn one_port(port: &Value, named: bool, path: &Path) -> Errors {
    let (name, at) = (text(port, "name"), path.child("name"));
    let mut errors = Errors::new();
    if named && name.is_empty() {
        errors.push(FieldError::required(&at, ""));
    } else if !name.is_empty() {
        errors.extend(check::named(&at, name, names::dns1123_label(name)));
    }
    errors.extend(check::port(int(port, "port").unwrap_or_default(), &path.child("port")));
    errors.extend(check::one_of(port, "protocol", &PROTOCOLS, path));
    if has(port, "appProtocol") {
        let name = text(port, "appProtocol");
        errors.extend(check::named(&path.child("appProtocol"), name, names::qualified_name(name)));
    }
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in list(object, "subsets") {
        let ports = list(subset, "ports");
        let ips = || list(subset, "addresses").iter().map(|address| text(address, "ip"));
        if ports.is_empty() {
            all.extend(ips().map(str::to_owned));
        }
        for number in ports.iter().map(|port| int(port, "port").unwrap_or_default()) {
            all.extend(ips().map(|ip| host_port(ip, number)));
        }
    }
    // Subsets without an address that is ready print as nothing.
    let nothing = if list(object, "subsets").is_empty() { "<none>" } else { "" };
    vec![json!(meta::name(object)), json!(shortened(&all, nothing)), age(object, now)]
}

fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
