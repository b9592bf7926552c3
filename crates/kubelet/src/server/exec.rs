//! Exec and attach, over WebSocket channels or SPDY streams.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::{BufMut, Bytes, BytesMut};
use container::{ExecRequest, ExecSession, RuntimeError, TerminalSize};
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::streams::{self, Ending, INPUT_QUEUE, OUTPUT_QUEUE, Output, Remote};
use super::{Answer, Server, query, text, upgrade};
use crate::spdy::{Session, StreamReader, StreamWriter};
use crate::websocket::{self, Socket};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// In v5 the client's way to end its input.
const CLOSE: u8 = 255;

const WEBSOCKET_PROTOCOLS: [&str; 4] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "base64.channel.k8s.io", "v4.base64.channel.k8s.io"];
/// All streams of a SPDY session must be there by then.
const STREAMS_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that has everything closes its side within this.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// What to run, and in which container.
struct Wanted {
    container_id: String,
    request: ExecRequest,
    ending: Ending,
}

impl Wanted {
    async fn begin(self, server: &Server) -> Result<ExecSession, RuntimeError> {
        let runtime = &server.manager.shared.runtime;
        match self.ending {
            Ending::ExitCode => runtime.exec(&self.container_id, self.request).await,
            Ending::Ignore => runtime.attach(&self.container_id, self.request).await,
        }
    }
}

/// Runs a command in a container.
pub(crate) fn exec(
    server: Arc<Server>,
    namespace: &str,
    pod: &str,
    uid: Option<&str>,
    container: &str,
    request: Request<Incoming>,
) -> Answer {
    answer(server, namespace, pod, uid, container, request, Ending::ExitCode)
}

/// Joins a container's main process.
pub(crate) fn attach(
    server: Arc<Server>,
    namespace: &str,
    pod: &str,
    uid: Option<&str>,
    container: &str,
    request: Request<Incoming>,
) -> Answer {
    answer(server, namespace, pod, uid, container, request, Ending::Ignore)
}

fn answer(
    server: Arc<Server>,
    namespace: &str,
    pod: &str,
    uid: Option<&str>,
    container: &str,
    request: Request<Incoming>,
    ending: Ending,
) -> Answer {
    let Some(view) = server.manager.view(namespace, pod, uid) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let Some(container_id) = view.running.get(container).cloned() else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found ({container:?})"));
    };
    let wanted_streams = options(request.uri().query().unwrap_or_default());
    if ending == Ending::ExitCode && wanted_streams.command.is_empty() {
        return text(StatusCode::BAD_REQUEST, "you must specify at least one command");
    }
    if !(wanted_streams.stdin || wanted_streams.stdout || wanted_streams.stderr) {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    }
    let wanted = Wanted { container_id, request: wanted_streams, ending };
    if websocket::is_requested(request.headers()) {
        over_websocket(server, wanted, request)
    } else if upgrade::wants_spdy(request.headers()) {
        over_spdy(server, wanted, request)
    } else {
        upgrade::required()
    }
}

/// The options in a query, in the names of clients and in those of the API server.
fn options(text: &str) -> ExecRequest {
    let mut request = ExecRequest::default();
    for (name, value) in query(text) {
        let on = matches!(value.as_str(), "1" | "true");
        match name.as_str() {
            "command" => request.command.push(value),
            "stdin" | "input" => request.stdin |= on,
            "stdout" | "output" => request.stdout |= on,
            "stderr" | "error" => request.stderr |= on,
            "tty" => request.tty |= on,
            _ => {}
        }
    }
    // A terminal has one output.
    request.stderr &= !request.tty;
    request
}

fn over_websocket(server: Arc<Server>, wanted: Wanted, request: Request<Incoming>) -> Answer {
    let Some(protocol) = websocket::negotiate(request.headers(), &WEBSOCKET_PROTOCOLS) else {
        return text(StatusCode::BAD_REQUEST, "no supported WebSocket protocol was offered");
    };
    let Some(answer) = websocket::accept::<http_body_util::Empty<Bytes>>(request.headers(), protocol) else {
        return text(StatusCode::BAD_REQUEST, "the WebSocket key is missing");
    };
    let dialect = Dialect { base64: protocol.contains("base64"), v5: protocol.starts_with("v5") };
    let (token, tracker) = (server.token.clone(), server.sessions.clone());
    tracker.spawn(async move {
        let run = async {
            match websocket::socket(request).await {
                Ok(socket) => websocket_session(&server, wanted, socket, dialect).await,
                Err(error) => tracing::debug!(%error, "failed to upgrade a connection"),
            }
        };
        token.run_until_cancelled(run).await;
    });
    super::empty(answer)
}

/// How channels are written in messages.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    base64: bool,
    v5: bool,
}

impl Dialect {
    fn encode(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            let text = base64::engine::general_purpose::STANDARD.encode(data);
            return Message::Text(format!("{channel}{text}").into());
        }
        let mut message = BytesMut::with_capacity(data.len() + 1);
        message.put_u8(channel);
        message.put_slice(data);
        Message::Binary(message.freeze())
    }

    fn decode(self, message: Message) -> Option<(u8, Bytes)> {
        let data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            _ => return None,
        };
        let (&channel, rest) = data.split_first()?;
        if self.base64 {
            let rest = base64::engine::general_purpose::STANDARD.decode(rest).ok()?;
            return Some((channel.checked_sub(b'0')?, rest.into()));
        }
        Some((channel, data.slice(1..)))
    }
}

async fn websocket_session(server: &Server, wanted: Wanted, mut socket: Socket, dialect: Dialect) {
    let ending = wanted.ending;
    let takes_input = wanted.request.stdin;
    let session = match wanted.begin(server).await {
        Ok(session) => session,
        Err(error) => {
            let status = streams::status(Err(error), ending).to_string();
            let _ = socket.send(dialect.encode(ERROR, status.as_bytes())).await;
            websocket::close(&mut socket).await;
            return;
        }
    };
    let (stdin_sender, stdin) = mpsc::channel(INPUT_QUEUE);
    let (resize_sender, resize) = mpsc::channel(INPUT_QUEUE);
    let (output, received) = mpsc::channel(OUTPUT_QUEUE);
    let (sink, source) = socket.split();
    let drive = streams::drive(session, Remote { stdin, resize, output }, ending);
    let listen = listen(source, dialect, takes_input.then_some(stdin_sender), resize_sender);
    let send = send_all(sink, dialect, received);
    tokio::pin!(drive, listen, send);
    let mut driven = false;
    let (sink, source) = loop {
        tokio::select! {
            () = &mut drive, if !driven => driven = true,
            sink = &mut send => {
                // Everything is sent, or nothing can be sent any more.
                let Some(sink) = sink else { return };
                match tokio::time::timeout(Duration::ZERO, &mut listen).await {
                    Ok(source) => break (sink, Some(source)),
                    Err(_) => break (sink, None),
                }
            }
            _ = &mut listen => return,
        }
    };
    goodbye(sink, source).await;
}

type Sink = futures::stream::SplitSink<Socket, Message>;
type Source = futures::stream::SplitStream<Socket>;

async fn goodbye(mut sink: Sink, _source: Option<Source>) {
    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
        code: tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode::Normal,
        reason: "".into(),
    };
    let _ = sink.send(Message::Close(Some(frame))).await;
    let _ = sink.flush().await;
}

/// Takes what the client sends until it leaves.
async fn listen(
    mut source: Source,
    dialect: Dialect,
    mut stdin: Option<mpsc::Sender<Bytes>>,
    resize: mpsc::Sender<TerminalSize>,
) -> Source {
    while let Some(Ok(message)) = source.next().await {
        if matches!(message, Message::Close(_)) {
            break;
        }
        let Some((channel, data)) = dialect.decode(message) else { continue };
        match channel {
            STDIN => {
                if let Some(sender) = &stdin
                    && sender.send(data).await.is_err()
                {
                    stdin = None;
                }
            }
            RESIZE => {
                if let Some(size) = streams::terminal_size(&data) {
                    let _ = resize.send(size).await;
                }
            }
            CLOSE if dialect.v5 && data.first() == Some(&STDIN) => stdin = None,
            _ => {}
        }
    }
    source
}

/// Sends output until there is no more; `None` when the client is gone.
async fn send_all(mut sink: Sink, dialect: Dialect, mut output: mpsc::Receiver<Output>) -> Option<Sink> {
    while let Some(piece) = output.recv().await {
        let message = match piece {
            Output::Stdout(data) => dialect.encode(STDOUT, &data),
            Output::Stderr(data) => dialect.encode(STDERR, &data),
            Output::Status(status) => dialect.encode(ERROR, status.to_string().as_bytes()),
        };
        sink.send(message).await.ok()?;
    }
    Some(sink)
}

fn over_spdy(server: Arc<Server>, wanted: Wanted, request: Request<Incoming>) -> Answer {
    let (answer, protocol) = match upgrade::accept_spdy_streams(request.headers()) {
        Ok(accepted) => accepted,
        Err(refusal) => return *refusal,
    };
    // Before v4 the error stream carries plain text.
    let with_status = matches!(protocol, "v5.channel.k8s.io" | "v4.channel.k8s.io");
    let with_resize = protocol != "v2.channel.k8s.io";
    let (token, tracker) = (server.token.clone(), server.sessions.clone());
    tracker.spawn(async move {
        let run = async {
            let io = match hyper::upgrade::on(request).await {
                Ok(upgraded) => TokioIo::new(upgraded),
                Err(error) => {
                    tracing::debug!(%error, "failed to upgrade a connection");
                    return;
                }
            };
            let (session, incoming) = Session::new(io);
            let work = spdy_session(&server, wanted, incoming, with_status, with_resize);
            let drive = session.drive();
            tokio::pin!(work, drive);
            tokio::select! {
                _ = &mut drive => {}
                () = &mut work => {
                    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, &mut drive).await;
                }
            }
        };
        token.run_until_cancelled(run).await;
    });
    answer
}

/// The streams of a SPDY session.
#[derive(Default)]
struct SpdyStreams {
    error: Option<StreamWriter>,
    stdin: Option<(StreamReader, StreamWriter)>,
    stdout: Option<StreamWriter>,
    stderr: Option<StreamWriter>,
    resize: Option<(StreamReader, StreamWriter)>,
}

impl SpdyStreams {
    fn is_complete(&self, request: &ExecRequest, with_resize: bool) -> bool {
        self.error.is_some()
            && (self.stdin.is_some() || !request.stdin)
            && (self.stdout.is_some() || !request.stdout)
            && (self.stderr.is_some() || !request.stderr)
            && (self.resize.is_some() || !(request.tty && with_resize))
    }

    async fn gather(
        incoming: &mut mpsc::Receiver<crate::spdy::Incoming>,
        request: &ExecRequest,
        with_resize: bool,
    ) -> Option<Self> {
        let mut streams = Self::default();
        while !streams.is_complete(request, with_resize) {
            let stream = incoming.recv().await?;
            let kind = stream.header("streamtype").unwrap_or_default().to_owned();
            let (reader, writer) = (stream.reader, stream.writer);
            match kind.as_str() {
                "error" => streams.error = Some(writer),
                "stdin" => streams.stdin = Some((reader, writer)),
                "stdout" => streams.stdout = Some(writer),
                "stderr" => streams.stderr = Some(writer),
                "resize" => streams.resize = Some((reader, writer)),
                _ => writer.reset().await,
            }
        }
        Some(streams)
    }
}

async fn spdy_session(
    server: &Server,
    wanted: Wanted,
    mut incoming: mpsc::Receiver<crate::spdy::Incoming>,
    with_status: bool,
    with_resize: bool,
) {
    let gather = SpdyStreams::gather(&mut incoming, &wanted.request, with_resize);
    let Ok(Some(client)) = tokio::time::timeout(STREAMS_TIMEOUT, gather).await else { return };
    let ending = wanted.ending;
    let (stdin_sender, stdin) = mpsc::channel(INPUT_QUEUE);
    let (resize_sender, resize) = mpsc::channel(INPUT_QUEUE);
    let (output, received) = mpsc::channel(OUTPUT_QUEUE);
    let error = client.error;
    let send = spdy_send(received, client.stdout, client.stderr, error, with_status);
    let session = match wanted.begin(server).await {
        Ok(session) => session,
        Err(error) => {
            let _ = output.send(Output::Status(streams::status(Err(error), ending))).await;
            drop(output);
            send.await;
            return;
        }
    };
    let drive = streams::drive(session, Remote { stdin, resize, output }, ending);
    let listen = async {
        let input = async move {
            let Some((mut reader, _writer)) = client.stdin else { return };
            while let Some(data) = reader.recv().await {
                if stdin_sender.send(data).await.is_err() {
                    return;
                }
            }
        };
        let sizes = async move {
            let Some((mut reader, _writer)) = client.resize else { return };
            while let Some(data) = reader.recv().await {
                if let Some(size) = streams::terminal_size(&data) {
                    let _ = resize_sender.send(size).await;
                }
            }
        };
        futures::future::join(input, sizes).await;
        std::future::pending::<()>().await;
    };
    let work = async { futures::future::join(drive, send).await };
    tokio::select! {
        _ = work => {}
        () = listen => {}
    }
}

async fn spdy_send(
    mut output: mpsc::Receiver<Output>,
    stdout: Option<StreamWriter>,
    stderr: Option<StreamWriter>,
    error: Option<StreamWriter>,
    with_status: bool,
) {
    let mut end = None;
    while let Some(piece) = output.recv().await {
        let sent = match piece {
            Output::Stdout(data) => match &stdout {
                Some(stream) => stream.send(data).await,
                None => true,
            },
            Output::Stderr(data) => match &stderr {
                Some(stream) => stream.send(data).await,
                None => true,
            },
            Output::Status(status) => {
                end = Some(status);
                true
            }
        };
        if !sent {
            return;
        }
    }
    for stream in [stdout, stderr].into_iter().flatten() {
        stream.finish().await;
    }
    let Some(error) = error else { return };
    if let Some(status) = end {
        let failed = status["status"] != "Success";
        let text = if with_status {
            status.to_string()
        } else if failed {
            status["message"].as_str().unwrap_or_default().to_owned()
        } else {
            String::new()
        };
        if !text.is_empty() {
            error.send(text.into()).await;
        }
    }
    error.finish().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_both_kinds() {
        let request = options("command=ls&command=-l&stdin=true&stdout=true&stderr=true&tty=false");
        assert_eq!(request.command, ["ls", "-l"]);
        assert!(request.stdin && request.stdout && request.stderr && !request.tty);
        let request = options("command=sh&input=1&output=1&error=1&tty=1");
        assert!(request.stdin && request.stdout && request.tty);
        assert!(!request.stderr, "a terminal has one output");
        assert!(!options("stdout=0&stderr=false").stdout);
    }

    #[test]
    fn channels_in_messages() {
        let plain = Dialect { base64: false, v5: true };
        assert_eq!(plain.encode(1, b"hi"), Message::Binary(Bytes::from_static(b"\x01hi")));
        assert_eq!(
            plain.decode(Message::Binary(Bytes::from_static(b"\x00x"))),
            Some((0, Bytes::from_static(b"x")))
        );
        assert_eq!(
            plain.decode(Message::Binary(Bytes::from_static(b"\xff\x00"))),
            Some((255, Bytes::from_static(b"\0")))
        );
        assert_eq!(plain.decode(Message::Binary(Bytes::new())), None);
        assert_eq!(plain.decode(Message::Ping(Bytes::new())), None);
        let base64 = Dialect { base64: true, v5: false };
        assert_eq!(base64.encode(1, b"hi"), Message::Text("1aGk=".into()));
        assert_eq!(base64.decode(Message::Text("0aGk=".into())), Some((0, Bytes::from_static(b"hi"))));
    }
}
