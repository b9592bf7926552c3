//! Which part answers which path.

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Response};
use machinery::metrics::{Kind, Page};
use machinery::resources::Resources;
use machinery::status::Status;

use super::metrics::{Gauge, process_gauges, process_start, resource_gauges};
use super::pages::{not_found, version};
use super::{Admitted, Chain};
use crate::ApiBody;
use crate::http::{Accept, Offer, RequestInfo, Wishes, full, gzip, read_limited, respond, router};
use crate::registry::ApiRequest;

impl Chain {
    pub(super) async fn dispatch(&self, admitted: Admitted) -> Result<Response<ApiBody>, Status> {
        if !admitted.info.is_resource {
            return Box::pin(self.page(admitted)).await;
        }
        let info = &admitted.info;
        if !self.has_group(&info.group) {
            return Ok(not_found());
        }
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
        if self.is_known(&info) {
            self.check_route(&parts, &info)?;
        }
        let offer = Offer { protobuf: has_protobuf(&info), tables: has_tables(&info) };
        let accept = Accept::negotiate(header(&parts.headers, ACCEPT), offer)?;
        let wishes = Wishes::of(&parts.headers, &query, &accept);
        let body = if matches!(parts.method, Method::GET | Method::HEAD) {
            bytes::Bytes::new()
        } else {
            let body = read_limited(body).await?;
            self.metrics.received(&info, self.is_known(&info), body.len());
            body
        };
        let request = ApiRequest {
            info,
            user,
            query,
            content_type: header(&parts.headers, CONTENT_TYPE).map(str::to_owned),
            accept,
            user_agent: parts
                .headers
                .get(USER_AGENT)
                .map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned()),
        };
        Ok(respond(self.registry.handle(request, body).await?, wishes).await)
    }

    /// Whether anything of a group is served.
    fn has_group(&self, group: &str) -> bool {
        Resources::builtin().groups().iter().any(|(name, _)| *name == group)
            || self.registry.serves_group(group)
    }

    /// What upstream's router says before any handler has a look.
    fn check_route(&self, parts: &http::request::Parts, info: &RequestInfo) -> Result<(), Status> {
        // Routes are for methods, and none is for these.
        if parts.method == Method::HEAD || !self.registry.has_route(&parts.method, info) {
            return Err(Status::method_not_allowed());
        }
        let collection = matches!(info.verb.as_str(), "list" | "watch");
        // Custom resources have no routes.
        if has_protobuf(info) { router::check(parts, collection) } else { Ok(()) }
    }

    pub(super) fn metrics_page(&self, wishes: Wishes) -> Response<ApiBody> {
        let (reading, mutating) = self.limits.in_flight();
        let gauge = |name, help, values| Gauge { name, kind: Kind::Gauge, help, values };
        let mut gauges = vec![
            gauge(
                "apiserver_current_inflight_requests",
                "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
                vec![
                    ("request_kind=\"mutating\"".to_owned(), mutating as f64),
                    ("request_kind=\"readOnly\"".to_owned(), reading as f64),
                ],
            ),
            gauge(
                "kubernetes_build_info",
                "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
                vec![(build_labels(), 1.0)],
            ),
        ];
        gauges.extend(resource_gauges(&self.registry));
        gauges.extend(process_gauges());
        let mut others = Page::new();
        self.registry.metrics().write(&mut others);
        metrics_text(self.metrics.render(&gauges) + &others.finish(), wishes)
    }

    pub(super) fn service_levels_page(&self, wishes: Wishes) -> Response<ApiBody> {
        let started = process_gauges().into_iter().find(|gauge| gauge.name == "process_start_time_seconds");
        metrics_text(self.metrics.render_service_levels(started), wishes)
    }
}

/// A page of metrics, with when the process began in a header, by which Prometheus knows a restart.
fn metrics_text(page: String, wishes: Wishes) -> Response<ApiBody> {
    let compressed = if wishes.gzip { gzip(page.as_bytes()) } else { None };
    let mut response = Response::new(full(page));
    if let Some(compressed) = compressed {
        *response.body_mut() = full(compressed);
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let content_type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.extend(process_start().map(|at| (HeaderName::from_static("process-start-time-unix"), at.into())));
    response
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
    Resources::builtin()
        .lookup(&info.group, &info.version, &info.resource)
        .is_some_and(|resource| resource.type_id.is_some())
}

/// Whether what is answered can be shown in a Table. Upstream leaves it out of most subresources.
fn has_tables(info: &RequestInfo) -> bool {
    const STATUSES_WITHOUT: [(&str, &str); 3] = [
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("apiregistration.k8s.io", "apiservices"),
        ("resource.k8s.io", "resourceclaims"),
    ];
    let resource = (info.group.as_str(), info.resource.as_str());
    match info.subresource.as_str() {
        "" => resource != ("", "bindings"),
        "status" => !STATUSES_WITHOUT.contains(&resource),
        subresource => subresource == "scale",
    }
}

/// A header's text.
pub(crate) fn header(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
