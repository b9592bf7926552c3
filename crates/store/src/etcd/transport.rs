//! Connections to the members of an etcd cluster: TCP, TLS, HTTP/2. The member that answered last is asked first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch as latest;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::options::{Endpoint, EtcdOptions, EtcdOptionsError};

/// For TCP and TLS to one member.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// A member that answers no ping is gone. Not oftener than its `--grpc-keepalive-min-time`, 5 seconds by default.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(10);
/// Lists and watches come in megabytes; HTTP/2's default of 64 KiB would cost a round trip for each.
const WINDOW_BYTES: u32 = 4 << 20;

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Ended = latest::Receiver<Option<String>>;

/// One HTTP/2 connection. It closes when its last owner is gone.
#[derive(Clone)]
pub(super) struct Connection {
    pub sender: SendRequest<Body>,
    /// Scheme and authority of request URIs.
    pub base: Arc<str>,
    /// Which member.
    pub member: usize,
    ended: Ended,
}

impl Connection {
    /// Why the connection ended, if it did just now. A request only learns that it did: that TLS was refused, say, is told
    /// to the connection.
    pub async fn ended(&self) -> Option<String> {
        const SOON: Duration = Duration::from_millis(100);
        let mut ended = self.ended.clone();
        let told = tokio::time::timeout(SOON, ended.wait_for(Option::is_some)).await;
        told.ok()?.ok()?.clone()
    }
}

/// Makes connections.
pub(super) struct Transport {
    endpoints: Vec<Endpoint>,
    tls: Option<TlsConnector>,
    /// The member to try first.
    first: AtomicUsize,
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Transport {
    /// Connections end with `token`.
    pub fn new(options: &EtcdOptions, token: CancellationToken) -> Result<Transport, EtcdOptionsError> {
        let tls = options.tls.as_ref().map(|tls| tls.client_config()).transpose()?;
        Ok(Transport {
            endpoints: options.endpoints.clone(),
            tls: tls.map(TlsConnector::from),
            first: AtomicUsize::new(0),
            tracker: TaskTracker::new(),
            token,
        })
    }

    /// A new connection to the first member that takes it; the error names them all.
    pub async fn connect(&self) -> Result<Connection, String> {
        let first = self.first.load(Ordering::Relaxed);
        let mut errors = Vec::new();
        for at in (first..first + self.endpoints.len()).map(|at| at % self.endpoints.len()) {
            let endpoint = &self.endpoints[at];
            let connected = tokio::time::timeout(CONNECT_LIMIT, self.dial(endpoint)).await;
            match connected.unwrap_or_else(|_| Err(format!("no connection within {CONNECT_LIMIT:?}"))) {
                Ok((sender, ended)) => {
                    self.first.store(at, Ordering::Relaxed);
                    let scheme = if self.tls.is_some() { "https" } else { "http" };
                    let base = format!("{scheme}://{endpoint}").into();
                    return Ok(Connection { sender, base, member: at, ended });
                }
                Err(error) => errors.push(format!("{endpoint}: {error}")),
            }
        }
        Err(errors.join("; "))
    }

    /// The next connection should be to another member than this one.
    pub fn avoid(&self, member: usize) {
        let next = (member + 1) % self.endpoints.len();
        // Only once, however many requests have found out.
        let _ = self.first.compare_exchange(member, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn dial(&self, endpoint: &Endpoint) -> Result<(SendRequest<Body>, Ended), String> {
        let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
        let tcp =
            tcp.and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp)).map_err(|error| error.to_string())?;
        let io: Box<dyn Io> = match &self.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| error.to_string())?;
                Box::new(tls.connect(name, tcp).await.map_err(|error| format!("TLS: {error}"))?)
            }
        };
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_LIMIT)
            .handshake(TokioIo::new(io));
        let (sender, connection) = handshake.await.map_err(|error| chain(&error))?;
        let (tell, ended) = latest::channel(None);
        let closed = self.token.clone().cancelled_owned();
        self.tracker.spawn(async move {
            tokio::select! {
                () = closed => {}
                Err(error) = connection => {
                    let error = chain(&error);
                    tracing::debug!(error, "a connection to etcd ended");
                    tell.send_replace(Some(error));
                }
                else => {}
            }
        });
        Ok((sender, ended))
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
