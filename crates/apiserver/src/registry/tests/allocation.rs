//! Cluster IPs and node ports: each is given once, however many servers there are, and comes back.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::harness::{Everyone, Harness, config};
use crate::registry::{Registry, allocator};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";

fn service(name: &str, spec: &Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (field, value) in spec.as_object().expect("fields") {
        service["spec"][field] = value.clone();
    }
    service
}

/// Servers over one store, small ranges to make them meet.
async fn servers(service_cidr: &str, ports: u16) -> Vec<Harness> {
    let first = Harness::start().await;
    let mut all = Vec::new();
    for port in [6443, 6444] {
        let config = crate::Config {
            advertise: ([10, 0, 0, 1], port).into(),
            alone: false,
            service_cidr: service_cidr.to_owned(),
            node_ports: 30_000..=30_000 + ports - 1,
            ..config()
        };
        let store = first.registry.store.clone();
        let registry = Registry::start(&config, store, Arc::new(Everyone), CancellationToken::new()).await;
        all.push(first.restarted(registry.expect("a second server starts")));
    }
    all
}

/// The addresses that are taken, and whose each is.
async fn taken(h: &Harness) -> Vec<(String, String)> {
    h.registry.fresh().await.expect("the store answers");
    let list = h.get(ADDRESSES).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .map(|item| (text(&item["metadata"]["name"]), text(&item["spec"]["parentRef"]["name"])))
        .collect()
}

async fn events(h: &Harness) -> Vec<(String, String)> {
    h.registry.fresh().await.expect("the store answers");
    let list = h.get("/apis/events.k8s.io/v1/namespaces/default/events").await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|event| (text(&event["reason"]), text(&event["note"]))).collect()
}

#[tokio::test]
async fn an_address_is_an_object() {
    let h = Harness::start().await;
    let made = h.must(201, "POST", SERVICES, service("a", &json!({"clusterIP": "10.43.0.77"}))).await;
    assert_eq!(made["spec"]["clusterIPs"], json!(["10.43.0.77"]));
    let address = h.get(&format!("{ADDRESSES}/10.43.0.77")).await;
    assert_eq!(
        (&address["metadata"]["labels"], &address["spec"]),
        (
            &json!({"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}),
            &json!({"parentRef": {"resource": "services", "namespace": "default", "name": "a"}})
        )
    );
    let range = h.get(&format!("{RANGES}/kubernetes")).await;
    assert_eq!(range["spec"]["cidrs"], json!(["10.43.0.0/16"]));
    assert_eq!(range["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(range["status"]["conditions"][0]["status"], "True");
    // It goes with the Service, or when the Service needs none any more.
    let named = json!({"spec": {"type": "ExternalName", "externalName": "a.example", "ports": null}});
    let (code, answer) = h.patch("merge-patch+json", &format!("{SERVICES}/a"), named).await;
    assert_eq!(code, 200, "{answer}");
    assert_eq!(taken(&h).await, [("10.43.0.1".to_owned(), "kubernetes".to_owned())]);
    let back = json!({"spec": {"type": "ClusterIP", "externalName": null, "ports": [{"port": 1}]}});
    let (code, answer) = h.patch("merge-patch+json", &format!("{SERVICES}/a"), back).await;
    assert_eq!(code, 200, "{answer}");
    assert_eq!(taken(&h).await.len(), 2);
    h.must(200, "DELETE", &format!("{SERVICES}/a"), Value::Null).await;
    assert_eq!(taken(&h).await.len(), 1);
}

#[tokio::test]
async fn nothing_is_kept_by_what_is_refused() {
    let h = Harness::start().await;
    h.must(201, "POST", SERVICES, service("a", &json!({"type": "NodePort"}))).await;
    let before = taken(&h).await;
    let wanted =
        json!({"type": "NodePort", "clusterIP": "10.43.0.50", "ports": [{"port": 80, "nodePort": 31_000}]});
    for (code, target, change) in [
        (422, SERVICES.to_owned(), json!({"sessionAffinity": "Sometimes"})),
        (409, SERVICES.to_owned(), json!({})),
        (201, format!("{SERVICES}?dryRun=All"), json!({})),
        (422, SERVICES.to_owned(), json!({"ports": [{"port": 80, "nodePort": 80}]})),
    ] {
        let mut object = service(if code == 409 { "a" } else { "b" }, &wanted);
        for (field, value) in change.as_object().expect("fields") {
            object["spec"][field] = value.clone();
        }
        h.must(code, "POST", &target, object).await;
        assert_eq!(taken(&h).await, before, "{code} {target}");
    }
    // What is another's stays so, although a refused request names it.
    let other = json!({"ports": [{"port": 80, "nodePort": 31_500}], "type": "NodePort"});
    h.must(201, "POST", SERVICES, service("other", &other)).await;
    let wrong = json!({"ports": [{"port": 80, "nodePort": 31_500}], "type": "ClusterIP"});
    h.must(422, "POST", SERVICES, service("d", &wrong)).await;
    h.must(422, "POST", SERVICES, service("d", &other)).await;
    // What was refused is not: it can be asked for.
    h.must(201, "POST", SERVICES, service("b", &wanted)).await;
    let path = format!("{SERVICES}/b");
    let change = |spec: Value| h.patch("merge-patch+json", &path, json!({"spec": spec}));
    for (code, spec) in [
        (422, json!({"ports": [{"port": 80, "nodePort": 31_001}], "sessionAffinity": "Sometimes"})),
        (200, json!({"ports": [{"port": 80, "nodePort": 31_002}]})),
    ] {
        let (have, answer) = change(spec).await;
        assert_eq!(have, code, "{answer}");
    }
    let both =
        json!([{"port": 1, "nodePort": 31_000, "name": "a"}, {"port": 2, "nodePort": 31_001, "name": "b"}]);
    h.must(201, "POST", SERVICES, service("c", &json!({"type": "NodePort", "ports": both}))).await;
}

#[tokio::test]
async fn dry_runs_show_what_upstream_shows() {
    let h = Harness::start().await;
    let path = format!("{SERVICES}?dryRun=All");
    let made = h.must(201, "POST", &path, service("a", &json!({"type": "NodePort"}))).await;
    assert_eq!(made["spec"]["clusterIP"], "10.43.0.0");
    assert_eq!(made["spec"]["ports"][0]["nodePort"], 32_769);
}

#[tokio::test]
async fn two_servers_never_give_the_same() {
    let servers = servers("10.43.0.0/16", 64).await;
    let wanted = json!({"type": "NodePort", "ports": [{"port": 80}]});
    let creations = (0..40).map(|i| {
        let server = &servers[i % 2];
        server.send("POST", SERVICES, service(&format!("s{i}"), &wanted))
    });
    let made = join_all(creations).await;
    let field = |pointer: &str| -> BTreeSet<String> {
        made.iter()
            .map(|(code, answer)| {
                assert_eq!(*code, 201, "{answer}");
                answer.pointer(pointer).expect("it is given").to_string()
            })
            .collect()
    };
    assert_eq!(field("/spec/clusterIP").len(), 40);
    assert_eq!(field("/spec/ports/0/nodePort").len(), 40);
}

#[tokio::test]
async fn of_two_that_ask_for_the_same_one_gets_it() {
    let servers = servers("10.43.0.0/16", 64).await;
    for round in 0..5 {
        let by_ip = json!({"clusterIP": format!("10.43.1.{round}")});
        let by_port = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_000 + round}]});
        for (kind, spec) in [("ip", &by_ip), ("port", &by_port)] {
            let name = |i: usize| format!("{kind}-{round}-{i}");
            let asked = servers
                .iter()
                .enumerate()
                .map(|(i, server)| server.send("POST", SERVICES, service(&name(i), spec)));
            let answers = join_all(asked).await;
            let mut codes: Vec<u16> = answers.iter().map(|(code, _)| *code).collect();
            codes.sort_unstable();
            assert_eq!(codes, [201, 422], "{answers:?}");
            let refused = answers.iter().find(|(code, _)| *code == 422).expect("one is refused");
            let said = refused.1["message"].as_str().unwrap_or_default();
            assert!(said.ends_with("is already allocated"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_full_range_is_said_to_be_full_and_a_second_one_helps() {
    let h = Harness::start().await;
    // The default range, seen as one that is going away.
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Terminating",
        "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let (code, answer) = h.patch("merge-patch+json", &format!("{RANGES}/kubernetes/status"), status).await;
    assert_eq!(code, 200, "{answer}");
    let full = h.must(500, "POST", SERVICES, service("a", &json!({}))).await;
    assert_eq!(full["message"], "Internal error occurred: failed to allocate a serviceIP: range is full");
    let more = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.90.0.0/30"]}});
    h.must(201, "POST", RANGES, more).await;
    let mut given = BTreeSet::new();
    for name in ["a", "b"] {
        let made = h.must(201, "POST", SERVICES, service(name, &json!({}))).await;
        given.insert(made["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(given, BTreeSet::from(["10.90.0.1", "10.90.0.2"].map(str::to_owned)));
    h.must(500, "POST", SERVICES, service("c", &json!({}))).await;
    let outside = h.must(422, "POST", SERVICES, service("c", &json!({"clusterIP": "10.43.0.9"}))).await;
    assert_eq!(
        outside["message"],
        "Service \"c\" is invalid: spec.clusterIPs: Invalid value: [\"10.43.0.9\"]: failed to allocate IP 10.43.0.9: the provided \
         network does not match the current range"
    );
}

#[tokio::test]
async fn what_leaked_is_cleaned_up() {
    let h = Harness::start().await;
    let made = h.must(201, "POST", SERVICES, service("a", &json!({"clusterIP": "10.43.0.20"}))).await;
    let labels = json!({"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
    let address = |ip: &str, labels: &Value, parent: Value| json!({"metadata": {"name": ip, "labels": labels}, "spec": {"parentRef": parent}});
    let of = |name: &str| json!({"resource": "services", "namespace": "default", "name": name});
    let gateway = json!({"group": "gateway.networking.k8s.io", "resource": "gateways", "name": "g"});
    for (ip, labels, parent) in [
        ("10.43.0.31", &labels, of("nobody")),
        ("10.43.0.32", &labels, of("a")),
        ("10.43.0.33", &labels, gateway.clone()),
        ("10.43.0.34", &json!({}), gateway),
    ] {
        h.must(201, "POST", ADDRESSES, address(ip, labels, parent)).await;
    }
    let ips = |taken: Vec<(String, String)>| taken.into_iter().map(|(ip, _)| ip).collect::<Vec<_>>();
    let now = Timestamp::now();
    allocator::repair(&h.registry, now).await.expect("it repairs");
    let young = ["10.43.0.1", "10.43.0.20", "10.43.0.31", "10.43.0.32", "10.43.0.34"];
    assert_eq!(ips(taken(&h).await), young, "a Service may still come");
    allocator::repair(&h.registry, now + SignedDuration::from_secs(62)).await.expect("it repairs");
    assert_eq!(ips(taken(&h).await), ["10.43.0.1", "10.43.0.20", "10.43.0.34"]);
    let told: BTreeSet<(String, String)> = events(&h).await.into_iter().collect();
    let wanted = [
        (
            "IPAddressNotAllocated",
            "IPAddress: 10.43.0.31 for Service default/nobody appears to have leaked: cleaning up",
        ),
        (
            "IPAddressWrongReference",
            "IPAddress: 10.43.0.32 for Service default/a has a wrong reference; cleaning up",
        ),
    ];
    for (reason, note) in wanted {
        assert!(told.contains(&(reason.to_owned(), note.to_owned())), "{note}: {told:?}");
    }
    assert_eq!(made["spec"]["clusterIP"], "10.43.0.20");
}

#[tokio::test]
async fn what_services_have_is_written_down_again() {
    let h = Harness::start().await;
    for (name, ip) in [("a", "10.43.0.20"), ("b", "10.43.0.21"), ("c", "10.43.0.22")] {
        h.must(201, "POST", SERVICES, service(name, &json!({"clusterIP": ip}))).await;
    }
    // One is lost, one is another's, one has lost its labels.
    for ip in ["10.43.0.20", "10.43.0.21"] {
        h.must(200, "DELETE", &format!("{ADDRESSES}/{ip}"), Value::Null).await;
    }
    let stolen = json!({"metadata": {"name": "10.43.0.21"},
        "spec": {"parentRef": {"group": "example.com", "resource": "gateways", "name": "g"}}});
    h.must(201, "POST", ADDRESSES, stolen).await;
    let bare = json!({"metadata": {"labels": null}});
    assert_eq!(h.patch("merge-patch+json", &format!("{ADDRESSES}/10.43.0.22"), bare).await.0, 200);
    allocator::repair(&h.registry, Timestamp::now()).await.expect("it repairs");
    let whose = taken(&h).await;
    for (ip, name) in [("10.43.0.20", "a"), ("10.43.0.21", "b"), ("10.43.0.22", "c")] {
        assert!(whose.contains(&(ip.to_owned(), name.to_owned())), "{whose:?}");
        let address = h.get(&format!("{ADDRESSES}/{ip}")).await;
        let labels = &address["metadata"]["labels"];
        assert_eq!(labels["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io", "{ip}");
    }
    let told = events(&h).await;
    for note in [
        "Cluster IP [IPv4]: 10.43.0.20 is not allocated; repairing",
        "the ClusterIP [IPv4]: 10.43.0.21 for Service default/b has a wrong reference; repairing",
    ] {
        assert!(told.contains(&("ClusterIPNotAllocated".to_owned(), note.to_owned())), "{told:?}");
    }
}

#[tokio::test]
async fn an_address_that_users_delete_comes_back_at_once() {
    let h = Harness::start().await;
    h.must(201, "POST", SERVICES, service("a", &json!({"clusterIP": "10.43.0.20"}))).await;
    let token = CancellationToken::new();
    let repairing = tokio::spawn(allocator::run(h.registry.clone(), token.clone()));
    let path = format!("{ADDRESSES}/10.43.0.20");
    let mut watch = h.watch(&format!("{ADDRESSES}?watch=true&fieldSelector=metadata.name=10.43.0.20")).await;
    assert_eq!(watch.brief().await.0, "ADDED");
    h.must(200, "DELETE", &path, Value::Null).await;
    for kind in ["DELETED", "ADDED"] {
        assert_eq!(watch.brief().await, (kind.to_owned(), "10.43.0.20".to_owned()));
    }
    token.cancel();
    repairing.await.expect("it ends");
}
