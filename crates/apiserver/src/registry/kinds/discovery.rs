//! `discovery.k8s.io`: endpoint slices.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::{age, shortened};
use super::plain::Plain;
use super::value::{has, int, list, map, strings, text};
use super::{addresses, check};
use crate::registry::strategy::Generic;

const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const PORTS_MAX: usize = 100;
const HINTS_MAX: usize = 8;
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    (plural == "endpointslices").then(|| Plain {
        defaults: "endpoints[].conditions = {}\nports[].name = \"\"\nports[].protocol = \"TCP\"",
        validate,
        immutable: &["/addressType"],
        row: Some(row),
        warnings: |slice| {
            let names = text(slice, "addressType") == "FQDN";
            let old = names.then(|| "spec.addressType: FQDN endpoints are deprecated".to_owned());
            old.into_iter().chain(address_warnings(slice)).collect()
        },
        update_warnings: |slice, _| address_warnings(slice),
        ..Plain::new(generic)
    })
}

/// Addresses that are written in an unusual way. Those of the controller are not.
fn address_warnings(slice: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if meta::label(slice, "endpointslice.kubernetes.io/managed-by") == Some("endpointslice-controller.k8s.io")
    {
        return warnings;
    }
    for (i, endpoint) in list(slice, "endpoints").iter().enumerate() {
        let path = Path::new("endpoints").index(i).child("addresses");
        for (j, address) in strings(endpoint, "addresses").into_iter().enumerate() {
            warnings.extend(addresses::ip_warning(address, &path.index(j)));
        }
    }
    warnings
}

fn validate(slice: &Value) -> Errors {
    let root = Path::root();
    let mut errors: Errors = check::one_of(slice, "addressType", &TYPES, &root).into_iter().collect();
    let (endpoints, path) = (list(slice, "endpoints"), Path::new("endpoints"));
    if endpoints.len() > ENDPOINTS_MAX {
        errors.push(FieldError::too_many(&path, endpoints.len(), ENDPOINTS_MAX));
        return errors;
    }
    let kind = text(slice, "addressType");
    for (i, endpoint) in endpoints.iter().enumerate() {
        errors.extend(one(endpoint, kind, &path.index(i)));
    }
    errors.extend(ports(list(slice, "ports")));
    errors
}

fn one(endpoint: &Value, kind: &str, path: &Path) -> Errors {
    let mut errors = addresses_of(endpoint, kind, &path.child("addresses"));
    let node = text(endpoint, "nodeName");
    if has(endpoint, "nodeName") {
        errors.extend(check::named(&path.child("nodeName"), node, names::dns1123_subdomain(node)));
    }
    let topology = path.child("deprecatedTopology");
    errors.extend(check::labels(map(endpoint, "deprecatedTopology"), &topology));
    let name = text(endpoint, "hostname");
    if has(endpoint, "hostname") {
        errors.extend(check::named(&path.child("hostname"), name, names::dns1123_label(name)));
    }
    errors.extend(hints(&endpoint["hints"], &path.child("hints")));
    errors
}

fn hints(hints: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["forZones", "forNodes"] {
        let (items, at) = (list(hints, field), path.child(field));
        if items.len() > HINTS_MAX {
            errors.push(FieldError::too_many(&at, items.len(), HINTS_MAX));
            continue;
        }
        let mut seen = BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let (name, at) = (text(item, "name"), at.index(i).child("name"));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at, name));
            }
            let reasons =
                if field == "forZones" { names::label_value(name) } else { names::dns1123_subdomain(name) };
            errors.extend(check::named(&at, name, reasons));
        }
    }
    errors
}

fn addresses_of(endpoint: &Value, kind: &str, path: &Path) -> Errors {
    let addresses = strings(endpoint, "addresses");
    let mut errors = Errors::new();
    if addresses.is_empty() {
        errors.push(FieldError::required(path, "must contain at least 1 address"));
    }
    if addresses.len() > ADDRESSES_MAX {
        errors.push(FieldError::too_many(path, addresses.len(), ADDRESSES_MAX));
    }
    for (i, address) in addresses.into_iter().enumerate() {
        let at = path.index(i);
        match kind {
            "FQDN" => errors.extend(domain(address, &at)),
            "IPv4" | "IPv6" => match addresses::ip(address, &at) {
                Err(error) => errors.push(error),
                Ok(ip) if ip.is_ipv4() != (kind == "IPv4") => {
                    errors.push(FieldError::invalid(&at, address, format!("must be an {kind} address")));
                }
                Ok(ip) => errors.extend(addresses::endpoint(ip, address, &at)),
            },
            _ => {}
        }
    }
    errors
}

/// A name of at least two parts; a dot may end it.
fn domain(name: &str, path: &Path) -> Errors {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let refuse =
        |value: &str, reasons: Vec<String>| vec![FieldError::invalid(path, value, reasons.join(","))];
    let reasons = names::dns1123_subdomain(name);
    if !reasons.is_empty() {
        return refuse(name, reasons);
    }
    if !name.contains('.') {
        let reason = "should be a domain with at least two segments separated by dots";
        return refuse(name, vec![reason.to_owned()]);
    }
    let wrong =
        name.split('.').map(|label| (label, names::dns1123_label(label))).find(|(_, r)| !r.is_empty());
    wrong.map_or_else(Errors::new, |(label, reasons)| refuse(label, reasons))
}

fn ports(ports: &[Value]) -> Errors {
    let path = Path::new("ports");
    if ports.len() > PORTS_MAX {
        return vec![FieldError::too_many(&path, ports.len(), PORTS_MAX)];
    }
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let (at, name) = (path.index(i), text(port, "name"));
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
        let application = text(port, "appProtocol");
        if has(port, "appProtocol") {
            let reasons = names::qualified_name(application);
            errors.extend(check::named(&at.child("appProtocol"), application, reasons));
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
