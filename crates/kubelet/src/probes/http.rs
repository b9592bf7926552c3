//! `httpGet`, for probes and for lifecycle hooks.

use std::time::Duration;

use api::{Container, HTTPGetAction};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Attempt, dial_error, join_host_port, port, tls, within};

/// Bytes of an answer that are read at most.
const BODY_MAX: usize = 10 * 1024;
/// Redirects to the same host that are followed.
const REDIRECTS_MAX: usize = 10;

/// Where to ask.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    https: bool,
    h2: bool,
    host: String,
    port: u16,
    path: String,
    headers: HeaderMap,
}

/// The target of an action; `default_host` is the pod's address.
pub(crate) fn target(
    action: &HTTPGetAction,
    container: &Container,
    default_host: &str,
) -> Result<Target, String> {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(default_host);
    let path = action.path.as_deref().unwrap_or("/");
    let mut headers = HeaderMap::new();
    for header in action.http_headers.iter().flatten() {
        let name = HeaderName::try_from(&header.name).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(&header.value).map_err(|error| error.to_string())?;
        headers.append(name, value);
    }
    headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("kube-probe/1.37"));
    headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    Ok(Target {
        https: action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        h2: action.protocol.as_deref().is_some_and(|protocol| protocol.to_ascii_uppercase().contains('2')),
        host: host.to_owned(),
        port: port(&action.port, container)?,
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        headers,
    })
}

impl Target {
    fn address(&self) -> String {
        join_host_port(&self.host, self.port)
    }

    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address(), self.path)
    }
}

/// Asks once: any code from 200 to 399 is success.
pub(crate) async fn probe(target: &Target, timeout: Duration) -> Attempt {
    let failed = |what: &str| Attempt::failure(format!("Get {:?}: {what}", target.url()));
    match within(timeout, follow(target)).await {
        Some(Ok(status)) if (200..400).contains(&status.as_u16()) => Attempt::Success,
        Some(Ok(status)) => {
            Attempt::failure(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
        }
        Some(Err(GetError::Dial(error))) => match dial_error(&target.address(), &error) {
            Attempt::Failure { output, refused } => {
                Attempt::Failure { output: format!("Get {:?}: {output}", target.url()), refused }
            }
            other => other,
        },
        Some(Err(GetError::Http(what))) => failed(&what),
        None => failed("context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
    }
}

enum GetError {
    Dial(std::io::Error),
    Http(String),
}

async fn follow(target: &Target) -> Result<StatusCode, GetError> {
    let mut target = target.clone();
    for _ in 0..REDIRECTS_MAX {
        let (status, location) = get(&target).await?;
        let next =
            location.filter(|_| status.is_redirection()).and_then(|location| same_host(&target, &location));
        match next {
            Some(path) => target.path = path,
            None => return Ok(status),
        }
    }
    Err(GetError::Http(format!("stopped after {REDIRECTS_MAX} redirects")))
}

/// The path a redirect leads to if it stays on the host.
fn same_host(target: &Target, location: &str) -> Option<String> {
    let uri: http::Uri = location.parse().ok()?;
    let here = uri.host().is_none_or(|host| host == target.host)
        && uri.port_u16().is_none_or(|port| port == target.port)
        && uri.scheme_str().is_none_or(|scheme| (scheme == "https") == target.https);
    here.then(|| uri.path_and_query().map_or("/", |path| path.as_str()).to_owned())
}

async fn get(target: &Target) -> Result<(StatusCode, Option<String>), GetError> {
    let host = target.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, target.port)).await.map_err(GetError::Dial)?;
    if target.https {
        let stream = tls::connect(stream, host, target.h2).await;
        let stream = stream.map_err(|error| GetError::Http(error.to_string()))?;
        exchange(target, stream).await
    } else {
        exchange(target, stream).await
    }
}

async fn exchange(
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(StatusCode, Option<String>), GetError> {
    let error = |error: hyper::Error| GetError::Http(error.to_string());
    let request = request(target).map_err(|error| GetError::Http(error.to_string()))?;
    let io = TokioIo::new(stream);
    let talk = async move {
        let answer = if target.h2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(error)?;
            drive(sender.send_request(request), connection).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(error)?;
            drive(sender.send_request(request), connection).await
        };
        answer.map_err(error)
    };
    talk.await
}

/// Runs a request together with its connection, so that no task outlives the probe.
async fn drive(
    answer: impl Future<Output = Result<http::Response<hyper::body::Incoming>, hyper::Error>>,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) -> Result<(StatusCode, Option<String>), hyper::Error> {
    let read = async {
        let answer = answer.await?;
        let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let (status, location) = (answer.status(), location.map(str::to_owned));
        // Read, so that a server is not bothered with resets; what it says does not matter.
        let _ = Limited::new(answer.into_body(), BODY_MAX).collect().await;
        Ok((status, location))
    };
    tokio::pin!(connection);
    tokio::pin!(read);
    let mut alive = true;
    loop {
        tokio::select! {
            result = &mut read => return result,
            _ = &mut connection, if alive => alive = false,
        }
    }
}

fn request(target: &Target) -> Result<Request<Empty<Bytes>>, http::Error> {
    let uri = if target.h2 { target.url() } else { target.path.clone() };
    let mut request = Request::get(uri).body(Empty::new())?;
    *request.headers_mut() = target.headers.clone();
    if !target.h2 && !request.headers().contains_key(header::HOST) {
        let host = HeaderValue::try_from(target.address())?;
        request.headers_mut().insert(header::HOST, host);
    }
    if !target.h2 {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn serve(answers: Vec<&'static str>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("accept");
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    async fn run(port: u16) -> Attempt {
        let action = HTTPGetAction {
            port: api::IntOrString::Int(i32::from(port)),
            path: Some("healthz".into()),
            ..HTTPGetAction::default()
        };
        let target = target(&action, &Container::default(), "127.0.0.1").expect("target");
        probe(&target, Duration::from_secs(2)).await
    }

    #[tokio::test]
    async fn codes() {
        let port = serve(vec!["HTTP/1.1 204 No Content\r\n\r\n"]).await;
        assert_eq!(run(port).await, Attempt::Success);
        let port = serve(vec!["HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno"]).await;
        assert_eq!(run(port).await, Attempt::failure("HTTP probe failed with statuscode: 500"));
        let port = serve(vec![
            "HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        ])
        .await;
        assert_eq!(run(port).await, Attempt::failure("HTTP probe failed with statuscode: 404"));
        let port =
            serve(vec!["HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n"])
                .await;
        assert_eq!(run(port).await, Attempt::Success);
    }

    #[tokio::test]
    async fn nothing_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        drop(listener);
        let want = format!(
            "Get \"http://127.0.0.1:{port}/healthz\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        );
        assert_eq!(run(port).await, Attempt::Failure { output: want, refused: true });
    }
}
