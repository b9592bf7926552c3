//! `discovery.k8s.io`: endpoint slices.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::{age, shortened};
use super::check;
use super::plain::Plain;
use super::value::{has, int, list, strings, text};
use crate::registry::strategy::Generic;

const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    (plural == "endpointslices").then(|| Plain {
        defaults: "ports[].name = \"\"\nports[].protocol = \"TCP\"",
        validate,
        immutable: &["/addressType"],
        row: Some(row),
        ..Plain::new(generic)
    })
}

fn validate(slice: &Value) -> Errors {
    let root = Path::root();
    let mut errors: Errors = check::one_of(slice, "addressType", &TYPES, &root).into_iter().collect();
    let (endpoints, path) = (list(slice, "endpoints"), Path::new("endpoints"));
    if endpoints.len() > ENDPOINTS_MAX {
        errors.push(FieldError::too_many(&path, endpoints.len(), ENDPOINTS_MAX));
        return errors;
    }
    for (i, endpoint) in endpoints.iter().enumerate() {
        errors.extend(addresses(endpoint, text(slice, "addressType"), &path.index(i).child("addresses")));
    }
    errors.extend(ports(list(slice, "ports")));
    errors
}

fn addresses(endpoint: &Value, kind: &str, path: &Path) -> Errors {
    let addresses = strings(endpoint, "addresses");
    let mut errors = Errors::new();
    if addresses.is_empty() {
        errors.push(FieldError::required(path, "must contain at least 1 address"));
    }
    if addresses.len() > ADDRESSES_MAX {
        errors.push(FieldError::too_many(path, addresses.len(), ADDRESSES_MAX));
    }
    for (i, address) in addresses.iter().enumerate() {
        let at = path.index(i);
        let parsed = address.parse::<std::net::IpAddr>();
        match (kind, parsed) {
            ("FQDN", _) => errors.extend(check::named(&at, address, names::dns1123_subdomain(address))),
            ("IPv4", Ok(ip)) if !ip.is_ipv4() => {
                errors.push(FieldError::invalid(&at, *address, "must be an IPv4 address"));
            }
            ("IPv6", Ok(ip)) if ip.is_ipv4() => {
                errors.push(FieldError::invalid(&at, *address, "must be an IPv6 address"));
            }
            ("IPv4" | "IPv6", Err(_)) => errors.extend(check::ip(address, &at)),
            _ => {}
        }
    }
    errors
}

fn ports(ports: &[Value]) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = Path::new("ports").index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            errors.extend(check::named(&at.child("name"), name, names::dns1123_label(name)));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at.child("name"), name));
        }
        errors.extend(check::one_of(port, "protocol", &PROTOCOLS, &at));
        if has(port, "port") {
            errors.extend(check::port(int(port, "port").unwrap_or_default(), &at.child("port")));
        }
    }
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let number = |port: &Value| int(port, "port").map_or("*".to_owned(), |port| port.to_string());
    let ports: Vec<String> = list(object, "ports").iter().map(number).collect();
    let endpoints: Vec<String> =
        list(object, "endpoints").iter().flat_map(|e| strings(e, "addresses")).map(str::to_owned).collect();
    vec![
        json!(meta::name(object)),
        json!(text(object, "addressType")),
        json!(shortened(&ports, "<unset>")),
        json!(shortened(&endpoints, "<unset>")),
        age(object, now),
    ]
}
