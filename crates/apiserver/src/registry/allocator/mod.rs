//! Cluster IPs and node ports of Services.
//!
//! What is taken is in the store, so that several servers over one store never give the same twice: an IPAddress object for
//! each cluster IP, and one value with a bit for each node port. Both are taken before the Service is stored and given back when
//! it is not, or no longer. What a crash leaves in between is found by [`run`].

mod addresses;
mod families;
mod numbers;
mod ports;
mod range;
mod repair;

use std::collections::BTreeSet;

use machinery::status::Status;
use serde_json::{Value, json};

use super::Registry;
use super::admission::AdmissionContext;
use super::kinds::value::{put, strings, text};
use numbers::Numbers;
use ports::Taking;
use range::Range;

pub use addresses::default_range;
pub use repair::{repair, run};

/// Allocates cluster IPs and node ports.
pub struct Allocators {
    range: Range,
    numbers: Numbers,
}

impl Allocators {
    /// Reads the ranges.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(config: &crate::Config) -> Result<Self, String> {
        let range = Range::parse(&config.service_cidr)
            .ok_or_else(|| format!("the service range {:?} is no IPv4 range", config.service_cidr))?;
        Ok(Self { range, numbers: Numbers::new(config.node_ports.clone()) })
    }

    /// The first address of the range: that of the `kubernetes` Service.
    pub fn first_ip(&self) -> std::net::Ipv4Addr {
        self.range.first()
    }

    /// How many Services the range has room for, and how many of these addresses are taken.
    pub fn addresses(&self, taken: impl Iterator<Item = std::net::Ipv4Addr>) -> (u32, usize) {
        (self.range.size(), taken.filter(|ip| self.range.contains(*ip)).count())
    }

    /// Gives a Service the cluster IP and node ports that its type needs and that it does not have. When it fails, nothing is
    /// taken.
    ///
    /// # Errors
    /// 422 for an address or port that is taken or out of range, 500 when nothing is left.
    pub async fn allocate(
        &self,
        context: &AdmissionContext<'_>,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        families::settle(service, old)?;
        let taken = cluster_ip(context, service, old).await?;
        let ports = self.node_ports(context, service, old).await;
        if let (Err(_), Some(ip), false) = (&ports, taken, context.dry_run) {
            addresses::give_back(context.registry, service, &ip).await;
        }
        ports
    }

    async fn node_ports(
        &self,
        context: &AdmissionContext<'_>,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if !ports::is_needed(service, old) {
            return Ok(());
        }
        let (store, range) = (context.registry.store.as_ref(), &self.numbers.range);
        if context.dry_run {
            let mut taken = self.numbers.taken(store).await?;
            return ports::take(&mut Taking::new(range, &mut taken, true), service, old);
        }
        let asked = service.clone();
        let take = |taken: &mut BTreeSet<u16>| {
            *service = asked.clone();
            ports::take(&mut Taking::new(range, taken, false), service, old)
        };
        self.numbers.update(store, take).await
    }

    /// Gives back what `gone` holds and `kept` does not.
    pub async fn release(&self, registry: &Registry, gone: &Value, kept: Option<&Value>) {
        let kept_ips = kept.map_or_else(Vec::new, |kept| cluster_ips(kept));
        for ip in cluster_ips(gone).into_iter().filter(|ip| !kept_ips.contains(ip)) {
            addresses::give_back(registry, gone, ip).await;
        }
        let free = ports::given_back(gone, kept);
        if free.is_empty() {
            return;
        }
        let give_back = |taken: &mut BTreeSet<u16>| {
            taken.retain(|port| !free.contains(port));
            Ok(())
        };
        if let Err(status) = self.numbers.update(registry.store.as_ref(), give_back).await {
            tracing::warn!(?free, %status, "failed to give back node ports; they will be found to have leaked");
        }
    }
}

/// The addresses a Service has.
fn cluster_ips(service: &Value) -> Vec<&str> {
    let spec = &service["spec"];
    if text(spec, "type") == "ExternalName" {
        return Vec::new();
    }
    let mut all = strings(spec, "clusterIPs");
    if all.is_empty() {
        all.push(text(spec, "clusterIP"));
    }
    all.retain(|ip| !matches!(*ip, "" | "None"));
    all
}

/// Takes an address for a Service that is new or begins to need one, and returns it.
async fn cluster_ip(
    context: &AdmissionContext<'_>,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<Option<String>, Status> {
    let kind = |service: &Value| text(&service["spec"], "type") == "ExternalName";
    let headless = strings(&service["spec"], "clusterIPs").first() == Some(&"None");
    if kind(service) || headless || old.is_some_and(|old| !kind(old)) {
        return Ok(None);
    }
    let ip = addresses::take(context.registry, service, context.dry_run).await?;
    if let Some(spec) = service.get_mut("spec") {
        put(spec, "clusterIP", ip.as_str());
        put(spec, "clusterIPs", json!([ip]));
    }
    Ok(Some(ip))
}
