//! Cluster IPs. Each that is in use is an IPAddress object: its name can be taken once only, however many servers there are.

use std::net::{IpAddr, Ipv4Addr};

use machinery::field::{FieldError, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::super::Registry;
use super::super::kinds::value::{is_condition_true, list, strings, text};
use super::range::Range;

pub(super) const GROUP: &str = "networking.k8s.io";
/// The label that tells whose an IPAddress is, and what it says about those of Services.
pub(super) const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "ipallocator.k8s.io";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// The ServiceCIDR that is made from the server's own configuration.
const DEFAULT_RANGE: &str = "kubernetes";

/// The object by which a Service has an address.
pub(super) fn object(ip: IpAddr, service: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": ip.to_string(), "labels": {FAMILY: family(ip), MANAGED_BY: MANAGER}},
        "spec": {"parentRef": {
            "resource": "services", "namespace": meta::namespace(service), "name": meta::name(service),
        }},
    })
}

/// The name of an address's family.
pub(super) fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Whether an IPAddress has the labels of its kind.
pub(super) fn is_labelled(address: &Value, ip: IpAddr) -> bool {
    is_managed(address) && meta::label(address, FAMILY) == Some(family(ip))
}

/// Whether an IPAddress was made for a Service.
pub(super) fn is_managed(address: &Value) -> bool {
    meta::label(address, MANAGED_BY) == Some(MANAGER)
}

/// Whether an IPAddress says that it is this Service's.
pub(super) fn belongs_to(address: &Value, service: &Value) -> bool {
    let parent = &address["spec"]["parentRef"];
    refers_to_service(address)
        && (text(parent, "namespace"), text(parent, "name"))
            == (meta::namespace(service), meta::name(service))
}

/// Whether an IPAddress says that it is a Service's at all.
pub(super) fn refers_to_service(address: &Value) -> bool {
    let parent = &address["spec"]["parentRef"];
    text(parent, "group").is_empty() && text(parent, "resource") == "services"
}

/// Makes the default ServiceCIDR, unless there is one, and says that it is ready if nobody has said anything yet.
pub async fn default_range(registry: &Registry) -> Result<(), Status> {
    let wanted = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": DEFAULT_RANGE},
        "spec": {"cidrs": [registry.config().service_cidr]},
    });
    let ready = |range: &Value| {
        let said = list(&range["status"], "conditions").iter().any(|one| text(one, "type") == "Ready");
        if said || meta::deletion_timestamp(range).is_some() || range["spec"] != wanted["spec"] {
            return None;
        }
        let mut range = range.clone();
        range["status"]["conditions"] = json!([{
            "type": "Ready", "status": "True", "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": machinery::time::rfc3339(jiff::Timestamp::now()),
        }]);
        Some(range)
    };
    registry.settle(wanted.clone(), "status", &ready).await?;
    registry.caught_up().await
}

/// All ranges, and whether addresses may be taken from them.
pub(super) fn ranges(registry: &Registry) -> Vec<(Value, bool)> {
    let ready = |range: &Value| {
        let said = list(&range["status"], "conditions").iter().any(|one| text(one, "type") == "Ready");
        meta::deletion_timestamp(range).is_none() && (!said || is_condition_true(range, "Ready"))
    };
    let all = registry.values(GROUP, "servicecidrs", "");
    all.into_iter().map(|range| (ready(&range), range)).map(|(ready, range)| (range, ready)).collect()
}

/// The IPv4 ranges out of which addresses are given.
fn open_ranges(registry: &Registry) -> Vec<Range> {
    let open = ranges(registry).into_iter().filter(|(_, ready)| *ready);
    open.flat_map(|(range, _)| {
        strings(&range["spec"], "cidrs").into_iter().filter_map(Range::parse).collect::<Vec<_>>()
    })
    .collect()
}

/// Gives a Service the address it asks for, or any. Nothing is taken when `dry_run`.
pub(super) async fn take(registry: &Registry, service: &Value, dry_run: bool) -> Result<String, Status> {
    match strings(&service["spec"], "clusterIPs").first().copied().filter(|given| !given.is_empty()) {
        None => any(registry, service, dry_run).await.map(|ip| ip.to_string()),
        Some(given) => match this(registry, service, given, dry_run).await {
            Ok(()) => Ok(given.to_owned()),
            Err(why) => {
                let path = Path::new("spec").child("clusterIPs");
                let detail = format!("failed to allocate IP {given}: {why}");
                let error = FieldError::invalid(&path, service["spec"]["clusterIPs"].clone(), detail);
                Err(Status::invalid("", "Service", meta::name(service), vec![error]))
            }
        },
    }
}

async fn this(registry: &Registry, service: &Value, given: &str, dry_run: bool) -> Result<(), String> {
    const OUTSIDE: &str = "the provided network does not match the current range";
    let ip: Ipv4Addr = given.parse().map_err(|_| OUTSIDE.to_owned())?;
    if !open_ranges(registry).iter().any(|range| range.contains(ip)) {
        return Err(OUTSIDE.to_owned());
    }
    if dry_run {
        return Ok(());
    }
    match registry.create(object(ip.into(), service)).await {
        Err(status) if status.code == 409 => Err("provided IP is already allocated".to_owned()),
        other => other.map(|_| ()).map_err(|status| status.message),
    }
}

async fn any(registry: &Registry, service: &Value, dry_run: bool) -> Result<Ipv4Addr, Status> {
    let ranges = open_ranges(registry);
    if let (true, Some(range)) = (dry_run, ranges.first()) {
        // As upstream: what would be given is not worth finding out.
        return Ok(range.network());
    }
    for range in ranges {
        let candidates = range.candidates(&mut rand::rng());
        let free = |ip: &Ipv4Addr| registry.object(GROUP, "ipaddresses", "", &ip.to_string()).is_none();
        for ip in candidates.filter(free) {
            match registry.create(object(ip.into(), service)).await {
                Ok(_) => return Ok(ip),
                // Another request was faster than this server's cache.
                Err(status) if status.code == 409 => {}
                Err(status) => return Err(failed(&status.message)),
            }
        }
    }
    Err(failed("range is full"))
}

fn failed(why: &str) -> Status {
    Status::internal(format!("failed to allocate a serviceIP: {why}"))
}

/// Gives back an address, if it is the Service's.
pub(super) async fn give_back(registry: &Registry, service: &Value, ip: &str) {
    // Not from the cache: it may not have come to it yet.
    let given_back = async {
        match registry.stored(GROUP, "ipaddresses", ip).await? {
            Some(address) if belongs_to(&address, service) => registry.delete(&address).await,
            _ => Ok(()),
        }
    };
    if let Err(status) = given_back.await {
        tracing::warn!(ip, %status, "failed to give back a cluster IP; it will be found to have leaked");
    }
}
