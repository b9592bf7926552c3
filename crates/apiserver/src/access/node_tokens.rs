//! Which tokens a node gets: those of pods that run on it, for audiences that these pods name (upstream: the NodeRestriction
//! admission plugin).

use std::borrow::Cow;

use auth::{Attributes, UserInfo};
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::{text, texts};
use crate::flow::Chain;
use crate::http::RequestInfo;

/// Refuses what is not the node's to ask for; `spec` is that of the TokenRequest.
pub(super) fn restrict(
    chain: &Chain,
    info: &RequestInfo,
    user: &UserInfo,
    spec: &Value,
) -> Result<(), Status> {
    let Some(node) = user.node_name() else { return Ok(()) };
    let bound = &spec["boundObjectRef"];
    let refuse = |why: &str| Err(Status::forbidden("", "serviceaccounts", &info.name, why));
    if !bound.is_object() || text(bound, "kind") != "Pod" {
        return refuse("node requested token not bound to a pod");
    }
    let uid = text(bound, "uid");
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let name = text(bound, "name");
    let Some(pod) = chain.registry.object_value("", "pods", &info.namespace, name) else {
        return Err(Status::not_found("", "pod", name));
    };
    if meta::uid(&pod) != uid {
        return refuse(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if text(&pod["spec"], "nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let audiences = texts(spec, "audiences");
    let audience = match audiences.as_slice() {
        [] => "",
        [one] => one,
        _ => return refuse("node may only request 0 or 1 audiences"),
    };
    if is_named(chain, &pod, audience) || may_ask(chain, info, user, audience) {
        return Ok(());
    }
    let who = &user.name;
    refuse(&format!(
        "audience {audience:?} not found in pod spec volume, {who} is not authorized to request tokens for this audience"
    ))
}

/// Whether a role gives the node tokens for this audience.
fn may_ask(chain: &Chain, info: &RequestInfo, user: &UserInfo, audience: &str) -> bool {
    let asked = Attributes {
        user: Cow::Borrowed(user),
        verb: "request-serviceaccounts-token-audience",
        is_resource: true,
        version: "v1",
        resource: audience,
        namespace: &info.namespace,
        name: &info.name,
        ..Attributes::default()
    };
    chain.policy.authorize(&asked).allowed()
}

/// Whether a volume of the pod needs a token for the audience.
fn is_named(chain: &Chain, pod: &Value, audience: &str) -> bool {
    items(&pod["spec"], "volumes").any(|volume| {
        let projected = items(&volume["projected"], "sources").any(|source| {
            let token = &source["serviceAccountToken"];
            token.is_object() && text(token, "audience") == audience
        });
        projected
            || driver_of(chain, pod, volume).is_some_and(|driver| driver_needs(chain, &driver, audience))
    })
}

/// The CSI driver of a volume: its own, or that of the volume that its claim is bound to.
fn driver_of(chain: &Chain, pod: &Value, volume: &Value) -> Option<String> {
    let claim = if volume["ephemeral"]["volumeClaimTemplate"].is_object() {
        format!("{}-{}", meta::name(pod), text(volume, "name"))
    } else if volume["persistentVolumeClaim"].is_object() {
        text(&volume["persistentVolumeClaim"], "claimName").to_owned()
    } else {
        return volume["csi"]["driver"].as_str().map(str::to_owned);
    };
    let registry = &chain.registry;
    let claim = registry.object_value("", "persistentvolumeclaims", meta::namespace(pod), &claim)?;
    let bound = registry.object_value("", "persistentvolumes", "", text(&claim["spec"], "volumeName"))?;
    bound["spec"]["csi"]["driver"].as_str().map(str::to_owned)
}

fn driver_needs(chain: &Chain, driver: &str, audience: &str) -> bool {
    let driver = chain.registry.object_value("storage.k8s.io", "csidrivers", "", driver);
    driver.is_some_and(|driver| {
        items(&driver["spec"], "tokenRequests").any(|request| text(request, "audience") == audience)
    })
}

fn items<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object[field].as_array().into_iter().flatten()
}
