//! OpenAPI: what `kubectl explain`, `kubectl apply` and client-side validation read.
//!
//! `/openapi/v3` is an index of one document a group version, `/openapi/v2` one document for everything; both as JSON or in
//! the protobuf forms of gnostic. Documents are generated when they are asked for, from the schema and resource tables and
//! the descriptions that the program carries compressed; the last few are kept, compressed too.

mod cache;
mod document;
mod enums;
mod gnostic;
mod operations;
mod parameters;
mod render;
mod types;

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, HeaderMap, HeaderValue,
    IF_NONE_MATCH, LOCATION, VARY,
};
use http::{Response, StatusCode};
use machinery::resources::Resources;
use machinery::schema::Schema;
use machinery::status::Status;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::ApiBody;
use crate::flow::header;
use crate::http::{Query, Wishes, empty, full, gzip, parse_accept};
use cache::Cache;
use document::Part;

/// Generates documents and keeps the last ones.
#[derive(Default)]
pub struct OpenApi {
    documents: Cache,
    /// Hash of everything that documents are made of.
    hash: OnceLock<String>,
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    Json,
    Protobuf,
}

/// The documents there are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Document {
    V2(Form),
    V3(Part, Form),
}

impl Document {
    fn generate(&self) -> Vec<u8> {
        match self {
            Document::V2(Form::Json) => document::v2_json(),
            Document::V2(Form::Protobuf) => document::v2_protobuf(),
            Document::V3(part, Form::Json) => document::v3_json(part),
            Document::V3(part, Form::Protobuf) => document::v3_protobuf(part),
        }
    }

    /// `@` may not appear in a media type, so upstream answers with a dot where clients ask with an `@`.
    fn content_type(&self) -> &'static str {
        match self {
            Document::V2(Form::Protobuf) => "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
            Document::V3(_, Form::Protobuf) => "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
            Document::V2(Form::Json) | Document::V3(_, Form::Json) => "application/json",
        }
    }
}

impl OpenApi {
    /// Answers `/openapi/v2`, `/openapi/v3` and below.
    ///
    /// # Errors
    /// 500 when a document cannot be made. What there is not is answered with a bare code, as upstream does.
    pub async fn answer(
        &self,
        path: &str,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Response<ApiBody>, Status> {
        if path == "/openapi/v2" {
            return match negotiate(header(headers, ACCEPT), "v2") {
                Some(form) => self.document(Document::V2(form), headers, None).await,
                None => Ok(bare(StatusCode::NOT_ACCEPTABLE)),
            };
        }
        let rest = path.trim_start_matches("/openapi/v3").trim_matches('/');
        if rest.is_empty() {
            return Ok(self.index_answer(headers));
        }
        let part = Part::all().into_iter().find(|part| part.path() == rest);
        let Some(part) = part else { return Ok(bare(StatusCode::NOT_FOUND)) };
        let Some(form) = negotiate(header(headers, ACCEPT), "v3") else {
            return Ok(bare(StatusCode::NOT_ACCEPTABLE));
        };
        let document = Document::V3(part, form);
        let hash = self.hash_of(rest);
        match query.get("hash") {
            Some(asked) if asked != hash => {
                // The client's copy of the index is old: it is led to the document there is now.
                let mut response = Response::new(empty());
                *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                let location = format!("/openapi/v3/{rest}?hash={hash}");
                if let Ok(location) = HeaderValue::from_str(&location) {
                    response.headers_mut().insert(LOCATION, location);
                }
                Ok(response)
            }
            asked => self.document(document, headers, Some((hash, asked.is_some()))).await,
        }
    }

    fn index(&self) -> Value {
        let mut paths = Map::new();
        for path in Part::all().iter().map(Part::path) {
            let url = format!("/openapi/v3/{path}?hash={}", self.hash_of(&path));
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
        json!({"paths": paths})
    }

    fn index_answer(&self, headers: &HeaderMap) -> Response<ApiBody> {
        let etag = format!("\"{}\"", self.hash_of(""));
        let mut response = Response::new(empty());
        if is_unchanged(headers, &etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = full(self.index().to_string());
        }
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            response.headers_mut().insert(ETAG, etag);
        }
        response
    }

    /// Documents are a function of this program's tables, so a hash of those stands for a hash of each document and no
    /// document has to be made to list them all.
    fn hash_of(&self, path: &str) -> String {
        let tables = self.hash.get_or_init(|| {
            let mut hasher = Sha256::new();
            hasher.update(env!("CARGO_PKG_VERSION"));
            hasher.update(Schema::text());
            hasher.update(descriptions::table());
            hasher.update(Resources::text());
            hex(&hasher.finalize())
        });
        hex(&Sha256::digest(format!("{tables}/{path}")))
    }

    /// `hash`: of the document, and whether the client asked for exactly this one, which never changes then.
    async fn document(
        &self,
        document: Document,
        headers: &HeaderMap,
        hash: Option<(String, bool)>,
    ) -> Result<Response<ApiBody>, Status> {
        let etag = hash.as_ref().map_or_else(|| self.hash_of("v2"), |(hash, _)| hash.clone());
        let etag = format!("\"{etag}\"");
        let mut response = Response::new(empty());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(document.content_type()));
        if is_unchanged(headers, &etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            let compressed = self.compressed(document).await?;
            let takes_gzip = Wishes::of(headers, &Query::default(), &crate::http::Accept::default()).gzip;
            if takes_gzip {
                *response.body_mut() = full(compressed);
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            } else {
                *response.body_mut() = full(decompress(&compressed)?);
            }
        }
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            headers.insert(ETAG, etag);
        }
        if hash.is_some_and(|(_, exact)| exact) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            let year = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(365 * 24);
            if let Ok(expires) =
                HeaderValue::from_str(&year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
            {
                headers.insert(EXPIRES, expires);
            }
        }
        Ok(response)
    }

    async fn compressed(&self, document: Document) -> Result<Bytes, Status> {
        let slot = self.documents.slot(&document);
        if let Some(bytes) = slot.get() {
            return Ok(bytes.clone());
        }
        // Takes long enough to be kept off the threads that serve requests. Several first requests wait for one making.
        let making = slot.clone();
        let bytes = tokio::task::spawn_blocking(move || {
            making.get_or_init(|| gzip(&document.generate()).unwrap_or_default().into()).clone()
        })
        .await
        .map_err(Status::internal)?;
        self.documents.shrink();
        Ok(bytes)
    }
}

fn is_unchanged(headers: &HeaderMap, etag: &str) -> bool {
    header(headers, IF_NONE_MATCH).is_some_and(|tags| {
        tags.split(',').any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag)
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn decompress(compressed: &[u8]) -> Result<Vec<u8>, Status> {
    use std::io::Read;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(compressed).read_to_end(&mut bytes).map_err(Status::internal)?;
    Ok(bytes)
}

/// An answer without a body, about something that there is not.
fn bare(code: StatusCode) -> Response<ApiBody> {
    let mut response = Response::new(empty());
    *response.status_mut() = code;
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// The form that the client likes best; `version` is that of the specification.
fn negotiate(accept: Option<&str>, version: &str) -> Option<Form> {
    let Some(accept) = accept.filter(|accept| !accept.is_empty()) else { return Some(Form::Json) };
    let protobuf = ["@", "."].map(|at| format!("com.github.proto-openapi.spec.{version}{at}v1.0+protobuf"));
    let form = |range: &crate::http::MediaRange| {
        if range.covers("application", "json") {
            Some(Form::Json)
        } else {
            (range.kind == "application" && protobuf.contains(&range.subtype)).then_some(Form::Protobuf)
        }
    };
    parse_accept(accept).iter().find_map(form)
}

#[cfg(test)]
mod tests;
