use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::peers::Peers;
use super::*;
use crate::registry::tests::harness::{Everyone, Harness, config};

const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// Another server over the same store, or the same one again.
async fn server(h: &Harness, advertise: SocketAddr, alone: bool) -> Arc<Registry> {
    let config = crate::Config { advertise, alone, ..config() };
    let store = h.registry.store.clone();
    Registry::start(&config, store, Arc::new(Everyone), CancellationToken::new()).await.expect("it starts")
}

fn at(ip: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, ip], port).into()
}

/// Where the Service leads, by both kinds of objects.
async fn endpoints(h: &Harness) -> Vec<String> {
    h.registry.fresh().await.expect("the store answers");
    let mut said = Vec::new();
    for subset in h.get(ENDPOINTS).await["subsets"].as_array().expect("subsets") {
        for address in subset["addresses"].as_array().expect("addresses") {
            let ip = address["ip"].as_str().expect("an address");
            said.push(format!("{ip}:{}", subset["ports"][0]["port"]));
        }
    }
    let mut sliced = Vec::new();
    for slice in h.get(SLICES).await["items"].as_array().expect("slices") {
        for endpoint in slice["endpoints"].as_array().expect("endpoints") {
            let ip = endpoint["addresses"][0].as_str().expect("an address");
            sliced.push(format!("{ip}:{}", slice["ports"][0]["port"]));
        }
    }
    said.sort_unstable();
    sliced.sort_unstable();
    assert_eq!(said, sliced);
    said
}

#[tokio::test]
async fn the_service_leads_to_every_server_that_is_there() {
    let h = Harness::start().await;
    let h = h.restarted(server(&h, h.registry.config().advertise, false).await);
    let own = "127.0.0.1:6443";
    assert_eq!(endpoints(&h).await, [own]);
    let second = server(&h, at(1, 6443), false).await;
    let third = server(&h, at(1, 6444), false).await;
    assert_eq!(endpoints(&h).await, ["10.0.0.1:6443", "10.0.0.1:6444", own]);

    // One goes, and says so.
    leave(&third, &mut Peers::default(), Instant::now()).await.expect("it says so");
    assert_eq!(endpoints(&h).await, ["10.0.0.1:6443", own]);

    // The other is not heard of any more.
    let (mut peers, start) = (Peers::default(), Instant::now());
    renew(&h.registry, &mut peers, start).await.expect("it renews");
    renew(&h.registry, &mut peers, start + Duration::from_secs(10)).await.expect("it renews");
    assert_eq!(endpoints(&h).await, ["10.0.0.1:6443", own]);
    renew(&h.registry, &mut peers, start + Duration::from_secs(20)).await.expect("it renews");
    assert_eq!(endpoints(&h).await, [own]);

    // It was slow, and is there again.
    announce(&second).await.expect("it renews");
    assert_eq!(endpoints(&h).await, ["10.0.0.1:6443", own]);
}

#[tokio::test]
async fn the_last_server_leaves_the_endpoints() {
    let h = Harness::start().await;
    let h = h.restarted(server(&h, at(1, 6443), false).await);
    leave(&h.registry, &mut Peers::default(), Instant::now()).await.expect("it goes");
    assert_eq!(endpoints(&h).await, ["10.0.0.1:6443"]);
}

#[tokio::test]
async fn a_server_that_is_alone_takes_the_place_of_the_one_before() {
    let h = Harness::start().await;
    let _again = server(&h, at(2, 7443), true).await;
    assert_eq!(endpoints(&h).await, ["10.0.0.2:7443"]);
}

#[tokio::test]
async fn what_users_delete_comes_back() {
    let h = Harness::start().await;
    h.must(200, "DELETE", "/api/v1/namespaces/default/services/kubernetes", Value::Null).await;
    h.must(200, "DELETE", ENDPOINTS, Value::Null).await;
    h.must(200, "DELETE", &format!("{SLICES}/kubernetes"), Value::Null).await;
    let mut identity = Identity::new(h.registry.config());
    tick(&h.registry, &mut Peers::default(), &mut identity).await.expect("it ticks");
    assert_eq!(endpoints(&h).await, ["127.0.0.1:6443"]);
    let service = h.get("/api/v1/namespaces/default/services/kubernetes").await;
    assert_eq!(service["spec"]["clusterIP"], "10.43.0.1");
    let address = h.get("/apis/networking.k8s.io/v1/ipaddresses/10.43.0.1").await;
    assert_eq!(address["spec"]["parentRef"]["name"], "kubernetes");
}

#[tokio::test]
async fn each_server_has_a_lease() {
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let h = Harness::start().await;
    let selected = format!("{LEASES}?labelSelector=apiserver.kubernetes.io/identity=kube-apiserver");
    let old = serde_json::json!({
        "metadata": {"name": "apiserver-old", "labels": {"apiserver.kubernetes.io/identity": "kube-apiserver"}},
        "spec": {"holderIdentity": "old", "leaseDurationSeconds": 3600, "renewTime": "2020-01-01T00:00:00.000000Z"},
    });
    h.must(201, "POST", LEASES, old).await;
    let mut identity = Identity::new(h.registry.config());
    let now = Timestamp::now();
    identity.renew(&h.registry, now).await.expect("it renews");
    let leases = h.get(&selected).await;
    let items = leases["items"].as_array().expect("items");
    assert_eq!(items.len(), 1, "that of a server long gone is removed: {leases}");
    let (name, spec) = (items[0]["metadata"]["name"].as_str().expect("a name"), &items[0]["spec"]);
    assert!(name.starts_with("apiserver-") && name.len() == "apiserver-".len() + 26, "{name}");
    assert_eq!(items[0]["metadata"]["labels"]["kubernetes.io/hostname"], "host");
    assert_eq!(spec["leaseDurationSeconds"], 3600);
    assert!(spec["holderIdentity"].as_str().expect("a holder").starts_with(&format!("{name}_")));
    identity.renew(&h.registry, now + jiff::SignedDuration::from_secs(10)).await.expect("it renews");
    let again = h.get(&format!("{LEASES}/{name}")).await;
    assert_ne!(again["spec"]["renewTime"], spec["renewTime"]);
    assert_eq!(again["spec"]["holderIdentity"], spec["holderIdentity"]);
}
