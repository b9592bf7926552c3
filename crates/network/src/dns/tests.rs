use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::{Value, json};

use super::answer::{Outcome, answer};
use super::zone::{Zone, ZoneFacts, ZoneObjects};

fn object<K: api::Kind>(value: Value) -> Arc<K> {
    Arc::new(K::from_value(value).expect("object"))
}

fn service(namespace: &str, name: &str, spec: Value) -> Arc<api::Service> {
    object(json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec}))
}

fn slice(namespace: &str, service: &str, endpoints: Value) -> Arc<api::EndpointSlice> {
    object(json!({
        "metadata": {"namespace": namespace, "name": format!("{service}-x"),
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }))
}

pub(super) fn zone() -> Zone {
    let http = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
    let objects = ZoneObjects {
        services: vec![
            service("default", "web", json!({"clusterIP": "10.43.0.20", "ports": http})),
            service("default", "db", json!({"clusterIP": "None", "ports": http})),
            service("default", "early", json!({"clusterIP": "None", "publishNotReadyAddresses": true})),
            service("default", "none", json!({"clusterIP": "None"})),
            service("default", "out", json!({"type": "ExternalName", "externalName": "Example.org."})),
            service(
                "default",
                "in",
                json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}),
            ),
            service(
                "default",
                "loop",
                json!({"type": "ExternalName", "externalName": "loop.default.svc.cluster.local"}),
            ),
            service(
                "default",
                "lost",
                json!({"type": "ExternalName", "externalName": "gone.default.svc.cluster.local"}),
            ),
        ],
        slices: vec![
            slice("default", "web", json!([{"addresses": ["10.42.0.5"]}])),
            slice(
                "default",
                "db",
                json!([
                    {"addresses": ["10.42.0.7"], "hostname": "db-1"},
                    {"addresses": ["10.42.0.6"], "hostname": "db-0"},
                    {"addresses": ["10.42.0.8"]},
                    {"addresses": ["10.42.0.9"], "conditions": {"ready": false}},
                ]),
            ),
            slice("default", "early", json!([{"addresses": ["10.42.0.10"], "conditions": {"ready": false}}])),
        ],
        namespaces: HashSet::from(["default".to_owned(), "empty".to_owned()]),
    };
    let facts = ZoneFacts {
        domain: "cluster.local".to_owned(),
        name_server: Ipv4Addr::new(10, 43, 0, 10),
        ranges: vec!["10.42.0.0/16".parse().expect("range"), "10.43.0.0/16".parse().expect("range")],
    };
    Zone::build(facts, &objects, 7)
}

/// `NOERROR a 10.43.0.20` and so on: the code, then answers in order; ` soa` when there is one in the authority section.
fn ask(zone: &Zone, name: &str, kind: RecordType) -> String {
    let query = Query::query(Name::from_ascii(name).expect("name"), kind);
    match answer(zone, &query, 0) {
        Outcome::Forward => "forward".to_owned(),
        Outcome::Alias { so_far, target } => format!("alias {} then {target}", so_far.len()),
        Outcome::Reply(reply) => {
            let mut text = match reply.code {
                ResponseCode::NoError => "NOERROR".to_owned(),
                ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
                code => format!("{code:?}"),
            };
            for record in &reply.answers {
                assert_eq!(record.ttl, 5);
                text += &match &record.data {
                    RData::A(a) => format!(" {}", a.0),
                    RData::CNAME(name) => format!(" ={}", name.0),
                    RData::PTR(name) => format!(" {}", name.0),
                    RData::NS(name) => format!(" {}", name.0),
                    RData::SRV(srv) => format!(" {}:{}/{}", srv.target, srv.port, srv.weight),
                    RData::SOA(soa) => format!(" soa({})", soa.serial),
                    other => format!(" {other}"),
                };
            }
            for record in &reply.authority {
                text += &format!(" | soa {}", record.name);
            }
            text
        }
    }
}

const NOTHING: &str = "NOERROR | soa cluster.local.";
const NO_NAME: &str = "NXDOMAIN | soa cluster.local.";

#[test]
fn questions_and_answers() {
    use RecordType::{A, AAAA, AXFR, CNAME, NS, PTR, SOA, SRV, TXT};
    let zone = zone();
    let db = "db.default.svc.cluster.local";
    let cases = [
        // Services.
        ("web.default.svc.cluster.local.", A, "NOERROR 10.43.0.20"),
        ("WeB.Default.svc.Cluster.local.", A, "NOERROR 10.43.0.20"),
        ("web.default.svc.cluster.local.", AAAA, NOTHING),
        ("web.default.svc.cluster.local.", TXT, NOTHING),
        ("nothing.default.svc.cluster.local.", A, NO_NAME),
        ("web.nowhere.svc.cluster.local.", A, NO_NAME),
        ("x.web.default.svc.cluster.local.", A, NO_NAME),
        // Names above others exist.
        ("default.svc.cluster.local.", A, NOTHING),
        ("empty.svc.cluster.local.", A, NOTHING),
        ("nowhere.svc.cluster.local.", A, NO_NAME),
        ("svc.cluster.local.", A, NOTHING),
        ("_tcp.web.default.svc.cluster.local.", SRV, NOTHING),
        // Headless: all ready endpoints, each by its own name too.
        ("db.default.svc.cluster.local.", A, "NOERROR 10.42.0.8 10.42.0.6 10.42.0.7"),
        ("db-0.db.default.svc.cluster.local.", A, "NOERROR 10.42.0.6"),
        ("10-42-0-8.db.default.svc.cluster.local.", A, "NOERROR 10.42.0.8"),
        ("10-42-0-7.db.default.svc.cluster.local.", A, NO_NAME),
        ("10-42-0-9.db.default.svc.cluster.local.", A, NO_NAME),
        ("early.default.svc.cluster.local.", A, "NOERROR 10.42.0.10"),
        ("none.default.svc.cluster.local.", A, NOTHING),
        ("10-42-0-5.web.default.svc.cluster.local.", A, "NOERROR 10.42.0.5"),
        // Ports.
        ("_http._tcp.web.default.svc.cluster.local.", SRV, "NOERROR web.default.svc.cluster.local.:80/100"),
        ("_http._udp.web.default.svc.cluster.local.", SRV, NO_NAME),
        ("_https._tcp.web.default.svc.cluster.local.", SRV, NO_NAME),
        ("web.default.svc.cluster.local.", SRV, "NOERROR web.default.svc.cluster.local.:80/100"),
        // Aliases.
        ("out.default.svc.cluster.local.", A, "alias 1 then example.org."),
        ("out.default.svc.cluster.local.", AAAA, "alias 1 then example.org."),
        ("out.default.svc.cluster.local.", CNAME, "NOERROR =example.org."),
        ("in.default.svc.cluster.local.", A, "NOERROR =web.default.svc.cluster.local. 10.43.0.20"),
        (
            "in.default.svc.cluster.local.",
            AAAA,
            "NOERROR =web.default.svc.cluster.local. | soa cluster.local.",
        ),
        (
            "lost.default.svc.cluster.local.",
            A,
            "NXDOMAIN =gone.default.svc.cluster.local. | soa cluster.local.",
        ),
        ("loop.default.svc.cluster.local.", A, "ServFail"),
        // Pods by their address.
        ("10-42-0-5.default.pod.cluster.local.", A, "NOERROR 10.42.0.5"),
        ("10-42-0-5.default.pod.cluster.local.", AAAA, NOTHING),
        ("10-42-0-5.nowhere.pod.cluster.local.", A, NO_NAME),
        ("10-42-0.default.pod.cluster.local.", A, NO_NAME),
        ("default.pod.cluster.local.", A, NOTHING),
        // Reverse.
        ("20.0.43.10.in-addr.arpa.", PTR, "NOERROR web.default.svc.cluster.local."),
        ("6.0.42.10.in-addr.arpa.", PTR, "NOERROR db-0.db.default.svc.cluster.local."),
        ("6.0.42.10.in-addr.arpa.", A, "NOERROR | soa 42.10.in-addr.arpa."),
        ("99.0.43.10.in-addr.arpa.", PTR, "NXDOMAIN | soa 43.10.in-addr.arpa."),
        ("43.10.in-addr.arpa.", PTR, "NOERROR | soa 43.10.in-addr.arpa."),
        ("10.in-addr.arpa.", PTR, "forward"),
        ("1.1.168.192.in-addr.arpa.", PTR, "forward"),
        // The zone itself.
        ("cluster.local.", SOA, "NOERROR soa(7)"),
        ("cluster.local.", NS, "NOERROR ns.dns.cluster.local."),
        ("cluster.local.", A, NOTHING),
        ("ns.dns.cluster.local.", A, "NOERROR 10.43.0.10"),
        ("dns-version.cluster.local.", TXT, "NOERROR 1.1.0"),
        ("cluster.local.", AXFR, "Refused"),
        // Foreign names.
        ("example.org.", A, "forward"),
        ("local.", A, "forward"),
        ("notcluster.local.", A, "forward"),
        (".", NS, "forward"),
    ];
    for (name, kind, expected) in cases {
        assert_eq!(ask(&zone, name, kind), expected, "{name} {kind}");
    }
    let text = ask(&zone, &format!("_http._tcp.{db}."), SRV);
    assert_eq!(text, format!("NOERROR 10-42-0-8.{db}.:8080/33 db-0.{db}.:8080/33 db-1.{db}.:8080/33"));
}

#[test]
fn targets_of_ports_come_with_their_addresses_and_addresses_take_turns() {
    let zone = zone();
    let query = Query::query(
        Name::from_ascii("_http._tcp.db.default.svc.cluster.local.").expect("name"),
        RecordType::SRV,
    );
    let Outcome::Reply(reply) = answer(&zone, &query, 0) else { panic!("no reply") };
    assert_eq!(reply.additional.len(), 3);
    let query = Query::query(Name::from_ascii("db.default.svc.cluster.local.").expect("name"), RecordType::A);
    let firsts: HashSet<String> = (0..3)
        .map(|turn| match answer(&zone, &query, turn) {
            Outcome::Reply(reply) => reply.answers[0].data.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(firsts.len(), 3);
}
