//! Requests that a node, a pod or a Service answers: logs, exec, attach, port-forward and proxies.
//!
//! The API server finds out where to go ([`target`]), connects ([`connect`]) and passes bytes on: a plain HTTP exchange, or
//! an upgraded connection copied both ways until either side ends.

mod connect;
mod forward;
mod html;
mod links;
mod page;
mod pod;
mod target;

use http::{Method, Response};
use machinery::status::Status;

use crate::ApiBody;
use crate::flow::{Admitted, Chain};

pub(crate) use connect::Kubelets;

/// Answers one of these requests.
///
/// # Errors
/// The Status that the client gets.
pub(crate) async fn answer(chain: &Chain, admitted: Admitted) -> Result<Response<ApiBody>, Status> {
    let served = machinery::resources::Resources::builtin()
        .lookup(&admitted.info.group, &admitted.info.version, &admitted.info.resource)
        .and_then(|resource| resource.subresource(&admitted.info.subresource))
        .ok_or_else(Status::no_such_resource)?;
    let proxied = admitted.info.subresource == "proxy" && admitted.request.method() == Method::OPTIONS;
    if admitted.info.name.is_empty() || !proxied && !served.verbs.contains(&admitted.info.verb.as_str()) {
        return Err(Status::method_not_allowed());
    }
    match (admitted.info.resource.as_str(), admitted.info.subresource.as_str()) {
        ("pods", "log") => pod::log(chain, admitted).await,
        ("pods", "exec" | "attach" | "portforward") => pod::session(chain, admitted).await,
        ("pods", _) => {
            let target = target::pod(chain, &admitted.info)?;
            forward::proxy(chain, admitted, target).await
        }
        ("services", _) => {
            let target = target::service(chain, &admitted.info)?;
            forward::proxy(chain, admitted, target).await
        }
        _ => {
            let target = target::node_proxy(chain, &admitted.info)?;
            forward::proxy(chain, admitted, target).await
        }
    }
}
