//! Clients that are slow, silent, greedy or hostile. Each is cut off or refused, and others are served meanwhile.

use http::StatusCode;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client::TlsStream as ClientStream;
use tower::ServiceExt;

use super::tests::{Pki, Running, body, get, start_within, tls, tls_over};
use super::*;
use crate::flow::tests::config;

/// Something that has to happen has happened by then.
const DEADLINE: Duration = Duration::from_secs(60);

/// Limits that need no long waiting for, and that a client on a busy machine still keeps.
const SHORT: Duration = Duration::from_secs(2);

fn hasty() -> Patience {
    Patience { header: SHORT, idle: SHORT, ..patient() }
}

/// Patience with everything but clients that do not read.
fn writing_hastily() -> Patience {
    Patience { write: Duration::from_millis(400), ..patient() }
}

/// Limits that nobody runs into here.
fn patient() -> Patience {
    let long = Duration::from_secs(600);
    Patience { handshake: long, header: long, idle: long, write: long, ..Patience::default() }
}

fn admin(pki: &Pki) -> Option<(String, String)> {
    Some(pki.sign("admin", &["system:masters"]))
}

/// What the server says until it closes the connection.
async fn until_closed(stream: &mut ClientStream<TcpStream>) -> Vec<u8> {
    let mut seen = Vec::new();
    // However it ends: politely or not.
    let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut seen)).await;
    assert!(ended.is_ok(), "the connection is still open after {} bytes", seen.len());
    seen
}

async fn is_served(running: &Running, pki: &Pki) {
    let stream = tls(running.address, pki.client_tls(admin(pki), "http/1.1")).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(connection);
    let answer = tokio::time::timeout(DEADLINE, sender.send_request(get("/api/v1/namespaces"))).await;
    assert_eq!(answer.expect("in time").unwrap().status(), StatusCode::OK);
}

/// Creates or replaces a ConfigMap with so many bytes, without the network.
async fn put(running: &Running, name: &str, bytes: usize) {
    // Each time another one: what does not change is no event.
    let text = format!("{}{}", rand::random::<u32>(), "x".repeat(bytes));
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": text}});
    for (method, path) in [("PUT", format!("/{name}")), ("POST", String::new())] {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/namespaces/default/configmaps{path}"))
            .header("content-type", "application/json")
            .body(crate::http::full(object.to_string()))
            .unwrap();
        let user = auth::UserInfo::new("root", &[auth::MASTERS_GROUP]);
        request.extensions_mut().insert(Authenticated(user.into()));
        let answer = running.server.service().oneshot(request).await.unwrap();
        if answer.status().is_success() {
            return;
        }
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
}

/// Says the words, then drips on, until the server has had enough.
async fn is_cut_off(running: &Running, pki: &Pki, alpn: &str, words: &str, drip: &str) {
    let mut stream = tls(running.address, pki.client_tls(None, alpn)).await;
    let closed = async {
        let mut sent = stream.write_all(words.as_bytes()).await;
        while sent.is_ok() && !drip.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            sent = stream.write_all(drip.as_bytes()).await;
        }
        until_closed(&mut stream).await
    };
    let said = tokio::time::timeout(DEADLINE, closed).await;
    assert!(said.is_ok(), "{alpn} {words:?}");
}

#[tokio::test]
async fn the_silent_and_the_slow_are_cut_off() {
    let pki = Pki::new();
    let running = start_within(&pki, config(), hasty()).await;
    // Nothing, half a preface, and half a head that never ends.
    let cases = [
        ("http/1.1", "", ""),
        ("h2", "", ""),
        ("h2", "PRI * HTTP/2.0\r\n", ""),
        ("h2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", ""),
        ("http/1.1", "GET /version HTTP/1.1\r\nhost: x\r\n", "x"),
    ];
    futures::future::join_all(cases.map(|(alpn, words, drip)| is_cut_off(&running, &pki, alpn, words, drip)))
        .await;
    is_served(&running, &pki).await;
}

#[tokio::test]
async fn slow_bodies_run_out_of_time() {
    let pki = Pki::new();
    let running = start_within(&pki, config(), patient()).await;
    let mut stream = tls(running.address, pki.client_tls(admin(&pki), "http/1.1")).await;
    let head = "POST /api/v1/namespaces?timeout=300ms HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = String::from_utf8(until_closed(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("Timeout: request did not complete within the allotted timeout"), "{answer}");
}

#[tokio::test]
async fn bodies_are_refused_when_they_are_too_large() {
    let pki = Pki::new();
    let running = start_within(&pki, config(), patient()).await;
    let limit = crate::http::BODY_BYTES_MAX;
    // Announced, and found out.
    for length in [format!("content-length: {}", limit + 1), "transfer-encoding: chunked".to_owned()] {
        let stream = tls(running.address, pki.client_tls(admin(&pki), "http/1.1")).await;
        let (mut read, mut write) = tokio::io::split(stream);
        let head = format!(
            "POST /api/v1/namespaces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
        );
        let sending = async {
            write.write_all(head.as_bytes()).await?;
            let piece = [b' '; 0x1_0000];
            for _ in 0..=(limit / piece.len()) {
                write.write_all(b"10000\r\n").await?;
                write.write_all(&piece).await?;
                write.write_all(b"\r\n").await?;
            }
            Ok::<_, io::Error>(())
        };
        let reading = async {
            let mut seen = Vec::new();
            while !String::from_utf8_lossy(&seen).contains("3145728") {
                let mut buffer = [0; 4096];
                match read.read(&mut buffer).await {
                    Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                    end => panic!("{end:?} after {}", String::from_utf8_lossy(&seen)),
                }
            }
            String::from_utf8_lossy(&seen).into_owned()
        };
        // The server need not take what it has refused.
        let (_, answer) = tokio::join!(sending, tokio::time::timeout(DEADLINE, reading));
        let answer = answer.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains("Request entity too large: limit is 3145728"), "{answer}");
    }
}

#[tokio::test]
async fn heads_are_limited() {
    let pki = Pki::new();
    let running = start_within(&pki, config(), patient()).await;
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    for (name, head, want) in [
        ("a path", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000)), "HTTP/1.1 414"),
        ("a query", format!("GET /api?{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000)), "HTTP/1.1 414"),
        (
            "a line",
            format!("GET / HTTP/1.1\r\nhost: x\r\nx-y: {}\r\n\r\n", "a".repeat(400_000)),
            "HTTP/1.1 431",
        ),
        ("lines", format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n"), "HTTP/1.1 431"),
        ("a zero", "GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("a zero", "GET / HTTP/1.1\r\nhost: \0\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("no method", "\u{7f}\u{3} / HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("a version", "GET / HTTP/9.9\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n".to_owned(),
            "HTTP/1.1 400",
        ),
    ] {
        let mut stream = tls(running.address, pki.client_tls(None, "http/1.1")).await;
        // It may be refused before it is sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = until_closed(&mut stream).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with(want), "{name}: {text}");
    }
    is_served(&running, &pki).await;
}

/// Waits until the server counts no open watch of ConfigMaps.
async fn until_nobody_watches(running: &Running) {
    let open = async || {
        let mut request = Request::get("/metrics").body(crate::http::empty()).unwrap();
        let user = auth::UserInfo::new("root", &[auth::MASTERS_GROUP]);
        request.extensions_mut().insert(Authenticated(user.into()));
        let answer = running.server.service().oneshot(request).await.unwrap();
        let page = answer.into_body().collect().await.unwrap().to_bytes();
        let page = String::from_utf8(page.to_vec()).unwrap();
        let mut watches = page.lines().filter(|line| {
            line.starts_with("apiserver_longrunning_requests{") && line.contains(r#"resource="configmaps""#)
        });
        watches.any(|line| !line.ends_with(" 0"))
    };
    let ended = async {
        while open().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, ended).await.is_ok(), "the watch is still open");
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_off() {
    let pki = Pki::new();
    let running = start_within(&pki, config(), writing_hastily()).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // The system of the client holds little back.
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = socket.connect(running.address).await.unwrap();
    let mut stream = tls_over(stream, pki.client_tls(admin(&pki), "http/1.1")).await;
    let head = "GET /api/v1/configmaps?watch=1 HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 16];
    stream.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200"));
    // More than the systems hold on the way: what is left is dropped with the connection.
    const EVENTS: usize = 8;
    for _ in 0..EVENTS {
        put(&running, "large", 900_000).await;
    }
    until_nobody_watches(&running).await;
    let seen = until_closed(&mut stream).await;
    assert!(seen.len() < EVENTS * 900_000, "{} bytes came", seen.len());
    is_served(&running, &pki).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_ends_its_connection() {
    let pki = Pki::new();
    let running = start_within(&pki, config(), writing_hastily()).await;
    put(&running, "large", 500_000).await;
    // A watch, and a list whose answer is there at once.
    for target in ["configmaps?watch=1", "configmaps"] {
        let stream = tls(running.address, pki.client_tls(admin(&pki), "h2")).await;
        let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        client.initial_stream_window_size(65_535);
        let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.unwrap();
        let connection = TaskTracker::new().spawn(connection);
        let uri = format!("https://127.0.0.1/api/v1/{target}");
        let answer =
            sender.send_request(Request::get(uri).body(crate::http::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        // The connection is read all the time, the stream is not.
        for _ in 0..4 {
            put(&running, "large", 500_000).await;
        }
        let ended = tokio::time::timeout(DEADLINE, connection).await;
        assert!(ended.is_ok(), "{target}: the connection is still open");
        drop(answer);
    }
    is_served(&running, &pki).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_keep_others_out() {
    const CONNECTIONS: usize = 2_000;
    let pki = Pki::new();
    let running = start_within(&pki, config(), patient()).await;
    let client = pki.client_tls(None, "http/1.1");
    let before = resident_bytes();
    let mut idle = Vec::with_capacity(CONNECTIONS);
    while idle.len() < CONNECTIONS {
        let batch = (0..100).map(|_| tls(running.address, client.clone()));
        idle.extend(futures::future::join_all(batch).await);
    }
    is_served(&running, &pki).await;
    let each = (resident_bytes() - before) / CONNECTIONS as f64;
    // Both ends are in this process.
    assert!(each < 200.0 * 1024.0, "{each} bytes for each connection");
    assert_eq!(idle.len(), CONNECTIONS);
}

/// Memory that this process has.
fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// GET https://127.0.0.1/
const REQUEST: &[u8] = b"\x82\x87\x84\x41\x09127.0.0.1";

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let pki = Pki::new();
    let running = start_within(&pki, config(), patient()).await;
    let stream = tls(running.address, pki.client_tls(None, "h2")).await;
    let (mut read, mut write) = tokio::io::split(stream);
    let abuse = async {
        write.write_all(PREFACE).await?;
        for number in 0..20_000_u32 {
            let stream = 2 * number + 1;
            let mut both = frame(1, 0x5, stream, REQUEST);
            both.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
            write.write_all(&both).await?;
        }
        Ok::<_, io::Error>(())
    };
    let answers = async {
        let mut seen = Vec::new();
        drop(read.read_to_end(&mut seen).await);
        seen
    };
    let both = async { tokio::join!(abuse, answers) };
    let (_, seen) = tokio::time::timeout(DEADLINE, both).await.expect("the connection ends");
    // GOAWAY: enhance your calm.
    assert!(seen.windows(4).any(|bytes| bytes == 11_u32.to_be_bytes()), "{} bytes", seen.len());
    is_served(&running, &pki).await;
}

#[tokio::test]
async fn limits_of_streams_are_announced_and_kept() {
    let pki = Pki::new();
    let running = start_within(&pki, config(), Patience { idle: Duration::from_secs(2), ..patient() }).await;
    let mut stream = tls(running.address, pki.client_tls(None, "h2")).await;
    stream.write_all(PREFACE).await.unwrap();
    // A head that goes on and on is refused long before it is whole.
    stream.write_all(&frame(1, 0, 1, REQUEST)).await.unwrap();
    let more = frame(9, 0, 1, &[b"\x40\x01a\x7f\x81\x7f".as_slice(), &[b'a'; 256]].concat());
    for _ in 0..4_000 {
        if stream.write_all(&more).await.is_err() {
            break;
        }
    }
    let seen = until_closed(&mut stream).await;
    let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    for wanted in [setting(3, STREAMS_MAX), setting(6, HEADER_BYTES_MAX)] {
        assert!(seen.windows(6).any(|bytes| bytes == wanted), "{wanted:?}");
    }
    is_served(&running, &pki).await;
}

#[tokio::test]
async fn what_has_begun_is_finished_at_the_end() {
    let pki = Pki::new();
    let running = start_within(&pki, config(), Patience::default()).await;
    let tasks = TaskTracker::new();
    // On HTTP/2: a watch, and a request whose body is still coming.
    let stream = tls(running.address, pki.client_tls(admin(&pki), "h2")).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tasks.spawn(connection);
    let uri = "https://127.0.0.1/api/v1/namespaces";
    let watch = Request::get(format!("{uri}?watch=1")).body(crate::http::empty()).unwrap();
    let watch = sender.send_request(watch).await.unwrap();
    type Piece = Result<http_body::Frame<bytes::Bytes>, crate::BoxError>;
    let (pieces, coming) = tokio::sync::mpsc::channel::<Piece>(1);
    let coming = tokio_stream::wrappers::ReceiverStream::new(coming);
    let late = http_body_util::StreamBody::new(coming).boxed_unsync();
    let post = Request::post(uri).header("content-type", "application/json").body(late).unwrap();
    let post = tasks.spawn(sender.send_request(post));
    pieces.send(Ok(http_body::Frame::data("{\"metadata\":".into()))).await.unwrap();
    // On HTTP/1.1: an idle connection.
    let mut idle = tls(running.address, pki.client_tls(admin(&pki), "http/1.1")).await;
    idle.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    // The server has the body's beginning when it answers what came after it.
    let ping = Request::get("https://127.0.0.1/version").body(crate::http::empty()).unwrap();
    assert_eq!(sender.send_request(ping).await.unwrap().status(), StatusCode::OK);

    running.token.cancel();
    until_closed(&mut idle).await;
    assert!(watch.into_body().collect().await.is_ok(), "the watch ends, it does not break");
    // New requests are not taken any more, on this connection or another.
    let refused = async {
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.expect("nobody listens any more");
    pieces.send(Ok(http_body::Frame::data("{\"name\":\"late\"}}".into()))).await.unwrap();
    drop(pieces);
    let created = post.await.unwrap().expect("an answer");
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(body(created).await["metadata"]["name"], "late");
    let ended = tokio::time::timeout(DEADLINE, running.task).await;
    assert!(ended.expect("in time").unwrap().is_ok());
    assert!(
        tokio::time::timeout(DEADLINE, connection).await.expect("closed").unwrap().is_ok(),
        "closed politely"
    );
}
