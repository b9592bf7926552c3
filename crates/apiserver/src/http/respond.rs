//! Writing answers: status codes, encodings, compression, warnings.

use std::io::Write;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT, VARY,
};
use http::{Response, StatusCode};
use machinery::codec::protobuf;
use machinery::status::Status;
use serde_json::Value;

use super::watch_frames::protobuf_frames;
use super::{Accept, Format, Query, full, pretty::pretty, warnings};
use crate::ApiBody;
use crate::registry::{Answer, AnswerBody};

/// Answers longer than this are compressed, bytes; the same as upstream's.
const COMPRESS_BYTES_MIN: usize = 128 * 1024;

/// What the request says about how the answer is to be written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    pub format: Format,
    pub pretty: bool,
    pub gzip: bool,
}

impl Wishes {
    /// Reads the wishes; `accept` is what was negotiated.
    pub fn of(headers: &HeaderMap, query: &Query, accept: &Accept) -> Wishes {
        let text =
            |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        let person = ["curl", "Wget", "Mozilla/5.0"].iter().any(|agent| text(USER_AGENT).starts_with(agent));
        let asked = match query.get_set("pretty") {
            Some(value) => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
            None => person,
        };
        let pretty = accept.pretty || asked;
        // As upstream, which does not look at qualities.
        let gzip = text(ACCEPT_ENCODING).split(',').any(|coding| coding.trim() == "gzip");
        Wishes { format: accept.format, pretty, gzip }
    }
}

/// The answer of the registry as HTTP.
pub(crate) async fn respond(answer: Answer, wishes: Wishes) -> Response<ApiBody> {
    let code = StatusCode::from_u16(answer.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match answer.body {
        AnswerBody::Json(bytes) => document(code, answer.content_type, bytes, wishes).await,
        AnswerBody::Stream(body) if wishes.format == Format::Protobuf => {
            with_type(code, protobuf::WATCH_MEDIA_TYPE, protobuf_frames(body))
        }
        AnswerBody::Stream(body) => with_type(code, answer.content_type, body),
    };
    add_warnings(&mut response, &answer.warnings);
    response
}

fn add_warnings(response: &mut Response<ApiBody>, warnings: &[String]) {
    for value in warnings::headers(warnings) {
        response.headers_mut().append(http::header::WARNING, value);
    }
}

/// What is no object of the API, for which nothing is negotiated.
pub(crate) fn raw_json(code: StatusCode, value: &Value) -> Response<ApiBody> {
    with_type(code, "application/json", full(pretty(value.to_string().as_bytes())))
}

/// A JSON value as answer.
pub(crate) async fn json(code: StatusCode, value: &Value, wishes: Wishes) -> Response<ApiBody> {
    document(code, "application/json", value.to_string().into(), wishes).await
}

/// A failure (or success without an object) as answer.
pub(crate) async fn status(status: &Status, wishes: Wishes) -> Response<ApiBody> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &status.to_json(), wishes).await;
    let seconds = status.details.as_ref().and_then(|details| details.retry_after_seconds);
    // Clients that see the header try again by themselves.
    if let Some(seconds) = seconds.filter(|seconds| *seconds > 0) {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    add_warnings(&mut response, status.warnings());
    response
}

/// Plain text as answer.
pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<ApiBody> {
    let mut response = with_type(code, "text/plain; charset=utf-8", full(text));
    response.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn with_type(code: StatusCode, content_type: &'static str, body: ApiBody) -> Response<ApiBody> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

async fn document(
    code: StatusCode,
    content_type: &'static str,
    bytes: Bytes,
    wishes: Wishes,
) -> Response<ApiBody> {
    let (content_type, bytes) = match wishes.format {
        Format::Yaml if content_type == "application/json" => match to_yaml(&bytes) {
            Some(yaml) => (Format::Yaml.content_type(), yaml),
            None => (content_type, bytes),
        },
        Format::Protobuf if content_type == "application/json" => match to_protobuf(bytes.clone()).await {
            Some(message) => (Format::Protobuf.content_type(), message),
            // Documents that are no objects of a built-in kind.
            None => (content_type, bytes),
        },
        Format::Json if !content_type.starts_with("application/json") => (content_type, bytes),
        Format::Json if wishes.pretty => (content_type, pretty(&bytes).into()),
        Format::Json => (content_type, line(bytes)),
        _ => (content_type, bytes),
    };
    if !wishes.gzip || bytes.len() <= COMPRESS_BYTES_MIN {
        return with_type(code, content_type, full(bytes));
    }
    // Compressing megabytes takes long enough to hold up other requests of this thread.
    let uncompressed = bytes.clone();
    let compressed = tokio::task::spawn_blocking(move || gzip(&uncompressed)).await;
    let Ok(Some(compressed)) = compressed else { return with_type(code, content_type, full(bytes)) };
    let mut response = with_type(code, content_type, full(compressed));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// The document with the end of line that Go's encoder writes.
fn line(json: Bytes) -> Bytes {
    // Only what others hold, too, is copied.
    let mut line = BytesMut::from(json);
    line.extend_from_slice(b"\n");
    line.freeze()
}

/// Compresses with the fastest level: the network is rarely slower than the processor here.
pub(crate) fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

fn to_yaml(json: &[u8]) -> Option<Bytes> {
    let value: Value = serde_json::from_slice(json).ok()?;
    serde_saphyr::to_string(&value).ok().map(Bytes::from)
}

/// The object in protobuf; none for what is no object of a built-in kind.
async fn to_protobuf(json: Bytes) -> Option<Bytes> {
    let long = json.len() >= COMPRESS_BYTES_MIN;
    let convert = move || {
        let object: Value = serde_json::from_slice(&json).ok()?;
        protobuf::encode(&object).ok().map(Bytes::from)
    };
    // Lists of megabytes would hold up other requests of this thread.
    if long { tokio::task::spawn_blocking(convert).await.ok()? } else { convert() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failures_tell_when_to_try_again() {
        let accept = Accept::default();
        for (seconds, header) in [(0, None), (10, Some("10"))] {
            let wishes = Wishes::of(&HeaderMap::new(), &Query::default(), &accept);
            let failure = Status::too_many_requests("later", seconds).with_warnings(["old".to_owned()]);
            let response = status(&failure, wishes).await;
            let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
            assert_eq!(text(RETRY_AFTER), header);
            assert_eq!(text(http::header::WARNING), Some("299 - \"old\""));
        }
    }
}
