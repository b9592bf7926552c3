//! Passing a request on: as a plain exchange, or as an upgraded connection copied both ways.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue,
    LOCATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use machinery::status::Status;
use tokio::io::AsyncWriteExt;

use super::connect::connect;
use super::links::{self, Links};
use super::page;
use super::target::Target;
use crate::ApiBody;
use crate::flow::{Admitted, Chain};
use crate::http::empty;

/// Each direction of an upgraded connection holds at most so many bytes.
const COPY_BUFFER_BYTES: usize = 16 * 1024;

/// Headers that speak of one connection only, and are not passed on.
const HOP_BY_HOP: [HeaderName; 5] = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// What a target allows other sites holds for its own address, not for the API server's.
const CORS: [HeaderName; 4] = [
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// Whether the client asks to turn the connection into something else.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asked =
        connection.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    asked && headers.contains_key(UPGRADE)
}

/// A GET request to a target.
pub(super) fn request(target: &Target, path: &str, query: &str) -> Result<Request<ApiBody>, Status> {
    super::pod::get(&join(path, query), &authority(target))
}

fn join(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn authority(target: &Target) -> String {
    if target.host.contains(':') {
        format!("[{}]:{}", target.host, target.port)
    } else {
        format!("{}:{}", target.host, target.port)
    }
}

/// Removes what speaks of the connection it came by, also what its `Connection` header names.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// Forwards an upgrade request. When the target agrees, the two connections are joined; when it does not, its answer is
/// the client's.
pub(super) async fn upgrade(
    chain: &Chain,
    mut request: Request<ApiBody>,
    target: &Target,
    path: &str,
    query: &str,
) -> Result<Response<ApiBody>, Status> {
    let client = hyper::upgrade::on(&mut request);
    let mut onward = Request::builder().method(request.method()).uri(join(path, query));
    if let Some(headers) = onward.headers_mut() {
        headers.extend(request.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
        headers.remove(CONTENT_LENGTH);
        headers.insert(HOST, HeaderValue::from_str(&authority(target)).map_err(Status::internal)?);
    }
    let onward = onward.body(empty()).map_err(Status::internal)?;
    let mut sender = connect(chain, target).await?;
    let answered = sender.send_request(onward).await.map_err(Status::internal)?;
    if answered.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(pass_back(answered));
    }
    let headers = answered.headers().clone();
    let backend = hyper::upgrade::on(answered);
    let token = chain.token.clone();
    chain.tasks.spawn(async move {
        let joined = async {
            // The client's side is ready once it has been sent our 101.
            let (client, backend) = tokio::try_join!(client, backend)?;
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            let copied = tokio::io::copy_bidirectional_with_sizes(
                &mut client,
                &mut backend,
                COPY_BUFFER_BYTES,
                COPY_BUFFER_BYTES,
            );
            if let Err(error) = copied.await {
                tracing::trace!(%error, "an upgraded connection ended early");
                // What has come from the target still has to reach the client; it may be gone, too.
                let _ = client.shutdown().await;
            }
            Ok::<_, hyper::Error>(())
        };
        tokio::select! {
            ended = joined => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an upgrade did not come about");
                }
            }
            () = token.cancelled() => {}
        }
    });
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    Ok(response)
}

/// The target's answer as the client's.
fn pass_back(answered: Response<Incoming>) -> Response<ApiBody> {
    let (mut parts, body) = answered.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    for name in CORS {
        parts.headers.remove(name);
    }
    // Extensions belong to the connection to the target.
    let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response
}

/// `…/proxy/<path>` of a pod, Service or node.
pub(super) async fn proxy(
    chain: &Chain,
    admitted: Admitted,
    target: Target,
) -> Result<Response<ApiBody>, Status> {
    let Admitted { info, request, .. } = admitted;
    let own_path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let path = info.raw_proxy_path(&own_path).to_owned();
    if path.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
        return redirect(&join(&format!("{own_path}/"), &query));
    }
    let path = if path.is_empty() { "/".to_owned() } else { path };
    if wants_upgrade(request.headers()) {
        return upgrade(chain, request, &target, &path, &query).await;
    }
    let links = Links {
        prefix: own_path.strip_suffix(&path).unwrap_or(&own_path).to_owned(),
        target: authority(&target),
        asked: asked_host(&request),
    };
    let is_head = request.method() == Method::HEAD;
    let (mut parts, body) = request.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    let forwarded = HeaderValue::from_str(&links::join(&links.prefix, &path)).map_err(Status::internal)?;
    parts.headers.insert("x-forwarded-uri", forwarded);
    let host = if links.asked.is_empty() { &links.target } else { &links.asked };
    parts.headers.insert(HOST, HeaderValue::from_str(host).map_err(Status::internal)?);
    let mut onward = Request::new(body);
    *onward.method_mut() = parts.method;
    *onward.uri_mut() =
        join(&path, &query).parse().map_err(|_| Status::bad_request("the proxied path is not valid"))?;
    *onward.headers_mut() = parts.headers;
    let mut sender = connect(chain, &target).await.map_err(unavailable)?;
    let answered = sender
        .send_request(onward)
        .await
        .map_err(|error| Status::service_unavailable(format!("error trying to reach service: {error}")))?;
    let mut response = pass_back(answered);
    if response.headers().contains_key(LOCATION) {
        rewrite_location(response.headers_mut(), &links);
        return Ok(response);
    }
    Ok(if is_head { response } else { page::rewrite(response, links).await })
}

/// The host that the client asked for.
fn asked_host(request: &Request<ApiBody>) -> String {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    host.unwrap_or_default().to_owned()
}

/// Upstream answers 503 when what is proxied cannot be reached.
fn unavailable(status: Status) -> Status {
    let why = status.message.trim_start_matches("Internal error occurred: error dialing backend: ");
    Status::service_unavailable(format!("error trying to reach service: {why}"))
}

fn redirect(location: &str) -> Result<Response<ApiBody>, Status> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = HeaderValue::from_str(location).map_err(Status::internal)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// A redirect within the target becomes one within the proxied path.
fn rewrite_location(headers: &mut HeaderMap, links: &Links) {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let rewritten = location.and_then(|location| links.rewritten(location));
    if let Some(Ok(rewritten)) = rewritten.map(|link| HeaderValue::from_str(&link)) {
        headers.insert(LOCATION, rewritten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_are_recognised() {
        let mut headers = HeaderMap::new();
        assert!(!wants_upgrade(&headers));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        assert!(!wants_upgrade(&headers));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert!(wants_upgrade(&headers));
    }

    #[test]
    fn connection_headers_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, x-private"), ("x-private", "1"), ("te", "trailers"), ("x-kept", "1")]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}
