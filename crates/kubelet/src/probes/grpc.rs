//! `grpc`: the standard health checking service, spoken directly over HTTP/2.

use std::time::Duration;

use api::GRPCAction;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Attempt, dial_error, join_host_port, tls, within};

const BODY_MAX: usize = 10 * 1024;
/// `grpc.health.v1.HealthCheckResponse.SERVING`.
const SERVING: u64 = 1;
const STATES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Asks once.
pub(crate) async fn probe(host: &str, action: &GRPCAction, timeout: Duration) -> Attempt {
    let Ok(port) = u16::try_from(action.port) else {
        return Attempt::Error(format!("invalid port number: {}", action.port));
    };
    let address = join_host_port(host, port);
    let service = action.service.as_deref().unwrap_or_default();
    let secure = action.mode.as_deref() == Some("TLS");
    let ask = async {
        let stream = match TcpStream::connect((host.trim_matches(['[', ']']), port)).await {
            Ok(stream) => stream,
            Err(error) => return dial_error(&address, &error),
        };
        let answer = if secure {
            match tls::connect(stream, host, true).await {
                Ok(stream) => check(stream, &address, service).await,
                Err(error) => Err(error.to_string()),
            }
        } else {
            check(stream, &address, service).await
        };
        match answer {
            Ok(SERVING) => Attempt::Success,
            Ok(other) => {
                let name = usize::try_from(other).ok().and_then(|at| STATES.get(at)).unwrap_or(&"UNKNOWN");
                Attempt::failure(format!("service unhealthy (responded with {name:?})"))
            }
            Err(error) => Attempt::failure(format!("error: health rpc probe failed: {error}")),
        }
    };
    within(timeout, ask).await.unwrap_or_else(|| {
        let seconds = timeout.as_secs();
        Attempt::failure(format!(
            "timeout: failed to connect service {address:?} within {seconds}s: context deadline exceeded"
        ))
    })
}

async fn check(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &str,
    service: &str,
) -> Result<u64, String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(text)?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(message(service)))
        .map_err(|error| error.to_string())?;
    let ask = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        let mut status = grpc_status(answer.headers());
        let body =
            Limited::new(answer.into_body(), BODY_MAX).collect().await.map_err(|error| error.to_string())?;
        status = status.or_else(|| body.trailers().and_then(grpc_status));
        match status {
            Some((0, _)) | None => Ok(state(&body.to_bytes())),
            Some((code, message)) => Err(format!("rpc error: code = {code} desc = {message}")),
        }
    };
    tokio::pin!(ask);
    tokio::pin!(connection);
    let mut alive = true;
    loop {
        tokio::select! {
            result = &mut ask => return result,
            _ = &mut connection, if alive => alive = false,
        }
    }
}

fn grpc_status(headers: &http::HeaderMap) -> Option<(u32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").and_then(|value| value.to_str().ok()).unwrap_or_default();
    Some((code, message.to_owned()))
}

/// A `HealthCheckRequest` in a gRPC frame: field 1 is the service's name.
fn message(service: &str) -> Bytes {
    let mut body = Vec::new();
    if !service.is_empty() {
        body.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            body.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        body.push(u8::try_from(length).unwrap_or(0));
        body.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend(u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    frame.extend(body);
    frame.into()
}

/// Field 1 of the `HealthCheckResponse` in a gRPC frame; 0 when it is left out.
fn state(frame: &[u8]) -> u64 {
    match frame.get(5..) {
        Some([0x08, value, ..]) => u64::from(*value),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(state(&[0, 0, 0, 0, 2, 8, 1]), SERVING);
        assert_eq!(state(&[0, 0, 0, 0, 0]), 0);
    }
}
