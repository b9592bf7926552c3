//! Cluster DNS over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use network::dns::{Config, Publication, Upstream, publish, run};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fake_api::FakeApi;
use crate::host::{at, eventually, isolated};

const LISTEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
const UPSTREAM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 54);
const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

fn config(upstream: Vec<SocketAddr>) -> Config {
    Config {
        listen: at(LISTEN, 53),
        domain: "cluster.local".to_owned(),
        service_ip: Ipv4Addr::new(10, 43, 0, 10),
        ranges: vec!["10.42.0.0/16".parse().unwrap(), "10.43.0.0/16".parse().unwrap()],
        upstream: Upstream::Fixed(upstream),
    }
}

fn api() -> FakeApi {
    let api = FakeApi::default();
    api.put("/api/v1/namespaces", json!({"metadata": {"name": "default"}}));
    api.put(
        SERVICES,
        json!({"metadata": {"namespace": "default", "name": "web"},
        "spec": {"clusterIP": "10.43.0.20", "ports": [{"name": "http", "port": 80}]}}),
    );
    api.put(
        SERVICES,
        json!({"metadata": {"namespace": "default", "name": "out"},
        "spec": {"type": "ExternalName", "externalName": "example.org"}}),
    );
    api.put(
        SERVICES,
        json!({"metadata": {"namespace": "default", "name": "big"}, "spec": {"clusterIP": "None"}}),
    );
    let endpoints: Vec<Value> =
        (0..200).map(|number| json!({"addresses": [format!("10.42.1.{number}")]})).collect();
    api.put(
        SLICES,
        json!({"metadata": {"namespace": "default", "name": "big-1",
        "labels": {"kubernetes.io/service-name": "big"}},
        "addressType": "IPv4", "ports": [], "endpoints": endpoints}),
    );
    api
}

fn question(name: &str, kind: RecordType, room: Option<u16>) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(room) = room {
        message.set_edns(Edns::new().set_max_payload(room).clone());
    }
    message
}

fn udp(bytes: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.send_to(bytes, at(LISTEN, 53)).unwrap();
    let mut buffer = vec![0; 4096];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    assert_eq!(from, at(LISTEN, 53), "answers come from the address that was asked");
    buffer.truncate(length);
    Some(buffer)
}

fn tcp(questions: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(at(LISTEN, 53)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ask = |question: &Message| {
        let bytes = question.to_vec().unwrap();
        let length = u16::try_from(bytes.len()).unwrap();
        stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        Message::from_vec(&answer).unwrap()
    };
    questions.iter().map(ask).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

async fn ask(message: Message) -> Message {
    let bytes = blocking(move || udp(&message.to_vec().unwrap())).await.expect("an answer");
    Message::from_vec(&bytes).unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().filter(|r| r.record_type() == RecordType::A).map(|r| r.data.to_string()).collect()
}

/// Answers every question about `example.org` with 192.0.2.1, and others with a name error.
fn serve_upstream() {
    let socket = UdpSocket::bind(at(UPSTREAM, 53)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let query = question.queries[0].clone();
            let mut answer = Message::response(question.metadata.id, OpCode::Query);
            answer.metadata.recursion_available = true;
            if query.name().to_ascii() == "example.org." {
                let data = RData::A(A::new(192, 0, 2, 1));
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
            } else {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            answer.add_query(query);
            drop(socket.send_to(&answer.to_vec().unwrap(), client));
        }
    });
}

async fn with_server(api: &FakeApi, upstream: Vec<SocketAddr>, test: impl AsyncFnOnce()) {
    let token = CancellationToken::new();
    let server = run(config(upstream), api.client(), token.clone());
    let test = async {
        // Until it listens, the kernel answers that nobody does.
        eventually("listening", || TcpStream::connect(at(LISTEN, 53)).ok()).await;
        test().await;
        token.cancel();
    };
    let ((), ()) = tokio::join!(server, test);
}

#[test]
fn names_of_the_cluster_resolve_by_udp_and_tcp_and_follow_the_api() {
    isolated(|| async {
        let api = api();
        with_server(&api, Vec::new(), async || {
            let answer = ask(question("web.default.svc.cluster.local.", RecordType::A, None)).await;
            assert_eq!(addresses(&answer), ["10.43.0.20"]);
            let flags =
                (answer.metadata.authoritative, answer.metadata.recursion_available, answer.metadata.id);
            assert_eq!(flags, (true, true, 4711));
            let missing = question("nothing.default.svc.cluster.local.", RecordType::A, None);
            let by_tcp = blocking(move || {
                tcp(&[question("web.default.svc.cluster.local.", RecordType::A, None), missing])
            })
            .await;
            assert_eq!(addresses(&by_tcp[0]), ["10.43.0.20"]);
            assert_eq!(by_tcp[1].metadata.response_code, ResponseCode::NXDomain);
            assert_eq!(by_tcp[1].authorities[0].record_type(), RecordType::SOA);
            api.put(
                SERVICES,
                json!({"metadata": {"namespace": "default", "name": "nothing"},
                "spec": {"clusterIP": "10.43.0.21"}}),
            );
            let found = async || {
                let answer = ask(question("nothing.default.svc.cluster.local.", RecordType::A, None)).await;
                addresses(&answer) == ["10.43.0.21"]
            };
            let start = std::time::Instant::now();
            while !found().await {
                assert!(start.elapsed() < Duration::from_secs(60), "a new Service resolves");
            }
            println!("a new Service resolves after {:?}", start.elapsed());
        })
        .await;
    });
}

#[test]
fn large_answers_are_truncated_to_what_the_client_takes() {
    isolated(|| async {
        with_server(&api(), Vec::new(), async || {
            let name = "big.default.svc.cluster.local.";
            for (room, most) in [(None, 512), (Some(1232), 1232), (Some(4096), 1232)] {
                let sent = question(name, RecordType::A, room);
                let bytes = blocking(move || udp(&sent.to_vec().unwrap())).await.expect("an answer");
                let answer = Message::from_vec(&bytes).unwrap();
                assert!(bytes.len() <= most && bytes.len() > most - 64, "{} of {most} bytes", bytes.len());
                assert!(answer.metadata.truncation && !answer.answers.is_empty());
                assert_eq!(answer.edns.is_some(), room.is_some());
            }
            let whole = blocking(move || tcp(&[question(name, RecordType::A, None)])).await;
            assert_eq!((whole[0].answers.len(), whole[0].metadata.truncation), (200, false));
        })
        .await;
    });
}

#[test]
fn other_names_go_to_the_nodes_resolvers() {
    isolated(|| async {
        serve_upstream();
        // The first does not exist: the next is asked.
        let upstream = vec![at(Ipv4Addr::new(127, 0, 0, 99), 53), at(UPSTREAM, 53)];
        with_server(&api(), upstream, async || {
            let answer = ask(question("example.org.", RecordType::A, None)).await;
            assert_eq!(addresses(&answer), ["192.0.2.1"]);
            assert_eq!((answer.metadata.id, answer.metadata.authoritative), (4711, false));
            let answer = ask(question("out.default.svc.cluster.local.", RecordType::A, None)).await;
            assert_eq!(answer.answers[0].record_type(), RecordType::CNAME);
            assert_eq!(addresses(&answer), ["192.0.2.1"]);
            let answer = ask(question("nobody.example.", RecordType::A, None)).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
            let answer = ask(question("1.2.0.192.in-addr.arpa.", RecordType::PTR, None)).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
            let by_tcp = blocking(|| tcp(&[question("example.org.", RecordType::A, None)])).await;
            assert_eq!(addresses(&by_tcp[0]), ["192.0.2.1"]);
        })
        .await;
    });
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    isolated(|| async {
        with_server(&api(), Vec::new(), async || {
            let answer = ask(question("example.org.", RecordType::A, None)).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "no resolver to ask");
            let mut update = question("cluster.local.", RecordType::SOA, None);
            update.metadata.op_code = OpCode::Update;
            assert_eq!(ask(update).await.metadata.response_code, ResponseCode::NotImp);
            let mut two = question("cluster.local.", RecordType::SOA, None);
            two.add_query(Query::query(Name::from_ascii("a.").unwrap(), RecordType::A));
            assert_eq!(ask(two).await.metadata.response_code, ResponseCode::FormErr);
            let mut version = question("cluster.local.", RecordType::SOA, Some(1232));
            version.edns.as_mut().unwrap().set_version(1);
            assert_eq!(
                u16::from(ask(version).await.metadata.response_code),
                u16::from(ResponseCode::BADVERS)
            );
            let garbage =
                blocking(|| udp(&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63])).await.expect("an answer");
            assert_eq!(garbage[..4], [0x12, 0x34, 0x80, 1], "format error with the same identifier");
            let mut answer = question("cluster.local.", RecordType::SOA, None);
            answer.metadata.message_type = MessageType::Response;
            let sent = blocking(move || udp(&answer.to_vec().unwrap()));
            assert_eq!(sent.await, None, "answers are not answered");
        })
        .await;
    });
}

#[test]
fn the_service_and_its_slice_are_published_and_kept() {
    isolated(|| async {
        let api = FakeApi::default();
        let publication = |address| Publication {
            service_ip: Ipv4Addr::new(10, 43, 0, 10),
            address,
            node_name: "n1".to_owned(),
        };
        let gateway: std::net::IpAddr = "10.42.0.1".parse().unwrap();
        publish(&publication(gateway), api.client()).await.expect("published");
        let service = api.get(SERVICES, "kube-system", "kube-dns").expect("the Service");
        assert_eq!(service["spec"]["clusterIP"], "10.43.0.10");
        assert_eq!(service["spec"]["ports"][0]["name"], "dns");
        assert_eq!(service["spec"]["ports"][1]["protocol"], "TCP");
        assert!(service["spec"].get("selector").is_none());
        let slice = || api.get(SLICES, "kube-system", "kube-dns-n1").expect("the slice");
        assert_eq!(slice()["endpoints"][0]["addresses"][0], "10.42.0.1");
        let revision = slice()["metadata"]["resourceVersion"].clone();
        publish(&publication(gateway), api.client()).await.expect("published");
        assert_eq!(slice()["metadata"]["resourceVersion"], revision, "nothing to change");
        publish(&publication("10.42.7.1".parse().unwrap()), api.client()).await.expect("published");
        assert_eq!(slice()["endpoints"][0]["addresses"][0], "10.42.7.1");
    });
}
