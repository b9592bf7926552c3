//! Services by nftables, with real connections.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use network::proxy::{
    Config, Endpoint, HostPort, MASQUERADE_MARK, NftProgram, NodeFacts, Protocol, RulesetApplier,
    ServicePort, World, compile, run_with, table_name, whole,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fake_api::FakeApi;
use crate::host::{
    HOST, Host, NEIGHBOUR, Pod, ask_udp, at, eventually, get, isolated, read_line, run, serve_tcp,
};

const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 20);
const EMPTY_IP: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 21);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const NODE_PORT: u16 = 30080;

fn node() -> NodeFacts {
    NodeFacts {
        table: table_name("test"),
        name: "n1".to_owned(),
        zone: None,
        addresses: vec![HOST, GATEWAY],
        pod_cidr: "10.42.0.0/16".parse().unwrap(),
        service_cidr: "10.43.0.0/16".parse().unwrap(),
        mark: MASQUERADE_MARK,
    }
}

fn service(name: &str, cluster_ip: Ipv4Addr, endpoints: &[Ipv4Addr]) -> ServicePort {
    let endpoint = |address: &Ipv4Addr| Endpoint {
        address: *address,
        port: 8080,
        ready: true,
        serving: true,
        terminating: false,
        local: true,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    };
    ServicePort {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        port_name: "http".to_owned(),
        protocol: Protocol::Tcp,
        cluster_ip,
        port: 80,
        node_port: None,
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        affinity_seconds: None,
        internal_local: false,
        external_local: false,
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

fn world(services: Vec<ServicePort>) -> World {
    World { node: node(), services, host_ports: Vec::new() }
}

async fn serve(nft: &NftProgram, services: Vec<ServicePort>) {
    nft.apply(&compile(&world(services))).await.expect("applied");
    // As the proxy does once its ruleset is in force.
    std::fs::write("/proc/sys/net/ipv4/conf/knarr0/route_localnet", "1").unwrap();
}

/// A host with pods that serve their name on port 8080.
async fn pods<const N: usize>() -> (Host, [Pod; N], NftProgram) {
    let host = Host::new().await;
    let mut pods = Vec::new();
    for number in 0..N {
        let name = format!("p{number}");
        let pod = host.pod(&name).await;
        pod.namespace.serve_tcp(at(pod.ip, 8080), &name);
        pod.namespace.serve_udp(at(pod.ip, 8080), &name);
        pods.push(pod);
    }
    let Ok(pods) = pods.try_into() else { unreachable!() };
    (host, pods, NftProgram::find().expect("the package nftables"))
}

/// With bridge netfilter frames between ports pass nftables too; the module may be there or not.
fn set_bridge_netfilter(on: bool) -> bool {
    std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", if on { "1" } else { "0" }).is_ok()
}

async fn every_way_in() {
    let (host, [client, server], nft) = pods().await;
    let mut web = service("web", CLUSTER_IP, &[server.ip]);
    (web.node_port, web.external_ips) = (Some(NODE_PORT), vec![EXTERNAL]);
    serve(&nft, vec![web, service("empty", EMPTY_IP, &[])]).await;
    let from = |address: Ipv4Addr| Ok(format!("p1 {address}"));
    // Inside, the client's address is kept.
    assert_eq!(client.namespace.get(at(CLUSTER_IP, 80)), from(client.ip), "pod to Service");
    assert_eq!(server.namespace.get(at(CLUSTER_IP, 80)), from(GATEWAY), "a pod to itself");
    assert_eq!(get(at(CLUSTER_IP, 80)), from(GATEWAY), "node to Service");
    // From outside it is the node's: the endpoint could be anywhere.
    for address in [HOST, GATEWAY, Ipv4Addr::LOCALHOST, EXTERNAL] {
        let port = if address == EXTERNAL { 80 } else { NODE_PORT };
        assert_eq!(get(at(address, port)), from(GATEWAY), "node to {address}");
    }
    for address in [HOST, GATEWAY] {
        assert_eq!(
            client.namespace.get(at(address, NODE_PORT)),
            from(GATEWAY),
            "pod to node port of {address}"
        );
    }
    assert_eq!(host.neighbour.get(at(HOST, NODE_PORT)), from(GATEWAY), "from outside");
    assert_eq!(client.namespace.get(at(EXTERNAL, 80)), from(GATEWAY), "pod to external address");
    // No endpoints, no such port, no such Service: told at once, however often.
    let start = Instant::now();
    for address in [at(EMPTY_IP, 80), at(CLUSTER_IP, 81), at(Ipv4Addr::new(10, 43, 9, 9), 80)].repeat(5) {
        assert_eq!(client.namespace.get(address), Err(ErrorKind::ConnectionRefused), "pod to {address}");
        assert_eq!(get(address), Err(ErrorKind::ConnectionRefused), "node to {address}");
    }
    // An ICMP answer held back would cost each connection a second.
    assert!(start.elapsed() < Duration::from_secs(10));
    let refused = client.namespace.run(|| {
        let socket = UdpSocket::bind(at(Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect(at(CLUSTER_IP, 80)).unwrap();
        ask_udp(&socket, at(CLUSTER_IP, 80))
    });
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "pod to a UDP port nobody has");
    // Pods have no way to the node's loopback.
    serve_tcp(at(Ipv4Addr::LOCALHOST, 82), "secret".to_owned());
    client.namespace.run(|| run("ip route add 127.0.0.0/8 via 10.42.0.1 table 7"));
    client.namespace.run(|| run("ip rule add to 127.0.0.1 table 7 pref 0"));
    client.namespace.run(|| run("ip link set lo down"));
    assert!(client.namespace.get(at(Ipv4Addr::LOCALHOST, 82)).is_err());
}

#[test]
fn every_way_into_a_service() {
    isolated(|| async {
        set_bridge_netfilter(false);
        every_way_in().await;
    });
}

#[test]
fn every_way_into_a_service_with_bridge_netfilter() {
    isolated(|| async {
        if set_bridge_netfilter(true) {
            every_way_in().await;
        } else {
            println!("NOT RUN: the kernel has no bridge netfilter");
        }
    });
}

#[test]
fn external_policy_local_keeps_the_clients_address() {
    isolated(|| async {
        let (host, [client, server], nft) = pods().await;
        let mut web = service("web", CLUSTER_IP, &[server.ip]);
        (web.node_port, web.external_local) = (Some(NODE_PORT), true);
        serve(&nft, vec![web.clone()]).await;
        assert_eq!(host.neighbour.get(at(HOST, NODE_PORT)), Ok(format!("p1 {NEIGHBOUR}")));
        assert_eq!(get(at(Ipv4Addr::LOCALHOST, NODE_PORT)), Ok(format!("p1 {GATEWAY}")));
        // No endpoint here: outside is left without an answer, inside still reaches the others.
        web.endpoints[0].local = false;
        serve(&nft, vec![web]).await;
        let unanswered = host
            .neighbour
            .run(|| TcpStream::connect_timeout(&at(HOST, NODE_PORT), Duration::from_millis(300)));
        assert_eq!(unanswered.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(client.namespace.get(at(HOST, NODE_PORT)), Ok(format!("p1 {}", client.ip)));
    });
}

#[test]
fn pods_reach_outside_with_the_nodes_address() {
    isolated(|| async {
        let (host, [client], nft) = pods().await;
        host.neighbour.serve_tcp(at(NEIGHBOUR, 80), "outside");
        assert!(client.namespace.get(at(NEIGHBOUR, 80)).is_err(), "the neighbour does not know pods");
        serve(&nft, Vec::new()).await;
        assert_eq!(client.namespace.get(at(NEIGHBOUR, 80)), Ok(format!("outside {HOST}")));
    });
}

#[test]
fn endpoints_on_the_node_itself_answer() {
    isolated(|| async {
        let (_host, [client], nft) = pods().await;
        serve_tcp(at(GATEWAY, 8080), "bridge".to_owned());
        serve_tcp(at(HOST, 8080), "node".to_owned());
        let node_ip = service("node", EMPTY_IP, &[HOST]);
        serve(&nft, vec![service("bridge", CLUSTER_IP, &[GATEWAY]), node_ip]).await;
        for (address, name) in [(CLUSTER_IP, "bridge"), (EMPTY_IP, "node")] {
            assert_eq!(client.namespace.get(at(address, 80)), Ok(format!("{name} {}", client.ip)));
            assert!(get(at(address, 80)).is_ok_and(|answer| answer.starts_with(name)), "{name}");
        }
    });
}

#[test]
fn host_ports_lead_to_their_pod() {
    isolated(|| async {
        let (host, [client, server], nft) = pods().await;
        let port = |host_ip, port| HostPort {
            pod: "default/p1".to_owned(),
            host_ip,
            protocol: Protocol::Tcp,
            port,
            pod_ip: server.ip,
            container_port: 8080,
        };
        let mut world = world(Vec::new());
        world.host_ports = vec![port(None, 8088), port(Some(Ipv4Addr::LOCALHOST), 8089)];
        nft.apply(&compile(&world)).await.expect("applied");
        std::fs::write("/proc/sys/net/ipv4/conf/knarr0/route_localnet", "1").unwrap();
        assert_eq!(
            host.neighbour.get(at(HOST, 8088)),
            Ok(format!("p1 {NEIGHBOUR}")),
            "the client's address is kept"
        );
        assert_eq!(client.namespace.get(at(HOST, 8088)), Ok(format!("p1 {}", client.ip)));
        assert_eq!(server.namespace.get(at(HOST, 8088)), Ok(format!("p1 {GATEWAY}")), "a pod to itself");
        for port in [8088, 8089] {
            assert_eq!(get(at(Ipv4Addr::LOCALHOST, port)), Ok(format!("p1 {GATEWAY}")));
        }
        assert!(host.neighbour.get(at(HOST, 8089)).is_err());
    });
}

#[test]
fn connections_spread_and_affinity_survives_changes() {
    isolated(|| async {
        let (_host, [client, a, b], nft) = pods().await;
        let plain = service("plain", CLUSTER_IP, &[a.ip, b.ip]);
        let mut sticky = service("sticky", EMPTY_IP, &[a.ip, b.ip]);
        sticky.affinity_seconds = Some(60);
        serve(&nft, vec![plain.clone(), sticky.clone()]).await;
        let names = |address: Ipv4Addr| -> BTreeSet<String> {
            (0..30).map(|_| client.namespace.get(at(address, 80)).expect("answer")).collect()
        };
        assert_eq!(names(CLUSTER_IP).len(), 2, "both endpoints are used");
        let chosen = names(EMPTY_IP);
        assert_eq!(chosen.len(), 1, "one endpoint for a client");
        for round in 0..5 {
            let mut other = plain.clone();
            other.endpoints.truncate(round % 2);
            serve(&nft, vec![other, sticky.clone()]).await;
            assert_eq!(names(EMPTY_IP), chosen, "changes of others do not move a client");
        }
        let survivor = if chosen.first().is_some_and(|name| name.starts_with("p1")) { b.ip } else { a.ip };
        sticky.endpoints.retain(|endpoint| endpoint.address == survivor);
        serve(&nft, vec![sticky]).await;
        assert_ne!(names(EMPTY_IP), chosen, "an endpoint that is gone is left");
    });
}

#[test]
fn rulesets_change_under_load_without_a_broken_connection() {
    isolated(|| async {
        let (_host, [client, a, b, c], nft) = pods().await;
        let of = |addresses: &[Ipv4Addr]| vec![service("web", CLUSTER_IP, addresses)];
        serve(&nft, of(&[a.ip, b.ip])).await;
        let (stop, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ended, count) = (Arc::clone(&stop), Arc::clone(&opened));
        // New connections all the time, and one that lives through it all.
        let load = client.namespace.run(move || {
            std::thread::spawn(move || {
                let mut long = TcpStream::connect(at(CLUSTER_IP, 80)).expect("connected");
                read_line(&long).expect("greeting");
                while !ended.load(Ordering::Relaxed) {
                    long.write_all(b"x").expect("the old connection goes on");
                    long.read_exact(&mut [0]).expect("the old connection goes on");
                    get(at(CLUSTER_IP, 80)).expect("every new connection is answered");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let mut took = Vec::new();
        for round in 0..60 {
            if round % 20 == 19 {
                // Also when the table is replaced as a whole.
                nft.forget().await;
            }
            let endpoints = [[a.ip, b.ip], [b.ip, c.ip], [c.ip, a.ip]][round % 3];
            let start = Instant::now();
            nft.apply(&compile(&world(of(&endpoints)))).await.expect("applied");
            took.push(start.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.store(true, Ordering::Relaxed);
        load.join().expect("no connection broke");
        took.sort();
        println!(
            "{} connections; apply: median {:?}, worst {:?}",
            opened.load(Ordering::Relaxed),
            took[30],
            took[59]
        );
        assert!(opened.load(Ordering::Relaxed) > 50);
    });
}

/// The table's chains, sets and maps with their contents in order; empty chains left out.
fn listing(table: &str) -> BTreeMap<String, Vec<String>> {
    let mut blocks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in run(&format!("nft -s list table ip {table}")).lines() {
        match line.strip_prefix('\t') {
            Some(rest) if rest.ends_with('{') && !rest.starts_with('\t') => name = rest.to_owned(),
            Some(rest) if rest.starts_with('\t') => {
                blocks.entry(name.clone()).or_default().push(rest.trim().to_owned());
            }
            _ => {}
        }
    }
    for (name, lines) in &mut blocks {
        if !name.starts_with("chain") {
            // Elements come in the order of their insertion.
            let text = lines.join(" ").replace("elements = {", ",").replace('}', ",");
            *lines =
                text.split(',').map(|element| element.trim().to_owned()).filter(|e| !e.is_empty()).collect();
            lines.sort();
        }
    }
    blocks.retain(|name, lines| !(name.starts_with("chain") && lines.is_empty()));
    blocks
}

#[test]
fn a_change_gives_the_same_table_as_a_whole_replacement() {
    isolated(|| async {
        let (changing, fresh) = (NftProgram::find().unwrap(), NftProgram::find().unwrap());
        let at = |number: u8| Ipv4Addr::new(10, 42, 0, number);
        let mut first = None;
        // Every service in one of several states, going through all pairs of states in turn.
        for round in 0..40u32 {
            let mut services = Vec::new();
            for number in 0..6u32 {
                let state = (round * (number + 1) + number * 7) % 8;
                let ip = Ipv4Addr::new(10, 43, 0, number as u8);
                let many: Vec<Ipv4Addr> = (0..state as u8).map(at).collect();
                let mut port = service(&format!("s{number}"), ip, &many);
                port.node_port = (state % 2 == 0).then_some(30000 + number as u16);
                port.affinity_seconds = (state % 3 == 0).then_some(60 + state % 4);
                port.external_local = state % 4 == 1;
                if state == 7 {
                    (port.load_balancer_ips, port.source_ranges) =
                        (vec![EXTERNAL], vec!["192.0.2.0/24".parse().unwrap()]);
                }
                if state != 5 {
                    services.push(port);
                }
            }
            let mut rules = compile(&world(services));
            changing.apply(&rules).await.expect("changed");
            let changed = listing(&rules.table);
            let tables = run("nft -a list tables");
            let handle = tables.lines().find(|line| line.contains("knarr-test")).map(str::to_owned);
            assert_eq!(*first.get_or_insert(handle.clone()), handle, "round {round}: changed in place");
            rules.table = "other".to_owned();
            fresh.forget().await;
            fresh.apply(&rules).await.expect("replaced");
            assert_eq!(changed, listing("other"), "round {round}");
        }
    });
}

#[test]
fn names_of_the_greatest_length_are_accepted() {
    isolated(|| async {
        let nft = NftProgram::find().unwrap();
        let long = "x".repeat(63);
        let mut port = service(&long, CLUSTER_IP, &[Ipv4Addr::new(10, 142, 100, 100)]);
        (port.namespace, port.port_name, port.affinity_seconds) = (long.clone(), long, Some(9));
        (port.node_port, port.protocol) = (Some(NODE_PORT), Protocol::Sctp);
        nft.apply(&compile(&world(vec![port]))).await.expect("applied");
    });
}

#[test]
fn a_thousand_services_are_applied() {
    isolated(|| async {
        let nft = NftProgram::find().unwrap();
        let services = |changed: u8| -> Vec<ServicePort> {
            let of = |number: u16| {
                let [high, low] = number.to_be_bytes();
                let endpoints = [1, 2, changed].map(|last| Ipv4Addr::new(10, 42, high + 1, last));
                let mut port =
                    service(&format!("s{number}"), Ipv4Addr::new(10, 43, high, low), &endpoints[..2]);
                if number == 500 {
                    port = service("s500", Ipv4Addr::new(10, 43, high, low), &endpoints);
                }
                port
            };
            (0..1000).map(of).collect()
        };
        let start = Instant::now();
        nft.apply(&compile(&world(services(3)))).await.expect("applied");
        let whole = start.elapsed();
        let start = Instant::now();
        nft.apply(&compile(&world(services(4)))).await.expect("applied");
        println!("1000 services: whole {whole:?}, one changed {:?}", start.elapsed());
    });
}

#[test]
fn what_nft_refuses_leaves_the_former_rules() {
    isolated(|| async {
        let nft = NftProgram::find().unwrap();
        let good = compile(&world(vec![service("web", CLUSTER_IP, &[Ipv4Addr::new(10, 42, 0, 5)])]));
        nft.apply(&good).await.expect("applied");
        let before = listing(&good.table);
        let mut bad = good.clone();
        bad.chains.get_mut("services").unwrap().rules.push(network::proxy::Rule {
            when: Vec::new(),
            then: network::proxy::Action::Goto("nowhere".to_owned()),
        });
        let error = nft.apply(&bad).await.expect_err("refused").to_string();
        assert!(error.starts_with("failed to apply"), "{error}");
        assert_eq!(listing(&good.table), before);
        nft.apply(&good).await.expect("and goes on");
        assert!(whole(&good).contains("web"));
    });
}

const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

fn api_service(protocol: &str) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"clusterIP": CLUSTER_IP, "type": "NodePort",
            "ports": [{"name": "p", "protocol": protocol, "port": 80, "nodePort": NODE_PORT}]},
    })
}

fn api_slice(protocol: &str, endpoints: &[Ipv4Addr]) -> Value {
    let endpoints: Vec<Value> =
        endpoints.iter().map(|address| json!({"addresses": [address], "nodeName": "n1"})).collect();
    json!({
        "metadata": {"namespace": "default", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "p", "protocol": protocol, "port": 8080}], "endpoints": endpoints,
    })
}

/// The proxy on a thread of its own, which is in the test's namespace.
struct RunningProxy {
    token: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl RunningProxy {
    fn start(api: &FakeApi) -> Self {
        let token = CancellationToken::new();
        let config = Config {
            cluster: "test".to_owned(),
            node_name: "n1".to_owned(),
            bridge: "knarr0".to_owned(),
            pod_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            mark: MASQUERADE_MARK,
            pods: None,
        };
        let (api, cancelled) = (api.clone(), token.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let proxy = async {
                let config = Config { pods: Some(api.client()), ..config };
                run_with(config, api.client(), Arc::new(NftProgram::find().unwrap()), cancelled).await;
            };
            runtime.block_on(proxy);
        });
        Self { token, thread }
    }

    fn stop(self) {
        self.token.cancel();
        self.thread.join().expect("the proxy ended well");
    }
}

#[test]
fn the_proxy_follows_the_api() {
    isolated(follow_the_api);
}

async fn follow_the_api() {
    let (_host, [client, a, b], _) = pods().await;
    let api = FakeApi::default();
    api.put(SERVICES, api_service("TCP"));
    api.put(SLICES, api_slice("TCP", &[a.ip]));
    api.put(
        "/api/v1/pods",
        json!({
            "metadata": {"namespace": "default", "name": "p"},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 8080, "hostPort": 8088}]}]},
            "status": {"podIP": b.ip, "phase": "Running"},
        }),
    );
    let proxy = RunningProxy::start(&api);
    let web: SocketAddr = at(CLUSTER_IP, 80);
    let first = Ok(format!("p1 {}", client.ip));
    eventually("the first ruleset", || (client.namespace.get(web) == first).then_some(())).await;
    let loopback = at(Ipv4Addr::LOCALHOST, NODE_PORT);
    let opened =
        || std::fs::read_to_string("/proc/sys/net/ipv4/conf/knarr0/route_localnet").unwrap() == "1\n";
    eventually("loopback", || opened().then_some(())).await;
    assert_eq!(get(loopback), Ok(format!("p1 {GATEWAY}")));
    assert_eq!(get(at(HOST, 8088)), Ok(format!("p2 {HOST}")), "host port");
    let second = Ok(format!("p2 {}", client.ip));
    let mut took = Vec::new();
    for round in 0..10 {
        let (endpoint, expected) = if round % 2 == 0 { (b.ip, &second) } else { (a.ip, &first) };
        api.put(SLICES, api_slice("TCP", &[endpoint]));
        let start = Instant::now();
        eventually("the changed endpoint", || (client.namespace.get(web) == *expected).then_some(())).await;
        took.push(start.elapsed());
    }
    took.sort();
    println!("from the event to the answer: median {:?}, worst {:?}", took[5], took[9]);
    api.put(SLICES, api_slice("TCP", &[]));
    let refused = Err(ErrorKind::ConnectionRefused);
    eventually("no endpoints", || (client.namespace.get(web) == refused).then_some(())).await;
    proxy.stop();
    assert!(run("nft list tables").contains("knarr-test"), "the rules stay");
}

#[test]
fn udp_clients_leave_an_endpoint_that_is_gone() {
    isolated(leave_udp_endpoint);
}

async fn leave_udp_endpoint() {
    let (_host, [client, a, b], _) = pods().await;
    let api = FakeApi::default();
    api.put(SERVICES, api_service("UDP"));
    api.put(SLICES, api_slice("UDP", &[a.ip]));
    let proxy = RunningProxy::start(&api);
    // One socket all the time: connection tracking would keep its endpoint as long as it sends.
    let socket = client.namespace.run(|| UdpSocket::bind(at(Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let node = UdpSocket::bind(at(Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    for socket in [&socket, &node] {
        eventually("the first endpoint", || {
            ask_udp(socket, at(CLUSTER_IP, 80)).ok().filter(|t| t.starts_with("p1"))
        })
        .await;
    }
    let node_port = UdpSocket::bind(at(Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    assert!(ask_udp(&node_port, at(HOST, NODE_PORT)).is_ok_and(|answer| answer.starts_with("p1")));
    api.put(SLICES, api_slice("UDP", &[b.ip]));
    for (socket, address) in
        [(&socket, at(CLUSTER_IP, 80)), (&node, at(CLUSTER_IP, 80)), (&node_port, at(HOST, NODE_PORT))]
    {
        eventually("the other endpoint", || ask_udp(socket, address).ok().filter(|t| t.starts_with("p2")))
            .await;
    }
    proxy.stop();
}
