//! Cluster IPs and node ports of Services.
//!
//! What is taken is what the cached Services say, plus what was handed out to requests that the cache has not seen yet.
//! Both are looked at and added to under one lock, so that no address is given twice.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use machinery::field::{FieldError, Path};
use machinery::meta;
use machinery::status::Status;
use parking_lot::Mutex;
use rand::Rng;
use serde_json::{Value, json};

use super::Registry;
use super::admission::AdmissionContext;

/// After this long a write has either reached the cache or failed.
const RESERVED_FOR: Duration = Duration::from_secs(30);
/// Addresses at the beginning of the range that are only given when asked for, or when nothing else is left.
const STATIC_BAND_MAX: u32 = 256;

/// Allocates cluster IPs and node ports.
pub struct Allocators {
    network: u32,
    size: u32,
    cidr: String,
    ports: RangeInclusive<u16>,
    reserved: Mutex<Reserved>,
}

#[derive(Default)]
struct Reserved {
    ips: HashMap<Ipv4Addr, Instant>,
    ports: HashMap<(u16, String), Instant>,
}

/// What is in use.
#[derive(Default)]
struct Taken {
    ips: HashSet<Ipv4Addr>,
    /// Port and protocol.
    ports: HashSet<(u16, String)>,
}

impl Allocators {
    /// Reads the ranges.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(config: &crate::Config) -> Result<Self, String> {
        let bad = || format!("the service range {:?} is no IPv4 range", config.service_cidr);
        let (address, bits) = config.service_cidr.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let bits: u32 = bits.parse().ok().filter(|bits| (8..=30).contains(bits)).ok_or_else(bad)?;
        let size = 1_u32 << (32 - bits);
        let network = u32::from(address) & !(size - 1);
        Ok(Self {
            network,
            size,
            cidr: config.service_cidr.clone(),
            ports: config.node_ports.clone(),
            reserved: Mutex::default(),
        })
    }

    /// The first address of the range: that of the `kubernetes` Service.
    pub fn first_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network + 1)
    }

    /// Gives a Service the cluster IP and node ports that its type needs and that it does not have.
    ///
    /// # Errors
    /// 422 for an address or port that is taken or out of range, 500 when nothing is left.
    pub async fn allocate(
        &self,
        context: &AdmissionContext<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        inherit(object, old);
        context.registry.fresh().await?;
        let taken = taken(context.registry, meta::namespace(object), meta::name(object));
        let mut reserved = self.reserved.lock();
        reserved.expire();
        let held = old.map(held).unwrap_or_default();
        let mut session =
            Session { allocators: self, taken, reserved: &mut reserved, held, keep: !context.dry_run };
        session.cluster_ip(object)?;
        session.node_ports(object)
    }

    /// Forgets what a request that did not come to its end, or a Service that is gone, held.
    pub fn release(&self, object: &Value) {
        let held = held(object);
        let mut reserved = self.reserved.lock();
        held.ips.iter().for_each(|ip| {
            reserved.ips.remove(ip);
        });
        held.ports.iter().for_each(|port| {
            reserved.ports.remove(port);
        });
    }

    fn contains(&self, ip: Ipv4Addr) -> bool {
        let ip = u32::from(ip);
        ip > self.network && ip < self.network + self.size - 1
    }
}

impl Reserved {
    fn expire(&mut self) {
        self.ips.retain(|_, since| since.elapsed() < RESERVED_FOR);
        self.ports.retain(|_, since| since.elapsed() < RESERVED_FOR);
    }
}

/// Families that an update leaves out stay as they are, as long as the type still needs them.
fn inherit(object: &mut Value, old: Option<&Value>) {
    let Some(old) = old else { return };
    if kind(object) == "ExternalName" {
        return;
    }
    for key in ["ipFamilies", "ipFamilyPolicy"] {
        if object["spec"].get(key).is_none()
            && let Some(value) = old["spec"].get(key)
        {
            object["spec"][key] = value.clone();
        }
    }
}

struct Session<'a> {
    allocators: &'a Allocators,
    taken: Taken,
    reserved: &'a mut Reserved,
    /// What the Service has already.
    held: Taken,
    keep: bool,
}

impl Session<'_> {
    fn cluster_ip(&mut self, object: &mut Value) -> Result<(), Status> {
        if kind(object) == "ExternalName" {
            return Ok(());
        }
        let given = given_ip(object);
        let ip = match given.as_str() {
            "None" => None,
            "" => Some(self.any_ip()?),
            given => Some(self.this_ip(object, given)?),
        };
        let text = ip.map_or_else(|| "None".to_owned(), |ip| ip.to_string());
        let spec = &mut object["spec"];
        spec["clusterIP"] = text.as_str().into();
        spec["clusterIPs"] = json!([text]);
        if spec.get("ipFamilies").is_none() {
            spec["ipFamilies"] = json!(["IPv4"]);
        }
        if spec.get("ipFamilyPolicy").is_none() {
            spec["ipFamilyPolicy"] = "SingleStack".into();
        }
        Ok(())
    }

    fn this_ip(&mut self, object: &Value, given: &str) -> Result<Ipv4Addr, Status> {
        let path = Path::new("spec").child("clusterIPs");
        let refuse = |why: String| {
            let error =
                FieldError::invalid(&path, json!([given]), format!("failed to allocate IP {given}: {why}"));
            Err(Status::invalid("", "Service", meta::name(object), vec![error]))
        };
        let Ok(ip) = given.parse::<Ipv4Addr>() else {
            return refuse(format!(
                "the provided IP ({given}) is not in the valid range. The range of valid IPs is {}",
                self.allocators.cidr
            ));
        };
        if self.held.ips.contains(&ip) {
            return Ok(ip);
        }
        if !self.allocators.contains(ip) {
            return refuse(format!(
                "the provided network does not match the current range: the provided IP ({given}) is not in the valid range. The range of valid IPs is {}",
                self.allocators.cidr
            ));
        }
        if !is_free(ip, &self.taken.ips, &self.reserved.ips) {
            return refuse("provided IP is already allocated".to_owned());
        }
        self.reserve_ip(ip);
        Ok(ip)
    }

    fn any_ip(&mut self) -> Result<Ipv4Addr, Status> {
        let (first, last) = (1, self.allocators.size - 2);
        let band = (self.allocators.size / 16).clamp(16, STATIC_BAND_MAX).min(last);
        let dynamic = if band < last { band + 1..=last } else { first..=last };
        let start = rand::rng().random_range(dynamic.clone());
        let order = (start..=last).chain(*dynamic.start()..start).chain(first..*dynamic.start());
        for offset in order {
            let ip = Ipv4Addr::from(self.allocators.network + offset);
            if is_free(ip, &self.taken.ips, &self.reserved.ips) {
                self.reserve_ip(ip);
                return Ok(ip);
            }
        }
        Err(Status::internal("failed to allocate a serviceIP: range is full"))
    }

    fn reserve_ip(&mut self, ip: Ipv4Addr) {
        if self.keep {
            self.reserved.ips.insert(ip, Instant::now());
        }
    }

    fn node_ports(&mut self, object: &mut Value) -> Result<(), Status> {
        let name = meta::name(object).to_owned();
        if !wants_ports(object) {
            return Ok(());
        }
        let count = ports(object).len();
        // Asked-for ports first, so that none of them is given to another port of the same Service.
        let mut mine = HashSet::new();
        for i in 0..count {
            let port = &ports(object)[i];
            let number = port.get("nodePort").and_then(Value::as_u64).unwrap_or_default();
            if number > 0 {
                let key = (u16::try_from(number).unwrap_or_default(), protocol(port).to_owned());
                self.this_port(&name, i, number, &key, &mut mine)?;
            }
        }
        for i in 0..count {
            let port = &ports(object)[i];
            if port.get("nodePort").and_then(Value::as_u64).unwrap_or_default() == 0 {
                let protocol = protocol(port).to_owned();
                let number = self.any_port(&protocol, &mut mine)?;
                object["spec"]["ports"][i]["nodePort"] = number.into();
            }
        }
        self.health_check_port(object, &name, &mut mine)
    }

    fn this_port(
        &mut self,
        name: &str,
        i: usize,
        number: u64,
        key: &(u16, String),
        mine: &mut HashSet<(u16, String)>,
    ) -> Result<(), Status> {
        let path = Path::new("spec").child("ports").index(i).child("nodePort");
        let refuse = |why: String| {
            Err(Status::invalid("", "Service", name, vec![FieldError::invalid(&path, number, why)]))
        };
        if self.held.ports.contains(key) && mine.insert(key.clone()) {
            return Ok(());
        }
        if !self.allocators.ports.contains(&key.0) || key.0 == 0 {
            let (low, high) = (self.allocators.ports.start(), self.allocators.ports.end());
            return refuse(format!(
                "provided port is not in the valid range. The range of valid ports is {low}-{high}"
            ));
        }
        if !is_free(key.clone(), &self.taken.ports, &self.reserved.ports) || !mine.insert(key.clone()) {
            return refuse("provided port is already allocated".to_owned());
        }
        self.reserve_port(key.clone());
        Ok(())
    }

    fn any_port(&mut self, protocol: &str, mine: &mut HashSet<(u16, String)>) -> Result<u16, Status> {
        let (low, high) = (*self.allocators.ports.start(), *self.allocators.ports.end());
        let start = rand::rng().random_range(low..=high);
        for number in (start..=high).chain(low..start) {
            let key = (number, protocol.to_owned());
            // One number serves one purpose: a port free for this protocol only is not chosen by itself.
            let other = ["TCP", "UDP", "SCTP"].map(|protocol| (number, protocol.to_owned()));
            let free = other.iter().all(|key| {
                is_free(key.clone(), &self.taken.ports, &self.reserved.ports) && !mine.contains(key)
            });
            if free {
                mine.insert(key.clone());
                self.reserve_port(key);
                return Ok(number);
            }
        }
        Err(Status::internal("failed to allocate a nodePort: range is full"))
    }

    /// A load balancer that keeps client addresses asks each node whether it has endpoints.
    fn health_check_port(
        &mut self,
        object: &mut Value,
        name: &str,
        mine: &mut HashSet<(u16, String)>,
    ) -> Result<(), Status> {
        let local = object["spec"]["externalTrafficPolicy"] == "Local" && kind(object) == "LoadBalancer";
        if !local {
            return Ok(());
        }
        match object["spec"].get("healthCheckNodePort").and_then(Value::as_u64).unwrap_or_default() {
            0 => {
                let number = self.any_port("TCP", mine)?;
                object["spec"]["healthCheckNodePort"] = number.into();
                Ok(())
            }
            number => {
                let key = (u16::try_from(number).unwrap_or_default(), "TCP".to_owned());
                if self.held.ports.contains(&key)
                    || is_free(key.clone(), &self.taken.ports, &self.reserved.ports)
                {
                    self.reserve_port(key);
                    return Ok(());
                }
                let why = format!(
                    "failed to allocate requested HealthCheck NodePort {number}: provided port is already allocated"
                );
                let path = Path::new("spec").child("healthCheckNodePort");
                Err(Status::invalid("", "Service", name, vec![FieldError::invalid(&path, number, why)]))
            }
        }
    }

    fn reserve_port(&mut self, key: (u16, String)) {
        if self.keep {
            self.reserved.ports.insert(key, Instant::now());
        }
    }
}

fn is_free<T: Eq + Hash>(value: T, taken: &HashSet<T>, reserved: &HashMap<T, Instant>) -> bool {
    !taken.contains(&value) && !reserved.contains_key(&value)
}

/// What all other Services hold. Only those with node ports have to be parsed.
fn taken(registry: &Registry, namespace: &str, name: &str) -> Taken {
    let mut taken = Taken::default();
    let own = format!("/{namespace}/{name}");
    for item in registry.objects("", "services") {
        if item.entry.key.ends_with(&own) {
            continue;
        }
        taken.ips.extend(item.meta.field("spec.clusterIP").and_then(|ip| ip.parse::<Ipv4Addr>().ok()));
        if matches!(item.meta.field("spec.type"), Some("NodePort" | "LoadBalancer"))
            && let Ok(service) = serde_json::from_slice::<Value>(&item.entry.bytes)
        {
            taken.ports.extend(held(&service).ports);
        }
    }
    taken
}

/// What one Service holds.
fn held(service: &Value) -> Taken {
    let number = |value: Option<&Value>| {
        value.and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0)
    };
    let mut ports: HashSet<_> = ports(service)
        .iter()
        .filter_map(|port| Some((number(port.get("nodePort"))?, protocol(port).to_owned())))
        .collect();
    ports.extend(
        number(service.pointer("/spec/healthCheckNodePort")).map(|number| (number, "TCP".to_owned())),
    );
    Taken { ips: text(service, "clusterIP").parse().into_iter().collect(), ports }
}

fn text<'a>(service: &'a Value, key: &str) -> &'a str {
    service.get("spec").and_then(|spec| spec.get(key)).and_then(Value::as_str).unwrap_or_default()
}

fn kind(service: &Value) -> &str {
    match text(service, "type") {
        "" => "ClusterIP",
        kind => kind,
    }
}

fn wants_ports(service: &Value) -> bool {
    let off = service.pointer("/spec/allocateLoadBalancerNodePorts") == Some(&Value::Bool(false));
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => !off,
        _ => false,
    }
}

fn ports(service: &Value) -> &[Value] {
    service.pointer("/spec/ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn protocol(port: &Value) -> &str {
    port.get("protocol").and_then(Value::as_str).unwrap_or("TCP")
}

/// The address asked for, in either of the two fields.
fn given_ip(service: &Value) -> String {
    let first = service.pointer("/spec/clusterIPs/0").and_then(Value::as_str).unwrap_or_default();
    match text(service, "clusterIP") {
        "" => first.to_owned(),
        ip => ip.to_owned(),
    }
}
