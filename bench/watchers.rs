//! Many watchers of one namespace: how many events a second reach them, and how old those are on arrival.
//!
//! usage: `watchers URL CA-FILE TOKEN NAMESPACE [WATCHERS [UPDATES-PER-SECOND [SECONDS]]]`
//!
//! Each watcher has a connection of its own. Five more replace ten ConfigMaps of 1.4 KB in turn; each carries the time at which
//! its request was sent, so that an event's age is that of the whole way: request, store, watch.
#![allow(clippy::print_stdout, reason = "a program that prints figures")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

type Failure = Box<dyn Error + Send + Sync>;

/// ConfigMaps that are replaced in turn, and who replaces them.
const OBJECTS: u64 = 10;
const WRITERS: u64 = 5;
/// What stands before the time in an event, and how many digits follow.
const MARK: &[u8] = b"\"sent\":\"";
const DIGITS: usize = 20;
/// Ages are counted in milliseconds; the last counter has all that are older.
const AGES: usize = 10_000;
/// What has been sent has arrived by then.
const SETTLE: Duration = Duration::from_secs(1);

struct Target {
    host: String,
    token: String,
    namespace: String,
    tls: TlsConnector,
    began: Instant,
}

struct Counts {
    /// Watchers that have begun.
    ready: AtomicU64,
    events: AtomicU64,
    ages: Vec<AtomicU64>,
}

impl Counts {
    fn new() -> Counts {
        let ages = (0..=AGES).map(|_| AtomicU64::new(0)).collect();
        Counts { ready: AtomicU64::new(0), events: AtomicU64::new(0), ages }
    }

    fn clear(&self) {
        self.events.store(0, Relaxed);
        self.ages.iter().for_each(|count| count.store(0, Relaxed));
    }

    fn add(&self, age: Duration) {
        self.events.fetch_add(1, Relaxed);
        let age = usize::try_from(age.as_millis()).unwrap_or(AGES).min(AGES);
        self.ages[age].fetch_add(1, Relaxed);
    }

    /// The age in milliseconds that such a part of all events did not exceed.
    fn age(&self, part: f64) -> usize {
        let wanted = (self.events.load(Relaxed) as f64 * part) as u64;
        let mut seen = 0;
        let reached = |count: &AtomicU64| {
            seen += count.load(Relaxed);
            seen >= wanted
        };
        self.ages.iter().position(reached).unwrap_or(AGES)
    }
}

impl Target {
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = TcpStream::connect(&self.host).await?;
        stream.set_nodelay(true)?;
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        let stream = self.tls.connect(ServerName::try_from(name.to_owned())?, stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, method: Method, path: &str, body: String) -> Result<Request<Full<Bytes>>, http::Error> {
        Request::builder()
            .method(method)
            .uri(format!("/api/v1/namespaces/{}/configmaps{path}", self.namespace))
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::new(body.into()))
    }

    async fn replace(&self, sender: &mut SendRequest<Full<Bytes>>, number: u64) -> Result<(), Failure> {
        let name = format!("watched-{}", number % OBJECTS);
        let sent = self.began.elapsed().as_nanos();
        let filling = "x".repeat(970);
        let body =
            format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"sent":"{sent:020}","a":"{filling}"}}}}"#);
        sender.ready().await?;
        let created = number < OBJECTS;
        let (method, path) =
            if created { (Method::POST, String::new()) } else { (Method::PUT, format!("/{name}")) };
        let answer = sender.send_request(self.request(method, &path, body)?).await?;
        let code = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        if code.is_success() { Ok(()) } else { Err(String::from_utf8_lossy(&text).into()) }
    }

    /// One writer's part of the updates, each at its time.
    async fn replace_all(
        self: Arc<Self>,
        begun: Instant,
        rate: u64,
        numbers: impl Iterator<Item = u64>,
    ) -> Result<(), Failure> {
        let mut sender = self.connect().await?;
        for number in numbers {
            tokio::time::sleep_until(begun + Duration::from_micros(number * 1_000_000 / rate)).await;
            self.replace(&mut sender, OBJECTS + number).await?;
        }
        Ok(())
    }

    /// Counts the events of one watch until the end is announced.
    async fn watch(
        self: Arc<Self>,
        counts: Arc<Counts>,
        mut end: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let mut sender = self.connect().await?;
        let request = self.request(Method::GET, "?watch=1&resourceVersion=0", String::new())?;
        let mut body: Incoming = sender.send_request(request).await?.into_body();
        counts.ready.fetch_add(1, Relaxed);
        let mut rest: Vec<u8> = Vec::new();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame.ok_or("a watch was ended by the server")??,
                _ = end.changed() => return Ok(()),
            };
            if let Ok(data) = frame.into_data() {
                self.count(&mut rest, &data, &counts);
            }
        }
    }

    /// Counts the marks in a piece. `rest` is the end of the pieces before, as long as a mark with its time may be.
    fn count(&self, rest: &mut Vec<u8>, data: &[u8], counts: &Counts) {
        let now = self.began.elapsed();
        let span = MARK.len() + DIGITS;
        // A mark that lies across both pieces is found here, all others are whole in one of them.
        rest.extend_from_slice(&data[..data.len().min(span - 1)]);
        count_marks(rest, now, counts);
        if data.len() >= span {
            count_marks(data, now, counts);
            rest.extend_from_slice(&data[data.len() - (span - 1)..]);
        }
        let passed = rest.len().saturating_sub(span - 1);
        rest.drain(..passed);
    }
}

/// Counts the marks that are whole.
fn count_marks(bytes: &[u8], now: Duration, counts: &Counts) {
    for mark in memchr::memmem::find_iter(bytes, MARK) {
        let digits = bytes.get(mark + MARK.len()..mark + MARK.len() + DIGITS);
        let sent = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        if let Some(sent) = sent {
            counts.add(now.saturating_sub(Duration::from_nanos(sent)));
        }
    }
}

fn tls(ca_file: &str) -> Result<TlsConnector, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, ca_file, token, namespace, numbers @ ..] = arguments.as_slice() else {
        return Err(
            "usage: watchers URL CA-FILE TOKEN NAMESPACE [WATCHERS [UPDATES-PER-SECOND [SECONDS]]]".into()
        );
    };
    let number = |at: usize, default: u64| numbers.get(at).map_or(Ok(default), |text| text.parse::<u64>());
    let (watchers, rate, seconds) = (number(0, 1_000)?, number(1, 500)?, number(2, 10)?);
    let host = url.trim_start_matches("https://").to_owned();
    let (token, namespace) = (token.clone(), namespace.clone());
    let target = Arc::new(Target { host, token, namespace, tls: tls(ca_file)?, began: Instant::now() });
    let counts = Arc::new(Counts::new());
    let mut writer = target.connect().await?;
    for number in 0..OBJECTS {
        target.replace(&mut writer, number).await?;
    }
    let (end, ended) = watch::channel(false);
    let mut watches = tokio::task::JoinSet::new();
    for _ in 0..watchers {
        watches.spawn(Arc::clone(&target).watch(Arc::clone(&counts), ended.clone()));
    }
    while counts.ready.load(Relaxed) < watchers {
        tokio::time::sleep(SETTLE).await;
    }
    tokio::time::sleep(SETTLE).await;
    counts.clear();
    let begun = Instant::now();
    let updates = rate * seconds;
    let mut writers = tokio::task::JoinSet::new();
    for first in 0..WRITERS {
        let numbers = (first..updates).step_by(WRITERS as usize);
        writers.spawn(Arc::clone(&target).replace_all(begun, rate, numbers));
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    let took = begun.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    end.send(true)?;
    while let Some(ended) = watches.join_next().await {
        ended??;
    }
    let (events, wanted) = (counts.events.load(Relaxed), watchers * updates);
    println!("{events} of {wanted} events, {:.0} updates/s", updates as f64 / took);
    println!("age on arrival: p50 {} ms, p99 {} ms", counts.age(0.5), counts.age(0.99));
    Ok(())
}
