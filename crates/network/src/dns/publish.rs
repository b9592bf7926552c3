//! The Service and the EndpointSlice by which the cluster finds its DNS.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use api::openapi::api::core::v1::ServicePort;
use api::{
    Endpoint, EndpointConditions, EndpointSlice, IntOrString, ObjectMeta, Service, ServiceSpec, SlicePort,
};
use client::{Objects, kube};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
const AGENT: &str = "knarr-dns";
const PORT: u16 = 53;
/// Name, protocol.
const PORTS: [(&str, &str); 2] = [("dns", "UDP"), ("dns-tcp", "TCP")];

/// What is published.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Cluster address of the Service.
    pub service_ip: Ipv4Addr,
    /// Where this node's server listens.
    pub address: IpAddr,
    pub node_name: String,
}

/// Why the cluster does not find its DNS.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("failed to publish {what}: {source}")]
    Api { what: String, source: Box<kube::Error> },
}

/// Ensures the Service `kube-system/kube-dns` and this node's EndpointSlice. An existing Service is left as it is: its
/// cluster address cannot change, and what somebody added to it is theirs.
///
/// # Errors
/// When the API refuses. The call can be repeated.
pub async fn publish(publication: &Publication, client: kube::Client) -> Result<(), PublishError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| PublishError::Api { what, source: Box::new(source) }
    };
    let services = Objects::<Service>::new(client.clone(), AGENT);
    if services.get_opt(NAMESPACE, NAME).await.map_err(failed("the Service"))?.is_none() {
        create_new(services.create(&service(publication)).await).map_err(failed("the Service"))?;
    }
    let slices = Objects::<EndpointSlice>::new(client, AGENT);
    let wanted = slice(publication);
    let name = wanted.metadata.name.clone().unwrap_or_default();
    match slices.get_opt(NAMESPACE, &name).await.map_err(failed("the EndpointSlice"))? {
        None => create_new(slices.create(&wanted).await).map_err(failed("the EndpointSlice")),
        Some(current) if current.endpoints == wanted.endpoints && current.ports == wanted.ports => Ok(()),
        Some(current) => {
            let replacement = EndpointSlice { metadata: current.metadata, ..wanted };
            slices.replace(&replacement).await.map(drop).map_err(failed("the EndpointSlice"))
        }
    }
}

/// Another node may have been faster.
fn create_new<T>(created: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match created {
        Err(error) if client::is_already_exists(&error) => Ok(()),
        other => other.map(drop),
    }
}

fn labels(of: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
    Some(of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

fn service(publication: &Publication) -> Service {
    let port = |(name, protocol): (&str, &str)| ServicePort {
        name: Some(name.to_owned()),
        protocol: Some(protocol.to_owned()),
        port: i32::from(PORT),
        target_port: Some(IntOrString::Int(i32::from(PORT))),
        ..ServicePort::default()
    };
    let address = publication.service_ip.to_string();
    Service {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: labels(&[
                ("k8s-app", NAME),
                ("kubernetes.io/cluster-service", "true"),
                ("kubernetes.io/name", "CoreDNS"),
            ]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some(address.clone()),
            cluster_ips: Some(vec![address]),
            type_: Some("ClusterIP".to_owned()),
            ports: Some(PORTS.map(port).to_vec()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn slice(publication: &Publication) -> EndpointSlice {
    let port = |(name, protocol): (&str, &str)| SlicePort {
        name: Some(name.to_owned()),
        protocol: Some(protocol.to_owned()),
        port: Some(i32::from(PORT)),
        ..SlicePort::default()
    };
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{NAME}-{}", publication.node_name)),
            namespace: Some(NAMESPACE.to_owned()),
            labels: labels(&[
                ("kubernetes.io/service-name", NAME),
                ("endpointslice.kubernetes.io/managed-by", AGENT),
            ]),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: Some(vec![Endpoint {
            addresses: vec![publication.address.to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(true),
                serving: Some(true),
                terminating: Some(false),
            }),
            node_name: Some(publication.node_name.clone()),
            ..Endpoint::default()
        }]),
        ports: Some(PORTS.map(port).to_vec()),
    }
}
