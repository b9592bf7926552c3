//! gRPC over one HTTP/2 connection: messages with a five-byte head, and a status in the trailers
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use prost::Message;

use super::transport::{Body, Connection, chain};

/// Flag and length.
const HEAD: usize = 5;
/// The largest answer that is taken. Lists are asked for in chunks that stay far below.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// gRPC's codes that mean something here.
pub(super) mod code {
    pub const OK: u32 = 0;
    pub const UNKNOWN: u32 = 2;
    pub const PERMISSION_DENIED: u32 = 7;
    pub const UNAVAILABLE: u32 = 14;
    pub const UNAUTHENTICATED: u32 = 16;
}

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum RpcError {
    /// etcd has not been asked.
    #[error("etcd cannot be reached: {0}")]
    NotSent(String),
    /// etcd has been asked, what became of it is not known.
    #[error("etcd did not answer: {0}")]
    Lost(String),
    /// etcd says no.
    #[error("{message}")]
    Refused { code: u32, message: String },
    /// The store was closed, or has failed.
    #[error("the store is closed")]
    Closed,
}

/// One request, one answer.
pub(super) async fn unary<A: Message + Default>(
    connection: &mut Connection,
    path: &str,
    request: &impl Message,
    limit: Duration,
    token: Option<&str>,
) -> Result<A, RpcError> {
    let body = Full::new(encode(request)).boxed_unsync();
    let limited = format!("{}m", limit.as_millis());
    let request = head(connection, path, body).header("grpc-timeout", limited).token(token);
    let answer = async {
        let response = send(connection, request).await?;
        let mut messages = Messages { body: response.into_body(), buffer: BytesMut::new() };
        let answer = messages.next().await?;
        // The status comes after the message.
        match messages.next::<A>().await? {
            None => answer.ok_or_else(|| RpcError::Lost("the answer is empty".to_owned())),
            Some(_) => Err(RpcError::Lost("there is more than one answer".to_owned())),
        }
    };
    let late = || RpcError::Lost(format!("no answer within {limit:?}"));
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(late()))
}

/// One request, a stream of answers that lasts as long as they are read.
pub(super) async fn stream(
    connection: &mut Connection,
    path: &str,
    request: &impl Message,
    token: Option<&str>,
) -> Result<Messages, RpcError> {
    let first = futures::stream::iter([Ok(Frame::data(encode(request)))]);
    // The end of the requests would be the end of the call.
    let body = StreamBody::new(first.chain(futures::stream::pending())).boxed_unsync();
    // A member that has lost its cluster ends the call instead of being silent.
    let request = head(connection, path, body).header("hasleader", "true").token(token);
    let response = send(connection, request).await?;
    Ok(Messages { body: response.into_body(), buffer: BytesMut::new() })
}

fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEAD + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.put(message.encode_to_vec().as_slice());
    bytes.freeze()
}

/// A request that is ready but for further headers.
struct Head(http::request::Builder, Body);

impl Head {
    fn header(self, name: &str, value: impl AsRef<str>) -> Head {
        Head(self.0.header(name, value.as_ref()), self.1)
    }

    /// Who asks, to an etcd with users.
    fn token(self, token: Option<&str>) -> Head {
        match token {
            Some(token) => self.header("token", token),
            None => self,
        }
    }
}

fn head(connection: &Connection, path: &str, body: Body) -> Head {
    let request = Request::post(format!("{}{path}", connection.base))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("knarr/", env!("CARGO_PKG_VERSION")));
    Head(request, body)
}

/// Sends a request and looks whether it was refused at once.
async fn send(connection: &mut Connection, request: Head) -> Result<Response<Incoming>, RpcError> {
    let request = request.0.body(request.1).map_err(|error| RpcError::NotSent(error.to_string()))?;
    connection.sender.ready().await.map_err(|error| RpcError::NotSent(chain(&error)))?;
    let response = connection.sender.try_send_request(request).await.map_err(|mut error| {
        match error.take_message() {
            Some(_) => RpcError::NotSent(chain(error.error())),
            None => RpcError::Lost(chain(error.error())),
        }
    })?;
    if response.status() != http::StatusCode::OK {
        return Err(RpcError::Lost(format!("an answer with HTTP status {}", response.status())));
    }
    status(response.headers()).unwrap_or(Ok(()))?;
    Ok(response)
}

/// The status in headers or trailers, if they have one.
fn status(headers: &HeaderMap) -> Option<Result<(), RpcError>> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let code = text("grpc-status")?.parse().unwrap_or(code::UNKNOWN);
    if code == code::OK {
        return Some(Ok(()));
    }
    let message = unescape(&text("grpc-message").unwrap_or_default());
    Some(Err(RpcError::Refused { code, message }))
}

/// Percent-decodes a message.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The messages of an answer.
pub(super) struct Messages {
    body: Incoming,
    buffer: BytesMut,
}

impl Messages {
    /// The next message; none at the end. Cancelling loses nothing.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, RpcError> {
        loop {
            if let Some(message) = self.take()? {
                let message = M::decode(message);
                return message.map(Some).map_err(|error| RpcError::Lost(error.to_string()));
            }
            let frame = match self.body.frame().await {
                None => return Err(RpcError::Lost("the answer has no status".to_owned())),
                Some(frame) => frame.map_err(|error| RpcError::Lost(chain(&error)))?,
            };
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let lost = || Err(RpcError::Lost("the answer has no status".to_owned()));
                    return status(&trailers).unwrap_or_else(lost).map(|()| None);
                }
            }
        }
    }

    /// A whole message that has arrived.
    fn take(&mut self) -> Result<Option<Bytes>, RpcError> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [flag, a, b, c, d] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if flag != 0 || length > MESSAGE_BYTES_MAX {
            return Err(RpcError::Lost(format!("a message of {length} bytes (flag {flag}) is not taken")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_from_headers() {
        let mut headers = HeaderMap::new();
        assert!(status(&headers).is_none());
        headers.insert("grpc-status", "11".parse().unwrap());
        headers.insert("grpc-message", "100%25 of %C3%A4%zz%".parse().unwrap());
        let Some(Err(RpcError::Refused { code, message })) = status(&headers) else { panic!("refused") };
        assert_eq!((code, message.as_str()), (11, "100% of ä%zz%"));
        headers.insert("grpc-status", "0".parse().unwrap());
        assert!(matches!(status(&headers), Some(Ok(()))));
    }
}
