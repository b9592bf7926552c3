//! Port-forward: SPDY streams, directly or through a WebSocket, and the older WebSocket channels.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use container::{Reader, Runtime, Writer};
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::{Answer, Server, query, text, upgrade};
use crate::spdy::{self, Session};
use crate::websocket::{self, Socket};

/// SPDY within a WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Two channels a port, named in the query.
const CHANNELS: &str = "v4.channel.k8s.io";
const TUNNEL_BYTES: usize = 64 * 1024;
const PIECE_BYTES: usize = 32 * 1024;
/// Ports of one channel session; channels are numbered by one byte.
const PORTS_MAX: usize = 100;
/// The second stream of a pair must be there by then.
const PAIR_TIMEOUT: Duration = Duration::from_secs(30);
const QUEUE: usize = 8;

/// The pod's end of the wire.
#[derive(Clone)]
struct Target {
    runtime: Arc<dyn Runtime>,
    sandbox: String,
    /// For messages.
    pod: String,
    uid: String,
}

impl Target {
    async fn connect(&self, port: u16) -> Result<(Reader, Writer), String> {
        self.runtime.port_forward(&self.sandbox, port).await.map_err(|error| {
            format!("error forwarding port {port} to pod {}, uid {}: {error}", self.pod, self.uid)
        })
    }
}

/// Accepts connections to ports of a pod.
pub(crate) fn answer(
    server: Arc<Server>,
    namespace: &str,
    pod: &str,
    uid: Option<&str>,
    request: Request<Incoming>,
) -> Answer {
    let Some(view) = server.manager.view(namespace, pod, uid) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let Some(sandbox) = view.sandbox.clone() else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("pod not found ({pod:?})"));
    };
    let uid = view.pod.as_ref().and_then(|pod| pod.metadata.uid.clone()).unwrap_or_default();
    let target = Target {
        runtime: server.manager.shared.runtime.clone(),
        sandbox,
        pod: format!("{pod}_{namespace}"),
        uid,
    };
    if websocket::is_requested(request.headers()) {
        over_websocket(&server, target, request)
    } else if upgrade::wants_spdy(request.headers()) {
        over_spdy(&server, target, request)
    } else {
        upgrade::required()
    }
}

fn over_spdy(server: &Server, target: Target, request: Request<Incoming>) -> Answer {
    let answer = match upgrade::accept_spdy_forward(request.headers()) {
        Ok((answer, _)) => answer,
        Err(refusal) => return *refusal,
    };
    let token = server.token.clone();
    server.sessions.spawn(async move {
        let run = async {
            match hyper::upgrade::on(request).await {
                Ok(upgraded) => forward(TokioIo::new(upgraded), target).await,
                Err(error) => tracing::debug!(%error, "failed to upgrade a connection"),
            }
        };
        token.run_until_cancelled(run).await;
    });
    answer
}

fn over_websocket(server: &Server, target: Target, request: Request<Incoming>) -> Answer {
    let protocol = websocket::negotiate(request.headers(), &[TUNNEL, CHANNELS, "portforward.k8s.io"]);
    let Some(protocol) = protocol else {
        return text(StatusCode::BAD_REQUEST, "no supported WebSocket protocol was offered");
    };
    let ports = ports(request.uri().query().unwrap_or_default());
    if protocol != TUNNEL && (ports.is_empty() || ports.len() > PORTS_MAX) {
        return text(StatusCode::BAD_REQUEST, "query parameter \"port\" is required");
    }
    let Some(answer) = websocket::accept::<http_body_util::Empty<Bytes>>(request.headers(), protocol) else {
        return text(StatusCode::BAD_REQUEST, "the WebSocket key is missing");
    };
    let token = server.token.clone();
    server.sessions.spawn(async move {
        let run = async {
            let socket = match websocket::socket(request).await {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::debug!(%error, "failed to upgrade a connection");
                    return;
                }
            };
            if protocol == TUNNEL {
                let (near, far) = tokio::io::duplex(TUNNEL_BYTES);
                let tunnel = websocket::tunnel(socket, far);
                let forward = forward(near, target);
                tokio::pin!(tunnel, forward);
                tokio::select! {
                    _ = &mut tunnel => {}
                    // The far end is dropped with the session, which ends the tunnel in its own way.
                    () = &mut forward => { let _ = tunnel.await; }
                }
            } else {
                channels(socket, target, ports).await;
            }
        };
        token.run_until_cancelled(run).await;
    });
    super::empty(answer)
}

fn ports(text: &str) -> Vec<u16> {
    query(text)
        .into_iter()
        .filter(|(name, _)| matches!(name.as_str(), "port" | "ports"))
        .flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|port| port.parse().ok().filter(|port| *port > 0))
        .collect()
}

/// Pairs up data and error streams by their request id and connects each pair.
async fn forward(io: impl AsyncRead + AsyncWrite + Send + 'static, target: Target) {
    let (session, mut incoming) = Session::new(io);
    let mut pairs: HashMap<String, Half> = HashMap::new();
    let mut connections = JoinSet::new();
    let drive = session.drive();
    tokio::pin!(drive);
    loop {
        tokio::select! {
            result = &mut drive => {
                if let Err(error) = result {
                    tracing::debug!(%error, "port-forward session ended");
                }
                return;
            }
            Some(_) = connections.join_next() => {}
            stream = incoming.recv() => {
                let Some(stream) = stream else { return };
                let now = tokio::time::Instant::now();
                pairs.retain(|_, half| now.duration_since(half.since) < PAIR_TIMEOUT);
                if let Some((port, data, error)) = pair(&mut pairs, stream).await {
                    connections.spawn(connect(target.clone(), port, data, error));
                }
            }
        }
    }
}

/// One of the two streams of a connection.
struct Half {
    stream: spdy::Incoming,
    since: tokio::time::Instant,
}

/// Files a stream; returns the pair if it is complete now.
async fn pair(
    pairs: &mut HashMap<String, Half>,
    stream: spdy::Incoming,
) -> Option<(u16, spdy::Incoming, spdy::Incoming)> {
    let kind = stream.header("streamtype").unwrap_or_default().to_owned();
    let port = stream.header("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let (Some(port), "data" | "error") = (port, kind.as_str()) else {
        stream.writer.reset().await;
        return None;
    };
    // Clients that send no id open the two streams one after the other.
    let id = stream.header("requestid").unwrap_or("").to_owned();
    match pairs.remove(&id) {
        Some(half) if half.stream.header("streamtype") != Some(kind.as_str()) => {
            Some(if kind == "data" { (port, stream, half.stream) } else { (port, half.stream, stream) })
        }
        _ => {
            pairs.insert(id, Half { stream, since: tokio::time::Instant::now() });
            None
        }
    }
}

async fn connect(target: Target, port: u16, data: spdy::Incoming, error: spdy::Incoming) {
    let spdy::Incoming { mut reader, writer, .. } = data;
    let (mut from_pod, mut to_pod) = match target.connect(port).await {
        Ok(ends) => ends,
        Err(message) => {
            error.writer.send(message.into()).await;
            error.writer.finish().await;
            writer.finish().await;
            return;
        }
    };
    let up = async {
        while let Some(data) = reader.recv().await {
            if to_pod.write_all(&data).await.is_err() || to_pod.flush().await.is_err() {
                return;
            }
        }
        let _ = to_pod.shutdown().await;
    };
    let down = async {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(count) = from_pod.read(&mut buffer).await {
            if count == 0 || !writer.send(Bytes::copy_from_slice(&buffer[..count])).await {
                break;
            }
        }
        writer.finish().await;
    };
    // The pod's end of the answer ends the connection; a client may close its side long before.
    tokio::pin!(up, down);
    let mut sent = false;
    loop {
        tokio::select! {
            () = &mut down => break,
            () = &mut up, if !sent => sent = true,
        }
    }
    error.writer.finish().await;
}

/// Channels 2n and 2n+1 are data and error of port n; each begins with the port's number.
async fn channels(socket: Socket, target: Target, ports: Vec<u16>) {
    let (mut sink, mut source) = socket.split();
    let (output, mut received) = mpsc::channel::<(u8, Bytes)>(QUEUE);
    let mut inputs = Vec::new();
    let mut connections = JoinSet::new();
    for (index, port) in ports.into_iter().enumerate() {
        let Ok(channel) = u8::try_from(index * 2) else { return };
        for channel in [channel, channel + 1] {
            let hello = Bytes::copy_from_slice(&port.to_le_bytes());
            if sink.send(message(channel, &hello)).await.is_err() {
                return;
            }
        }
        let (sender, input) = mpsc::channel(QUEUE);
        inputs.push(sender);
        connections.spawn(channel_connection(target.clone(), port, channel, input, output.clone()));
    }
    drop(output);
    let send = async {
        while let Some((channel, data)) = received.recv().await {
            if sink.send(message(channel, &data)).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    };
    let listen = async {
        while let Some(Ok(message)) = source.next().await {
            let Message::Binary(data) = message else { continue };
            let Some(&channel) = data.first() else { continue };
            if channel % 2 == 0
                && let Some(input) = inputs.get(usize::from(channel / 2))
            {
                let _ = input.send(data.slice(1..)).await;
            }
        }
    };
    tokio::select! {
        () = send => {}
        () = listen => {}
    }
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(data.len() + 1);
    message.put_u8(channel);
    message.put_slice(data);
    Message::Binary(message.freeze())
}

async fn channel_connection(
    target: Target,
    port: u16,
    channel: u8,
    mut input: mpsc::Receiver<Bytes>,
    output: mpsc::Sender<(u8, Bytes)>,
) {
    let (mut from_pod, mut to_pod) = match target.connect(port).await {
        Ok(ends) => ends,
        Err(message) => {
            let _ = output.send((channel + 1, message.into())).await;
            return;
        }
    };
    let up = async {
        while let Some(data) = input.recv().await {
            if to_pod.write_all(&data).await.is_err() || to_pod.flush().await.is_err() {
                break;
            }
        }
        let _ = to_pod.shutdown().await;
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(count) = from_pod.read(&mut buffer).await {
            if count == 0 || output.send((channel, Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_queries() {
        assert_eq!(ports("port=80&port=8080"), [80, 8080]);
        assert_eq!(ports("ports=80,443,0,x"), [80, 443]);
        assert!(ports("other=1").is_empty());
    }
}
