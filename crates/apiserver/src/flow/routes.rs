//! Which part answers which path.

use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Method, Response, StatusCode};
use machinery::status::Status;
use serde_json::{Value, json};

use super::metrics::{Gauge, Kind, process_gauges};
use super::{Admitted, Chain, health};
use crate::ApiBody;
use crate::http::{Accept, RequestInfo, Wishes, read_limited, respond};
use crate::registry::ApiRequest;

impl Chain {
    pub(super) async fn dispatch(&self, admitted: Admitted) -> Result<Response<ApiBody>, Status> {
        if !admitted.info.is_resource {
            return Box::pin(self.other(admitted)).await;
        }
        let info = &admitted.info;
        match (info.group.as_str(), info.resource.as_str(), info.subresource.as_str()) {
            ("", "pods", "log" | "exec" | "attach" | "portforward" | "proxy")
            | ("", "nodes" | "services", "proxy") => {
                Box::pin(crate::kubelet_proxy::answer(self, admitted)).await
            }
            ("authorization.k8s.io" | "authentication.k8s.io", _, _) | ("", "serviceaccounts", "token") => {
                Box::pin(crate::access::answer(self, admitted)).await
            }
            _ => Box::pin(self.resource(admitted)).await,
        }
    }

    async fn resource(&self, admitted: Admitted) -> Result<Response<ApiBody>, Status> {
        let Admitted { info, query, user, request, .. } = admitted;
        let (parts, body) = request.into_parts();
        let wanted = header(&parts.headers, ACCEPT);
        let accept =
            if has_protobuf(&info) { Accept::negotiate(wanted)? } else { Accept::negotiate_text(wanted)? };
        let wishes = Wishes::of(&parts.headers, &query, &accept);
        let body = if matches!(parts.method, Method::GET | Method::HEAD) {
            bytes::Bytes::new()
        } else {
            read_limited(body).await?
        };
        let request = ApiRequest {
            info,
            user,
            query,
            content_type: header(&parts.headers, CONTENT_TYPE).map(str::to_owned),
            accept,
            user_agent: header(&parts.headers, USER_AGENT).map(str::to_owned),
        };
        Ok(respond(self.registry.handle(request, body).await?, wishes).await)
    }

    async fn other(&self, admitted: Admitted) -> Result<Response<ApiBody>, Status> {
        let Admitted { info, query, wishes, request, .. } = admitted;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Status::method_not_allowed());
        }
        if let Some(response) = health::answer(self, &info.path, &query).await {
            return Ok(response);
        }
        if info.path == "/openapi/v2" || info.path.starts_with("/openapi/v3") {
            return self.openapi.answer(&info.path, &query, request.headers()).await;
        }
        if info.path.starts_with("/api") {
            return self.discovery.answer(&info.path, request.headers(), wishes).await;
        }
        let ok = StatusCode::OK;
        match info.path.trim_end_matches('/') {
            "" => Ok(crate::http::json(ok, &json!({"paths": self.paths()}), wishes).await),
            "/version" => Ok(crate::http::json(ok, &version(), Wishes { pretty: true, ..wishes }).await),
            "/metrics" => Ok(self.metrics_page()),
            "/.well-known/openid-configuration" => {
                let base = format!("https://{}", self.config.advertise);
                let document = self.authenticator.signer().openid_configuration(&base);
                Ok(crate::http::json(ok, &document, wishes).await)
            }
            "/openid/v1/jwks" => {
                let mut response = crate::http::json(ok, &self.authenticator.signer().jwks(), wishes).await;
                let json = http::HeaderValue::from_static("application/jwk-set+json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                Ok(response)
            }
            // Upstream lists the paths there are, with code 404.
            _ => Ok(crate::http::json(StatusCode::NOT_FOUND, &json!({"paths": self.paths()}), wishes).await),
        }
    }

    fn paths(&self) -> Vec<String> {
        let own = [
            "/.well-known/openid-configuration",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openapi/v3/",
            "/openid/v1/jwks",
            "/version",
        ];
        let mut paths: Vec<String> = own.map(str::to_owned).to_vec();
        paths.extend(self.discovery.paths());
        paths.extend(health::paths());
        paths.sort();
        paths
    }

    fn metrics_page(&self) -> Response<ApiBody> {
        let (reading, mutating) = self.limits.in_flight();
        let counts = self.object_counts();
        let gauge = |name, help, values| Gauge { name, kind: Kind::Gauge, help, values };
        let mut gauges = vec![
            gauge(
                "apiserver_current_inflight_requests",
                "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
                vec![
                    ("request_kind=\"mutating\"".to_owned(), mutating as f64),
                    ("request_kind=\"readOnly\"".to_owned(), reading as f64),
                ],
            ),
            gauge(
                "apiserver_storage_objects",
                "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
                counts
                    .iter()
                    .map(|row| {
                        (
                            format!("resource={:?}", machinery::status::qualified(row.group, row.resource)),
                            row.objects,
                        )
                    })
                    .collect(),
            ),
            gauge(
                "apiserver_resource_objects",
                "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
                counts.iter().map(|row| (row.labels(), row.objects)).collect(),
            ),
            gauge(
                "apiserver_watch_cache_resource_version",
                "Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant digits.",
                counts.iter().map(|row| (row.labels(), (row.revision % REVISION_DIGITS) as f64)).collect(),
            ),
            gauge(
                "kubernetes_build_info",
                "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
                vec![(build_labels(), 1.0)],
            ),
        ];
        gauges.extend(process_gauges());
        let mut response = crate::http::text(StatusCode::OK, self.metrics.render(&gauges));
        let content_type = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }

    fn object_counts(&self) -> Vec<Count> {
        let mut counts: Vec<Count> = Vec::new();
        for resource in machinery::resources::Resources::builtin().iter().filter(|r| r.is_stored()) {
            let (group, resource) = (resource.group, resource.plural);
            if counts.iter().any(|known| (known.group, known.resource) == (group, resource)) {
                continue;
            }
            if let Some(handle) = self.registry.resource(group, resource) {
                let cache = &handle.storage.cache;
                let (objects, revision) = (cache.len() as f64, cache.revision());
                counts.push(Count { group, resource, objects, revision });
            }
        }
        counts
    }
}

/// Upstream shows so many digits of a revision, because floating-point numbers have no more.
const REVISION_DIGITS: u64 = 1_000_000_000_000_000;

/// What a cache holds.
struct Count {
    group: &'static str,
    resource: &'static str,
    objects: f64,
    revision: u64,
}

impl Count {
    fn labels(&self) -> String {
        format!("group={:?},resource={:?}", self.group, self.resource)
    }
}

/// `/version`, as labels.
fn build_labels() -> String {
    let version = version();
    let names = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ];
    names.map(|(label, key)| format!("{label}={}", version[key])).join(",")
}

/// Whether the objects of a resource are of a built-in kind: only those have a protobuf form.
fn has_protobuf(info: &RequestInfo) -> bool {
    machinery::resources::Resources::builtin()
        .lookup(&info.group, &info.version, &info.resource)
        .is_some_and(|resource| resource.type_id.is_some())
}

/// A header's text.
pub(crate) fn header(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `/version`.
fn version() -> Value {
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
