//! The client's transport inside one program: the API server's own request service, under an identity. Requests pass the
//! same chain of authentication, authorization and admission as those from outside; only socket and TLS are missing.

use std::convert::Infallible;
use std::sync::Arc;

use apiserver::{ApiBody, ApiServer, Authenticated};
use auth::UserInfo;
use client::{Requests, kube};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower::{Service, ServiceExt};

/// Makes clients of one API server.
#[derive(Clone)]
pub(crate) struct Clients {
    server: Arc<ApiServer>,
    requests: Arc<Requests>,
}

impl Clients {
    /// `host` is how the server would be reached over the network.
    pub(crate) fn new(server: Arc<ApiServer>, host: impl Into<String>) -> Self {
        let requests = Arc::new(Requests::new(server.metrics().clone(), host));
        Self { server, requests }
    }

    /// Where everything reports that is to be on the server's page of metrics.
    pub(crate) fn metrics(&self) -> &machinery::metrics::Registry {
        self.server.metrics()
    }

    /// A client that acts as `user`, a member of `groups`.
    pub(crate) fn of(&self, user: &str, groups: &[&str]) -> kube::Client {
        let user = Authenticated::new(UserInfo::new(user, groups));
        let service = self.server.service();
        let requests = self.requests.clone();
        let transport = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let mut service = service.clone();
            let (user, requests) = (user.clone(), requests.clone());
            async move {
                let (started, method) = (Instant::now(), request.method().clone());
                let mut request = request.map(|body| ApiBody::new(body.map_err(Into::into)));
                request.extensions_mut().insert(user);
                let response = service.ready().await?.call(request).await?;
                requests.count(&method, response.status(), started.elapsed());
                Ok::<_, Infallible>(response)
            }
        });
        kube::Client::new(transport.map_err(|never: Infallible| match never {}), "default")
    }

    /// A client that acts as a controller's service account in kube-system.
    pub(crate) fn of_controller(&self, name: &str) -> kube::Client {
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
        self.of(&format!("system:serviceaccount:kube-system:{name}"), &groups)
    }
}
