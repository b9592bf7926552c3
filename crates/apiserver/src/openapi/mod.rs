//! OpenAPI: what `kubectl explain`, `kubectl apply` and client-side validation read.
//!
//! `/openapi/v3` is an index of one document a group version, `/openapi/v2` one document for everything, as JSON or in
//! the protobuf form of gnostic. Documents are generated from the schema and resource tables when first asked for, and
//! kept compressed.

mod document;
mod gnostic;
mod operations;
mod types;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, HeaderMap, HeaderValue,
    IF_NONE_MATCH, LOCATION, VARY,
};
use http::{Response, StatusCode};
use machinery::resources::Resources;
use machinery::schema::Schema;
use machinery::status::Status;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::ApiBody;
use crate::flow::header;
use crate::http::{Query, Wishes, empty, full, gzip, parse_accept};

/// Generates documents and keeps them.
#[derive(Default)]
pub struct OpenApi {
    /// Compressed documents by their key.
    documents: Mutex<HashMap<Document, Arc<OnceLock<Bytes>>>>,
    /// Hash of everything that documents are made of.
    hash: OnceLock<String>,
}

/// The documents there are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Document {
    V2Json,
    V2Protobuf,
    /// Group and version.
    V3(String, String),
}

impl Document {
    fn generate(&self) -> Vec<u8> {
        match self {
            Document::V2Json => document::v2_json(),
            Document::V2Protobuf => document::v2_protobuf(),
            Document::V3(group, version) => document::v3(group, version),
        }
    }

    fn content_type(&self) -> &'static str {
        match self {
            // `@` may not appear in a media type, so upstream answers with a dot where clients ask with an `@`.
            Document::V2Protobuf => "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
            Document::V2Json | Document::V3(..) => "application/json",
        }
    }

    fn of_path(path: &str) -> Option<Document> {
        let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
            ["api", version] => ("", *version),
            ["apis", group, version] => (*group, *version),
            _ => return None,
        };
        let (_, versions) = Resources::builtin().groups().iter().find(|(name, _)| *name == group)?;
        versions.contains(&version).then(|| Document::V3(group.to_owned(), version.to_owned()))
    }
}

impl OpenApi {
    /// Answers `/openapi/v2`, `/openapi/v3` and below.
    ///
    /// # Errors
    /// 404 for group versions that are not served, 406 for forms that are not.
    pub async fn answer(
        &self,
        path: &str,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Response<ApiBody>, Status> {
        if path == "/openapi/v2" {
            let document = negotiate_v2(header(headers, ACCEPT))?;
            return self.document(document, headers, None).await;
        }
        let rest = path.trim_start_matches("/openapi/v3").trim_matches('/');
        if !accepts_json(header(headers, ACCEPT)) {
            return Err(Status::not_acceptable(&["application/json"]));
        }
        if rest.is_empty() {
            let wishes = Wishes::of(headers, query, &crate::http::Accept::default());
            return Ok(crate::http::json(StatusCode::OK, &self.index(), wishes).await);
        }
        let document = Document::of_path(rest).ok_or_else(Status::no_such_resource)?;
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
        for (group, versions) in Resources::builtin().groups() {
            for version in versions {
                let path = if group.is_empty() {
                    format!("api/{version}")
                } else {
                    format!("apis/{group}/{version}")
                };
                let url = format!("/openapi/v3/{path}?hash={}", self.hash_of(&path));
                paths.insert(path, json!({"serverRelativeURL": url}));
            }
        }
        json!({"paths": paths})
    }

    /// Documents are a function of this program's tables, so a hash of those stands for a hash of each document and no
    /// document has to be made to list them all.
    fn hash_of(&self, path: &str) -> String {
        let tables = self.hash.get_or_init(|| {
            let mut hasher = Sha256::new();
            hasher.update(env!("CARGO_PKG_VERSION"));
            hasher.update(Schema::text());
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
        let etag =
            hash.as_ref().map_or_else(|| self.hash_of(&format!("{document:?}")), |(hash, _)| hash.clone());
        let etag = format!("\"{etag}\"");
        let unchanged =
            header(headers, IF_NONE_MATCH).is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == etag));
        let mut response = Response::new(empty());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(document.content_type()));
        if unchanged {
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
        let slot = self.documents.lock().entry(document.clone()).or_default().clone();
        if let Some(bytes) = slot.get() {
            return Ok(bytes.clone());
        }
        // Takes long enough to be kept off the threads that serve requests. Several first requests wait for one making.
        tokio::task::spawn_blocking(move || {
            slot.get_or_init(|| gzip(&document.generate()).unwrap_or_default().into()).clone()
        })
        .await
        .map_err(Status::internal)
    }
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

fn accepts_json(accept: Option<&str>) -> bool {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return true };
    parse_accept(accept).iter().any(|range| range.covers("application", "json"))
}

fn negotiate_v2(accept: Option<&str>) -> Result<Document, Status> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(Document::V2Json) };
    let protobuf =
        ["com.github.proto-openapi.spec.v2@v1.0+protobuf", "com.github.proto-openapi.spec.v2.v1.0+protobuf"];
    parse_accept(accept)
        .iter()
        .find_map(|range| {
            if range.covers("application", "json") {
                Some(Document::V2Json)
            } else if range.kind == "application" && protobuf.contains(&range.subtype.as_str()) {
                Some(Document::V2Protobuf)
            } else {
                None
            }
        })
        .ok_or_else(|| {
            Status::not_acceptable(&[
                "application/json",
                "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            ])
        })
}

#[cfg(test)]
mod tests;
