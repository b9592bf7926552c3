//! Each cluster IP of a Service is one IPAddress that refers to it, and the other way round.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use machinery::meta;
use serde_json::Value;

use super::super::super::kinds::value::{strings, text};
use super::super::super::{Registry, record};
use super::super::addresses::{
    GROUP, belongs_to, family, is_labelled, is_managed, object, ranges, refers_to_service,
};
use super::super::cluster_ips;
use super::super::range::Range;
use super::{Finding, Fix};

const REPORTER: &str = "ipallocator-repair-controller";
/// An address is taken before its Service is stored: so long there may be one without the other.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// What is wrong with the addresses of a Service.
pub(super) fn of_service(registry: &Registry, service: &Value) -> Vec<Finding> {
    let found = |ip: &str| one(registry, service, ip);
    let findings: Vec<Finding> = cluster_ips(service).into_iter().filter_map(found).collect();
    if findings.is_empty() {
        return findings;
    }
    // A Service is changed before its addresses are given back. So if it is still the same, this was no such moment.
    let (namespace, name) = (meta::namespace(service), meta::name(service));
    let now = registry.object_value("", "services", namespace, name);
    if now.as_ref().map(meta::resource_version) == Some(meta::resource_version(service)) {
        findings
    } else {
        Vec::new()
    }
}

fn one(registry: &Registry, service: &Value, text: &str) -> Option<Finding> {
    let Ok(ip) = text.parse::<IpAddr>() else {
        let note = format!("Cluster IP {text} is not a valid IP; please recreate Service");
        return Some(finding(service, "ClusterIPNotValid", "ClusterIPValidation", note, Fix::Nothing));
    };
    let family = family(ip);
    let told = |reason, note, fix| Some(finding(service, reason, "ClusterIPAllocation", note, fix));
    if !is_in_range(registry, ip) {
        let note = format!(
            "Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service"
        );
        return told("ClusterIPOutOfRange", note, Fix::Nothing);
    }
    let new = object(ip, service);
    let Some(old) = registry.object_value(GROUP, "ipaddresses", "", &ip.to_string()) else {
        let note = format!("Cluster IP [{family}]: {ip} is not allocated; repairing");
        return told("ClusterIPNotAllocated", note, Fix::Create(new));
    };
    if !belongs_to(&old, service) {
        let other = parent(registry, &old).filter(|_| refers_to_service(&old));
        let Some(other) = other else {
            let (namespace, name) = (meta::namespace(service), meta::name(service));
            let note = format!(
                "the ClusterIP [{family}]: {ip} for Service {namespace}/{name} has a wrong reference; repairing"
            );
            return told("ClusterIPNotAllocated", note, Fix::Replace { old, new });
        };
        if cluster_ips(&other).contains(&text) {
            let note = format!(
                "Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service"
            );
            return told("ClusterIPAlreadyAllocated", note, Fix::Nothing);
        }
    }
    (!is_labelled(&old, ip)).then_some(Finding { event: None, fix: Fix::Replace { old, new } })
}

/// What is wrong with an address that was made for a Service.
pub(super) fn of_address(registry: &Registry, address: &Value, now: Timestamp) -> Vec<Finding> {
    if !is_managed(address) {
        return Vec::new();
    }
    let (ip, reference) = (meta::name(address), &address["spec"]["parentRef"]);
    let told = |reason, note| {
        vec![finding(address, reason, "IPAddressAllocation", note, Fix::Delete(address.clone()))]
    };
    if !refers_to_service(address) {
        let note = format!(
            "IPAddress {ip} appears to have been modified, not referencing a Service {reference}: cleaning up"
        );
        return told("IPAddressNotAllocated", note);
    }
    let made = machinery::time::parse(meta::creation_timestamp(address)).unwrap_or(now);
    if now.duration_since(made) <= GRACE {
        return Vec::new();
    }
    let whose = format!("{}/{}", text(reference, "namespace"), text(reference, "name"));
    match parent(registry, address) {
        None => told(
            "IPAddressNotAllocated",
            format!("IPAddress: {ip} for Service {whose} appears to have leaked: cleaning up"),
        ),
        Some(service) if cluster_ips(&service).contains(&ip) => Vec::new(),
        Some(_) => told(
            "IPAddressWrongReference",
            format!("IPAddress: {ip} for Service {whose} has a wrong reference; cleaning up"),
        ),
    }
}

fn finding(about: &Value, reason: &'static str, action: &'static str, note: String, fix: Fix) -> Finding {
    let event =
        record::Warning { reporter: REPORTER, about: about.clone(), reason, action: Some(action), note };
    Finding { event: Some(event), fix }
}

/// The Service that an address refers to.
fn parent(registry: &Registry, address: &Value) -> Option<Value> {
    let parent = &address["spec"]["parentRef"];
    registry.object_value("", "services", text(parent, "namespace"), text(parent, "name"))
}

fn is_in_range(registry: &Registry, ip: IpAddr) -> bool {
    let ranges = ranges(registry);
    let mut all = ranges.iter().flat_map(|(range, _)| strings(&range["spec"], "cidrs"));
    match ip {
        IpAddr::V4(ip) => all.filter_map(Range::parse).any(|range| range.contains(ip)),
        // None is given here; those that are there are left alone.
        IpAddr::V6(_) => all.any(|range| range.contains(':')),
    }
}
