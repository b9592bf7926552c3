//! `discovery.k8s.io`: endpoint slices.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Map, Value, json};

use super::cells::{age, shortened};
use super::plain::Plain;
use super::value::{each, has, int, list, map, strings, text};
use super::{addresses, check};
use crate::registry::strategy::Generic;

const CHECKS: &str = "
addressType            required immutable one-of=FQDN|IPv4|IPv6
endpoints[].addresses  required items=100
";
const PORTS_MAX: usize = 20_000;
const LABELS_MAX: usize = 16;
const HINTS_MAX: usize = 8;
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ENDPOINTS_MAX: usize = 1000;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    (plural == "endpointslices").then(|| Plain {
        defaults: "endpoints[].conditions = {}\nports[].name = \"\"\nports[].protocol = \"TCP\"",
        prepare: |slice| forget_topology(slice, &Value::Null),
        prepare_update: forget_topology,
        checks: CHECKS,
        validate_create: |slice| validate(slice, &Value::Null),
        validate_update: validate,
        regenerates: Some(|slice, old| {
            let fields = ["addressType", "endpoints", "ports"];
            fields.iter().any(|field| slice.get(field) != old.get(field))
                || meta::labels(slice) != meta::labels(old)
        }),
        warnings: |slice| {
            let mut warnings = Vec::new();
            if text(slice, "addressType") == "FQDN" {
                warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
            }
            warnings.extend(unusual_addresses(slice));
            warnings
        },
        update_warnings: |slice, _| unusual_addresses(slice),
        row: Some(row),
        ..Plain::new(generic)
    })
}

/// Labels of places were a field of older versions alone; what did not change is left as it is.
fn forget_topology(slice: &mut Value, old: &Value) {
    if slice.get("endpoints") != old.get("endpoints") {
        for endpoint in each(slice, "endpoints") {
            endpoint.as_object_mut().map(|endpoint| endpoint.remove("deprecatedTopology"));
        }
    }
}

/// Addresses in an unusual form, unless it is a controller who writes them.
fn unusual_addresses(slice: &Value) -> Vec<String> {
    const CONTROLLERS: [&str; 2] =
        ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
    let by = meta::label(slice, "endpointslice.kubernetes.io/managed-by").unwrap_or_default();
    let mut warnings = Vec::new();
    for (i, endpoint) in list(slice, "endpoints").iter().enumerate().filter(|_| !CONTROLLERS.contains(&by)) {
        let path = Path::new("endpoints").index(i).child("addresses");
        for (j, address) in strings(endpoint, "addresses").into_iter().enumerate() {
            warnings.extend(addresses::ip_warning(address, &path.index(j)));
        }
    }
    warnings
}

/// Endpoints that did not change may have been let through by older rules.
fn validate(slice: &Value, old: &Value) -> Errors {
    let mut errors = ports(list(slice, "ports"));
    if old.is_null() || slice.get("endpoints") != old.get("endpoints") {
        errors.extend(all(list(slice, "endpoints"), text(slice, "addressType")));
    }
    errors
}

fn all(endpoints: &[Value], kind: &str) -> Errors {
    let path = Path::new("endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        return vec![FieldError::too_many(&path, endpoints.len(), ENDPOINTS_MAX)];
    }
    endpoints.iter().enumerate().flat_map(|(i, endpoint)| one(endpoint, kind, &path.index(i))).collect()
}

fn one(endpoint: &Value, kind: &str, path: &Path) -> Errors {
    let mut errors = addresses_of(endpoint, kind, &path.child("addresses"));
    let node = text(endpoint, "nodeName");
    if has(endpoint, "nodeName") {
        errors.extend(check::named(&path.child("nodeName"), node, names::dns1123_subdomain(node)));
    }
    let topology = path.child("deprecatedTopology");
    let count = map(endpoint, "deprecatedTopology").map_or(0, Map::len);
    if count > LABELS_MAX {
        errors.push(FieldError::too_many(&topology, count, LABELS_MAX));
    }
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
            return errors;
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
    let mut errors = Errors::new();
    for (i, address) in strings(endpoint, "addresses").into_iter().enumerate() {
        let at = path.index(i);
        if kind == "FQDN" {
            errors.extend(domain(address, &at));
        }
        if !matches!(kind, "IPv4" | "IPv6") {
            continue;
        }
        // Only the younger family has to be in its one form.
        let canonical = if kind == "IPv6" { addresses::canonical_ip(address, &at) } else { None };
        match (addresses::ip(address, &at), canonical) {
            (Err(error), _) | (Ok(_), Some(error)) => errors.push(error),
            (Ok(ip), None) => {
                if ip.is_ipv4() != (kind == "IPv4") {
                    errors.push(FieldError::invalid(path, address, format!("must be an {kind} address")));
                }
                errors.extend(addresses::endpoint(ip, address, &at));
            }
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
        errors.extend(check::known(port, "protocol", &PROTOCOLS, &at));
        let application = text(port, "appProtocol");
        if has(port, "appProtocol") {
            let reasons = names::qualified_name(application);
            errors.extend(check::named(&at.child("appProtocol"), application, reasons));
        }
    }
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let number = |port: &Value| match (int(port, "port"), has(port, "name")) {
        (Some(number), _) => number.to_string(),
        (None, true) => text(port, "name").to_owned(),
        (None, false) => "*".to_owned(),
    };
    let shown = |items: &[String]| match shortened(items, "") {
        nothing if nothing.is_empty() => "<unset>".to_owned(),
        shown => shown,
    };
    let ports: Vec<String> = list(object, "ports").iter().map(number).collect();
    let endpoints: Vec<String> =
        list(object, "endpoints").iter().flat_map(|e| strings(e, "addresses")).map(str::to_owned).collect();
    vec![
        json!(meta::name(object)),
        json!(text(object, "addressType")),
        json!(shown(&ports)),
        json!(shown(&endpoints)),
        age(object, now),
    ]
}
