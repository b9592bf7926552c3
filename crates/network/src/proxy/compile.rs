//! From the state of the cluster to the whole ruleset of a node. Pure: no clock, no kernel, no API.
//!
//! A new connection costs one map lookup, one random choice and one rewrite, however many Services there are; an
//! established one costs nothing here, connection tracking remembers it. The semantics are those of upstream's
//! kube-proxy in nftables mode (KEP-3866).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use super::endpoints::Usable;
use super::model::{
    Action, Chain, Condition, Hook, HookKind, Map, MapKey, Point, Refusal, Rule, Ruleset, Set, Verdict,
};
use super::world::{Endpoint, HostPort, NodeFacts, Protocol, ServicePort, World};

pub(super) const SERVICE_IPS: &str = "service-ips";
pub(super) const NODE_PORTS: &str = "node-ports";
const NO_ENDPOINT_IPS: &str = "no-endpoint-ips";
const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-node-ports";
const FIREWALL_IPS: &str = "firewall-ips";
const HAIRPIN: &str = "hairpin";
const SERVICES: &str = "services";
const ENDPOINTS_CHECK: &str = "endpoints-check";
const REJECT: &str = "reject-packet";
const MARK: &str = "mark-for-masquerade";
const MASQUERADE: &str = "masquerade-marked";

/// Before destinations are rewritten: rules on the address the client used.
const BEFORE_REWRITE: i32 = -110;
const REWRITE: i32 = -100;
/// After: what still has a Service's address was not rewritten.
const AFTER_REWRITE: i32 = -90;
const SOURCE_REWRITE: i32 = 100;

/// Compiles the ruleset of this node.
pub fn compile(world: &World) -> Ruleset {
    let mut compiler = Compiler { node: &world.node, rules: base(&world.node), hairpin: BTreeSet::new() };
    for port in &world.services {
        compiler.service(port);
    }
    for port in &world.host_ports {
        compiler.host_port(port);
    }
    let pairs = Set::Pairs(compiler.hairpin.into_iter().collect());
    compiler.rules.sets.insert(HAIRPIN.to_owned(), pairs);
    compiler.rules
}

fn rule(when: impl IntoIterator<Item = Condition>, then: Action) -> Rule {
    Rule { when: when.into_iter().collect(), then }
}

fn loopback() -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)
}

/// Chains and maps that do not depend on Services.
fn base(node: &NodeFacts) -> Ruleset {
    let mut rules = Ruleset { table: node.table.clone(), ..Ruleset::default() };
    for (name, by_address) in [
        (SERVICE_IPS, true),
        (NODE_PORTS, false),
        (NO_ENDPOINT_IPS, true),
        (NO_ENDPOINT_NODE_PORTS, false),
        (FIREWALL_IPS, true),
    ] {
        rules.maps.insert(name.to_owned(), Map { by_address, elements: BTreeMap::new() });
    }
    for (name, chain) in filter_chains(node).into_iter().chain(nat_chains(node)).chain(helper_chains(node)) {
        rules.chains.insert(name.to_owned(), chain);
    }
    rules
}

fn hooked(kind: HookKind, point: Point, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { hook: Some(Hook { kind, point, priority }), rules }
}

fn filter_chains(node: &NodeFacts) -> Vec<(&'static str, Chain)> {
    let filter = |point, priority, rules| hooked(HookKind::Filter, point, priority, rules);
    let new = || [Condition::NewConnection];
    let firewall = || rule(new(), Action::DispatchAddress(FIREWALL_IPS.to_owned()));
    let check = || rule(new(), Action::Jump(ENDPOINTS_CHECK.to_owned()));
    // An address of the service range that no Service has, or a port it does not have.
    let unknown = || rule([Condition::Destination(node.service_cidr)], Action::Goto(REJECT.to_owned()));
    let from_outside = || Condition::ArrivedNotBy("lo".to_owned());
    vec![
        (
            "filter-prerouting",
            filter(
                Point::Prerouting,
                BEFORE_REWRITE,
                vec![
                    // NodePorts on 127.0.0.1 need `route_localnet` on the bridge; pods must not reach the host's
                    // loopback by it (CVE-2020-8558). Answers have not been rewritten back yet at this point.
                    rule([from_outside(), Condition::Destination(loopback())], Action::Drop),
                    rule([from_outside(), Condition::Source(loopback())], Action::Drop),
                    firewall(),
                ],
            ),
        ),
        ("filter-input", filter(Point::Input, BEFORE_REWRITE, vec![check()])),
        (
            "filter-forward",
            filter(
                Point::Forward,
                BEFORE_REWRITE,
                vec![
                    // An answer that connection tracking cannot place would arrive with the pod's address and make the
                    // client reset its connection. Only pods' packets: the host's others are not ours to judge.
                    rule([Condition::Source(node.pod_cidr), Condition::InvalidConnection], Action::Drop),
                    rule([Condition::Destination(node.pod_cidr), Condition::InvalidConnection], Action::Drop),
                    check(),
                    unknown(),
                ],
            ),
        ),
        ("filter-output", filter(Point::Output, BEFORE_REWRITE, vec![firewall()])),
        ("filter-output-rewritten", filter(Point::Output, AFTER_REWRITE, vec![check(), unknown()])),
    ]
}

fn nat_chains(node: &NodeFacts) -> Vec<(&'static str, Chain)> {
    let nat = |point, priority, rules| hooked(HookKind::Nat, point, priority, rules);
    let services = || rule([], Action::Jump(SERVICES.to_owned()));
    vec![
        ("nat-prerouting", nat(Point::Prerouting, REWRITE, vec![services()])),
        ("nat-output", nat(Point::Output, REWRITE, vec![services()])),
        (
            "nat-postrouting",
            nat(
                Point::Postrouting,
                SOURCE_REWRITE,
                vec![
                    rule([Condition::Marked(node.mark)], Action::Goto(MASQUERADE.to_owned())),
                    // A pod that reached itself through its Service would answer itself directly.
                    rule([Condition::PairIn(HAIRPIN.to_owned())], Action::Masquerade),
                    rule(
                        [
                            Condition::Source(node.pod_cidr),
                            Condition::DestinationNot(node.pod_cidr),
                            Condition::LeavesNotBy("lo".to_owned()),
                        ],
                        Action::Masquerade,
                    ),
                ],
            ),
        ),
    ]
}

fn helper_chains(node: &NodeFacts) -> Vec<(&'static str, Chain)> {
    let plain = |rules| Chain { hook: None, rules };
    let local = || [Condition::DestinationIsLocal];
    vec![
        (
            SERVICES,
            plain(vec![
                rule([], Action::DispatchAddress(SERVICE_IPS.to_owned())),
                rule(local(), Action::DispatchPort(NODE_PORTS.to_owned())),
            ]),
        ),
        (
            ENDPOINTS_CHECK,
            plain(vec![
                rule([], Action::DispatchAddress(NO_ENDPOINT_IPS.to_owned())),
                rule(local(), Action::DispatchPort(NO_ENDPOINT_NODE_PORTS.to_owned())),
            ]),
        ),
        (
            REJECT,
            plain(vec![
                rule([Condition::Protocol(Protocol::Tcp)], Action::Reject(Refusal::Reset)),
                rule([], Action::Reject(Refusal::PortUnreachable)),
            ]),
        ),
        (MARK, plain(vec![rule([], Action::Mark(node.mark))])),
        (MASQUERADE, plain(vec![rule([], Action::Unmark(node.mark)), rule([], Action::Masquerade)])),
    ]
}

struct Compiler<'a> {
    node: &'a NodeFacts,
    rules: Ruleset,
    /// Addresses of pods here that a Service or host port leads to.
    hairpin: BTreeSet<Ipv4Addr>,
}

/// The chains of one port of a Service.
struct Names {
    cluster: String,
    local: String,
    external: String,
    firewall: String,
}

impl Names {
    fn of(id: &str) -> Self {
        Self {
            cluster: format!("service-{id}"),
            local: format!("local-{id}"),
            external: format!("external-{id}"),
            firewall: format!("firewall-{id}"),
        }
    }
}

impl Compiler<'_> {
    fn service(&mut self, port: &ServicePort) {
        let id = port.id();
        let names = Names::of(&id);
        let usable = Usable::of(port, self.node);
        self.endpoints(port, &id, &usable);
        self.balance(port, &id, &names.cluster, &usable.cluster);
        self.balance(port, &id, &names.local, &usable.local);
        self.internal(port, &names, &usable);
        if port.is_external() {
            self.external(port, &names, &usable);
            self.firewall(port, &names);
        }
    }

    /// A chain for each endpoint: remember the client if asked to, then rewrite.
    fn endpoints(&mut self, port: &ServicePort, id: &str, usable: &Usable<'_>) {
        for endpoint in usable.reachable() {
            let mut rules = Vec::new();
            if let Some(seconds) = port.affinity_seconds {
                let set = affinity_set(id, endpoint);
                rules.push(rule([], Action::Remember(set.clone())));
                self.rules.sets.insert(set, Set::Recent { seconds });
            }
            rules.push(rewrite(port.protocol, endpoint.address, endpoint.port));
            self.rules.chains.insert(endpoint_chain(id, endpoint), Chain { hook: None, rules });
            if endpoint.local {
                self.hairpin.insert(endpoint.address);
            }
        }
    }

    fn balance(&mut self, port: &ServicePort, id: &str, chain: &str, endpoints: &[&Endpoint]) {
        if endpoints.is_empty() {
            return;
        }
        let mut rules = Vec::new();
        if port.affinity_seconds.is_some() {
            rules.extend(endpoints.iter().map(|endpoint| {
                rule(
                    [Condition::SourceIn(affinity_set(id, endpoint))],
                    Action::Goto(endpoint_chain(id, endpoint)),
                )
            }));
        }
        let targets = endpoints.iter().map(|endpoint| endpoint_chain(id, endpoint)).collect();
        rules.push(rule([], Action::Balance(targets)));
        self.rules.chains.insert(chain.to_owned(), Chain { hook: None, rules });
    }

    /// The cluster address.
    fn internal(&mut self, port: &ServicePort, names: &Names, usable: &Usable<'_>) {
        let (chain, endpoints) = match port.internal_local {
            true => (&names.local, &usable.local),
            false => (&names.cluster, &usable.cluster),
        };
        let key = address_key(port.cluster_ip, port);
        if endpoints.is_empty() {
            let verdict = refusal(usable);
            self.put(NO_ENDPOINT_IPS, key, verdict);
            return;
        }
        self.put(SERVICE_IPS, key, Verdict::Goto(chain.clone()));
        // Somebody outside routes the service range to this node: the endpoint's answer must come back through it.
        let foreign = rule(
            [
                Condition::SourceNot(self.node.pod_cidr),
                Condition::Destination(port.cluster_ip.into()),
                Condition::Port(port.protocol, port.port),
            ],
            Action::Jump(MARK.to_owned()),
        );
        if let Some(chain) = self.rules.chains.get_mut(chain) {
            chain.rules.insert(0, foreign);
        }
    }

    /// NodePort, external addresses and those of the load balancer.
    fn external(&mut self, port: &ServicePort, names: &Names, usable: &Usable<'_>) {
        let has_endpoints =
            if port.external_local { !usable.local.is_empty() } else { !usable.cluster.is_empty() };
        let addresses = port.external_ips.iter().chain(&port.load_balancer_ips);
        let mut keys: Vec<(MapKey, bool)> =
            addresses.map(|address| (address_key(*address, port), true)).collect();
        keys.extend(port.node_port.map(|number| (port_key(port.protocol, number), false)));
        for (key, by_address) in keys {
            let (to, refused) = match by_address {
                true => (SERVICE_IPS, NO_ENDPOINT_IPS),
                false => (NODE_PORTS, NO_ENDPOINT_NODE_PORTS),
            };
            if usable.anywhere {
                self.put(to, key, Verdict::Goto(names.external.clone()));
            }
            if !has_endpoints {
                self.put(refused, key, refusal(usable));
            }
        }
        if usable.anywhere {
            let rules = self.external_rules(port, names, has_endpoints);
            self.rules.chains.insert(names.external.clone(), Chain { hook: None, rules });
        }
    }

    fn external_rules(&self, port: &ServicePort, names: &Names, has_endpoints: bool) -> Vec<Rule> {
        let mark = || Action::Jump(MARK.to_owned());
        let cluster = || Action::Goto(names.cluster.clone());
        if !port.external_local {
            // The endpoint may be on another node and must answer through this one.
            return vec![rule([], mark()), rule([], cluster())];
        }
        let pods = Condition::Source(self.node.pod_cidr);
        let mut rules = vec![
            // Policy `Local` is for clients outside: pods and the node itself reach every endpoint.
            rule([pods, Condition::SourceIsLocal], mark()),
            rule([Condition::Source(self.node.pod_cidr)], cluster()),
            rule([Condition::SourceIsLocal], mark()),
            rule([Condition::SourceIsLocal], cluster()),
        ];
        if has_endpoints {
            rules.push(rule([], Action::Goto(names.local.clone())));
        }
        rules
    }

    /// `loadBalancerSourceRanges`
    fn firewall(&mut self, port: &ServicePort, names: &Names) {
        if port.source_ranges.is_empty() || port.load_balancer_ips.is_empty() {
            return;
        }
        let mut allowed = port.source_ranges.clone();
        // The node's own connection to the load balancer's address may carry that address as its source.
        if allowed.iter().any(|range| self.node.addresses.iter().any(|address| range.contains(address))) {
            allowed.extend(port.load_balancer_ips.iter().copied().map(Ipv4Net::from));
        }
        let rules = vec![rule([Condition::SourceNotAmong(allowed)], Action::Drop)];
        self.rules.chains.insert(names.firewall.clone(), Chain { hook: None, rules });
        for address in &port.load_balancer_ips {
            self.put(FIREWALL_IPS, address_key(*address, port), Verdict::Goto(names.firewall.clone()));
        }
    }

    fn host_port(&mut self, port: &HostPort) {
        let name = format!("host-port-{}/{}/{}/{}", port.pod, port.protocol, port.port, port.container_port);
        let from_loopback = rule([Condition::Source(loopback())], Action::Jump(MARK.to_owned()));
        let rules = vec![from_loopback, rewrite(port.protocol, port.pod_ip, port.container_port)];
        self.rules.chains.insert(name.clone(), Chain { hook: None, rules });
        self.hairpin.insert(port.pod_ip);
        let map = if port.host_ip.is_some() { SERVICE_IPS } else { NODE_PORTS };
        let key = MapKey { address: port.host_ip, protocol: port.protocol, port: port.port };
        self.put(map, key, Verdict::Goto(name));
    }

    /// The first to claim a destination keeps it, as the API server gives each only once.
    fn put(&mut self, map: &str, key: MapKey, verdict: Verdict) {
        if let Some(map) = self.rules.maps.get_mut(map) {
            map.elements.entry(key).or_insert(verdict);
        }
    }
}

/// With endpoints on other nodes the packet was only sent to the wrong node: no answer. With none anywhere: a clear no.
fn refusal(usable: &Usable<'_>) -> Verdict {
    if usable.anywhere { Verdict::Drop } else { Verdict::Goto(REJECT.to_owned()) }
}

fn rewrite(protocol: Protocol, address: Ipv4Addr, port: u16) -> Rule {
    rule([], Action::Rewrite(protocol, SocketAddrV4::new(address, port)))
}

fn address_key(address: Ipv4Addr, port: &ServicePort) -> MapKey {
    MapKey { address: Some(address), protocol: port.protocol, port: port.port }
}

fn port_key(protocol: Protocol, port: u16) -> MapKey {
    MapKey { address: None, protocol, port }
}

fn endpoint_chain(id: &str, endpoint: &Endpoint) -> String {
    format!("endpoint-{id}__{}/{}", endpoint.address, endpoint.port)
}

fn affinity_set(id: &str, endpoint: &Endpoint) -> String {
    format!("affinity-{id}__{}/{}", endpoint.address, endpoint.port)
}
