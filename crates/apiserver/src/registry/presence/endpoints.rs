//! The endpoints of the `kubernetes` Service (upstream `pkg/controlplane/reconcilers/endpointsadapter.go`). Servers with the same
//! port, which is how it should be, are one subset and one EndpointSlice; each further port has one more of both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::super::Registry;

pub(super) const NAMESPACE: &str = "default";
pub(super) const SERVICE: &str = "kubernetes";
const OF_SERVICE: &str = "kubernetes.io/service-name";
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";

/// Makes the endpoints those of these servers.
pub(super) async fn reconcile(registry: &Registry, servers: &BTreeSet<SocketAddr>) -> Result<(), Status> {
    let groups = by_port(servers);
    same(registry, endpoints(&groups), &["subsets"]).await?;
    let wanted = slices(&groups);
    for slice in registry.values("discovery.k8s.io", "endpointslices", NAMESPACE) {
        let same = |wanted: &Value| {
            meta::name(wanted) == meta::name(&slice) && wanted["addressType"] == slice["addressType"]
        };
        let other = !wanted.iter().any(same);
        if meta::label(&slice, OF_SERVICE) == Some(SERVICE) && other {
            registry.delete(&slice).await?;
        }
    }
    for slice in wanted {
        same(registry, slice, &["endpoints", "ports"]).await?;
    }
    Ok(())
}

/// Creates the object, or makes labels and these fields of the existing one the same.
async fn same(registry: &Registry, wanted: Value, fields: &[&str]) -> Result<(), Status> {
    let edit = |old: &Value| {
        let mut new = old.clone();
        new["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
        for field in fields {
            new[*field] = wanted[*field].clone();
        }
        (new != *old).then_some(new)
    };
    registry.settle(wanted.clone(), "", &edit).await
}

/// Addresses by family and port.
type Groups = BTreeMap<(bool, u16), BTreeSet<IpAddr>>;

fn by_port(servers: &BTreeSet<SocketAddr>) -> Groups {
    let mut groups = Groups::new();
    for server in servers {
        groups.entry((server.is_ipv6(), server.port())).or_default().insert(server.ip());
    }
    groups
}

fn port(number: u16) -> Value {
    json!({"name": "https", "port": number, "protocol": "TCP"})
}

fn endpoints(groups: &Groups) -> Value {
    let subset = |((_, number), ips): (&(bool, u16), &BTreeSet<IpAddr>)| {
        let addresses: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({"addresses": addresses, "ports": [port(*number)]})
    };
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": {SKIP_MIRROR: "true"}},
        "subsets": groups.iter().map(subset).collect::<Vec<_>>(),
    })
}

fn slices(groups: &Groups) -> Vec<Value> {
    let slice = |(i, ((v6, number), ips)): (usize, (&(bool, u16), &BTreeSet<IpAddr>))| {
        let family = if *v6 { "IPv6" } else { "IPv4" };
        let name = match i {
            0 => SERVICE.to_owned(),
            _ => format!("{SERVICE}-{}-{number}", family.to_ascii_lowercase()),
        };
        let endpoint = |ip| json!({"addresses": [ip], "conditions": {"ready": true}});
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {OF_SERVICE: SERVICE}},
            "addressType": family,
            "endpoints": ips.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": [port(*number)],
        })
    };
    groups.iter().enumerate().map(slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_one_port_are_one_subset() {
        let server = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let servers = ["10.0.0.2:6443", "10.0.0.1:6443", "10.0.0.1:6444"].map(server);
        let groups = by_port(&BTreeSet::from(servers));
        assert_eq!(
            endpoints(&groups)["subsets"],
            json!([
                {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [port(6443)]},
                {"addresses": [{"ip": "10.0.0.1"}], "ports": [port(6444)]},
            ])
        );
        let slices = slices(&groups);
        let brief =
            |slice: &Value| (meta::name(slice).to_owned(), slice["endpoints"].as_array().map(Vec::len));
        assert_eq!(
            slices.iter().map(brief).collect::<Vec<_>>(),
            [("kubernetes".to_owned(), Some(2)), ("kubernetes-ipv4-6444".to_owned(), Some(1))]
        );
    }
}
