use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use super::compile::{NODE_PORTS, SERVICE_IPS};
use super::*;

pub(super) fn node() -> NodeFacts {
    NodeFacts {
        table: table_name("knarr"),
        name: "n1".to_owned(),
        zone: Some("a".to_owned()),
        addresses: vec![Ipv4Addr::new(192, 168, 1, 10), Ipv4Addr::new(10, 42, 0, 1)],
        pod_cidr: "10.42.0.0/16".parse().expect("range"),
        service_cidr: "10.43.0.0/16".parse().expect("range"),
        mark: MASQUERADE_MARK,
    }
}

pub(super) fn service(name: &str, protocol: Protocol, cluster_ip: &str, port: u16) -> ServicePort {
    ServicePort {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        port_name: "main".to_owned(),
        protocol,
        cluster_ip: cluster_ip.parse().expect("address"),
        port,
        node_port: None,
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        affinity_seconds: None,
        internal_local: false,
        external_local: false,
        endpoints: Vec::new(),
    }
}

/// Ready and on this node.
pub(super) fn endpoint(address: &str, port: u16) -> Endpoint {
    Endpoint {
        address: address.parse().expect("address"),
        port,
        ready: true,
        serving: true,
        terminating: false,
        local: true,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    }
}

fn remote(address: &str, port: u16) -> Endpoint {
    Endpoint { local: false, ..endpoint(address, port) }
}

fn terminating(address: &str, port: u16) -> Endpoint {
    Endpoint { ready: false, terminating: true, ..endpoint(address, port) }
}

fn world_of(services: Vec<ServicePort>) -> World {
    World { node: node(), services, host_ports: Vec::new() }
}

fn web(change: impl FnOnce(&mut ServicePort)) -> ServicePort {
    let mut web = service("web", Protocol::Tcp, "10.43.0.20", 80);
    web.endpoints = vec![endpoint("10.42.0.5", 8080), remote("10.42.1.5", 8080)];
    change(&mut web);
    web
}

/// Where packets to a key of a map may end, whatever their source; `None` when the map does not have it.
fn reach(rules: &Ruleset, map: &str, key: MapKey) -> Option<BTreeSet<SocketAddrV4>> {
    let verdict = rules.maps[map].elements.get(&key)?;
    let mut found = BTreeSet::new();
    if let Verdict::Goto(chain) = verdict {
        walk(rules, chain, &mut found);
    }
    Some(found)
}

fn walk(rules: &Ruleset, chain: &str, found: &mut BTreeSet<SocketAddrV4>) {
    for rule in &rules.chains[chain].rules {
        match &rule.then {
            Action::Jump(next) | Action::Goto(next) => walk(rules, next, found),
            Action::Balance(next) => next.iter().for_each(|next| walk(rules, next, found)),
            Action::Rewrite(_, to) => drop(found.insert(*to)),
            _ => {}
        }
    }
}

fn by_address(address: &str, port: u16) -> MapKey {
    MapKey { address: Some(address.parse().expect("address")), protocol: Protocol::Tcp, port }
}

fn by_port(port: u16) -> MapKey {
    MapKey { address: None, protocol: Protocol::Tcp, port }
}

fn places(texts: &[&str]) -> BTreeSet<SocketAddrV4> {
    texts.iter().map(|text| text.parse().expect("address")).collect()
}

#[test]
fn policies_choose_endpoints() {
    let (both, here) = (["10.42.0.5:8080", "10.42.1.5:8080"], ["10.42.0.5:8080"]);
    type Case<'a> = (&'a str, fn(&mut ServicePort), &'a [&'a str], &'a [&'a str]);
    // Reached through the cluster address, and through the NodePort by a client outside.
    let cases: [Case<'_>; 9] = [
        ("cluster policy", |_| {}, &both, &both),
        ("internal local", |s| s.internal_local = true, &here, &both),
        // The union: pods and the node itself reach all.
        ("external local", |s| s.external_local = true, &both, &both),
        ("not ready", |s| (s.endpoints[1].ready, s.endpoints[1].serving) = (false, false), &here, &here),
        ("terminating beside ready", |s| s.endpoints.push(terminating("10.42.0.6", 8080)), &both, &both),
        ("only terminating", |s| s.endpoints = vec![terminating("10.42.0.5", 8080)], &here, &here),
        (
            "hint for this node",
            |s| s.endpoints.iter_mut().zip(["n1", "n2"]).for_each(hint_node),
            &here,
            &here,
        ),
        ("hint for this zone", |s| s.endpoints.iter_mut().zip(["a", "b"]).for_each(hint_zone), &here, &here),
        (
            "hint for nobody here",
            |s| s.endpoints.iter_mut().zip(["b", "b"]).for_each(hint_zone),
            &both,
            &both,
        ),
    ];
    for (name, change, inside, outside) in cases {
        let port = web(|s| {
            s.node_port = Some(30080);
            change(s);
        });
        let rules = compile(&world_of(vec![port]));
        assert_eq!(reach(&rules, SERVICE_IPS, by_address("10.43.0.20", 80)), Some(places(inside)), "{name}");
        assert_eq!(reach(&rules, NODE_PORTS, by_port(30080)), Some(places(outside)), "{name}");
    }
}

fn hint_node((endpoint, node): (&mut Endpoint, &str)) {
    endpoint.node_hints = vec![node.to_owned()];
}

fn hint_zone((endpoint, zone): (&mut Endpoint, &str)) {
    endpoint.zone_hints = vec![zone.to_owned()];
}

#[test]
fn without_endpoints_senders_are_told_or_dropped() {
    let reject = Some(Verdict::Goto("reject-packet".to_owned()));
    type Case<'a> = (&'a str, fn(&mut ServicePort), Option<Verdict>, Option<Verdict>);
    let cases: [Case<'_>; 4] = [
        ("scaled to zero", |s| s.endpoints.clear(), reject.clone(), reject),
        (
            "local policies, all elsewhere",
            |s| {
                (s.internal_local, s.external_local) = (true, true);
                s.endpoints.remove(0);
            },
            Some(Verdict::Drop),
            Some(Verdict::Drop),
        ),
        (
            "external local only",
            |s| {
                s.external_local = true;
                s.endpoints.remove(0);
            },
            None,
            Some(Verdict::Drop),
        ),
        ("some", |_| {}, None, None),
    ];
    for (name, change, inside, outside) in cases {
        let port = web(|s| {
            s.node_port = Some(30080);
            change(s);
        });
        let rules = compile(&world_of(vec![port]));
        let refused = |map: &str, key| rules.maps[map].elements.get(&key).cloned();
        assert_eq!(refused("no-endpoint-ips", by_address("10.43.0.20", 80)), inside, "{name}");
        assert_eq!(refused("no-endpoint-node-ports", by_port(30080)), outside, "{name}");
        let served = reach(&rules, SERVICE_IPS, by_address("10.43.0.20", 80)).is_some();
        assert_eq!(served, inside.is_none(), "{name}: the cluster address is served or refused");
    }
}

/// Every chain, set and map that a rule or element names exists.
fn assert_closed(rules: &Ruleset) {
    let chain = |name: &String| assert!(rules.chains.contains_key(name), "chain {name}");
    for rule in rules.chains.values().flat_map(|chain| &chain.rules) {
        match &rule.then {
            Action::Jump(name) | Action::Goto(name) => chain(name),
            Action::Balance(names) => {
                assert!(!names.is_empty(), "nothing to balance");
                names.iter().for_each(chain);
            }
            Action::DispatchAddress(name) => assert!(rules.maps[name].by_address),
            Action::DispatchPort(name) => assert!(!rules.maps[name].by_address),
            Action::Remember(name) => assert!(rules.sets.contains_key(name), "set {name}"),
            _ => {}
        }
        for condition in &rule.when {
            if let Condition::SourceIn(name) | Condition::PairIn(name) = condition {
                assert!(rules.sets.contains_key(name), "set {name}");
            }
        }
    }
    for (key, verdict) in rules.maps.values().flat_map(|map| &map.elements) {
        if let Verdict::Goto(name) = verdict {
            assert!(rules.chains.contains_key(name), "{key:?} leads to {name}");
        }
    }
}

pub(super) fn random_world(random: &mut StdRng) -> World {
    let services = (0..random.random_range(0..12u8)).map(|number| random_service(random, number)).collect();
    World { node: node(), services, host_ports: Vec::new() }
}

fn random_service(random: &mut StdRng, number: u8) -> ServicePort {
    let mut port = service(&format!("s{number}"), Protocol::Tcp, &format!("10.43.0.{number}"), 80);
    port.node_port = random.random_bool(0.5).then(|| 30000 + u16::from(number));
    port.external_ips =
        random.random_bool(0.2).then(|| Ipv4Addr::new(203, 0, 113, number)).into_iter().collect();
    port.affinity_seconds = random.random_bool(0.3).then_some(60);
    (port.internal_local, port.external_local) = (random.random_bool(0.2), random.random_bool(0.2));
    port.endpoints = (0..random.random_range(0..5u8))
        .map(|at| Endpoint {
            ready: random.random_bool(0.6),
            terminating: random.random_bool(0.3),
            serving: random.random_bool(0.7),
            local: random.random_bool(0.5),
            // Each Service has addresses of its own, so that a foreign endpoint is seen.
            ..endpoint(&format!("10.42.{number}.{at}"), 8080)
        })
        .collect();
    port
}

#[test]
fn random_worlds_keep_the_safety_properties() {
    for seed in 0..500 {
        let world = random_world(&mut StdRng::seed_from_u64(seed));
        let rules = compile(&world);
        assert_closed(&rules);
        for port in &world.services {
            let address = port.cluster_ip.to_string();
            let reached = reach(&rules, SERVICE_IPS, by_address(&address, 80));
            let judged: Vec<&Endpoint> =
                port.endpoints.iter().filter(|endpoint| endpoint.local || !port.internal_local).collect();
            let mut expected: BTreeSet<SocketAddrV4> =
                judged.iter().filter(|e| e.ready).map(|e| place(e)).collect();
            if expected.is_empty() {
                expected = judged.iter().filter(|e| e.serving && e.terminating).map(|e| place(e)).collect();
            }
            match reached {
                Some(reached) => assert_eq!(reached, expected, "seed {seed}, {}", port.name),
                None => assert!(expected.is_empty(), "seed {seed}, {}", port.name),
            }
            let refused = rules.maps["no-endpoint-ips"].elements.contains_key(&by_address(&address, 80));
            assert_eq!(refused, expected.is_empty(), "seed {seed}, {}", port.name);
            if let Some(number) = port.node_port {
                for place in reach(&rules, NODE_PORTS, by_port(number)).into_iter().flatten() {
                    assert!(
                        port.endpoints.iter().any(|e| e.address == *place.ip()),
                        "seed {seed}: foreign endpoint"
                    );
                }
            }
        }
    }
}

fn place(endpoint: &Endpoint) -> SocketAddrV4 {
    SocketAddrV4::new(endpoint.address, endpoint.port)
}

#[test]
fn source_ranges_guard_the_load_balancer_only() {
    let port = web(|s| {
        s.load_balancer_ips = vec![Ipv4Addr::new(203, 0, 113, 7)];
        s.source_ranges = vec!["192.168.0.0/16".parse().expect("range")];
    });
    let rules = compile(&world_of(vec![port]));
    let guarded: Vec<_> = rules.maps["firewall-ips"].elements.keys().collect();
    assert_eq!(guarded, [&by_address("203.0.113.7", 80)]);
    let text = whole(&rules);
    assert!(text.contains("ip saddr != { 192.168.0.0/16, 203.0.113.7 } drop"), "{text}");
}

/// Compares with a file beside this one; `UPDATE_EXPECTED=1` writes it.
fn expect(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proxy/rulesets").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "{} differs; run with UPDATE_EXPECTED=1 and look at the difference",
        path.display()
    );
}

fn many() -> World {
    let mut dns = service("dns", Protocol::Udp, "10.43.0.10", 53);
    dns.endpoints = vec![endpoint("10.42.0.1", 53)];
    let sticky = web(|s| {
        s.name = "sticky".to_owned();
        s.cluster_ip = Ipv4Addr::new(10, 43, 0, 21);
        s.affinity_seconds = Some(10_800);
    });
    let open = web(|s| {
        s.node_port = Some(30080);
        s.external_ips = vec![Ipv4Addr::new(203, 0, 113, 9)];
        s.load_balancer_ips = vec![Ipv4Addr::new(203, 0, 113, 7)];
        s.external_local = true;
        s.source_ranges = vec!["198.51.100.0/24".parse().expect("range")];
    });
    let mut empty = service("empty", Protocol::Sctp, "10.43.0.22", 9999);
    empty.node_port = Some(30099);
    let host_port = |host_ip: Option<&str>, port| HostPort {
        pod: "default/p".to_owned(),
        host_ip: host_ip.map(|address| address.parse().expect("address")),
        protocol: Protocol::Tcp,
        port,
        pod_ip: Ipv4Addr::new(10, 42, 0, 9),
        container_port: 80,
    };
    let host_ports = vec![host_port(None, 8080), host_port(Some("127.0.0.1"), 8081)];
    World { node: node(), services: vec![dns, sticky, open, empty], host_ports }
}

#[test]
fn whole_rulesets_are_as_committed() {
    expect("none.nft", &whole(&compile(&world_of(Vec::new()))));
    expect("many.nft", &whole(&compile(&many())));
}

#[test]
fn changes_are_as_small_as_what_changed() {
    let from = compile(&many());
    let mut after = many();
    after.services[1].endpoints[0] = endpoint("10.42.0.7", 8080);
    after.services[3].endpoints = vec![endpoint("10.42.0.8", 9999)];
    after.services.remove(0);
    let to = compile(&after);
    let stale = BTreeSet::from(["endpoint-old".to_owned()]);
    let change = change(&from, &stale, &to);
    expect("change.nft", &change.text);
    assert_eq!(super::change(&to, &BTreeSet::new(), &to).text, "", "nothing to do");
    assert!(change.stale.contains("endpoint-default/dns/udp/main__10.42.0.1/53"), "{:?}", change.stale);
}

fn object<K: api::Kind>(value: serde_json::Value) -> Arc<K> {
    Arc::new(K::from_value(value).expect("object"))
}

fn objects() -> Objects {
    let slice = |name: &str, endpoints: serde_json::Value| {
        object(json!({
            "metadata": {"namespace": "default", "name": name, "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}, {"name": "dns", "port": 5353, "protocol": "UDP"}],
            "endpoints": endpoints,
        }))
    };
    Objects {
        services: vec![
            object(json!({
                "metadata": {"namespace": "default", "name": "web"},
                "spec": {
                    "clusterIP": "10.43.0.20", "clusterIPs": ["fd00::20", "10.43.0.20"], "type": "LoadBalancer",
                    "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster",
                    "loadBalancerSourceRanges": ["192.168.0.0/16 ", "fd00::/8"],
                    "ports": [
                        {"name": "http", "port": 80, "targetPort": "http", "nodePort": 30080},
                        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353},
                    ],
                },
                "status": {"loadBalancer": {"ingress": [
                    {"ip": "203.0.113.7"}, {"ip": "203.0.113.8", "ipMode": "Proxy"}, {"hostname": "lb.example"},
                ]}},
            })),
            object(json!({"metadata": {"namespace": "default", "name": "headless"},
                "spec": {"clusterIP": "None", "ports": [{"port": 80}]}})),
            object(json!({"metadata": {"namespace": "default", "name": "elsewhere"},
                "spec": {"type": "ExternalName", "externalName": "example.org", "ports": [{"port": 80}]}})),
            object(json!({"metadata": {"namespace": "default", "name": "foreign",
                "labels": {"service.kubernetes.io/service-proxy-name": "other"}},
                "spec": {"clusterIP": "10.43.0.99", "ports": [{"port": 80}]}})),
        ],
        slices: vec![
            slice(
                "web-1",
                json!([
                    {"addresses": ["10.42.0.6"], "nodeName": "n2", "conditions": {"ready": false}},
                    {"addresses": ["10.42.0.5"], "nodeName": "n1"},
                    {"addresses": ["10.42.0.7"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                ]),
            ),
            slice(
                "web-2",
                json!([{"addresses": ["10.42.0.6"], "nodeName": "n2", "conditions": {"ready": true}}]),
            ),
        ],
        node: Some(object(
            json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}}}),
        )),
        pods: vec![
            object(json!({
                "metadata": {"namespace": "default", "name": "p"},
                "spec": {"containers": [{"name": "c", "ports": [
                    {"containerPort": 80, "hostPort": 8080},
                    {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"},
                    {"containerPort": 81}, {"containerPort": 82, "hostPort": 82, "hostIP": "::1"},
                ]}]},
                "status": {"podIP": "10.42.0.9", "phase": "Running"},
            })),
            object(json!({
                "metadata": {"namespace": "default", "name": "on-host"},
                "spec": {"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 9, "hostPort": 9}]}]},
                "status": {"podIP": "192.168.1.10", "phase": "Running"},
            })),
        ],
    }
}

#[test]
fn objects_become_plain_values() {
    let world = world(&objects(), node());
    assert_eq!(world.node.zone.as_deref(), Some("z"));
    let ports: BTreeMap<_, _> = world.services.iter().map(|port| (port.id(), port)).collect();
    let ids: Vec<_> = ports.keys().map(String::as_str).collect();
    assert_eq!(ids, ["default/web/tcp/http", "default/web/udp/dns"]);
    let http = ports["default/web/tcp/http"];
    assert_eq!(http.cluster_ip, Ipv4Addr::new(10, 43, 0, 20));
    assert_eq!((http.port, http.node_port, http.affinity_seconds), (80, Some(30080), Some(10_800)));
    assert_eq!((http.internal_local, http.external_local), (false, true));
    assert_eq!(http.load_balancer_ips, [Ipv4Addr::new(203, 0, 113, 7)]);
    assert_eq!(http.source_ranges, ["192.168.0.0/16".parse().expect("range")]);
    let seen: Vec<_> = http
        .endpoints
        .iter()
        .map(|e| (e.address.octets()[3], e.port, e.ready, e.terminating, e.local))
        .collect();
    assert_eq!(
        seen,
        [(5, 8080, true, false, true), (6, 8080, true, false, false), (7, 8080, false, true, false)]
    );
    assert_eq!(ports["default/web/udp/dns"].endpoints[0].port, 5353);
    let host: Vec<_> =
        world.host_ports.iter().map(|h| (h.port, h.container_port, h.host_ip, h.protocol)).collect();
    let loopback = Some(Ipv4Addr::LOCALHOST);
    assert_eq!(host, [(8080, 80, None, Protocol::Tcp), (53, 53, loopback, Protocol::Udp)]);
}

#[test]
fn table_names_are_valid() {
    assert_eq!(table_name("knarr"), "knarr-knarr");
    assert_eq!(table_name("my cluster/1"), "knarr-my_cluster_1");
}

#[test]
fn only_storms_are_slowed_down() {
    let start = Instant::now();
    let mut pace = Pace { credit: BURST, counted: start };
    let took = Duration::from_millis(7);
    let pauses: Vec<_> = (0..12).map(|_| pace.pause(took, start)).collect();
    assert_eq!(pauses[..10], [Duration::ZERO; 10]);
    assert_eq!(pauses[10..], [took; 2]);
    assert_eq!(pace.pause(Duration::from_secs(9), start), PAUSE_MAX);
    let later = start + BURST_REFILL * 2;
    assert_eq!(
        [took, took, took].map(|took| pace.pause(took, later)),
        [Duration::ZERO, Duration::ZERO, took]
    );
    assert_eq!(pace.pause(took, later + Duration::from_secs(3600)), Duration::ZERO);
}
