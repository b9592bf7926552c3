//! The node's own HTTP API: logs, exec, attach, port-forward, pods and numbers, for the API server and its like.

mod auth;
mod exec;
mod logs;
mod port_forward;
mod stats;
mod streams;
mod upgrade;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Rest, Tasks};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::kubelet::Manager;
use auth::{Authorizer, Identity};

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 512;
/// A TLS handshake must be done by then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that could not be accepted is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// An answer.
pub(crate) type Answer = Response<Body>;

/// What requests are answered from.
pub(crate) struct Server {
    pub manager: Arc<Manager>,
    pub token: CancellationToken,
    /// Tasks of upgraded connections.
    pub sessions: TaskTracker,
    authorizer: Authorizer,
}

/// Serves `listener` until the tasks' token is cancelled.
pub(crate) fn start(manager: Arc<Manager>, rest: Rest, listener: TcpListener, tasks: &Tasks) {
    let tls = TlsAcceptor::from(manager.shared.config.server_tls.clone());
    let server = Arc::new(Server {
        authorizer: Authorizer::new(rest, manager.shared.config.node_name.clone()),
        manager,
        token: tasks.token().clone(),
        sessions: TaskTracker::new(),
    });
    let listener = Arc::new(listener);
    tasks.spawn("kubelet API", move || {
        let (server, listener, tls) = (server.clone(), listener.clone(), tls.clone());
        Box::pin(async move { serve(server, listener, tls).await })
    });
}

async fn serve(server: Arc<Server>, listener: Arc<TcpListener>, tls: TlsAcceptor) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Taken before a connection is accepted: what is too much waits in the kernel's queue.
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = server.token.run_until_cancelled(listener.accept()).await;
        match accepted {
            None => break,
            Some(Ok((stream, _))) => {
                let (server, tls) = (server.clone(), tls.clone());
                let tracker = server.sessions.clone();
                tracker.spawn(async move {
                    connection(server, stream, tls).await;
                    drop(permit);
                });
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    server.sessions.close();
    server.sessions.wait().await;
}

async fn connection(server: Arc<Server>, stream: TcpStream, tls: TlsAcceptor) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let identity = Arc::new(Identity::of(stream.get_ref().1.peer_certificates()));
    let token = server.token.clone();
    let service = hyper::service::service_fn(move |request| {
        let (server, identity) = (server.clone(), identity.clone());
        async move { Ok::<_, Infallible>(answer(server, identity, request).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Some(Err(error)) = token.run_until_cancelled(serving).await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn answer(server: Arc<Server>, identity: Arc<Identity>, request: Request<Incoming>) -> Answer {
    if let Err(refusal) = server.authorizer.check(&identity, &request).await {
        return text(refusal.status, refusal.message);
    }
    let path = request.uri().path().to_owned();
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let get = request.method() == Method::GET;
    match parts.as_slice() {
        ["healthz"] | ["healthz", "ping" | "syncloop"] if get => text(StatusCode::OK, "ok"),
        ["pods" | "runningpods"] if get => json(&server.manager.pod_list()),
        ["containerLogs", namespace, pod, container] if get => {
            logs::answer(&server, namespace, pod, container, request.uri().query().unwrap_or_default()).await
        }
        ["stats", "summary"] if get => stats::summary(&server).await,
        ["metrics", "resource"] if get => stats::resource_metrics(&server).await,
        ["metrics"] if get => stats::metrics(&server),
        ["exec" | "attach", ..] | ["portForward", ..] => session(server, &parts, request).await,
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// `/exec/<namespace>/<pod>[/<uid>]/<container>`, the same for attach, and `/portForward/<namespace>/<pod>[/<uid>]`.
async fn session(server: Arc<Server>, parts: &[&str], request: Request<Incoming>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    }
    match parts {
        ["exec", namespace, pod, container] => exec::exec(server, namespace, pod, None, container, request),
        ["exec", namespace, pod, uid, container] => {
            exec::exec(server, namespace, pod, Some(uid), container, request)
        }
        ["attach", namespace, pod, container] => {
            exec::attach(server, namespace, pod, None, container, request)
        }
        ["attach", namespace, pod, uid, container] => {
            exec::attach(server, namespace, pod, Some(uid), container, request)
        }
        ["portForward", namespace, pod] => port_forward::answer(server, namespace, pod, None, request),
        ["portForward", namespace, pod, uid] => {
            port_forward::answer(server, namespace, pod, Some(uid), request)
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// A plain text answer.
pub(crate) fn text(status: StatusCode, message: impl Into<String>) -> Answer {
    let body = Full::new(Bytes::from(message.into())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// An answer whose body is empty.
pub(crate) fn empty<B>(response: Response<B>) -> Answer {
    response.map(|_| Full::default().map_err(|never: Infallible| match never {}).boxed_unsync())
}

/// A JSON answer.
pub(crate) fn json(value: &serde_json::Value) -> Answer {
    let mut response = text(StatusCode::OK, value.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// Parameters of a query, decoded, in order.
pub(crate) fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect()
}

/// Resolves `%XX`; what is not valid stays as it is.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let got = query("command=sh&command=-c&command=echo+%22a%26b%22&stdin=&x");
        let want =
            [("command", "sh"), ("command", "-c"), ("command", "echo \"a&b\""), ("stdin", ""), ("x", "")];
        assert_eq!(got, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(decode("%zz%4"), "%zz%4");
    }
}
