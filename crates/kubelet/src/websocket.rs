//! WebSocket on upgraded connections, and byte streams tunnelled through it.

use std::io;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Message, Role, WebSocketConfig, frame::coding::CloseCode,
};

/// Largest message that is accepted.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;
const TUNNEL_BYTES: usize = 32 * 1024;

/// A server's WebSocket.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether the request asks for a WebSocket.
pub(crate) fn is_requested(headers: &HeaderMap) -> bool {
    contains(headers, &header::CONNECTION, "upgrade") && contains(headers, &header::UPGRADE, "websocket")
}

/// Whether a header's comma-separated list has the word.
pub(crate) fn contains(headers: &HeaderMap, name: &header::HeaderName, word: &str) -> bool {
    list(headers, name).iter().any(|item| item.eq_ignore_ascii_case(word))
}

fn list(headers: &HeaderMap, name: &header::HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|item| item.trim().to_owned())
        .collect()
}

/// The first of `supported` that the client offers.
pub(crate) fn negotiate<'a>(headers: &HeaderMap, supported: &[&'a str]) -> Option<&'a str> {
    let offered = list(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    supported.iter().copied().find(|protocol| offered.iter().any(|offer| offer == protocol))
}

/// The answer that accepts the upgrade; `None` when the request's key is missing.
pub(crate) fn accept<B: Default>(headers: &HeaderMap, protocol: &str) -> Option<Response<B>> {
    let key = derive_accept_key(headers.get(header::SEC_WEBSOCKET_KEY)?.as_bytes());
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(key).ok()?);
    answer.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::try_from(protocol).ok()?);
    Some(response)
}

/// The WebSocket of a request whose upgrade was accepted.
pub(crate) async fn socket<B>(request: Request<B>) -> Result<Socket, hyper::Error> {
    let upgraded = hyper::upgrade::on(request).await?;
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MESSAGE_MAX);
    config.max_frame_size = Some(MESSAGE_MAX);
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await)
}

/// Says goodbye in the protocol's way.
pub(crate) async fn close(socket: &mut Socket) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = socket.close(Some(frame)).await;
    // The peer's own close frame, so that the connection does not end with unread data.
    let wait = async { while let Some(Ok(_)) = socket.next().await {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), wait).await;
}

/// Carries the bytes of `pipe` in binary messages until either side ends.
pub(crate) async fn tunnel(mut socket: Socket, pipe: DuplexStream) -> io::Result<()> {
    let (mut from_pipe, mut to_pipe) = tokio::io::split(pipe);
    let mut buffer = vec![0; TUNNEL_BYTES];
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(data))) => to_pipe.write_all(&data).await?,
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(io::Error::other(error)),
            },
            count = from_pipe.read(&mut buffer) => match count? {
                0 => {
                    close(&mut socket).await;
                    return Ok(());
                }
                count => {
                    let data = Bytes::copy_from_slice(&buffer[..count]);
                    socket.send(Message::Binary(data)).await.map_err(io::Error::other)?;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_favourite_wins() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("v4.channel.k8s.io, v5.channel.k8s.io"),
        );
        assert_eq!(
            negotiate(&headers, &["v5.channel.k8s.io", "v4.channel.k8s.io"]),
            Some("v5.channel.k8s.io")
        );
        assert_eq!(negotiate(&headers, &["other"]), None);
        assert!(!is_requested(&headers));
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        assert!(is_requested(&headers));
    }
}
