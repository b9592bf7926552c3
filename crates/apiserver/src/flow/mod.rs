//! From a request to its answer: the chain that every request passes, in the order in which it is written here.

mod authenticate;
mod authorize;
mod health;
mod impersonate;
mod limits;
mod metrics;
mod mirror;
mod pages;
mod policy;
mod priority;
mod routes;
mod zpages;

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod bad_body_tests;
#[cfg(test)]
mod bad_input_tests;
#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod token_tests;
#[cfg(test)]
mod wire_tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use http::{HeaderValue, Request, Response};
use machinery::resources::Resources;
use machinery::status::Status;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use authenticate::Authenticator;
pub(crate) use authenticate::now_seconds;
pub use limits::Limits;
pub use metrics::Metrics;
pub use policy::Policy;
pub(crate) use priority::Flows;
pub(crate) use routes::header;

use self::priority::Flow;
use crate::http::{Accept, Query, RequestInfo, Wishes};
use crate::registry::{Authorizer, Registry};
use crate::{ApiBody, Authenticated, Config};

/// Longest audit ID that is taken over from a client, bytes.
const AUDIT_ID_BYTES_MAX: usize = 64;

/// Everything a request meets on its way.
pub struct Chain {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn store::Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) authenticator: Authenticator,
    pub(crate) limits: Limits,
    pub(crate) flows: Flows,
    pub(crate) metrics: Metrics,
    pub(crate) discovery: crate::discovery::Discovery,
    pub(crate) openapi: crate::openapi::OpenApi,
    pub(crate) kubelets: Option<crate::kubelet_proxy::Kubelets>,
    /// Cancelled when the server is to end.
    pub(crate) token: CancellationToken,
    /// Everything that runs on after its request was answered: upgraded connections.
    pub(crate) tasks: TaskTracker,
}

/// Extension of answers that people read as they like: logs, sessions and what is proxied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnPace;

/// A request that has been let in: what dispatch works with.
pub(crate) struct Admitted {
    pub info: Arc<RequestInfo>,
    pub query: Query,
    pub user: Arc<auth::UserInfo>,
    pub wishes: Wishes,
    pub request: Request<ApiBody>,
}

impl Chain {
    /// Answers one request; never fails and never panics.
    pub async fn answer(&self, request: Request<ApiBody>) -> Response<ApiBody> {
        // The request line is read before anything can go wrong, so that every answer can be counted under it.
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let info = RequestInfo::resolve(request.method(), request.uri().path(), &query).map(Arc::new);
        let started = Metrics::start(&query, header(request.headers(), http::header::CONTENT_TYPE));
        let audit_id = audit_id(&request);
        // Refusals are written like answers, as far as the client says anything that can be followed.
        let accept = Accept::of_refusals(header(request.headers(), http::header::ACCEPT));
        let fallback = Wishes::of(request.headers(), &query, &accept);
        let seen = info.as_ref().cloned().unwrap_or_default();
        let mut flow = None;

        let answered = async {
            let info = info.map_err(|error| Status::bad_request(error.to_string()))?;
            self.pass(request, info, query, &mut flow).await
        };
        // A panic ends its own request only: one bad object must not take the whole cluster down.
        let mut response = match AssertUnwindSafe(answered).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => crate::http::status(&status, fallback).await,
            Err(_) => {
                tracing::error!(verb = seen.verb, path = seen.path, "a request caused a panic");
                let status =
                    Status::internal("This request caused apiserver to panic. Look in the logs for details.");
                crate::http::status(&status, fallback).await
            }
        };
        let headers = response.headers_mut();
        headers.insert("audit-id", audit_id);
        if let Some(flow) = flow {
            flow.write(headers);
        }
        if !headers.contains_key(http::header::CACHE_CONTROL) {
            headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        }
        tracing::trace!(verb = seen.verb, path = seen.path, code = response.status().as_u16(), "answered");
        self.metrics.observe(&started, &seen, self.is_known(&seen), response)
    }

    /// The chain itself. Each step relies on those before it.
    async fn pass(
        &self,
        mut request: Request<ApiBody>,
        info: Arc<RequestInfo>,
        query: Query,
        flow: &mut Option<Flow>,
    ) -> Result<Response<ApiBody>, Status> {
        // Cheap limits first: nothing is spent on a request that is too large in itself. Bodies are limited as they
        // are read, by the steps that read them.
        limits::check_headers(request.headers())?;
        let time = limits::time_allowed(&info, &query)?;

        // Who is it? Before anything that depends on the user: all that follows does.
        let transport = request.extensions().get::<Authenticated>();
        let started = Instant::now();
        let user = self.authenticator.authenticate(request.headers(), transport);
        let mut user = self.metrics.authenticated(started, user)?;

        // Acting as someone else is itself authorized, as the real user. All later steps see the other one only.
        let wanted = match impersonate::requested(request.headers()) {
            Ok(wanted) => wanted,
            Err(status) => return Ok(denied(&status, request.headers(), &query).await),
        };
        if let Some(wanted) = wanted {
            let asked = authorize::attributes(&info, &query, &user);
            user = match impersonate::authorize(&asked, &wanted, |question| self.allow(question)) {
                Ok(other) => Arc::new(other),
                Err(status) => return Ok(denied(&status, request.headers(), &query).await),
            };
        }
        // Credentials go no further: proxied requests must not carry them to pods and nodes.
        impersonate::strip(request.headers_mut());
        request.extensions_mut().remove::<Authenticated>();

        // After authentication, because administrators get in when all places are taken; before authorization, because
        // that costs more than a refusal. The place is kept until the answer's head is ready.
        let _place = self.limits.enter(&info, &user)?;
        if info.verb == "watch" || !info.is_long_running() {
            *flow = self.flows.classify(&info, &user);
        }

        // Before dispatch, and for every path: what is not allowed is not even looked up, so that a refusal does not tell
        // whether something exists.
        for question in authorize::questions(&info, &query, &user, request.headers()) {
            if let Err(status) = self.allow(&question) {
                return Ok(denied(&status, request.headers(), &query).await);
            }
        }

        let wishes = Wishes::of(request.headers(), &query, &Accept::default());
        let admitted = Admitted { info, query, user, wishes, request };
        let Some(time) = time else {
            let watches = admitted.info.verb == "watch";
            let mut response = self.dispatch(admitted).await?;
            if !watches {
                response.extensions_mut().insert(OwnPace);
            }
            return Ok(response);
        };
        // The request may have taken effect all the same; that is for the client to find out.
        match tokio::time::timeout(time, self.dispatch(admitted)).await {
            Ok(response) => response,
            Err(_) => Err(Status::timeout("request did not complete within the allotted timeout")),
        }
    }

    /// Whether the resource exists, built in or not.
    fn is_known(&self, info: &RequestInfo) -> bool {
        if !info.is_resource {
            return false;
        }
        match Resources::builtin().lookup(&info.group, &info.version, &info.resource) {
            Some(resource) => {
                info.subresource.is_empty() || resource.subresource(&info.subresource).is_some()
            }
            None => self.registry.resource(&info.group, &info.resource).is_some_and(|handle| {
                handle.version == info.version
                    && (info.subresource.is_empty() || handle.has_subresource(&info.subresource))
            }),
        }
    }

    /// Refuses what the user may not do, in upstream's words.
    pub(crate) fn allow(&self, attributes: &auth::Attributes<'_>) -> Result<(), Status> {
        let started = Instant::now();
        self.metrics.authorized(started, self.policy.allow(attributes))
    }
}

/// The refusal of what the user may not do or be. Browsers must not take it for a page: it repeats what the client sent.
async fn denied(status: &Status, headers: &http::HeaderMap, query: &Query) -> Response<ApiBody> {
    let accept = Accept::of_refusals(header(headers, http::header::ACCEPT));
    let mut response = crate::http::status(status, Wishes::of(headers, query, &accept)).await;
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// The client's audit ID, or a new one.
fn audit_id(request: &Request<ApiBody>) -> HeaderValue {
    let given =
        request.headers().get("audit-id").filter(|id| !id.is_empty() && id.len() <= AUDIT_ID_BYTES_MAX);
    given
        .cloned()
        .unwrap_or_else(|| HeaderValue::from_str(&new_uuid()).unwrap_or(HeaderValue::from_static("unknown")))
}

/// A random UUID (version 4).
pub(crate) fn new_uuid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0x0f] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}
