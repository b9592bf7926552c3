//! What of a Service works but is likely a mistake (upstream `pkg/api/service/warnings.go`).

use machinery::field::Path;
use machinery::meta;
use serde_json::Value;

use super::super::addresses::{ip_warning, range_warnings};
use super::super::value::{strings, text};

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";

pub(super) fn warnings(service: &Value) -> Vec<String> {
    let (spec, path) = (&service["spec"], Path::new("spec"));
    let mut warnings = Vec::new();
    if meta::annotation(service, HINTS).is_some() {
        warnings.push(format!(
            "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    if !matches!(text(spec, "clusterIP"), "" | "None") {
        warnings.extend(addresses(spec, "clusterIPs", &path));
    }
    let (kind, outside) = (text(spec, "type"), strings(spec, "externalIPs"));
    let headless = kind == "ClusterIP" && text(spec, "clusterIP") == "None";
    let ignored = [
        ("loadBalancerIP", !text(spec, "loadBalancerIP").is_empty()),
        ("externalIPs", !outside.is_empty()),
        ("SessionAffinity", text(spec, "sessionAffinity") != "None"),
    ];
    let ignored = ignored.into_iter().filter(|(_, set)| headless && *set);
    warnings.extend(ignored.map(|(field, _)| format!("spec.{field} is ignored for headless services")));
    warnings.extend(addresses(spec, "externalIPs", &path));
    if !outside.is_empty() && !headless && kind != "ExternalName" {
        let what = "is deprecated and may no longer be implemented in some clusters";
        warnings.push(format!("spec.externalIPs {what}"));
    }
    warnings.extend(ip_warning(text(spec, "loadBalancerIP"), &path.child("loadBalancerIP")));
    for (i, range) in strings(spec, "loadBalancerSourceRanges").into_iter().enumerate() {
        warnings.extend(range_warnings(range, &path.child("loadBalancerSourceRanges").index(i)));
    }
    warnings.extend(of_names(spec, kind, !outside.is_empty()));
    if text(spec, "trafficDistribution") == "PreferClose" {
        let what = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(what.to_owned());
    }
    warnings
}

fn addresses(spec: &Value, field: &str, path: &Path) -> Vec<String> {
    let addresses = strings(spec, field).into_iter().enumerate();
    addresses.filter_map(|(i, address)| ip_warning(address, &path.child(field).index(i))).collect()
}

/// Services that are only another name have no addresses, and others no other name.
fn of_names(spec: &Value, kind: &str, outside: bool) -> Option<String> {
    let named = !text(spec, "externalName").is_empty();
    match kind {
        "ExternalName" => {
            outside.then(|| "spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned())
        }
        _ => named.then(|| "spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned()),
    }
}
