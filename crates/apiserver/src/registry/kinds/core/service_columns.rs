//! The row of a Service.

use std::collections::BTreeSet;

use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, labels, or_none};
use super::super::value::{has, int, list, strings, text};

/// Cells of a service: Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector.
pub(super) fn row(service: &Value, now: i64) -> Vec<Value> {
    let spec = &service["spec"];
    let ports: Vec<String> = list(spec, "ports")
        .iter()
        .map(|port| {
            let (number, node) =
                (int(port, "port").unwrap_or_default(), int(port, "nodePort").filter(|p| *p != 0));
            let node = node.map_or(String::new(), |node| format!(":{node}"));
            format!("{number}{node}/{}", text(port, "protocol"))
        })
        .collect();
    vec![
        json!(meta::name(service)),
        json!(text(spec, "type")),
        json!(or_none(
            strings(spec, "clusterIPs").first().copied().unwrap_or_else(|| text(spec, "clusterIP"))
        )),
        json!(external_ip(service)),
        json!(or_none(ports.join(","))),
        age(service, now),
        labels(spec, "selector"),
    ]
}

fn external_ip(service: &Value) -> String {
    let spec = &service["spec"];
    let given = strings(spec, "externalIPs");
    match text(spec, "type") {
        "LoadBalancer" => {
            let ingress = list(&service["status"]["loadBalancer"], "ingress").iter();
            let ingress = ingress.map(|i| if has(i, "ip") { text(i, "ip") } else { text(i, "hostname") });
            let mut all: Vec<&str> = ingress.collect::<BTreeSet<_>>().into_iter().collect();
            all.extend(given);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => text(spec, "externalName").to_owned(),
        _ => or_none(given.join(",")),
    }
}
