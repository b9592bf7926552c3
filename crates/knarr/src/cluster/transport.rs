//! The client's transport inside one program: the API server's own request service, under an identity. Requests pass the
//! same chain of authentication, authorization and admission as those from outside; only socket and TLS are missing.

use std::convert::Infallible;
use std::sync::Arc;

use apiserver::{ApiBody, ApiServer, Authenticated};
use auth::UserInfo;
use client::kube;
use http_body_util::BodyExt;
use tower::{Service, ServiceExt};

/// Makes clients of one API server.
#[derive(Clone)]
pub(crate) struct Clients {
    server: Arc<ApiServer>,
}

impl Clients {
    pub(crate) fn new(server: Arc<ApiServer>) -> Self {
        Self { server }
    }

    /// A client that acts as `user`, a member of `groups`.
    pub(crate) fn of(&self, user: &str, groups: &[&str]) -> kube::Client {
        let user = Authenticated::new(UserInfo::new(user, groups));
        let service = self.server.service();
        let transport = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let mut service = service.clone();
            let user = user.clone();
            async move {
                let mut request = request.map(|body| ApiBody::new(body.map_err(Into::into)));
                request.extensions_mut().insert(user);
                service.ready().await?.call(request).await
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
