//! Questions about names outside the cluster go to the node's resolvers, byte for byte.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Upstream;

const PORT: u16 = 53;
/// As the stub resolver of glibc has it.
const SERVERS_MAX: usize = 3;
/// How long one server may take. Clients wait five seconds.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest DNS message: its header.
const HEADER: usize = 12;
const TRUNCATED: u8 = 0x02;
const RESPONSE: u8 = 0x80;
/// How often the file is looked at.
const FILE_CHECK: Duration = Duration::from_secs(5);

/// The name servers of a resolver's configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolvers(pub Vec<SocketAddr>);

impl Resolvers {
    /// Reads the text of a `resolv.conf`. Addresses in `own` are left out: they lead back here.
    pub fn parse(text: &str, own: &[IpAddr]) -> Self {
        let servers = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            // An address with a zone (`fe80::1%eth0`) does not parse and is of no use without its interface.
            (words.next()? == "nameserver").then(|| words.next()?.parse().ok())?
        });
        let usable = servers.filter(|address: &IpAddr| !address.is_unspecified() && !own.contains(address));
        Self(usable.take(SERVERS_MAX).map(|address| SocketAddr::new(address, PORT)).collect())
    }
}

#[derive(Debug)]
pub(super) struct Forwarder {
    upstream: Upstream,
    own: Vec<IpAddr>,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    servers: Arc<[SocketAddr]>,
    modified: Option<SystemTime>,
    checked: Instant,
}

impl Forwarder {
    pub(super) fn new(upstream: Upstream, own: Vec<IpAddr>) -> Self {
        Self { upstream, own, known: Mutex::new(None) }
    }

    /// Asks one server after the other. `None` when there is none or none answers.
    pub(super) async fn ask(&self, question: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        if question.len() < HEADER {
            return None;
        }
        let servers = self.servers();
        for server in servers.iter() {
            match timeout(TIMEOUT, exchange(*server, question, over_tcp)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "the resolver failed"),
                Err(_) => tracing::debug!(%server, "the resolver did not answer"),
            }
        }
        None
    }

    fn servers(&self) -> Arc<[SocketAddr]> {
        let path = match &self.upstream {
            Upstream::Fixed(servers) => return servers.as_slice().into(),
            Upstream::File(path) => path,
        };
        let mut known = self.known.lock();
        let now = Instant::now();
        if let Some(known) = known.as_ref().filter(|known| now.duration_since(known.checked) < FILE_CHECK) {
            return Arc::clone(&known.servers);
        }
        let modified = std::fs::metadata(path).and_then(|data| data.modified()).ok();
        let servers = match known.as_ref().filter(|known| known.modified == modified && modified.is_some()) {
            Some(known) => Arc::clone(&known.servers),
            None => read(path, &self.own),
        };
        *known = Some(Known { servers: Arc::clone(&servers), modified, checked: now });
        servers
    }
}

fn read(path: &Path, own: &[IpAddr]) -> Arc<[SocketAddr]> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "names outside the cluster do not resolve");
        String::new()
    });
    Resolvers::parse(&text, own).0.into()
}

async fn exchange(server: SocketAddr, question: &[u8], over_tcp: bool) -> io::Result<Vec<u8>> {
    // An identifier of our own and a fresh port: an answer cannot be guessed from outside.
    let id = rand::random::<u16>().to_be_bytes();
    let mut sent = question.to_vec();
    sent[..2].copy_from_slice(&id);
    let mut answer = exchange_udp(server, &sent).await?;
    if over_tcp && answer[2] & TRUNCATED != 0 {
        answer = exchange_tcp(server, &sent).await?;
    }
    answer[..2].copy_from_slice(&question[..2]);
    Ok(answer)
}

async fn exchange_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0u8; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(question, &buffer[..length]) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn exchange_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let mut answer = vec![0u8; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if answers(question, &answer) { Ok(answer) } else { Err(io::Error::other("answer to another question")) }
}

/// Whether a message is the answer to the question: same identifier, same question.
fn answers(question: &[u8], answer: &[u8]) -> bool {
    let same_question = match (question_section(question), question_section(answer)) {
        (Some(asked), Some(answered)) => asked.eq_ignore_ascii_case(answered),
        // Refusals may leave the question out.
        (_, None) => answer.len() >= HEADER && answer[4..6] == [0, 0],
        (None, _) => false,
    };
    answer.len() >= HEADER && answer[..2] == question[..2] && answer[2] & RESPONSE != 0 && same_question
}

/// Bytes of the first question: name, type and class.
fn question_section(message: &[u8]) -> Option<&[u8]> {
    if message.get(4..6)? == [0, 0] {
        return None;
    }
    let mut at = HEADER;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return message.get(HEADER..at + 5),
            // A question has no earlier name to point to.
            length if length >= 0xc0 => return None,
            length => at += length + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_that_lead_back_are_left_out() {
        let own = ["10.42.0.1".parse().expect("address"), "10.43.0.10".parse().expect("address")];
        let text = "# c\nsearch lan\nnameserver 10.42.0.1\nnameserver 192.168.1.1\n nameserver\t2001:db8::1 # x\n\
            nameserver fe80::1%eth0\nnameserver 0.0.0.0\nnameserver 10.43.0.10\nnameserver 9.9.9.9\nnameserver 1.1.1.1\n\
            nameserverx 8.8.8.8\nnameserver\n";
        let servers: Vec<String> = Resolvers::parse(text, &own).0.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.168.1.1:53", "[2001:db8::1]:53", "9.9.9.9:53"]);
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
        let mut answer = question.to_vec();
        assert!(!answers(question, &answer), "a question is no answer");
        answer[2] |= RESPONSE;
        assert!(answers(question, &answer));
        for (at, value) in [(0, 0x13), (13, b'b'), (16, 28)] {
            let mut other = answer.clone();
            other[at] = value;
            assert!(!answers(question, &other), "byte {at}");
        }
        for length in 0..answer.len() {
            assert!(!answers(question, &answer[..length]), "{length} bytes");
        }
    }
}
