//! The TLS listener: HTTP/1.1 with upgrades, and HTTP/2.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Authenticated;
use crate::flow::Chain;

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// A TLS handshake must be done by then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's head must have come by then; upstream's `ReadHeaderTimeout`.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// Requests at once on an HTTP/2 connection, as Go's default has it.
const STREAMS_MAX: u32 = 250;
/// Total size of a request's header lines, bytes, as Go's default has it.
const HEADER_BYTES_MAX: u32 = 1 << 20;
/// An idle HTTP/2 connection is probed that often, so that dead clients do not hold watches.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Connections are closed this long after the end of the server was announced.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
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
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        // The place is taken before accepting: what cannot be served yet is left to the kernel.
        let accepted = tokio::select! {
            () = token.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = connection(chain.clone(), acceptor.clone(), stream, token.clone());
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
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        tracing::info!(connections = connections.len(), "connections were still open at the end");
    }
    Ok(())
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

async fn connection(chain: Arc<Chain>, acceptor: TlsAcceptor, stream: TcpStream, token: CancellationToken) {
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let user = client_user(&stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let (chain, user) = (chain.clone(), user.clone());
        async move {
            let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            if let Some(user) = user {
                request.extensions_mut().insert(user);
            }
            Ok::<_, Infallible>(chain.answer(request).await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL);
    let mut served = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut drained = false;
    loop {
        tokio::select! {
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = token.cancelled(), if !drained => {
                drained = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The user that the verified client certificate names; `None` without one.
fn client_user(stream: &tokio_rustls::server::TlsStream<TcpStream>) -> Option<Authenticated> {
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
mod tests;
