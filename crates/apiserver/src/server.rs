//! The TLS listener: HTTP/1.1 with upgrades, and HTTP/2.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Authenticated;
use crate::flow::{Chain, OwnPace};

mod gather;
mod pace;
mod prompt;

use gather::Gather;
pub(crate) use pace::Patience;
use pace::{Impatient, Traffic, Trouble};
use prompt::Prompt;

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 30_000;
/// A connection that was asked to end, because nothing is asked on it, has this long to do so.
const LAST_CALL: Duration = Duration::from_secs(5);
/// A stream that is not HTTP may be half read: bytes of a request's head that are kept at most.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Requests at once on an HTTP/2 connection, as Go's default has it.
const STREAMS_MAX: u32 = 250;
/// Total size of the header lines of a request on HTTP/2, bytes.
const HEADER_BYTES_MAX: u32 = 256 * 1024;
/// An idle HTTP/2 connection is probed that often, so that dead clients do not hold watches.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Pause after a failed accept, which is nearly always "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key is no PEM.
    #[error("failed to read {what}: {source}")]
    Pem {
        /// Which one.
        what: &'static str,
        /// The reason.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not go together, or are of an unknown kind.
    #[error("failed to use the serving certificate: {0}")]
    Certificate(#[from] rustls::Error),
    /// The CA cannot verify anything.
    #[error("failed to use the client CA: {0}")]
    ClientCa(String),
}

/// A server configuration that asks for a client certificate of `client_ca_pem`, and does without.
///
/// # Errors
/// See [`TlsError`].
pub fn server_tls(
    cert_pem: &str,
    key_pem: &str,
    client_ca_pem: &str,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates("the serving certificate", cert_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|source| TlsError::Pem { what: "the serving key", source })?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the client CA", client_ca_pem)? {
        roots.add(certificate).map_err(|error| TlsError::ClientCa(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::ClientCa(error.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

pub(crate) fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { what, source })
}

/// Accepts connections until `token` is cancelled, then lets those there are finish.
pub(crate) async fn serve(
    chain: Arc<Chain>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    token: CancellationToken,
    patience: Patience,
) -> io::Result<()> {
    raise_open_files();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let end = CancellationToken::new();
    let listening = Listening { chain, acceptor: TlsAcceptor::from(tls), patience, token, end: end.clone() };
    loop {
        // The place is taken before accepting: what cannot be served yet is left to the kernel.
        let accepted = tokio::select! {
            () = listening.token.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = listening.clone().connection(stream);
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(patience.drain, connections.wait()).await.is_err() {
        tracing::info!(connections = connections.len(), "cutting off connections that are still open");
        end.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// Lets this process open as many files as the system permits: each connection is one.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match soft < hard {
        true => setrlimit(Resource::RLIMIT_NOFILE, hard, hard),
        false => Ok(()),
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "failed to raise the limit of open files");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Watch events are small and must not wait for more.
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

/// What every connection needs.
#[derive(Clone)]
struct Listening {
    chain: Arc<Chain>,
    acceptor: TlsAcceptor,
    patience: Patience,
    /// Cancelled when connections are to finish.
    token: CancellationToken,
    /// Cancelled when they are to stop.
    end: CancellationToken,
}

type Stream = TlsStream<Impatient<TcpStream>>;

impl Listening {
    async fn connection(self, stream: TcpStream) {
        let leisure = Arc::new(AtomicBool::new(false));
        let stream = Impatient::new(stream, self.patience.write, leisure.clone());
        let accepted = tokio::time::timeout(self.patience.handshake, self.acceptor.accept(stream));
        let stream = tokio::select! {
            () = self.token.cancelled() => return,
            accepted = accepted => match accepted {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    self.chain.metrics.handshake_failed();
                    return tracing::debug!(%error, "a TLS handshake failed");
                }
                Err(_) => {
                    self.chain.metrics.handshake_failed();
                    return tracing::debug!("a TLS handshake took too long");
                }
            },
        };
        let end = self.end.clone();
        tokio::select! {
            () = self.requests(stream, leisure) => {}
            () = end.cancelled() => {}
        }
    }

    /// Answers the requests of a connection until one side ends it.
    async fn requests(self, stream: Stream, leisure: Arc<AtomicBool>) {
        let traffic = Traffic::new();
        let user = client_user(&stream);
        // On HTTP/2 one stream's pace is no matter of the connection.
        let many = is_http2(&stream);
        let builder = self.protocol(many);
        let service = service_fn(|request: Request<Incoming>| {
            let (chain, user, open) = (self.chain.clone(), user.clone(), traffic.begin());
            let leisure = leisure.clone();
            async move {
                let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
                if let Some(user) = user {
                    request.extensions_mut().insert(user);
                }
                let response = chain.answer(request).await;
                let own_pace = response.extensions().get::<OwnPace>().is_some();
                if own_pace && !many {
                    leisure.store(true, Ordering::Relaxed);
                }
                Ok::<_, Infallible>(response.map(|body| open.answer(body, own_pace)))
            }
        });
        let mut served =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(Gather::new(stream)), service));
        let mut draining = false;
        let mut looks = tokio::time::interval(self.patience.period());
        let mut last_call = None;
        loop {
            tokio::select! {
                result = served.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = self.token.cancelled(), if !draining => {
                    draining = true;
                    served.as_mut().graceful_shutdown();
                }
                _ = looks.tick() => match traffic.trouble(&self.patience) {
                    Some(Trouble::Stalled) => return tracing::debug!("a client does not read what it asked for"),
                    Some(Trouble::Idle) if !draining => {
                        draining = true;
                        last_call = Some(Instant::now() + LAST_CALL.min(self.patience.idle));
                        served.as_mut().graceful_shutdown();
                    }
                    _ if last_call.is_some_and(|call| call <= Instant::now()) => return,
                    _ => {}
                },
            }
        }
    }

    /// The protocol that the handshake has agreed on, within limits.
    fn protocol(&self, http2: bool) -> auto::Builder<Prompt> {
        let mut builder = auto::Builder::new(Prompt);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.header)
            .max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL);
        if http2 { builder.http2_only() } else { builder.http1_only() }
    }
}

/// Whether the handshake has agreed on HTTP/2.
fn is_http2(stream: &Stream) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// The user that the verified client certificate names; `None` without one.
fn client_user<S>(stream: &TlsStream<S>) -> Option<Authenticated> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    match auth::user_from_certificate(certificate) {
        Ok(user) => Some(Authenticated::new(user)),
        Err(error) => {
            tracing::debug!(%error, "a client certificate names no user");
            None
        }
    }
}

#[cfg(test)]
mod abuse_tests;
#[cfg(test)]
mod tests;
