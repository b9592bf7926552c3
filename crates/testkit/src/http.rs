//! The smallest HTTP/1.0 client that a test needs.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// GETs `path` from `address` (`host:port`).
///
/// # Errors
/// When the connection fails or no whole answer comes within `limit`.
pub fn get(address: &str, path: &str, limit: Duration) -> anyhow::Result<Response> {
    request(address, "GET", path, &[], limit)
}

/// Sends one request and reads the answer to its end.
///
/// # Errors
/// See [`get`].
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    body: &[u8],
    limit: Duration,
) -> anyhow::Result<Response> {
    let target = address.to_socket_addrs()?.next().context("no address")?;
    let mut stream = TcpStream::connect_timeout(&target, limit)
        .with_context(|| format!("failed to connect to {address}"))?;
    stream.set_read_timeout(Some(limit))?;
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("no answer from {address}{path}"))?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> anyhow::Result<Response> {
    const BLANK: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(BLANK.len()).position(|window| window == BLANK) else {
        bail!("not an HTTP answer: {:?}", String::from_utf8_lossy(answer));
    };
    let headers = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = headers.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status code")?;
    Ok(Response { status, headers, body: answer[end + BLANK.len()..].to_vec() })
}
