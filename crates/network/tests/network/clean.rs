//! Leaving the host as it was.

use std::net::Ipv4Addr;

use network::cleanup::{Config, cleanup};
use network::cni::Bridge;
use network::proxy::{NftProgram, NodeFacts, RulesetApplier as _, World, compile, table_name};

use crate::host::{Namespace, config, isolated, run, uplink};

/// Everything the network touches, as text.
fn snapshot() -> String {
    let mut text = String::new();
    for line in ["ip -o -d link", "ip -o address", "ip route show table all", "ip rule", "nft list ruleset"] {
        text += &run(line);
    }
    for name in [
        "ip_forward",
        "conf/all/accept_redirects",
        "conf/all/send_redirects",
        "conf/default/forwarding",
        "conf/uplink/forwarding",
    ] {
        let value = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect(name);
        text += &format!("{name} = {value}");
    }
    text
}

async fn use_everything(state: &std::path::Path) -> Vec<Namespace> {
    use container::PodNetwork as _;
    let bridge = Bridge::new(config(state)).await.expect("bridge");
    let mut pods = Vec::new();
    for number in 0..3 {
        let namespace = Namespace::new();
        let sandbox = format!("s{number}");
        bridge.setup(&sandbox, &namespace.path, &container::SandboxConfig::default()).await.expect("pod");
        pods.push(namespace);
    }
    let node = NodeFacts {
        table: table_name("test"),
        name: "n1".to_owned(),
        zone: None,
        addresses: vec![Ipv4Addr::LOCALHOST],
        pod_cidr: config(state).cluster_pod_cidr,
        service_cidr: config(state).service_cidr,
        mark: network::proxy::MASQUERADE_MARK,
    };
    let world = World { node, services: Vec::new(), host_ports: Vec::new() };
    NftProgram::find().expect("nft").apply(&compile(&world)).await.expect("applied");
    pods
}

#[test]
fn cleaning_up_leaves_the_host_as_it_was() {
    isolated(|| async {
        let _neighbour = uplink();
        // Of somebody else: stays.
        run("nft add table ip knarr-other");
        run("ip route add unreachable 10.99.0.0/16");
        std::fs::write("/proc/sys/net/ipv4/conf/uplink/forwarding", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv4/conf/all/accept_redirects", "0").unwrap();
        let before = snapshot();
        let state = tempfile::tempdir().unwrap();
        let config = Config { cluster: "test".to_owned(), cni: config(state.path()) };
        let _pods = use_everything(state.path()).await;
        // A second start after a crash must not take the first one's settings for the host's own.
        let _again = Bridge::new(config.cni.clone()).await.expect("bridge");
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "1\n");
        assert_ne!(snapshot(), before);
        let removed = cleanup(&config).await.expect("cleaned up");
        assert!(removed.iter().any(|what| what == "bridge knarr0"), "{removed:?}");
        assert_eq!(
            removed.iter().filter(|what| what.starts_with("interface veth")).count(),
            3,
            "{removed:?}"
        );
        similar(&before, &snapshot());
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0, "no records are left");
        assert_eq!(cleanup(&config).await.expect("nothing to do"), Vec::<String>::new());
        similar(&before, &snapshot());
    });
}

#[test]
fn another_cluster_on_the_host_goes_on() {
    isolated(|| async {
        let states = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let first = Config { cluster: "a".to_owned(), cni: config(states[0].path()) };
        let mut second = Config { cluster: "b".to_owned(), cni: config(states[1].path()) };
        second.cni.bridge = "knarr1".to_owned();
        second.cni.pod_cidr = "10.44.0.0/24".parse().unwrap();
        second.cni.cluster_pod_cidr = "10.44.0.0/16".parse().unwrap();
        second.cni.service_cidr = "10.45.0.0/16".parse().unwrap();
        for config in [&first, &second] {
            Bridge::new(config.cni.clone()).await.expect("bridge");
        }
        // Whether a bridge without ports counts as down is found out by the kernel later.
        let routes = || -> Vec<String> {
            let text = run("ip route").replace("linkdown", "");
            text.lines().map(|route| route.trim().to_owned()).collect()
        };
        let mut expected = routes();
        expected.retain(|route| route.contains("10.44") || route.contains("10.45"));
        cleanup(&first).await.expect("cleaned up");
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "1\n");
        assert_eq!(routes(), expected);
        assert!(run("ip -br link").contains("knarr1"));
        cleanup(&second).await.expect("cleaned up");
        assert!(!run("ip -br link").contains("knarr"));
    });
}

fn similar(before: &str, after: &str) {
    let lines =
        |text: &str| -> std::collections::BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    let (before, after) = (lines(before), lines(after));
    let gone: Vec<_> = before.difference(&after).collect();
    let new: Vec<_> = after.difference(&before).collect();
    assert!(gone.is_empty() && new.is_empty(), "gone: {gone:#?}\nnew: {new:#?}");
}
