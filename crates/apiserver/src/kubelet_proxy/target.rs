//! Where a request has to go.

use std::net::IpAddr;

use machinery::status::Status;
use serde_json::Value;

use crate::flow::Chain;
use crate::http::RequestInfo;

/// How the connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// Plain HTTP.
    Plain,
    /// TLS whose certificate nobody can vouch for: pods and Services sign their own.
    Unverified,
    /// TLS to a kubelet, verified against its CA, with the client certificate for kubelets.
    Kubelet,
}

/// The other end of a proxied request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub host: String,
    pub port: u16,
    pub security: Security,
}

/// `[scheme:]name[:port]`, as proxied names are written.
#[derive(Debug, PartialEq, Eq)]
struct ProxiedName<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

fn split_name(text: &str) -> Option<ProxiedName<'_>> {
    let parts: Vec<&str> = text.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme @ ("" | "http" | "https"), name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    (!name.is_empty()).then_some(ProxiedName { scheme, name, port })
}

fn proxied_name<'a>(what: &str, text: &'a str) -> Result<ProxiedName<'a>, Status> {
    split_name(text).ok_or_else(|| Status::bad_request(format!("invalid {what} request {text:?}")))
}

fn security(scheme: &str) -> Security {
    if scheme == "https" { Security::Unverified } else { Security::Plain }
}

/// Loopback and link-local addresses are the API server's own surroundings: nobody gets there through it.
fn check_address(address: &str) -> Result<(), Status> {
    let refused = || Status::bad_request("address not allowed");
    let address: IpAddr = address.parse().map_err(|_| refused())?;
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_loopback() || link_local || address.is_multicast() || address.is_unspecified() {
        return Err(refused());
    }
    Ok(())
}

/// The pod's own address, and the port asked for or the first one a container tells.
pub(super) fn pod(chain: &Chain, info: &RequestInfo) -> Result<Target, Status> {
    let asked = proxied_name("pod", &info.name)?;
    let pod = chain
        .registry
        .object_value("", "pods", &info.namespace, asked.name)
        .ok_or_else(|| Status::not_found("", "pods", asked.name))?;
    let host = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    check_address(&host)?;
    let security = security(asked.scheme);
    let port = if asked.port.is_empty() {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let first = containers.filter_map(|container| container["ports"][0]["containerPort"].as_u64()).next();
        first.and_then(|port| u16::try_from(port).ok()).unwrap_or(if security == Security::Plain {
            80
        } else {
            443
        })
    } else {
        asked.port.parse().map_err(|_| Status::bad_request(format!("invalid port {:?}", asked.port)))?
    };
    Ok(Target { host, port, security })
}

/// One of a Service's ready endpoints.
pub(super) fn service(chain: &Chain, info: &RequestInfo) -> Result<Target, Status> {
    let asked = proxied_name("service", &info.name)?;
    let service = chain.registry.object_value("", "services", &info.namespace, asked.name);
    let service = service.ok_or_else(|| Status::not_found("", "services", asked.name))?;
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let port_name = port_name(ports, asked.port).ok_or_else(|| {
        Status::service_unavailable(format!(
            "no service port {} found for service {:?}",
            asked.port, asked.name
        ))
    })?;
    let slices = chain.registry.values("discovery.k8s.io", "endpointslices", &info.namespace);
    let mut ready = Vec::new();
    for slice in slices.iter().filter(|slice| belongs_to(slice, asked.name)) {
        let Some(port) = slice_port(slice, port_name) else { continue };
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let endpoints = endpoints.filter(|endpoint| endpoint["conditions"]["ready"].as_bool() != Some(false));
        ready.extend(
            endpoints.filter_map(|endpoint| Some((endpoint["addresses"][0].as_str()?.to_owned(), port))),
        );
    }
    if ready.is_empty() {
        return Err(Status::service_unavailable(format!(
            "no endpoints available for service {:?}",
            info.name
        )));
    }
    let (host, port) = ready.swap_remove(rand::random_range(0..ready.len()));
    check_address(&host)?;
    Ok(Target { host, port, security: security(asked.scheme) })
}

/// The name of the Service's port that is asked for by name or number; without a wish it is the one without a name.
fn port_name<'a>(ports: &'a [Value], asked: &'a str) -> Option<&'a str> {
    let Ok(number) = asked.parse::<i64>() else { return Some(asked) };
    let port = ports.iter().find(|port| port["port"].as_i64() == Some(number))?;
    Some(port["name"].as_str().unwrap_or_default())
}

fn belongs_to(slice: &Value, service: &str) -> bool {
    slice["metadata"]["labels"]["kubernetes.io/service-name"] == service
}

fn slice_port(slice: &Value, name: &str) -> Option<u16> {
    let mut ports = slice["ports"].as_array()?.iter();
    let port = ports.find(|port| port["name"].as_str().unwrap_or_default() == name)?;
    u16::try_from(port["port"].as_u64()?).ok()
}

/// The kubelet of a node, or another port of the node.
pub(super) fn node_proxy(chain: &Chain, info: &RequestInfo) -> Result<Target, Status> {
    let asked = proxied_name("node", &info.name)?;
    let mut target = kubelet(chain, asked.name)?;
    if asked.port.is_empty() || asked.port == target.port.to_string() {
        return Ok(target);
    }
    target.port =
        asked.port.parse().map_err(|_| Status::bad_request(format!("invalid port {:?}", asked.port)))?;
    target.security = security(asked.scheme);
    check_address(&target.host)?;
    Ok(target)
}

/// The kubelet of a node.
pub(super) fn kubelet(chain: &Chain, node: &str) -> Result<Target, Status> {
    let object = chain
        .registry
        .object_value("", "nodes", "", node)
        .ok_or_else(|| Status::not_found("", "nodes", node))?;
    kubelet_of(&object).ok_or_else(|| {
        Status::internal(format!(
            "no preferred addresses found; known addresses: {}",
            object["status"]["addresses"]
        ))
    })
}

fn kubelet_of(node: &Value) -> Option<Target> {
    let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_type = |wanted: &str| addresses.iter().find(|address| address["type"] == wanted);
    let preferred = ["InternalIP", "ExternalIP", "Hostname"].into_iter().find_map(of_type)?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(10250);
    Some(Target { host: preferred["address"].as_str()?.to_owned(), port, security: Security::Kubelet })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn proxied_names() {
        let cases = [
            ("web", Some(("", "web", ""))),
            ("web:8080", Some(("", "web", "8080"))),
            ("https:web:443", Some(("https", "web", "443"))),
            ("https:web", Some(("", "https", "web"))),
            ("https:web:", Some(("https", "web", ""))),
            ("http:web:", Some(("http", "web", ""))),
            (":web:80", Some(("", "web", "80"))),
            ("ftp:web:80", None),
            ("", None),
            ("a:b:c:d", None),
        ];
        for (text, expected) in cases {
            let found = split_name(text).map(|p| (p.scheme, p.name, p.port));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn own_surroundings_are_out_of_reach() {
        for address in
            ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "", "localhost"]
        {
            assert!(check_address(address).is_err(), "{address}");
        }
        assert!(check_address("10.42.0.5").is_ok());
    }

    #[test]
    fn kubelets_are_found_by_their_internal_address() {
        let node = json!({"status": {
            "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}},
        }});
        let expected = Target { host: "10.0.0.1".into(), port: 10251, security: Security::Kubelet };
        assert_eq!(kubelet_of(&node), Some(expected));
        assert_eq!(kubelet_of(&json!({})), None);
    }

    #[test]
    fn service_ports_by_name_or_number() {
        let ports = [json!({"name": "http", "port": 80}), json!({"name": "admin", "port": 8080})];
        assert_eq!(port_name(&ports, "http"), Some("http"));
        assert_eq!(port_name(&ports, "8080"), Some("admin"));
        assert_eq!(port_name(&ports, "81"), None);
        assert_eq!(port_name(&ports[..1], ""), Some(""));
        assert_eq!(port_name(&[json!({"port": 80})], ""), Some(""));
    }
}
