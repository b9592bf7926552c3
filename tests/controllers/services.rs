//! Where services lead.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::{eventually, until};

use super::place::{PATIENCE, Place, in_a_namespace, name, pod};

#[test]
fn services_that_select_nothing_have_empty_endpoints() {
    in_a_namespace(|place| {
        place.create(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"selector": {"app": "none"}, "ports": [{"name": "example", "port": 80}]}}))?;
        let slices = "endpointslices -l kubernetes.io/service-name=s";
        let [slice] = &place.has(slices, 1)?[..] else { unreachable!("one") };
        let manager = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
        ensure!(manager == "endpointslice-controller.k8s.io", "{slice}");
        ensure!(slice["endpoints"].as_array().is_none_or(Vec::is_empty), "{slice}");
        let endpoints = until("endpoints", PATIENCE, || place.find("endpoints s"))?;
        ensure!(endpoints["subsets"].as_array().is_none_or(Vec::is_empty), "{endpoints}");
        place.kubectl("delete service s")?;
        place.has(slices, 0)?;
        place.is_gone("endpoints s")
    });
}

/// Pods of two labels, one shared, with addresses that a node would give.
fn two_pods(place: &Place<'_>) -> anyhow::Result<()> {
    let port = |name: &str, number: u16| json!({"name": name, "containerPort": number});
    for (number, ports) in
        [(1, vec![port("named", 3000)]), (2, vec![port("named", 3001), port("other", 3002)])]
    {
        let mut object = pod(&format!("pod{number}"));
        object["metadata"]["labels"] = json!({format!("pod{number}"): "on", "shared": "on"});
        object["spec"]["containers"][0]["ports"] = ports.into();
        place.create(&object)?;
        let ip = format!("10.9.9.{number}");
        let status = json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}});
        place.patch(&format!("pod pod{number} --subresource=status"), &status)?;
    }
    Ok(())
}

/// Pod, address and port of each endpoint of slices.
fn of_slices(slices: &[Value]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for slice in slices {
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            for port in slice["ports"].as_array().into_iter().flatten() {
                all.insert(reached(&endpoint["targetRef"], &endpoint["addresses"][0], port["port"].as_u64()));
            }
        }
    }
    all
}

/// The same of an Endpoints object.
fn of_endpoints(endpoints: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        for address in subset["addresses"].as_array().into_iter().flatten() {
            for port in subset["ports"].as_array().into_iter().flatten() {
                all.insert(reached(&address["targetRef"], &address["ip"], port["port"].as_u64()));
            }
        }
    }
    all
}

fn reached(target: &Value, ip: &Value, port: Option<u64>) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}:{}", text(&target["name"]), text(ip), port.unwrap_or_default())
}

#[test]
fn services_lead_to_the_pods_that_they_select() {
    in_a_namespace(|place| {
        two_pods(place)?;
        for (service, label, target, wanted) in [
            ("number", "pod1", json!(3000), &["pod1 10.9.9.1:3000"][..]),
            ("name", "shared", json!("named"), &["pod1 10.9.9.1:3000", "pod2 10.9.9.2:3001"]),
        ] {
            let port = json!({"name": "example", "port": 80, "targetPort": target});
            place.create(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": service},
                "spec": {"selector": {label: "on"}, "publishNotReadyAddresses": true, "ports": [port]}}))?;
            let slices = format!("endpointslices -l kubernetes.io/service-name={service}");
            let wanted: BTreeSet<String> = wanted.iter().map(|&each| each.to_owned()).collect();
            let leads = || {
                eventually("the endpoints", PATIENCE, || {
                    let found = place.list(&slices)?;
                    let endpoints = place.get(&format!("endpoints {service}"))?;
                    ensure!(of_slices(&found) == wanted, "{found:?}");
                    ensure!(of_endpoints(&endpoints) == wanted, "{endpoints}");
                    // Ports of different numbers are in slices of their own.
                    Ok(found.len() == wanted.len() && found.iter().all(|slice| !name(slice).is_empty()))
                })
            };
            leads()?;
            // What is deleted comes back.
            place.kubectl(&format!("delete {slices}"))?;
            place.kubectl(&format!("delete endpoints {service}"))?;
            leads()?;
        }
        Ok(())
    });
}

#[test]
fn controllers_and_services_are_exposed() {
    in_a_namespace(|place| {
        let labels = json!({"app": "primary"});
        let mut template = pod("primary");
        template["spec"]["containers"][0]["ports"] = json!([{"containerPort": 6379}]);
        place.create(&json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "primary"},
            "spec": {"replicas": 1, "selector": labels, "template": {"metadata": {"labels": labels}, "spec": template["spec"]}}}))?;
        let made = place.has("pods", 1)?;
        let ready = json!({"status": {"podIP": "10.9.9.1", "podIPs": [{"ip": "10.9.9.1"}],
            "conditions": [{"type": "Ready", "status": "True"}]}});
        place.patch(&format!("pod {} --subresource=status", name(&made[0])), &ready)?;
        for (what, service, port) in [("rc primary", "first", 1234), ("service first", "second", 2345)] {
            place.kubectl(&format!("expose {what} --name={service} --port={port} --target-port=6379"))?;
            let ports = place.get(&format!("service {service}"))?["spec"]["ports"].take();
            ensure!(ports[0]["port"] == port && ports[0]["targetPort"] == 6379, "{ports}");
            ensure!(ports.as_array().is_some_and(|ports| ports.len() == 1), "{ports}");
            let wanted = BTreeSet::from([format!("{} 10.9.9.1:6379", name(&made[0]))]);
            let slices = format!("endpointslices -l kubernetes.io/service-name={service}");
            eventually("the endpoint", PATIENCE, || Ok(of_slices(&place.list(&slices)?) == wanted))?;
        }
        Ok(())
    });
}
