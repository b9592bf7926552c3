//! Ports that several containers of a pod have, and ports on addresses of nothing.

use machinery::field::Path;
use machinery::text::go_quote;
use serde_json::Value;

use super::super::value::{int, list, text};
use super::every_container;

/// A port with its place.
type Port<'a> = (&'a Value, Path);

/// Warnings of a specification.
pub(super) fn of(spec: &Value, path: &Path) -> Vec<String> {
    let mut all: Vec<Port<'_>> = Vec::new();
    for (container, at) in every_container(spec, path) {
        let ports = list(container, "ports").iter().enumerate();
        all.extend(ports.map(|(i, port)| (port, at.child("ports").index(i))));
    }
    let mut warnings = numbers(&all);
    warnings.extend(names(&all));
    warnings
}

fn numbers(all: &[Port<'_>]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, (port, at)) in all.iter().enumerate() {
        if !text(port, "hostIP").is_empty() && host_port(port) == 0 {
            warnings.push(format!("{at}: hostIP set without hostPort: {}", shown(port)));
        }
        for (other, place) in &all[..i] {
            if let Some(what) = conflict(port, other) {
                warnings.push(format!("{at}: {what} port definition with {place}"));
            }
        }
    }
    warnings
}

fn host_port(port: &Value) -> i64 {
    int(port, "hostPort").unwrap_or_default()
}

/// A port as upstream prints its own.
fn shown(port: &Value) -> String {
    let [name, protocol, address] = ["name", "protocol", "hostIP"].map(|field| text(port, field));
    let number = int(port, "containerPort").unwrap_or_default();
    let host = host_port(port);
    format!("{{Name:{name} HostPort:{host} ContainerPort:{number} Protocol:{protocol} HostIP:{address}}}")
}

fn conflict(port: &Value, other: &Value) -> Option<&'static str> {
    let same = |field: &str| port.get(field) == other.get(field);
    if !same("containerPort") || !same("protocol") {
        return None;
    }
    let (host, other_host) = (host_port(port), host_port(other));
    let (address, other_address) = (text(port, "hostIP"), text(other, "hostIP"));
    if host == other_host && address == other_address {
        Some("duplicate")
    } else if host == 0 || other_host == 0 {
        Some("overlapping")
    } else if host == other_host && address.is_empty() != other_address.is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

/// Of ports with the same name, the first is meant.
fn names(all: &[Port<'_>]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, (port, at)) in all.iter().enumerate() {
        let name = text(port, "name");
        let first = all[..i].iter().find(|(other, _)| !name.is_empty() && text(other, "name") == name);
        if let Some((_, place)) = first {
            let name = go_quote(name);
            warnings.push(format!(
                "{at}: duplicate port name {name} with {place}, services and probes that select ports by name will use {place}"
            ));
        }
    }
    warnings
}
