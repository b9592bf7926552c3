use std::borrow::Cow;

use super::*;
use crate::UserInfo;
use serde_json::json;

fn graph() -> NodeGraph {
    let mut graph = NodeGraph::default();
    let pod = json!({
        "metadata": {"name": "web", "namespace": "d"},
        "spec": {
            "nodeName": "a", "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
            "containers": [{
                "env": [{"name": "X", "value": "1"}, {"name": "K", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}],
                "envFrom": [{"configMapRef": {"name": "env"}}],
            }],
            "volumes": [
                {"name": "s", "secret": {"secretName": "mounted"}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "projected"}}, {"serviceAccountToken": {"path": "t"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}},
            ],
        },
    });
    graph.apply_pod(pod.to_string().as_bytes()).unwrap();
    let volume =
        json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "d", "name": "claim"}}});
    graph.apply_volume(volume.to_string().as_bytes()).unwrap();
    for (kind, name) in [(Related::VolumeAttachment, "va"), (Related::ResourceSlice, "slice")] {
        let object = json!({"metadata": {"name": name}, "spec": {"nodeName": "a"}});
        graph.apply_of_node(kind, object.to_string().as_bytes()).unwrap();
    }
    graph
}

fn asks<'a>(node: &str, verb: &'a str, target: &'a str, namespace: &'a str, name: &'a str) -> Attributes<'a> {
    let (group, resource) = target.rsplit_once('#').unwrap_or(("", target));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        user: Cow::Owned(UserInfo::new(format!("system:node:{node}"), &["system:nodes"])),
        verb,
        is_resource: true,
        group,
        resource,
        subresource,
        namespace,
        name,
        ..Attributes::default()
    }
}

#[test]
fn a_node_reaches_only_what_its_pods_refer_to() {
    let (graph, authorizer) = (graph(), NodeAuthorizer::default());
    let cases = [
        ("get", "secrets", "d", "pull", true),
        ("get", "secrets", "d", "key", true),
        ("watch", "secrets", "d", "mounted", true),
        ("get", "secrets", "other", "mounted", false),
        ("list", "secrets", "d", "", false),
        ("update", "secrets", "d", "mounted", false),
        ("get", "configmaps", "d", "env", true),
        ("get", "configmaps", "d", "projected", true),
        ("get", "configmaps", "d", "foreign", false),
        ("get", "persistentvolumeclaims", "d", "claim", true),
        ("get", "persistentvolumeclaims", "d", "web-e", true),
        ("get", "persistentvolumes", "", "pv", true),
        ("get", "storage.k8s.io#volumeattachments", "", "va", true),
        ("create", "resource.k8s.io#resourceslices", "", "", true),
        ("update", "resource.k8s.io#resourceslices", "", "slice", true),
        ("delete", "resource.k8s.io#resourceslices", "", "other", false),
        ("list", "resource.k8s.io#resourceslices", "", "", false),
        ("get", "persistentvolumes", "", "other", false),
        ("create", "serviceaccounts/token", "d", "sa", true),
        ("create", "serviceaccounts/token", "d", "default", false),
        ("get", "pods", "d", "web", true),
        ("get", "pods", "d", "db", false),
        ("list", "pods", "", "", false),
        ("update", "pods/status", "d", "web", true),
        ("create", "pods/eviction", "d", "web", true),
        ("create", "pods/exec", "d", "web", false),
        ("get", "nodes", "", "a", true),
        ("get", "nodes", "", "b", false),
        ("patch", "nodes/status", "", "a", true),
        ("delete", "nodes", "", "a", false),
        ("update", "coordination.k8s.io#leases", "kube-node-lease", "a", true),
        ("update", "coordination.k8s.io#leases", "kube-node-lease", "b", false),
        ("update", "coordination.k8s.io#leases", "d", "a", false),
        ("get", "storage.k8s.io#csinodes", "", "a", true),
        ("list", "services", "", "", true),
        ("watch", "discovery.k8s.io#endpointslices", "", "", true),
        ("create", "events", "d", "", true),
        ("create", "authentication.k8s.io#tokenreviews", "", "", true),
        ("list", "node.k8s.io#runtimeclasses", "", "", true),
        ("delete", "apps#deployments", "d", "x", false),
    ];
    for (verb, target, namespace, name, expected) in cases {
        let attributes = asks("a", verb, target, namespace, name);
        let decision = authorizer.authorize(&attributes, &graph);
        assert_eq!(decision.allowed(), expected, "{} {name}: {decision:?}", attributes.refusal());
        let other = asks("b", verb, target, namespace, name);
        if matches!(target, "secrets" | "configmaps" | "persistentvolumes") || name == "slice" {
            assert!(!authorizer.authorize(&other, &graph).allowed(), "another node: {}", other.refusal());
        }
    }
}

#[test]
fn pods_and_slices_may_be_listed_by_their_node() {
    for target in ["pods", "resource.k8s.io#resourceslices"] {
        let mut attributes = asks("a", "list", target, "", "");
        attributes.demanded_fields = vec![("spec.nodeName".into(), "a".into())];
        assert!(NodeAuthorizer::default().authorize(&attributes, &graph()).allowed());
        attributes.demanded_fields = vec![("spec.nodeName".into(), "b".into())];
        assert!(!NodeAuthorizer::default().authorize(&attributes, &graph()).allowed());
    }
}

#[test]
fn others_are_none_of_its_business() {
    let mut attributes = asks("a", "get", "nodes", "", "a");
    attributes.user = Cow::Owned(UserInfo::new("system:node:a", &[]));
    assert_eq!(
        NodeAuthorizer::default().authorize(&attributes, &graph()),
        Decision::NoOpinion(String::new())
    );
}

#[test]
fn relations_end_with_the_pod() {
    let mut graph = graph();
    graph.remove_pod("d", "web");
    assert!(!graph.related("a", Related::Secret, "d", "pull"));
    assert!(!graph.related("a", Related::PersistentVolume, "", "pv"));
    assert!(graph.counts.is_empty());
}
