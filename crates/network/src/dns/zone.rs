//! The names of the cluster, built whole from its objects. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use api::EndpointSlice;
use ipnet::Ipv4Net;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Version of the specification, as `dns-version` answers.
const SPECIFICATION: &str = "1.1.0";

/// What does not come from the API.
#[derive(Debug, Clone)]
pub struct ZoneFacts {
    /// Lower case, without a dot at the end.
    pub domain: String,
    /// Address of the zone's name server.
    pub name_server: Ipv4Addr,
    /// Ranges whose reverse names belong to the cluster.
    pub ranges: Vec<Ipv4Net>,
}

/// The objects that have names.
#[derive(Debug, Default)]
pub struct ZoneObjects {
    pub services: Vec<Arc<api::Service>>,
    pub slices: Vec<Arc<EndpointSlice>>,
    pub namespaces: HashSet<String>,
}

/// What a name has. A name with none of it exists all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    pub addresses: Vec<Ipv4Addr>,
    pub services: Vec<Service>,
    /// The name is another name for this one, which may be outside the cluster.
    pub alias: Option<String>,
    pub text: Option<String>,
    pub name_server: Option<String>,
}

/// A place where a port of a Service is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    pub target: String,
    pub port: u16,
}

/// All names of the cluster, lower case and without a dot at the end.
#[derive(Debug)]
pub struct Zone {
    pub(super) facts: ZoneFacts,
    pub(super) serial: u32,
    names: HashMap<String, Records>,
    reverse: HashMap<Ipv4Addr, BTreeSet<String>>,
    namespaces: HashSet<String>,
}

impl Zone {
    /// Builds the zone. `serial` grows with each.
    pub fn build(facts: ZoneFacts, objects: &ZoneObjects, serial: u32) -> Self {
        let namespaces = objects.namespaces.clone();
        let mut zone = Self { facts, serial, names: HashMap::new(), reverse: HashMap::new(), namespaces };
        zone.add_fixed();
        let mut slices: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
        for slice in objects.slices.iter().filter(|slice| slice.address_type == "IPv4") {
            let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
            if let (Some(service), Some(namespace)) = (service, &slice.metadata.namespace) {
                slices.entry((namespace, service)).or_default().push(slice);
            }
        }
        for service in &objects.services {
            let meta = &service.metadata;
            if let (Some(namespace), Some(name)) = (meta.namespace.as_deref(), meta.name.as_deref()) {
                zone.add_service(service, name, namespace, slices.get(&(namespace, name)).map_or(&[], |s| s));
            }
        }
        zone
    }

    /// The records of a name; `None` when the name does not exist.
    pub fn get(&self, name: &str) -> Option<&Records> {
        self.names.get(name)
    }

    /// The names of an address; empty when it has none.
    pub fn names_of(&self, address: Ipv4Addr) -> impl Iterator<Item = &str> {
        self.reverse.get(&address).into_iter().flatten().map(String::as_str)
    }

    /// Whether the namespace exists.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name)
    }

    /// The part of a name before the cluster's domain: `Some("")` for the domain itself, `None` for a foreign name.
    pub fn relative<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_suffix(self.facts.domain.as_str())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_suffix('.') }
    }

    fn add_fixed(&mut self) {
        let domain = self.facts.domain.clone();
        let server = format!("ns.dns.{domain}");
        self.at(&domain).name_server = Some(server.clone());
        self.at(&server).addresses = vec![self.facts.name_server];
        self.at(&format!("dns-version.{domain}")).text = Some(SPECIFICATION.to_owned());
        self.at(&format!("svc.{domain}"));
        self.at(&format!("pod.{domain}"));
        for namespace in self.namespaces.clone() {
            self.at(&format!("{namespace}.svc.{domain}"));
            self.at(&format!("{namespace}.pod.{domain}"));
        }
    }

    fn add_service(
        &mut self,
        service: &api::Service,
        name: &str,
        namespace: &str,
        slices: &[&EndpointSlice],
    ) {
        let Some(spec) = &service.spec else { return };
        let full = format!("{name}.{namespace}.svc.{}", self.facts.domain).to_ascii_lowercase();
        if spec.type_.as_deref() == Some("ExternalName") {
            self.at(&full).alias =
                spec.external_name.as_ref().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
            return;
        }
        let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let addresses: BTreeSet<Ipv4Addr> = listed.filter_map(|address| address.parse().ok()).collect();
        let headless = spec.cluster_ip.as_deref() == Some("None");
        let endpoints = endpoints(slices, &full, spec.publish_not_ready_addresses == Some(true));
        self.at(&full);
        self.add_endpoints(&full, headless, &endpoints);
        if headless {
            return;
        }
        for address in &addresses {
            self.reverse.entry(*address).or_default().insert(full.clone());
        }
        self.at(&full).addresses = addresses.into_iter().collect();
        for port in spec.ports.iter().flatten() {
            let Ok(number) = u16::try_from(port.port) else { continue };
            let place = Service { target: full.clone(), port: number };
            self.add_port(&full, port.name.as_deref(), port.protocol.as_deref(), place);
        }
    }

    /// Every endpoint has a name of its own; those of a headless Service also make up the Service's name.
    fn add_endpoints(&mut self, full: &str, headless: bool, endpoints: &BTreeMap<String, Named>) {
        for (own, named) in endpoints {
            self.at(own).addresses = named.addresses.iter().copied().collect();
            if !headless {
                continue;
            }
            for address in &named.addresses {
                self.reverse.entry(*address).or_default().insert(own.clone());
                let all = &mut self.at(full).addresses;
                if !all.contains(address) {
                    all.push(*address);
                }
            }
            for (port, protocol, number) in &named.ports {
                let place = Service { target: own.clone(), port: *number };
                self.add_port(full, port.as_deref(), protocol.as_deref(), place);
            }
        }
    }

    /// `_port._proto.<service>`, and the Service's own name lists every port.
    fn add_port(&mut self, full: &str, port: Option<&str>, protocol: Option<&str>, place: Service) {
        if let Some(port) = port.filter(|port| !port.is_empty()) {
            let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase();
            push_new(&mut self.at(&format!("_{port}._{protocol}.{full}")).services, place.clone());
        }
        push_new(&mut self.at(full).services, place);
    }

    /// The records of a name to be changed. It exists from now on, and so does every name above it.
    fn at(&mut self, name: &str) -> &mut Records {
        let mut parent = name;
        while let Some((_, above)) = parent.split_once('.') {
            if above.len() < self.facts.domain.len() || self.names.contains_key(above) {
                break;
            }
            self.names.insert(above.to_owned(), Records::default());
            parent = above;
        }
        self.names.entry(name.to_owned()).or_default()
    }
}

fn push_new(list: &mut Vec<Service>, place: Service) {
    if !list.contains(&place) {
        list.push(place);
    }
}

/// An endpoint's addresses and ports (name, protocol, number) under its own name.
#[derive(Default)]
struct Named {
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<(Option<String>, Option<String>, u16)>,
}

/// Endpoints that are published, by their full names: `<hostname or dashed address>.<service>`.
fn endpoints(slices: &[&EndpointSlice], full: &str, publish_not_ready: bool) -> BTreeMap<String, Named> {
    let mut found: BTreeMap<String, Named> = BTreeMap::new();
    for slice in slices {
        let ports: Vec<_> = slice.ports.iter().flatten().filter_map(port).collect();
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
            let address = endpoint.addresses.first().and_then(|address| address.parse::<Ipv4Addr>().ok());
            let Some(address) = address.filter(|_| ready || publish_not_ready) else { continue };
            let label = match endpoint.hostname.as_deref() {
                Some(hostname) if !hostname.is_empty() => hostname.to_ascii_lowercase(),
                _ => address.to_string().replace('.', "-"),
            };
            let named = found.entry(format!("{label}.{full}")).or_default();
            named.addresses.insert(address);
            named.ports.extend(ports.iter().cloned());
        }
    }
    found
}

fn port(port: &api::SlicePort) -> Option<(Option<String>, Option<String>, u16)> {
    Some((port.name.clone(), port.protocol.clone(), u16::try_from(port.port?).ok()?))
}
