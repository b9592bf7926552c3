//! Node ports of a Service (upstream `pkg/registry/core/service/storage/alloc.go`). A number is one Service's, whatever the
//! protocol.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use machinery::field::{FieldError, Path};
use machinery::meta;
use machinery::status::Status;
use rand::Rng;
use serde_json::Value;

use super::super::kinds::value::{int, list, put, text};
use super::range::{Band, order};

/// Ports of the lower band are given when asked for, or when nothing else is left.
const PORTS: Band = Band { part: 32, min: 16, max: 128 };
/// Dry runs show the ports after this one.
const BEFORE_DUMMIES: u16 = 32_768;

/// The ports of all Services, of which one request takes some.
pub(super) struct Taking<'a> {
    pub range: &'a RangeInclusive<u16>,
    pub taken: &'a mut BTreeSet<u16>,
    /// What this request took.
    mine: BTreeSet<u16>,
    dry_run: bool,
}

impl<'a> Taking<'a> {
    pub fn new(range: &'a RangeInclusive<u16>, taken: &'a mut BTreeSet<u16>, dry_run: bool) -> Self {
        Self { range, taken, mine: BTreeSet::new(), dry_run }
    }

    /// Takes a port that was asked for.
    fn this(&mut self, number: i64) -> Result<(), String> {
        let port = u16::try_from(number).ok().filter(|port| self.dry_run || self.range.contains(port));
        let Some(port) = port else {
            // What is only tried may be any number, even one that is no port's.
            if self.dry_run {
                return Ok(());
            }
            let (low, high) = (self.range.start(), self.range.end());
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {low}-{high}"
            ));
        };
        if !self.taken.insert(port) {
            return Err("provided port is already allocated".to_owned());
        }
        self.mine.insert(port);
        Ok(())
    }

    /// Takes any port.
    fn any(&mut self) -> Result<u16, String> {
        let port = if self.dry_run {
            self.mine.last().copied().unwrap_or(BEFORE_DUMMIES).saturating_add(1)
        } else {
            self.free(&mut rand::rng()).ok_or("range is full")?
        };
        self.taken.insert(port);
        self.mine.insert(port);
        Ok(port)
    }

    fn free(&self, rng: &mut impl Rng) -> Option<u16> {
        let (low, high) = (u32::from(*self.range.start()), u32::from(*self.range.end()));
        let size = (high + 1).saturating_sub(low);
        let port = |offset: u32| u16::try_from(low + offset - 1).ok();
        order(size, PORTS.of(size), rng).filter_map(port).find(|port| !self.taken.contains(port))
    }
}

fn kind(service: &Value) -> &str {
    text(&service["spec"], "type")
}

fn has_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// Whether ports are given that are not asked for.
fn wants_any(service: &Value) -> bool {
    let off = service["spec"].get("allocateLoadBalancerNodePorts") == Some(&Value::Bool(false));
    kind(service) == "NodePort" || (kind(service) == "LoadBalancer" && !off)
}

/// A load balancer that keeps client addresses asks each node whether it has endpoints.
fn needs_health_check(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && text(&service["spec"], "externalTrafficPolicy") == "Local"
}

fn node_port(port: &Value) -> i64 {
    int(port, "nodePort").unwrap_or_default()
}

fn ports(service: &Value) -> &[Value] {
    list(&service["spec"], "ports")
}

/// The ports that a Service holds. Numbers that are of no use for its type are not its own, whatever it says.
pub(super) fn held(service: &Value) -> BTreeSet<u16> {
    let ports = if has_ports(service) { ports(service) } else { &[] };
    let health = int(&service["spec"], "healthCheckNodePort").filter(|_| needs_health_check(service));
    let numbers = ports.iter().map(node_port).chain(health);
    numbers.filter_map(|number| u16::try_from(number).ok()).filter(|port| *port > 0).collect()
}

/// The ports that `gone` holds and `kept` does not. One for health checks is taken when a Service begins to need it, and not
/// changed after: another number is a mistake of the request, and not the Service's.
pub(super) fn given_back(gone: &Value, kept: Option<&Value>) -> BTreeSet<u16> {
    let mut free = held(gone);
    if kept.is_some_and(needs_health_check) {
        let health = int(&gone["spec"], "healthCheckNodePort").and_then(|port| u16::try_from(port).ok());
        health.map(|port| free.remove(&port));
    }
    let kept = kept.map(held).unwrap_or_default();
    free.retain(|port| !kept.contains(port));
    free
}

/// Whether the ports of all have to be looked at: the Service needs some that it does not have.
pub(super) fn is_needed(service: &Value, old: Option<&Value>) -> bool {
    let had = old.map(held).unwrap_or_default();
    let lacks = ports(service).iter().map(node_port).any(|number| {
        if number == 0 { wants_any(service) } else { !u16::try_from(number).is_ok_and(|n| had.contains(&n)) }
    });
    let checked = old.is_some_and(needs_health_check);
    let repeats = old.is_some() && repeated(service).is_some();
    (has_ports(service) && (lacks || repeats)) || (needs_health_check(service) && !checked)
}

/// Gives a Service the ports that its type needs and that it does not have.
pub(super) fn take(taking: &mut Taking<'_>, service: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    if has_ports(service) {
        match old {
            None => for_new(taking, service)?,
            Some(old) => for_changed(taking, service, &held(old))?,
        }
    }
    if needs_health_check(service) && !old.is_some_and(needs_health_check) {
        health_check(taking, service)?;
    }
    Ok(())
}

/// Ports of the same number have the same node port, unless another is asked for.
fn for_new(taking: &mut Taking<'_>, service: &mut Value) -> Result<(), Status> {
    let mut given: HashMap<i64, i64> = HashMap::new();
    let any = wants_any(service);
    for i in 0..ports(service).len() {
        let asked = node_port(&ports(service)[i]);
        let number = int(&ports(service)[i], "port").unwrap_or_default();
        if asked == 0 && !any {
            continue;
        }
        let port = match given.get(&number) {
            Some(port) if asked == 0 || asked == *port => *port,
            Some(_) => this(taking, service, i, asked)?,
            None => {
                let same = |port: &&Value| int(port, "port") == Some(number) && node_port(port) != 0;
                let port = match ports(service).iter().find(same).map(node_port) {
                    Some(asked) => this(taking, service, i, asked)?,
                    None => any_port(taking)?,
                };
                given.insert(number, port);
                port
            }
        };
        set(service, i, port);
    }
    Ok(())
}

fn for_changed(taking: &mut Taking<'_>, service: &mut Value, had: &BTreeSet<u16>) -> Result<(), Status> {
    let any = wants_any(service);
    let mut mine = BTreeSet::new();
    for i in 0..ports(service).len() {
        let asked = node_port(&ports(service)[i]);
        let kept = u16::try_from(asked).is_ok_and(|port| had.contains(&port));
        if asked == 0 && any {
            let port = any_port(taking)?;
            set(service, i, port);
        } else if asked != 0 && !kept && mine.insert(asked) {
            this(taking, service, i, asked)?;
        }
    }
    repeated(service).map_or(Ok(()), Err)
}

/// Two ports with one protocol cannot share a node port. A change finds that before anything else is checked.
fn repeated(service: &Value) -> Option<Status> {
    let mut seen = BTreeSet::new();
    let pair = |port| (text(port, "protocol"), node_port(port));
    let mut pairs = ports(service).iter().map(pair).filter(|(_, number)| *number != 0);
    let (protocol, number) = pairs.find(|pair| !seen.insert(*pair))?;
    Some(Status::unknown(format!("duplicate nodePort: {{{protocol} {number}}}")))
}

fn set(service: &mut Value, i: usize, port: i64) {
    if let Some(entry) = service.pointer_mut(&format!("/spec/ports/{i}")) {
        put(entry, "nodePort", port);
    }
}

fn this(taking: &mut Taking<'_>, service: &Value, i: usize, asked: i64) -> Result<i64, Status> {
    let refuse = |why: String| {
        let path = Path::new("spec").child("ports").index(i).child("nodePort");
        Status::invalid("", "Service", meta::name(service), vec![FieldError::invalid(&path, asked, why)])
    };
    taking.this(asked).map(|()| asked).map_err(refuse)
}

fn any_port(taking: &mut Taking<'_>) -> Result<i64, Status> {
    let port = taking.any();
    port.map(i64::from).map_err(|why| Status::internal(format!("failed to allocate a nodePort: {why}")))
}

fn health_check(taking: &mut Taking<'_>, service: &mut Value) -> Result<(), Status> {
    let asked = int(&service["spec"], "healthCheckNodePort").unwrap_or_default();
    if asked != 0 {
        let refuse = |why| {
            Status::internal(format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"))
        };
        return taking.this(asked).map_err(refuse);
    }
    let refuse = |why| Status::internal(format!("failed to allocate a HealthCheck NodePort 0: {why}"));
    let port = taking.any().map_err(refuse)?;
    put(&mut service["spec"], "healthCheckNodePort", port);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RANGE: RangeInclusive<u16> = 30_000..=30_039;

    fn service(spec: &Value) -> Value {
        json!({"metadata": {"name": "s"}, "spec": spec})
    }

    /// What becomes of a Service when these ports are taken: its node ports, or why not.
    fn given(spec: &Value, old: Option<&Value>, taken: &[u16], dry_run: bool) -> Result<Vec<u16>, String> {
        let mut taken: BTreeSet<u16> = taken.iter().copied().collect();
        let (mut service, old) = (service(spec), old.map(service));
        let mut taking = Taking::new(&RANGE, &mut taken, dry_run);
        take(&mut taking, &mut service, old.as_ref()).map_err(|status| status.message)?;
        Ok(ports(&service).iter().filter_map(|port| u16::try_from(node_port(port)).ok()).collect())
    }

    #[test]
    fn ports_of_one_number_share_a_node_port() {
        let udp = json!({"type": "NodePort", "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}, {"port": 54}]});
        let ports = given(&udp, None, &[], false).expect("ports");
        assert_eq!(ports[0], ports[1]);
        assert_ne!(ports[0], ports[2]);
        let asked = json!({"type": "NodePort", "ports": [{"port": 53}, {"port": 53, "nodePort": 30_001}]});
        assert_eq!(given(&asked, None, &[], false), Ok(vec![30_001, 30_001]));
        let both = json!({"type": "NodePort", "ports": [{"port": 53, "nodePort": 30_000}, {"port": 53, "nodePort": 30_001}]});
        assert_eq!(given(&both, None, &[], false), Ok(vec![30_000, 30_001]));
    }

    #[test]
    fn the_lower_band_is_given_last() {
        let one = json!({"type": "NodePort", "ports": [{"port": 1}]});
        let upper: Vec<u16> = (30_016..=30_039).collect();
        assert_eq!(given(&one, None, &upper[1..], false), Ok(vec![30_016]));
        let lower = given(&one, None, &upper, false).expect("a port");
        assert!((30_000..30_016).contains(&lower[0]));
        let all: Vec<u16> = RANGE.collect();
        let full = given(&one, None, &all, false);
        assert_eq!(
            full,
            Err("Internal error occurred: failed to allocate a nodePort: range is full".to_owned())
        );
    }

    #[test]
    fn what_is_asked_for_has_to_be_free() {
        let refusal = |number: u32, why: &str| {
            Err(format!("Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: {number}: {why}"))
        };
        let asks = |number: u32| json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": number}]});
        let range = "provided port is not in the valid range. The range of valid ports is 30000-30039";
        assert_eq!(given(&asks(80), None, &[], false), refusal(80, range));
        let taken = "provided port is already allocated";
        for dry_run in [false, true] {
            assert_eq!(given(&asks(30_001), None, &[30_001], dry_run), refusal(30_001, taken));
        }
        // A change keeps what was there, and takes what is new.
        let old = asks(30_001);
        assert_eq!(given(&asks(30_001), Some(&old), &[30_001], false), Ok(vec![30_001]));
        assert_eq!(given(&asks(30_002), Some(&old), &[30_001, 30_002], false), refusal(30_002, taken));
    }

    #[test]
    fn a_change_repeats_no_node_port_of_a_protocol() {
        let node = |number: u16, protocol: &str| {
            let second = json!({"port": 2, "nodePort": number, "protocol": protocol});
            json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30_001, "protocol": "TCP"}, second]})
        };
        let old = node(30_002, "TCP");
        assert_eq!(
            given(&node(30_001, "TCP"), Some(&old), &[30_001, 30_002], false),
            Err("duplicate nodePort: {TCP 30001}".to_owned())
        );
        assert!(is_needed(&service(&node(30_001, "TCP")), Some(&service(&old))));
        let shared = given(&node(30_001, "UDP"), Some(&old), &[30_001, 30_002], false);
        assert_eq!(shared, Ok(vec![30_001, 30_001]));
    }

    #[test]
    fn dry_runs_show_ports_that_nobody_has() {
        let two = json!({"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]});
        assert_eq!(given(&two, None, &[], true), Ok(vec![32_769, 32_770]));
    }

    #[test]
    fn what_a_request_only_names_is_not_given_back() {
        let node = |port: u16| json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": port}]});
        let named = json!({"type": "ClusterIP", "ports": [{"port": 1, "nodePort": 30_001}]});
        let local = |port: u16| json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port});
        for (gone, kept, free) in [
            (node(30_001), None, vec![30_001]),
            (node(30_001), Some(node(30_001)), vec![]),
            (node(30_001), Some(node(30_002)), vec![30_001]),
            (node(30_001), Some(named.clone()), vec![30_001]),
            (named, None, vec![]),
            (local(30_005), None, vec![30_005]),
            (local(30_005), Some(node(30_002)), vec![30_005]),
            (local(30_006), Some(local(30_005)), vec![]),
        ] {
            let back = given_back(&service(&gone), kept.as_ref().map(service).as_ref());
            assert_eq!(back, free.into_iter().collect(), "{gone} {kept:?}");
        }
    }

    #[test]
    fn health_checks_have_a_port_of_their_own() {
        let local = |port: u32| {
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "allocateLoadBalancerNodePorts": false,
            "healthCheckNodePort": port, "ports": [{"port": 1}]})
        };
        assert_eq!(given(&local(30_005), None, &[], false), Ok(vec![0]), "no others are wanted");
        assert_eq!(
            given(&local(30_005), None, &[30_005], false),
            Err("Internal error occurred: failed to allocate requested HealthCheck NodePort 30005: provided port is already allocated".to_owned())
        );
        assert_eq!(given(&local(30_005), Some(&local(30_005)), &[30_005], false), Ok(vec![0]));
        assert_eq!(held(&service(&local(30_005))), BTreeSet::from([30_005]));
        let of_no_use =
            json!({"type": "ClusterIP", "healthCheckNodePort": 30_005, "ports": [{"nodePort": 30_006}]});
        assert!(held(&service(&of_no_use)).is_empty());
        assert!(is_needed(&service(&local(0)), None));
        assert!(!is_needed(&service(&local(30_005)), Some(&service(&local(30_005)))));
        assert!(!is_needed(&service(&json!({"type": "ClusterIP", "ports": [{"port": 1}]})), None));
    }
}
