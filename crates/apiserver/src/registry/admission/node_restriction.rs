//! NodeRestriction: a node agent changes its own node and the pods on it, nothing else (upstream:
//! `plugin/pkg/admission/noderestriction`).

use machinery::meta;
use machinery::status::Status;
use machinery::text::go_quote;
use serde_json::{Map, Value};

use super::{AdmissionContext, Operation, Plugin, pod_references};

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Labels below kubernetes.io and k8s.io that a node may set on itself.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
];

pub(super) struct NodeRestriction;

#[async_trait::async_trait]
impl Plugin for NodeRestriction {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(node) = context.user.node_name() else { return Ok(()) };
        match (context.handle.group.as_str(), context.handle.plural.as_str()) {
            ("", "pods") => check_pod(context, node, object, old),
            ("", "nodes") => check_node(context, node, object, old),
            ("coordination.k8s.io", "leases") => check_lease(context, node, meta::name(object)),
            ("storage.k8s.io", "csinodes") => check_csi_node(context, node, meta::name(object)),
            ("resource.k8s.io", "resourceslices") if old.is_none() => {
                check_slice(context, node, object, "create")
            }
            _ => Ok(()),
        }
    }

    async fn delete(&self, context: &AdmissionContext<'_>, old: Option<&Value>) -> Result<(), Status> {
        let Some(node) = context.user.node_name() else { return Ok(()) };
        match (context.handle.group.as_str(), context.handle.plural.as_str()) {
            ("", "pods") if old.is_none_or(|pod| node_of(pod) != node) => Err(context.forbidden(format!(
                "node {} can only delete pods with spec.nodeName set to itself",
                go_quote(node)
            ))),
            ("", "nodes") if context.name != node => Err(other_node(context, node)),
            ("coordination.k8s.io", "leases") => check_lease(context, node, context.name),
            ("storage.k8s.io", "csinodes") => check_csi_node(context, node, context.name),
            ("resource.k8s.io", "resourceslices") => {
                check_slice(context, node, old.unwrap_or(&Value::Null), "delete")
            }
            _ => Ok(()),
        }
    }
}

fn node_of(pod: &Value) -> &str {
    pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default()
}

fn check_pod(
    context: &AdmissionContext<'_>,
    node: &str,
    pod: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let node_text = go_quote(node);
    let refuse = |why: String| Err(context.forbidden(why));
    match (context.operation, context.subresource) {
        (Operation::Create, "") => check_new_pod(context, node, pod),
        (Operation::Update, "status") => {
            let old = old.unwrap_or(&Value::Null);
            if node_of(old) != node {
                return refuse(format!(
                    "node {node_text} can only update pod status for pods with spec.nodeName set to itself"
                ));
            }
            if meta::labels(old) != meta::labels(pod) {
                return refuse(format!("node {node_text} cannot update labels through pod status"));
            }
            let says = |pod: &Value, field: &str| pod["status"].get(field).cloned();
            if says(old, "resourceClaimStatuses") != says(pod, "resourceClaimStatuses") {
                return refuse(format!("node {node_text} cannot update resource claim statues"));
            }
            if says(old, "extendedResourceClaimStatus") != says(pod, "extendedResourceClaimStatus") {
                return refuse(format!("node {node_text} cannot update extended resource claim status"));
            }
            Ok(())
        }
        (Operation::Update, "") => refuse(format!("node {node_text} cannot update pods")),
        (Operation::Create, "eviction") => {
            let found = context.registry.object_value("", "pods", context.namespace, context.name);
            let pod = found.ok_or_else(|| context.handle.not_found(context.name))?;
            if node_of(&pod) == node {
                Ok(())
            } else {
                refuse(format!("node {node} can only evict pods with spec.nodeName set to itself"))
            }
        }
        (_, subresource) => refuse(format!(
            "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
            go_quote(subresource)
        )),
    }
}

/// A node only shows the pods that it runs without being told to: they are its own, and need nothing of the API.
fn check_new_pod(context: &AdmissionContext<'_>, node: &str, pod: &Value) -> Result<(), Status> {
    let node_text = go_quote(node);
    let refuse = |why: String| Err(context.forbidden(why));
    if meta::annotation(pod, MIRROR).is_none() {
        return refuse(format!(
            "pod does not have {} annotation, node {node_text} can only create mirror pods",
            go_quote(MIRROR)
        ));
    }
    if node_of(pod) != node {
        return refuse(format!("node {node_text} can only create pods with spec.nodeName set to itself"));
    }
    check_owner(context, node, pod)?;
    match pod_references::first(pod) {
        Some(needed) => refuse(format!("node {node_text} can not create pods that reference {needed}")),
        None => Ok(()),
    }
}

fn check_owner(context: &AdmissionContext<'_>, node: &str, pod: &Value) -> Result<(), Status> {
    let node_text = go_quote(node);
    let refuse = |why: String| Err(context.forbidden(format!("node {node_text} {why}")));
    let may = |what: &str| refuse(format!("can only create pods with {what} set to itself"));
    let owner = match meta::owner_references(pod) {
        [owner] => owner,
        [] => return may("an owner reference"),
        _ => return may("a single owner reference"),
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return may("an owner reference");
    }
    if owner["controller"] != true {
        return may("a controller owner reference");
    }
    if owner["blockOwnerDeletion"] == true {
        return refuse("must not set blockOwnerDeletion on an owner reference".to_owned());
    }
    let found = context.registry.object_value("", "nodes", "", node);
    let found = found.ok_or_else(|| Status::not_found("", "node", node))?;
    let (said, uid) = (owner["uid"].as_str().unwrap_or_default(), meta::uid(&found));
    if said == uid {
        return Ok(());
    }
    Err(context.forbidden(format!("node {node} UID mismatch: expected {said} got {uid}")))
}

fn check_slice(context: &AdmissionContext<'_>, node: &str, slice: &Value, verb: &str) -> Result<(), Status> {
    if slice["spec"]["nodeName"] == node {
        return Ok(());
    }
    let why = format!("can only {verb} ResourceSlice with the same NodeName as the requesting node");
    Err(context.forbidden(why))
}

fn other_node(context: &AdmissionContext<'_>, node: &str) -> Status {
    context.forbidden(format!(
        "node {} is not allowed to modify node {}",
        go_quote(node),
        go_quote(context.name)
    ))
}

fn check_node(
    context: &AdmissionContext<'_>,
    node: &str,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if meta::name(object) != node {
        return Err(other_node(context, node));
    }
    let node = go_quote(node);
    let refuse = |why: String| Err(context.forbidden(format!("node {node} is not allowed to {why}")));
    let configured = &object["spec"]["configSource"];
    if let Some(old) = old {
        if !configured.is_null() && *configured != old["spec"]["configSource"] {
            return refuse("update configSource to a new non-nil configSource".to_owned());
        }
        if object.pointer("/spec/taints") != old.pointer("/spec/taints") && context.subresource.is_empty() {
            return refuse("modify taints".to_owned());
        }
        if meta::owner_references(object) != meta::owner_references(old) {
            return refuse("modify ownerReferences".to_owned());
        }
    } else if !configured.is_null() {
        return refuse("create pods with a non-nil configSource".to_owned());
    }
    let mut forbidden = changed_labels(meta::labels(object), old.and_then(meta::labels));
    forbidden.retain(|label| is_forbidden(label));
    let labels = forbidden.join(", ");
    match (labels.as_str(), old) {
        ("", _) => Ok(()),
        (labels, None) => refuse(format!("set the following labels: {labels}")),
        (labels, Some(_)) => Err(context.forbidden(format!("is not allowed to modify labels: {labels}"))),
    }
}

fn changed_labels<'a>(
    new: Option<&'a Map<String, Value>>,
    old: Option<&'a Map<String, Value>>,
) -> Vec<&'a str> {
    let all = new.into_iter().chain(old).flat_map(Map::keys);
    let get = |map: Option<&'a Map<String, Value>>, key: &str| map.and_then(|map| map.get(key));
    let mut changed: Vec<&str> =
        all.filter(|key| get(new, key) != get(old, key)).map(String::as_str).collect();
    changed.sort_unstable();
    changed.dedup();
    changed
}

/// Labels that decide where pods go are not the node's to set.
fn is_forbidden(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return false };
    let below = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if below("node-restriction.kubernetes.io") {
        return true;
    }
    let kubernetes = below("kubernetes.io") || below("k8s.io");
    kubernetes
        && !OWN_LABELS.contains(&label)
        && !below("kubelet.kubernetes.io")
        && !below("node.kubernetes.io")
}

fn check_lease(context: &AdmissionContext<'_>, node: &str, name: &str) -> Result<(), Status> {
    if context.namespace != LEASE_NAMESPACE {
        return Err(context.forbidden(format!(
            "can only access leases in the {} system namespace",
            go_quote(LEASE_NAMESPACE)
        )));
    }
    if name != node {
        return Err(context.forbidden("can only access node lease with the same name as the requesting node"));
    }
    Ok(())
}

fn check_csi_node(context: &AdmissionContext<'_>, node: &str, name: &str) -> Result<(), Status> {
    if name == node {
        return Ok(());
    }
    Err(context.forbidden("can only access CSINode with the same name as the requesting node"))
}

#[cfg(test)]
mod tests {
    use super::is_forbidden;

    #[test]
    fn labels_a_node_may_set_on_itself() {
        for (label, forbidden) in [
            ("color", false),
            ("example.com/x", false),
            ("kubernetes.io/hostname", false),
            ("kubernetes.io/other", true),
            ("node-restriction.kubernetes.io/x", true),
            ("a.node-restriction.kubernetes.io/x", true),
            ("node.kubernetes.io/anything", false),
            ("sub.kubelet.kubernetes.io/x", false),
            ("node-role.kubernetes.io/control-plane", true),
        ] {
            assert_eq!(is_forbidden(label), forbidden, "{label}");
        }
    }
}
