//! Choosing between WebSocket and SPDY.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

use super::{Answer, text};
use crate::websocket;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Protocols of exec and attach over SPDY, the newest first.
const SPDY_STREAM_PROTOCOLS: [&str; 4] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io"];
const SPDY_FORWARD_PROTOCOLS: [&str; 1] = ["portforward.k8s.io"];

/// Whether the client asks for SPDY directly.
pub(crate) fn wants_spdy(headers: &HeaderMap) -> bool {
    websocket::contains(headers, &header::UPGRADE, "SPDY/3.1")
        && websocket::contains(headers, &header::CONNECTION, "upgrade")
}

/// Accepts an upgrade to SPDY for exec or attach; the error is the refusal.
pub(crate) fn accept_spdy_streams(headers: &HeaderMap) -> Result<(Answer, &'static str), Box<Answer>> {
    accept_spdy(headers, &SPDY_STREAM_PROTOCOLS)
}

/// Accepts an upgrade to SPDY for port-forward.
pub(crate) fn accept_spdy_forward(headers: &HeaderMap) -> Result<(Answer, &'static str), Box<Answer>> {
    accept_spdy(headers, &SPDY_FORWARD_PROTOCOLS)
}

fn accept_spdy(
    headers: &HeaderMap,
    supported: &[&'static str],
) -> Result<(Answer, &'static str), Box<Answer>> {
    let offered: Vec<&str> = headers
        .get_all(&STREAM_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let Some(protocol) = supported.iter().copied().find(|protocol| offered.contains(protocol)) else {
        let message = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {supported:?}"
        );
        return Err(Box::new(text(StatusCode::FORBIDDEN, message)));
    };
    let mut response = Response::new(
        Full::default().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync(),
    );
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    Ok((response, protocol))
}

/// The answer to a request that asks for neither.
pub(crate) fn required() -> Answer {
    text(StatusCode::BAD_REQUEST, "Upgrade request required")
}
