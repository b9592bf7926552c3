//! Interfaces and addresses of pods.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use container::{PodNetwork as _, SandboxConfig};
use network::cni::{Bridge, Reconciled};

use crate::host::{HOST, Host, Namespace, at, config, get, isolated, run, serve_tcp};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);

#[test]
fn pods_reach_each_other_and_the_node() {
    isolated(|| async {
        let host = Host::new().await;
        let (a, b) = (host.pod("a").await, host.pod("b").await);
        assert_eq!([a.ip, b.ip].map(|ip| ip.octets()[3]), [2, 3]);
        b.namespace.serve_tcp(at(b.ip, 80), "b");
        assert_eq!(a.namespace.get(at(b.ip, 80)), Ok(format!("b {}", a.ip)), "pod to pod, address kept");
        assert_eq!(get(at(b.ip, 80)), Ok(format!("b {GATEWAY}")), "node to pod");
        serve_tcp(at(Ipv4Addr::UNSPECIFIED, 81), "node".to_owned());
        for address in [GATEWAY, HOST] {
            assert_eq!(
                a.namespace.get(at(address, 81)),
                Ok(format!("node {}", a.ip)),
                "pod to node {address}"
            );
        }
        let link = a.namespace.run(|| run("ip -br link show eth0"));
        assert!(link.contains("UP"), "{link}");
        let link = a.namespace.run(|| run("ip link show eth0"));
        assert!(link.contains("mtu 1400"), "the MTU of the uplink, {link}");
        assert!(run("bridge -d link").contains("hairpin on"), "hairpin mode");
        assert_eq!(a.namespace.get(at(a.ip, 9)), Err(ErrorKind::ConnectionRefused), "loopback is up");
    });
}

#[test]
fn setting_up_is_fast_and_can_be_repeated() {
    isolated(|| async {
        let host = Host::new().await;
        let mut took = Vec::new();
        for number in 0..10 {
            let (namespace, sandbox) = (Namespace::new(), format!("s{number}"));
            let start = Instant::now();
            let first =
                host.bridge.setup(&sandbox, &namespace.path, &SandboxConfig::default()).await.unwrap();
            took.push(start.elapsed());
            let again =
                host.bridge.setup(&sandbox, &namespace.path, &SandboxConfig::default()).await.unwrap();
            assert_eq!(first, again);
        }
        took.sort();
        println!("set-up of a pod: median {:?}, worst {:?}", took[5], took[9]);
    });
}

#[test]
fn a_crash_in_the_middle_is_repaired() {
    isolated(|| async {
        let host = Host::new().await;
        let pod = host.pod("a").await;
        // As if the program had died before the last step.
        pod.namespace.run(|| run("ip route del default"));
        let again = host.bridge.setup("a", &pod.namespace.path, &SandboxConfig::default()).await.unwrap();
        assert_eq!(again, [IpAddr::V4(pod.ip)]);
        assert!(pod.namespace.run(|| run("ip route")).contains("default via 10.42.0.1"));
        pod.namespace.serve_tcp(at(pod.ip, 80), "a");
        assert!(get(at(pod.ip, 80)).is_ok());
    });
}

#[test]
fn teardown_releases_and_reconcile_removes_leftovers() {
    isolated(|| async {
        let host = Host::new().await;
        let (a, b) = (host.pod("a").await, host.pod("b").await);
        for _ in 0..2 {
            host.bridge.teardown("a", &a.namespace.path).await.expect("also when it is gone");
        }
        assert!(!a.namespace.run(|| run("ip -br link")).contains("eth0"));
        let c = host.pod("c").await;
        assert_ne!(c.ip, a.ip, "an address rests after use");
        // A new process knows what the old one did.
        let again = Bridge::new(config(host.state.path())).await.expect("again");
        let live = HashSet::from(["c".to_owned()]);
        let Reconciled { released_addresses, deleted_interfaces } =
            again.reconcile(live.clone()).await.unwrap();
        assert_eq!((released_addresses, deleted_interfaces.len()), (vec![b.ip], 1));
        assert!(!b.namespace.run(|| run("ip -br link")).contains("eth0"));
        assert_eq!(again.reconcile(live).await.unwrap(), Reconciled::default());
        assert!(c.namespace.run(|| run("ip -br link")).contains("eth0"));
    });
}

#[test]
fn cluster_addresses_never_leave_by_the_default_route() {
    isolated(|| async {
        let host = Host::new().await;
        for address in ["10.42.9.9", "10.43.9.9"] {
            let route = std::process::Command::new("ip").args(["route", "get", address]).output().unwrap();
            let text = String::from_utf8_lossy(&route.stdout).into_owned();
            assert!(!text.contains("uplink"), "{address}: {text}");
        }
        let pod = host.pod("a").await;
        let unreachable = pod.namespace.get(at(Ipv4Addr::new(10, 42, 9, 9), 80));
        assert_eq!(unreachable, Err(ErrorKind::HostUnreachable));
        assert!(run("ip route get 192.168.77.9").contains("uplink"));
    });
}

#[test]
fn a_foreign_interface_is_left_alone() {
    isolated(|| async {
        run("ip link add name knarr0 type bridge");
        let state = tempfile::tempdir().unwrap();
        let error = Bridge::new(config(state.path())).await.expect_err("refused").to_string();
        assert!(error.contains("knarr0") && error.contains("not made by this program"), "{error}");
        network::cni::remove_host(&config(state.path())).expect("nothing to remove");
        assert!(run("ip -br link").contains("knarr0"));
    });
}
