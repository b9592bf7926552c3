//! Paths that are no resources: the index, discovery, health, keys of tokens, metrics.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use machinery::resources::Resources;
use machinery::status::Status;
use serde_json::{Value, json};

use super::zpages::Zpage;
use super::{Admitted, Chain, health};
use crate::ApiBody;
use crate::http::{full, raw_json, router, text};

/// How long clients may keep the keys that tokens are checked with.
const KEYS_KEPT: &str = "public, max-age=3600";
const JSON: &str = "application/json";
const KEY_SET: &str = "application/jwk-set+json";

/// Who answers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// Upstream's router, which knows methods and media types, and tells what it does not find with a Status.
    Routed(Routed),
    /// A handler of exactly this path, which takes any method.
    Plain(Plain),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Routed {
    Discovery,
    Version,
    Configuration,
    Keys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Index,
    Health,
    Metrics,
    Zpage(Zpage),
    ServiceLevels,
    OpenApi,
    NotFound,
}

impl Page {
    fn of(path: &str) -> Page {
        let below =
            |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if path == "/apis" || path == "/apis/" || below("/api") || in_known_group(path) {
            return Page::Routed(Routed::Discovery);
        }
        if below("/version") {
            return Page::Routed(Routed::Version);
        }
        if below("/.well-known/openid-configuration") {
            return Page::Routed(Routed::Configuration);
        }
        if below("/openid/v1/jwks") {
            return Page::Routed(Routed::Keys);
        }
        Page::Plain(match path {
            "" | "/" | "/index.html" => Plain::Index,
            "/metrics" => Plain::Metrics,
            "/metrics/slis" => Plain::ServiceLevels,
            "/openapi/v2" | "/openapi/v3" => Plain::OpenApi,
            _ if path.starts_with("/openapi/v3/") => Plain::OpenApi,
            _ if health::endpoint(path).is_some() => Plain::Health,
            _ => match Zpage::ALL.iter().find(|(known, _)| *known == path) {
                Some((_, page)) => Plain::Zpage(*page),
                None => Plain::NotFound,
            },
        })
    }
}

/// Whether a path is `/apis/<group>` or below, of a group that is built in.
fn in_known_group(path: &str) -> bool {
    let group = path.strip_prefix("/apis/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    !group.is_empty() && Resources::builtin().groups().iter().any(|(name, _)| *name == group)
}

impl Chain {
    /// Answers a path that is no resource.
    pub(super) async fn page(&self, admitted: Admitted) -> Result<Response<ApiBody>, Status> {
        let Admitted { info, query, wishes, request, .. } = admitted;
        match Page::of(&info.path) {
            Page::Routed(Routed::Discovery) => {
                let method = request.method();
                self.discovery.answer(method, &info.path, request.headers(), wishes).await
            }
            Page::Routed(route) => self.routed(route, &info.path, request.method(), request.headers()),
            Page::Plain(Plain::OpenApi) => self.openapi.answer(&info.path, &query, request.headers()).await,
            Page::Plain(Plain::Health) => Ok(health::answer(self, &info.path, &query).await),
            Page::Plain(Plain::Index) => Ok(raw_json(StatusCode::OK, &json!({"paths": self.paths()}))),
            Page::Plain(Plain::Zpage(page)) => page.answer(self, request.headers(), wishes).await,
            Page::Plain(Plain::Metrics) => Ok(self.metrics_page(wishes)),
            Page::Plain(Plain::ServiceLevels) => Ok(self.service_levels_page(wishes)),
            Page::Plain(Plain::NotFound) => Ok(not_found()),
        }
    }

    fn routed(
        &self,
        route: Routed,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response<ApiBody>, Status> {
        let (root, produced) = match route {
            Routed::Version => ("/version", JSON),
            Routed::Configuration => ("/.well-known/openid-configuration", JSON),
            Routed::Keys => ("/openid/v1/jwks", KEY_SET),
            Routed::Discovery => return Err(Status::no_such_resource()),
        };
        if !path.trim_start_matches(root).trim_matches('/').is_empty() {
            return Err(Status::no_such_resource());
        }
        if method != Method::GET {
            return Err(Status::method_not_allowed());
        }
        router::check_accept(headers, &[produced])?;
        let signer = self.authenticator.signer();
        Ok(match route {
            Routed::Configuration => {
                kept(JSON, &signer.openid_configuration(&format!("https://{}", self.config.advertise)))
            }
            Routed::Keys => kept(KEY_SET, &signer.jwks()),
            _ => raw_json(StatusCode::OK, &version()),
        })
    }

    /// All paths, for the index at `/`.
    pub(super) fn paths(&self) -> Vec<String> {
        let own = [
            "/.well-known/openid-configuration",
            "/metrics",
            "/metrics/slis",
            "/openapi/v2",
            "/openapi/v3",
            "/openapi/v3/",
            "/openid/v1/jwks",
            "/version",
        ];
        let mut paths: Vec<String> = own.map(str::to_owned).to_vec();
        paths.extend(self.discovery.paths());
        paths.extend(health::paths());
        paths.extend(Zpage::ALL.map(|(path, _)| path.to_owned()));
        paths.sort();
        paths
    }
}

/// A document that clients may keep for a while.
fn kept(content_type: &'static str, document: &Value) -> Response<ApiBody> {
    let mut response = Response::new(full(document.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(KEYS_KEPT));
    response
}

/// What is said about paths that there are not.
pub(super) fn not_found() -> Response<ApiBody> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// `/version`.
pub(super) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": "v1.37.0+knarr",
        "gitCommit": option_env!("KNARR_COMMIT").unwrap_or(""),
        "gitTreeState": "clean",
        "buildDate": option_env!("KNARR_BUILD_DATE").unwrap_or(""),
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact_where_no_router_is() {
        for (path, want) in [
            ("/", Page::Plain(Plain::Index)),
            ("/index.html", Page::Plain(Plain::Index)),
            ("/version/", Page::Routed(Routed::Version)),
            ("/version/x", Page::Routed(Routed::Version)),
            ("/versions", Page::Plain(Plain::NotFound)),
            ("/api/", Page::Routed(Routed::Discovery)),
            ("/api/v9", Page::Routed(Routed::Discovery)),
            ("/apis/", Page::Routed(Routed::Discovery)),
            ("/apis/apps/v9", Page::Routed(Routed::Discovery)),
            ("/apis/nothing", Page::Plain(Plain::NotFound)),
            ("/apix", Page::Plain(Plain::NotFound)),
            ("/healthz", Page::Plain(Plain::Health)),
            ("/healthz/ping", Page::Plain(Plain::Health)),
            ("/healthz/", Page::Plain(Plain::NotFound)),
            ("/healthz/shutdown", Page::Plain(Plain::NotFound)),
            ("/readyz/shutdown", Page::Plain(Plain::Health)),
            ("/metrics/", Page::Plain(Plain::NotFound)),
            ("/openapi/v2/", Page::Plain(Plain::NotFound)),
            ("/openapi/v3/", Page::Plain(Plain::OpenApi)),
            ("/logs", Page::Plain(Plain::NotFound)),
            ("/debug/pprof/", Page::Plain(Plain::NotFound)),
            ("/configz", Page::Plain(Plain::NotFound)),
            ("/statusz", Page::Plain(Plain::Zpage(Zpage::Status))),
            ("/statusz/", Page::Plain(Plain::NotFound)),
            ("/flagz", Page::Plain(Plain::Zpage(Zpage::Flags))),
        ] {
            assert_eq!(Page::of(path), want, "{path}");
        }
    }
}
