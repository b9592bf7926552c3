//! Endpoints.

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::{age, shortened};
use super::super::check;
use super::super::plain::Plain;
use super::super::value::{int, list, text};
use crate::registry::strategy::Generic;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: "subsets[].ports[].protocol = \"TCP\"",
        validate,
        row: Some(row),
        ..Plain::new(generic)
    }
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
    if let Some(error) = check::ip(ip, &at) {
        return vec![error];
    }
    let name = text(address, "hostname");
    let mut errors = Errors::new();
    if !name.is_empty() {
        errors.extend(check::named(&path.child("hostname"), name, names::dns1123_label(name)));
    }
    errors.extend(unreachable(ip, &at));
    errors
}

/// Addresses that mean something else on each machine. Upstream refuses those of the loopback, too, where a cluster of
/// one machine may well live.
fn unreachable(ip: &str, path: &Path) -> Option<FieldError> {
    let parsed: std::net::IpAddr = ip.parse().ok()?;
    let link_local = matches!(parsed, std::net::IpAddr::V4(v4) if v4.is_link_local());
    if parsed.is_unspecified() {
        return Some(FieldError::invalid(path, ip, "may not be unspecified (0.0.0.0 or ::)"));
    }
    let detail = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
    link_local.then(|| FieldError::invalid(path, ip, detail))
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
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in list(object, "subsets") {
        let ports = list(subset, "ports");
        for address in list(subset, "addresses") {
            let ip = text(address, "ip");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|port| host_port(ip, int(port, "port").unwrap_or_default())));
        }
    }
    vec![json!(meta::name(object)), json!(shortened(&all, "<none>")), age(object, now)]
}

fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
