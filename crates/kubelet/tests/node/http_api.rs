//! The node's own HTTP API, over TLS.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::Bench;

type Connection = TlsStream<TcpStream>;

async fn connect(bench: &Bench, user: &str, group: Option<&str>) -> Connection {
    let stream = TcpStream::connect(bench.address).await.expect("it listens");
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("a name");
    TlsConnector::from(bench.pki.client(user, group)).connect(name, stream).await.expect("a handshake")
}

/// Sends a request and reads the answer up to the end of its head.
async fn request(connection: &mut Connection, path: &str, headers: &str) -> String {
    let text = format!("GET {path} HTTP/1.1\r\nhost: node\r\n{headers}\r\n");
    connection.write_all(text.as_bytes()).await.expect("write");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.expect("an answer"));
    }
    String::from_utf8(head).expect("text")
}

async fn get(bench: &Bench, path: &str) -> (String, String) {
    let mut connection = connect(bench, "admin", Some("system:masters")).await;
    let head = request(&mut connection, path, "connection: close\r\n").await;
    let mut body = Vec::new();
    let _ = connection.read_to_end(&mut body).await;
    (head, String::from_utf8(body).expect("text"))
}

const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn websocket(bench: &Bench, path: &str, protocol: &str) -> WebSocketStream<Connection> {
    let mut connection = connect(bench, "admin", Some("system:masters")).await;
    let headers = format!("{UPGRADE}sec-websocket-protocol: {protocol}\r\n");
    let head = request(&mut connection, path, &headers).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(
        head.to_lowercase().contains(&format!("sec-websocket-protocol: {}", protocol.to_lowercase())),
        "{head}"
    );
    WebSocketStream::from_raw_socket(connection, Role::Client, None).await
}

async fn running() -> Bench {
    let bench = Bench::start().await;
    let path = bench.create("p", json!({}));
    bench.phase(&path, "Running").await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_clusters_own_get_in() {
    let bench = Bench::start().await;
    for (user, group, code) in
        [("admin", Some("system:masters"), "200"), ("friend", None, "200"), ("stranger", None, "403")]
    {
        let mut connection = connect(&bench, user, group).await;
        let head = request(&mut connection, "/pods", "").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {code}")), "{user}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_numbers() {
    let bench = running().await;
    let (head, body) = get(&bench, "/containerLogs/ns/p/web").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.contains("hello from the log\n"), "{body}");
    let (head, body) = get(&bench, "/containerLogs/ns/p/web?previous=true").await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(body.contains("previous terminated container \"web\" in pod \"p\" not found"), "{body}");
    let (_, body) = get(&bench, "/stats/summary").await;
    let start = body.find('{').expect("JSON");
    let end = body.rfind('}').expect("JSON");
    let summary: Value = serde_json::from_str(&body[start..=end]).expect("JSON");
    assert_eq!(summary["pods"][0]["podRef"]["name"], "p");
    let (_, body) = get(&bench, "/metrics/resource").await;
    assert!(
        body.contains("container_cpu_usage_seconds_total{container=\"web\",namespace=\"ns\",pod=\"p\"} 5"),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_ends_with_its_container() {
    let bench = running().await;
    let mut connection = connect(&bench, "admin", Some("system:masters")).await;
    let head =
        request(&mut connection, "/containerLogs/ns/p/web?follow=true&tailLines=0", "connection: close\r\n")
            .await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let container = bench.runtime.container("web").expect("a container");
    let mut file = std::fs::OpenOptions::new().append(true).open(&container.log_path).expect("the log");
    std::io::Write::write_all(&mut file, b"2026-01-01T00:00:01Z stdout F more\n").expect("write");
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains("more\n") {
        let count = connection.read(&mut buffer).await.expect("data");
        assert!(count > 0, "it ended early: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(!seen.contains("hello"), "{seen}");
    bench.runtime.exit(&container.id, 0);
    let end = async { while !matches!(connection.read(&mut buffer).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(Duration::from_secs(60), end).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_over_websocket() {
    let bench = running().await;
    let path = "/exec/ns/p/web?command=7&command=hi&stdin=true&stdout=true&stderr=true";
    let mut socket = websocket(&bench, path, "v5.channel.k8s.io").await;
    socket.send(Message::Binary(Bytes::from_static(b"\x00typed"))).await.expect("send");
    socket.send(Message::Binary(Bytes::from_static(b"\xff\x00"))).await.expect("send");
    let (mut output, mut status) = (Vec::new(), Vec::new());
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(data) if data[0] == 1 => output.extend_from_slice(&data[1..]),
            Message::Binary(data) if data[0] == 3 => status.extend_from_slice(&data[1..]),
            Message::Close(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(String::from_utf8_lossy(&output), "7 hi\ntyped");
    let status: Value = serde_json::from_slice(&status).expect("a Status");
    assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "7"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_needs_a_container_and_an_upgrade() {
    let bench = running().await;
    for (path, code, words) in [
        ("/exec/ns/none/web?command=x&stdout=1", "404", "pod does not exist"),
        ("/exec/ns/p/none?command=x&stdout=1", "500", "container not found (\"none\")"),
        ("/exec/ns/p/web?stdout=1", "400", "at least one command"),
        ("/exec/ns/p/web?command=x", "400", "at least 1 of stdin, stdout, stderr"),
        ("/exec/ns/p/web?command=x&stdout=1", "400", "Upgrade request required"),
    ] {
        let (head, body) = get(&bench, path).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {code}")), "{path}: {head}");
        assert!(body.contains(words), "{path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_over_websocket_channels() {
    let bench = running().await;
    let mut socket = websocket(&bench, "/portForward/ns/p?port=80", "v4.channel.k8s.io").await;
    for channel in [0, 1] {
        let hello = socket.next().await.expect("hello").expect("hello").into_data();
        assert_eq!(&hello[..], [channel, 80, 0]);
    }
    socket.send(Message::Binary(Bytes::from_static(b"\x00ping"))).await.expect("send");
    let echo = socket.next().await.expect("echo").expect("echo").into_data();
    assert_eq!(&echo[..], b"\x00ping");
}

/// Just enough of a SPDY client.
struct Spdy {
    deflate: Compress,
    first: bool,
}

impl Spdy {
    fn new() -> Self {
        Self { deflate: Compress::new(Compression::fast(), true), first: true }
    }

    fn open(&mut self, id: u32, headers: &[(&str, &str)]) -> Bytes {
        let mut plain = Vec::new();
        plain.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        if self.first {
            self.deflate.set_dictionary(&dictionary()).expect("a dictionary");
            self.first = false;
        }
        let mut block = Vec::with_capacity(4096);
        self.deflate.compress_vec(&plain, &mut block, FlushCompress::Sync).expect("compression");
        let mut frame = BytesMut::new();
        frame.put_u32(0x8003_0001);
        frame.put_u32(block.len() as u32 + 10);
        frame.put_u32(id);
        frame.put_slice(&[0; 6]);
        frame.put_slice(&block);
        frame.freeze()
    }

    fn data(id: u32, fin: bool, data: &[u8]) -> Bytes {
        let mut frame = BytesMut::new();
        frame.put_u32(id);
        frame.put_u32(u32::from(fin) << 24 | data.len() as u32);
        frame.put_slice(data);
        frame.freeze()
    }

    /// Data by stream in what was received, and the streams that ended.
    fn parse(mut wire: &[u8]) -> (std::collections::BTreeMap<u32, Vec<u8>>, Vec<u32>) {
        let mut data: std::collections::BTreeMap<u32, Vec<u8>> = Default::default();
        let mut ended = Vec::new();
        while wire.len() >= 8 {
            let id = (&wire[..4]).get_u32();
            let flags = wire[4];
            let length = ((&wire[4..8]).get_u32() & 0xff_ffff) as usize;
            if wire.len() < 8 + length {
                break;
            }
            if id & 0x8000_0000 == 0 {
                data.entry(id).or_default().extend_from_slice(&wire[8..8 + length]);
                if flags & 1 != 0 {
                    ended.push(id);
                }
            }
            wire = &wire[8 + length..];
        }
        (data, ended)
    }
}

/// The dictionary, as an independent implementation writes it down.
fn dictionary() -> Vec<u8> {
    let words = "options head post put delete trace accept accept-charset accept-encoding accept-language \
        accept-ranges age allow authorization cache-control connection content-base content-encoding \
        content-language content-length content-location content-md5 content-range content-type date etag expect \
        expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified \
        location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te \
        trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200~OK \
        version HTTP/1.1 url public set-cookie keep-alive origin";
    let mut bytes = Vec::new();
    for word in words.split_whitespace() {
        bytes.put_u32(word.len() as u32);
        bytes.put_slice(word.replace('~', " ").as_bytes());
    }
    bytes.put_slice(
        b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 \
Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct \
Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
charset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
    );
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_over_a_tunnel() {
    let bench = Arc::new(running().await);
    let mut socket = websocket(&bench, "/portForward/ns/p", "SPDY/3.1+portforward.k8s.io").await;
    let mut spdy = Spdy::new();
    let mut frames = Vec::new();
    // Two connections at once: one that gives back what it gets, and one that is refused.
    for (id, kind, port, request) in
        [(1, "error", "80", "0"), (3, "data", "80", "0"), (5, "error", "1", "1"), (7, "data", "1", "1")]
    {
        frames.push(spdy.open(id, &[("streamtype", kind), ("port", port), ("requestid", request)]));
    }
    frames.push(Spdy::data(1, true, b""));
    frames.push(Spdy::data(5, true, b""));
    frames.push(Spdy::data(3, false, b"over the tunnel"));
    frames.push(Spdy::data(3, true, b""));
    for frame in frames {
        socket.send(Message::Binary(frame)).await.expect("send");
    }
    let mut wire = Vec::new();
    let read = async {
        loop {
            let (data, ended) = Spdy::parse(&wire);
            if [1, 3, 5, 7].iter().all(|id| ended.contains(id)) {
                return data;
            }
            let message = socket.next().await.expect("more").expect("more");
            wire.extend_from_slice(&message.into_data());
        }
    };
    let data = tokio::time::timeout(Duration::from_secs(60), read).await.expect("both connections end");
    assert_eq!(data[&3], b"over the tunnel");
    let error = String::from_utf8_lossy(&data[&5]);
    assert!(
        error.contains("error forwarding port 1 to pod p_ns") && error.contains("connection refused"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_over_spdy() {
    let bench = running().await;
    let mut connection = connect(&bench, "admin", Some("system:masters")).await;
    let headers =
        "connection: Upgrade\r\nupgrade: SPDY/3.1\r\nx-stream-protocol-version: v4.channel.k8s.io\r\n";
    let path = "/exec/ns/p/web?command=3&input=1&output=1";
    let head = request(&mut connection, path, headers).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let mut spdy = Spdy::new();
    let mut wire = BytesMut::new();
    for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
        wire.put(spdy.open(id, &[("streamtype", kind)]));
    }
    wire.put(Spdy::data(3, false, b"typed"));
    wire.put(Spdy::data(3, true, b""));
    connection.write_all(&wire).await.expect("write");
    let mut received = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        loop {
            let (data, ended) = Spdy::parse(&received);
            if [1, 5].iter().all(|id| ended.contains(id)) {
                return data;
            }
            let count = connection.read(&mut buffer).await.expect("more");
            assert!(count > 0, "it ended early");
            received.extend_from_slice(&buffer[..count]);
        }
    };
    let data = tokio::time::timeout(Duration::from_secs(60), read).await.expect("it ends");
    assert_eq!(data[&5], b"3\ntyped");
    let status: Value = serde_json::from_slice(&data[&1]).expect("a Status");
    assert_eq!(status["details"]["causes"][0]["message"], "3");
}
