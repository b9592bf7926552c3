//! From the verb and subresource of a request to the code that answers it. Each verb is boxed: together their states are large, and
//! a GET need not carry those of a patch.

use bytes::Bytes;
use machinery::status::Status;

use super::Registry;
use super::call::Call;
use super::deprecations;
use super::handle::ResourceHandle;
use super::seam::{Answer, ApiRequest};
use crate::http::RequestInfo;

/// Answers one request.
pub(super) async fn run(registry: &Registry, request: &ApiRequest, body: Bytes) -> Result<Answer, Status> {
    let info = &request.info;
    // A Binding is only ever posted, and means the subresource of the pod it names.
    if (info.group.as_str(), info.resource.as_str()) == ("", "bindings") {
        if info.verb != "create" {
            return Err(Status::method_not_allowed());
        }
        let handle = registry.lookup("", "v1", "pods").ok_or_else(Status::no_such_resource)?;
        registry.caught_up().await?;
        return Call::new(registry, request, handle)?.post_binding(&body).await;
    }
    let handle =
        registry.lookup(&info.group, &info.version, &info.resource).ok_or_else(Status::no_such_resource)?;
    if !info.subresource.is_empty() && !handle.has_subresource(&info.subresource) {
        return Err(Status::no_such_resource());
    }
    if !has_route(&handle, info) {
        return Err(Status::method_not_allowed());
    }
    check_name(request)?;
    if !is_read(&info.verb) {
        // Admission judges by the caches: they have to show what was acknowledged before this request.
        registry.caught_up().await?;
    }
    let warning = deprecations::warning(&handle.api_version, &handle.kind);
    let call = Call::new(registry, request, handle)?;
    let answer =
        if info.subresource.is_empty() { object(&call, body).await } else { subresource(&call, body).await };
    match answer {
        Ok(mut answer) => {
            answer.warnings.splice(..0, warning);
            Ok(answer)
        }
        Err(status) => Err(status.with_warnings(warning)),
    }
}

fn is_read(verb: &str) -> bool {
    matches!(verb, "get" | "list" | "watch")
}

/// A name that could be no segment of a path is refused before it is looked for.
fn check_name(request: &ApiRequest) -> Result<(), Status> {
    let name = &request.info.name;
    // Lists and watches select by it.
    if name.is_empty() || matches!(request.info.verb.as_str(), "list" | "watch") {
        return Ok(());
    }
    let complaints = machinery::names::path_segment(name);
    if complaints.is_empty() {
        return Ok(());
    }
    let quoted = machinery::text::go_quote(name);
    Err(Status::bad_request(format!("Name parameter invalid: {quoted}: {}", complaints.join(";"))))
}

/// Whether the verb is answered at this path.
pub(super) fn has_route(handle: &ResourceHandle, info: &RequestInfo) -> bool {
    handle.answers(&info.subresource, &info.verb) && path_fits(info, handle.namespaced)
}

/// Whether the verb fits a path with or without a name. Nothing is made or deleted in all namespaces at once.
fn path_fits(info: &RequestInfo, namespaced: bool) -> bool {
    let placed = !namespaced || !info.namespace.is_empty();
    match info.verb.as_str() {
        "create" if info.subresource.is_empty() => info.name.is_empty() && placed,
        "deletecollection" => placed,
        "get" | "update" | "patch" | "delete" => !info.name.is_empty(),
        _ => true,
    }
}

async fn object(call: &Call<'_>, body: Bytes) -> Result<Answer, Status> {
    match call.request.info.verb.as_str() {
        "get" if !call.handle.is_kept() => Box::pin(call.get_component()).await,
        "get" => call.get().await,
        "list" => Box::pin(call.list()).await,
        "watch" => Box::pin(call.watch()).await,
        "create" => Box::pin(call.create(&body)).await,
        "update" => Box::pin(call.update(&body)).await,
        "patch" => Box::pin(call.patch(&body)).await,
        "delete" => Box::pin(call.delete(&body)).await,
        "deletecollection" => Box::pin(call.delete_collection(&body)).await,
        _ => Err(Status::method_not_allowed()),
    }
}

async fn subresource(call: &Call<'_>, body: Bytes) -> Result<Answer, Status> {
    let info = &call.request.info;
    match (info.subresource.as_str(), info.verb.as_str()) {
        ("scale", "get") => Box::pin(call.get_scale()).await,
        ("scale", "update") => Box::pin(call.update_scale(&body)).await,
        ("scale", "patch") => Box::pin(call.patch_scale(&body)).await,
        ("binding", "create") => Box::pin(call.post_binding(&body)).await,
        ("eviction", "create") => Box::pin(call.post_eviction(&body)).await,
        (_, "get") => Box::pin(call.get()).await,
        (_, "update") => Box::pin(call.update(&body)).await,
        (_, "patch") => Box::pin(call.patch(&body)).await,
        _ => Err(Status::method_not_allowed()),
    }
}
