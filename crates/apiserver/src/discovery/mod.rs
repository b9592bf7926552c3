//! What is served: `/api`, `/apis` and below, in the old form (a document a group version) and the aggregated one (one
//! document for all; upstream: apiserver `pkg/endpoints/discovery/aggregated`).

mod documents;

use std::net::SocketAddr;
use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use http::{Method, Response, StatusCode};
use machinery::resources::Resources;
use machinery::status::Status;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ApiBody;
use crate::flow::header;
use crate::http::{
    FORMATS, Format, MEDIA_TYPES, MediaRange, Wishes, empty, full, gzip, json, parse_accept, router,
};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers discovery requests from a table of resources.
pub struct Discovery {
    resources: &'static Resources,
    /// Where clients reach the server.
    address: SocketAddr,
    /// Aggregated documents of `/apis` and `/api`, made when first wanted.
    aggregated: [OnceLock<Aggregated>; 2],
}

struct Aggregated {
    json: Bytes,
    gzip: Option<Bytes>,
    etag: HeaderValue,
}

/// The forms a client may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain(Format),
    Aggregated,
}

impl Discovery {
    /// The built-in resources of a server at this address.
    pub fn of(address: SocketAddr) -> Discovery {
        Discovery { resources: Resources::builtin(), address, aggregated: Default::default() }
    }

    /// All paths, for the index at `/`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = vec!["/api".to_owned(), "/apis".to_owned(), "/apis/".to_owned()];
        for (group, versions) in self.resources.groups() {
            if group.is_empty() {
                paths.extend(versions.iter().map(|version| format!("/api/{version}")));
            } else {
                paths.push(format!("/apis/{group}"));
                paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
            }
        }
        paths
    }

    /// Answers a path at or below `/api` or `/apis`.
    ///
    /// # Errors
    /// 404 for groups and versions that are not served, 405 for other methods than GET where they matter, 406 for other
    /// forms.
    pub async fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        wishes: Wishes,
    ) -> Result<Response<ApiBody>, Status> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let root = matches!(segments.as_slice(), ["api" | "apis"]);
        let mut document = self.plain(&segments).ok_or_else(Status::no_such_resource)?;
        // Groups are told by upstream's aggregator, which has no router: it knows neither methods nor their media types.
        if !matches!(segments.as_slice(), ["apis"] | ["apis", _]) {
            if method != Method::GET {
                return Err(Status::method_not_allowed());
            }
            router::check_accept(headers, &MEDIA_TYPES)?;
        }
        let form = negotiate(header(headers, ACCEPT), root)?;
        let format = match form {
            Form::Aggregated => return Ok(self.aggregated(segments == ["api"], headers, wishes)),
            Form::Plain(format) => format,
        };
        if format == Format::Protobuf {
            // The oldest documents name no version in JSON; without one, protobuf would have no message for them.
            document["apiVersion"] = "v1".into();
        }
        Ok(json(StatusCode::OK, &document, Wishes { format, ..wishes }).await)
    }

    fn plain(&self, segments: &[&str]) -> Option<Value> {
        let served = |group: &str| self.resources.groups().iter().find(|(name, _)| *name == group);
        match segments {
            ["api"] => Some(documents::api_versions(&served("")?.1, self.address)),
            ["api", version] => documents::resource_list(self.resources, "", version),
            ["apis"] => Some(documents::group_list(self.resources.groups())),
            ["apis", group] if !group.is_empty() => {
                let (group, versions) = served(group)?;
                Some(documents::group(group, versions, true))
            }
            ["apis", group, version] if !group.is_empty() => {
                documents::resource_list(self.resources, group, version)
            }
            _ => None,
        }
    }

    fn aggregated(&self, core: bool, headers: &HeaderMap, wishes: Wishes) -> Response<ApiBody> {
        let document = self.aggregated[usize::from(core)].get_or_init(|| self.aggregate(core));
        let unchanged = header(headers, IF_NONE_MATCH)
            .is_some_and(|tags| tags.split(',').any(|tag| tag.trim().as_bytes() == document.etag.as_bytes()));
        let mut response = Response::new(empty());
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if let (true, Some(gzip)) = (wishes.gzip, &document.gzip) {
            *response.body_mut() = full(gzip.clone());
            response.headers_mut().insert(http::header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
        } else {
            *response.body_mut() = full(document.json.clone());
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
        headers.insert(ETAG, document.etag.clone());
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("public"));
        response
    }

    fn aggregate(&self, core: bool) -> Aggregated {
        let json: Bytes = documents::aggregated(self.resources, core).to_string().into();
        let hash: String = Sha256::digest(&json).iter().map(|byte| format!("{byte:02X}")).collect();
        Aggregated {
            gzip: gzip(&json).map(Bytes::from),
            json,
            etag: HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"0\"")),
        }
    }
}

fn negotiate(accept: Option<&str>, root: bool) -> Result<Form, Status> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Ok(Form::Plain(Format::Json));
    };
    let form = parse_accept(accept).iter().find_map(|range| form(range, root));
    form.ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))
}

fn form(range: &MediaRange, root: bool) -> Option<Form> {
    let format = FORMATS.into_iter().find(|format| format.suits(range))?;
    match (range.param("as"), range.param("g"), range.param("v")) {
        (None, None, None) => Some(Form::Plain(format)),
        // The kinds of aggregated discovery have no protobuf form here.
        (Some(_), _, _) if format == Format::Protobuf => None,
        (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) if root => {
            Some(Form::Aggregated)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
