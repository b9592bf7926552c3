//! The sockets: datagrams and connections in, messages out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, Record};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Outcome, answer};
use super::forward::Forwarder;
use super::zone::Zone;

/// Questions waiting for the node's resolvers at once; more are refused.
const FORWARDED_MAX: usize = 512;
const CONNECTIONS_MAX: usize = 256;
const CONNECTION_IDLE: Duration = Duration::from_secs(10);
const BIND_RETRY: Duration = Duration::from_millis(50);
/// Receiving tasks of the one UDP socket.
const RECEIVERS: usize = 2;
/// Without EDNS a datagram holds no more.
const UDP_MIN: u16 = 512;
/// Larger datagrams risk fragmentation (DNS flag day 2020).
const UDP_MAX: u16 = 1232;
const UDP_BUFFER: usize = 4096;

/// Answers from a zone that can be swapped at any time.
#[derive(Debug)]
pub(super) struct Server {
    zone: RwLock<Arc<Zone>>,
    forwarder: Forwarder,
    forwarded: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    turn: AtomicUsize,
}

/// A question as it came.
struct Request {
    bytes: Vec<u8>,
    metadata: Metadata,
    query: Query,
    /// Largest message the client takes.
    room: u16,
    has_edns: bool,
    over_tcp: bool,
}

enum Step {
    Ignore,
    Answer(Vec<u8>),
    /// The node's resolvers must be asked; for an alias, about its target.
    Ask(Box<Request>, Option<(Vec<Record>, Name)>),
}

impl Server {
    pub(super) fn new(zone: Zone, forwarder: Forwarder) -> Self {
        Self {
            zone: RwLock::new(Arc::new(zone)),
            forwarder,
            forwarded: Arc::new(Semaphore::new(FORWARDED_MAX)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            turn: AtomicUsize::new(0),
        }
    }

    /// Answers from this zone from now on.
    pub(super) fn swap(&self, zone: Zone) {
        *self.zone.write() = Arc::new(zone);
    }

    /// Listens on UDP and TCP until `token` is cancelled, from the moment the address exists.
    pub(super) async fn serve(self: Arc<Self>, address: SocketAddr, token: CancellationToken) {
        let Some((udp, tcp)) = token.run_until_cancelled(bind(address)).await else { return };
        tracing::info!(%address, "cluster DNS answers");
        let (udp, tasks) = (Arc::new(udp), TaskTracker::new());
        for _ in 0..RECEIVERS {
            let (server, udp, token) = (Arc::clone(&self), Arc::clone(&udp), token.clone());
            let spawned = tasks.clone();
            tasks.spawn(
                async move { token.run_until_cancelled(server.receive(&udp, &spawned, &token)).await },
            );
        }
        token.run_until_cancelled(self.accept(&tcp, &tasks, &token)).await;
        tasks.close();
        tasks.wait().await;
    }

    async fn receive(
        self: &Arc<Self>,
        socket: &Arc<UdpSocket>,
        tasks: &TaskTracker,
        token: &CancellationToken,
    ) {
        let mut buffer = vec![0u8; UDP_BUFFER];
        loop {
            // An error here is news about an earlier answer, such as a client that has gone.
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
            match self.step(&buffer[..length], false) {
                Step::Ignore => {}
                Step::Answer(bytes) => drop(socket.send_to(&bytes, client).await),
                Step::Ask(request, alias) => {
                    let Ok(permit) = Arc::clone(&self.forwarded).try_acquire_owned() else {
                        drop(socket.send_to(&request.failure(), client).await);
                        continue;
                    };
                    let (server, socket, token) = (Arc::clone(self), Arc::clone(socket), token.clone());
                    tasks.spawn(async move {
                        let answer = token.run_until_cancelled(server.ask(&request, alias, permit)).await;
                        if let Some(bytes) = answer {
                            drop(socket.send_to(&bytes, client).await);
                        }
                    });
                }
            }
        }
    }

    async fn accept(
        self: &Arc<Self>,
        listener: &TcpListener,
        tasks: &TaskTracker,
        token: &CancellationToken,
    ) {
        loop {
            // Room first: without it connections wait in the kernel's queue, which is bounded.
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    sleep(BIND_RETRY).await;
                    continue;
                }
            };
            let (server, token) = (Arc::clone(self), token.clone());
            tasks.spawn(async move {
                let _permit = permit;
                // The client sees the closed connection; there is nobody else to tell.
                let _ = token.run_until_cancelled(server.converse(stream)).await;
            });
        }
    }

    /// Questions of one connection, one after the other.
    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let length = match timeout(CONNECTION_IDLE, stream.read_u16()).await {
                Ok(length) => length?,
                Err(_) => return Ok(()),
            };
            let mut bytes = vec![0u8; usize::from(length)];
            timeout(CONNECTION_IDLE, stream.read_exact(&mut bytes)).await??;
            let answer = match self.step(&bytes, true) {
                Step::Ignore => return Ok(()),
                Step::Answer(bytes) => bytes,
                Step::Ask(request, alias) => match Arc::clone(&self.forwarded).try_acquire_owned() {
                    Ok(permit) => self.ask(&request, alias, permit).await,
                    Err(_) => request.failure(),
                },
            };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let framed = [&length.to_be_bytes()[..], &answer].concat();
            timeout(CONNECTION_IDLE, stream.write_all(&framed)).await??;
        }
    }

    /// Everything that can be said without asking anybody.
    fn step(&self, bytes: &[u8], over_tcp: bool) -> Step {
        let request = match Request::read(bytes, over_tcp) {
            Ok(request) => request,
            Err(refusal) => return refusal.map_or(Step::Ignore, Step::Answer),
        };
        let zone = Arc::clone(&self.zone.read());
        match answer(&zone, &request.query, self.turn.fetch_add(1, Ordering::Relaxed)) {
            Outcome::Reply(reply) => {
                let mut message = request.response(reply.code);
                message.metadata.authoritative = true;
                message.answers = reply.answers;
                message.authorities = reply.authority;
                message.additionals = reply.additional;
                Step::Answer(request.encode(message))
            }
            Outcome::Forward if request.metadata.recursion_desired => Step::Ask(Box::new(request), None),
            Outcome::Forward => Step::Answer(request.encode(request.response(ResponseCode::Refused))),
            Outcome::Alias { so_far, target } => Step::Ask(Box::new(request), Some((so_far, target))),
        }
    }

    async fn ask(
        &self,
        request: &Request,
        alias: Option<(Vec<Record>, Name)>,
        _permit: OwnedSemaphorePermit,
    ) -> Vec<u8> {
        let answer = match alias {
            None => self.forwarder.ask(&request.bytes, request.over_tcp).await,
            Some((so_far, target)) => self.ask_alias(request, so_far, target).await,
        };
        answer.unwrap_or_else(|| request.failure())
    }

    /// The alias from the zone, and what the resolvers say about its target.
    async fn ask_alias(&self, request: &Request, mut answers: Vec<Record>, target: Name) -> Option<Vec<u8>> {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(target, request.query.query_type()));
        let answer = self.forwarder.ask(&question.to_vec().ok()?, true).await?;
        let answer = Message::from_vec(&answer).ok()?;
        answers.extend(answer.answers);
        let mut message = request.response(answer.metadata.response_code);
        message.answers = answers;
        message.authorities = answer.authorities;
        Some(request.encode(message))
    }
}

impl Request {
    /// Reads a question. The error is the answer to what cannot be one; `None` when even that would be wrong.
    fn read(bytes: &[u8], over_tcp: bool) -> Result<Self, Option<Vec<u8>>> {
        const HEADER: usize = 12;
        const RESPONSE: u8 = 0x80;
        // Answering an answer would let two servers talk for ever.
        if bytes.len() < HEADER || bytes[2] & RESPONSE != 0 {
            return Err(None);
        }
        let id = u16::from_be_bytes([bytes[0], bytes[1]]);
        let refuse = |op_code, code| Err(Message::error_msg(id, op_code, code).to_vec().ok());
        let Ok(message) = Message::from_vec(bytes) else {
            return refuse(OpCode::Query, ResponseCode::FormErr);
        };
        if message.metadata.op_code != OpCode::Query || message.metadata.message_type != MessageType::Query {
            return refuse(message.metadata.op_code, ResponseCode::NotImp);
        }
        let [query] = message.queries.as_slice() else { return refuse(OpCode::Query, ResponseCode::FormErr) };
        let offered =
            message.edns.as_ref().map_or(UDP_MIN, |edns| edns.max_payload().clamp(UDP_MIN, UDP_MAX));
        let request = Self {
            bytes: bytes.to_vec(),
            metadata: message.metadata,
            query: query.clone(),
            room: if over_tcp { u16::MAX } else { offered },
            has_edns: message.edns.is_some(),
            over_tcp,
        };
        if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
            let refusal = request.response(ResponseCode::BADVERS);
            return Err(Some(request.encode(refusal)));
        }
        Ok(request)
    }

    fn response(&self, code: ResponseCode) -> Message {
        let mut message = Message::response(self.metadata.id, OpCode::Query);
        message.metadata = Metadata::response_from_request(&self.metadata);
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        message.add_query(self.query.clone());
        if self.has_edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_MAX).set_version(0);
            message.set_edns(edns);
        }
        message
    }

    fn failure(&self) -> Vec<u8> {
        self.encode(self.response(ResponseCode::ServFail))
    }

    /// Writes the message so that the client can take it. Additional records are left out first; when answers do not fit
    /// either, as many as do are sent and the client is told to ask by TCP.
    fn encode(&self, mut message: Message) -> Vec<u8> {
        let room = usize::from(self.room);
        let fits = |message: &Message| message.to_vec().ok().filter(|bytes| bytes.len() <= room);
        if let Some(bytes) = fits(&message) {
            return bytes;
        }
        message.additionals.clear();
        if let Some(bytes) = fits(&message) {
            return bytes;
        }
        message.metadata.truncation = true;
        message.authorities.clear();
        let all = std::mem::take(&mut message.answers);
        let (mut most, mut limit) = (0, all.len());
        while most < limit {
            let half = (most + limit).div_ceil(2);
            message.answers = all[..half].to_vec();
            match fits(&message) {
                Some(_) => most = half,
                None => limit = half - 1,
            }
        }
        message.answers = all[..most].to_vec();
        // A question that was read can be written; an empty datagram is ignored by every client.
        fits(&message).unwrap_or_default()
    }
}

/// Binds both sockets. The address belongs to the pods' bridge, which may come up later than this.
async fn bind(address: SocketAddr) -> (UdpSocket, TcpListener) {
    let mut told = false;
    loop {
        let bound =
            async { io::Result::Ok((UdpSocket::bind(address).await?, TcpListener::bind(address).await?)) };
        match bound.await {
            Ok(sockets) => return sockets,
            Err(error) if !told => {
                tracing::warn!(%address, %error, "cluster DNS cannot listen yet");
                told = true;
            }
            Err(_) => {}
        }
        sleep(BIND_RETRY).await;
    }
}
