//! Nodes, namespaces, endpoints, volumes and claims: what is refused.

use serde_json::{Value, json};

use super::tables::{refused, updates, warned};

#[test]
fn nodes_are_refused() {
    let node =
        |spec: Value, status: Value| json!({"metadata": {"name": "n"}, "spec": spec, "status": status});
    let taint = json!({"key": "a", "effect": "NoSchedule"});
    refused(
        ("", "nodes"),
        vec![
            (
                node(json!({"taints": [taint, taint]}), json!({})),
                &[
                    "metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: taints must be unique by key and effect pair",
                ],
            ),
            (
                node(json!({"taints": [{"key": "a", "effect": "X"}]}), json!({})),
                &[
                    "metadata.taints[0].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                ],
            ),
            (
                node(json!({}), json!({"capacity": {"pods": "1500m"}, "allocatable": {}})),
                &["status.capacity.pods: Invalid value: \"1500m\": must be an integer"],
            ),
            (
                node(json!({"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}), json!({})),
                &[
                    "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one CIDR for each IP family",
                ],
            ),
            (
                node(json!({}), json!({"declaredFeatures": ["B", "A"]})),
                &["status.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically"],
            ),
        ],
    );
    let address = json!({"type": "InternalIP", "address": "10.0.0.1"});
    updates(
        ("", "nodes"),
        "",
        vec![
            (
                node(json!({"providerID": "a"}), json!({})),
                json!({"spec": {"providerID": "b"}}),
                &[
                    "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
                ],
            ),
            (
                node(json!({"podCIDR": "10.0.0.0/24"}), json!({})),
                json!({"spec": {"podCIDR": null, "podCIDRs": null}}),
                &["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"],
            ),
            (
                node(json!({}), json!({})),
                json!({"spec": {"externalID": "x"}}),
                &["spec.externalID: Forbidden: may not be updated"],
            ),
            (
                node(json!({}), json!({})),
                json!({"status": {"addresses": [address, address]}}),
                &["status.addresses[1]: Duplicate value: "],
            ),
        ],
    );
}

#[test]
fn namespaces_are_refused() {
    let namespace = |finalizer: &str| json!({"metadata": {"name": "n"}, "spec": {"finalizers": [finalizer]}});
    refused(
        ("", "namespaces"),
        vec![
            (namespace("a.b/c"), &[]),
            (
                namespace("x"),
                &[
                    "spec.finalizers: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified",
                ],
            ),
        ],
    );
    updates(
        ("", "namespaces"),
        "status",
        vec![(
            namespace("a.b/c"),
            json!({"status": {"phase": "Terminating"}}),
            &[
                "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty",
            ],
        )],
    );
}

#[test]
fn endpoints_are_refused() {
    let endpoints = |subset: Value| json!({"metadata": {"name": "e"}, "subsets": [subset]});
    refused(
        ("", "endpoints"),
        vec![
            (
                endpoints(json!({})),
                &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
            ),
            (
                endpoints(json!({"addresses": [{"ip": "10.0.0.1", "nodeName": "A"}]})),
                &[
                    "subsets[0].addresses[0].nodeName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                ],
            ),
            (
                endpoints(json!({"addresses": [{"ip": "169.254.0.1"}]})),
                &[
                    "subsets[0].addresses[0].ip: Invalid value: \"169.254.0.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                ],
            ),
        ],
    );
}

fn volume(spec: &Value) -> Value {
    let mut volume = json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"], "csi": {"driver": "d", "volumeHandle": "h"}}});
    super::tables::merge(&mut volume["spec"], spec);
    volume
}

#[test]
fn volumes_are_refused() {
    let volumes = ("", "persistentvolumes");
    let affinity = |key: &str| json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]}}});
    refused(
        volumes,
        vec![
            (volume(&json!({})), &[]),
            (volume(&json!({"csi": null})), &["spec: Required value: must specify a volume type"]),
            (
                volume(&json!({"csi": {"nodePublishSecretRef": {"name": "s"}}})),
                &["spec.csi.nodePublishSecretRef.namespace: Required value"],
            ),
            (
                volume(&json!({"csi": null, "local": {"path": "/a"}})),
                &["spec.nodeAffinity: Required value: Local volume requires node affinity"],
            ),
            (
                volume(&json!({"nodeAffinity": {}})),
                &["spec.nodeAffinity.required: Required value: must specify required node constraints"],
            ),
            (
                volume(&json!({"capacity": {"storage": "-1"}})),
                &[
                    "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                    "spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
                ],
            ),
            (
                volume(&json!({"volumeAttributesClassName": ""})),
                &["spec.volumeAttributesClassName: Required value: an empty string is disallowed"],
            ),
        ],
    );
    updates(
        volumes,
        "",
        vec![
            (
                volume(&json!({})),
                json!({"spec": {"csi": {"volumeHandle": "x"}}}),
                &[
                    "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n",
                ],
            ),
            (
                volume(&json!({})),
                json!({"spec": {"csi": {"controllerExpandSecretRef": {"name": "s", "namespace": "n"}}}}),
                &[],
            ),
            (volume(&json!({})), json!({"spec": affinity("a")}), &[]),
            (volume(&affinity("a")), json!({"spec": affinity("b")}), &["nodeAffinity: Invalid value: "]),
            (
                volume(&json!({})),
                json!({"spec": {"volumeMode": "Block"}}),
                &["volumeMode: Invalid value: \"Block\": field is immutable"],
            ),
            (
                volume(&json!({"volumeAttributesClassName": "a"})),
                json!({"spec": {"volumeAttributesClassName": null}}),
                &["spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"],
            ),
        ],
    );
}

#[test]
fn claims_are_refused() {
    let claims = ("", "persistentvolumeclaims");
    let claim = |spec: Value, status: Value| {
        let mut claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi"}}}, "status": status});
        super::tables::merge(&mut claim["spec"], &spec);
        claim
    };
    let bound = || claim(json!({}), json!({"phase": "Bound", "capacity": {"storage": "1Gi"}}));
    let storage = |amount: &str| json!({"spec": {"resources": {"requests": {"storage": amount}}}});
    let fixed = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n";
    refused(
        claims,
        vec![
            (
                claim(json!({"dataSourceRef": {"kind": "X"}}), json!({})),
                &[
                    "spec.dataSource.name: Required value",
                    "spec.dataSource: Invalid value: \"X\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                    "spec.dataSourceRef.name: Required value",
                    "spec.dataSourceRef: Invalid value: \"X\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                ],
            ),
            (claim(json!({"dataSource": {"kind": "X", "name": "x"}}), json!({})), &[]),
            (
                claim(json!({"volumeAttributesClassName": "A"}), json!({})),
                &[
                    "spec.volumeAttributesClassName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                ],
            ),
        ],
    );
    updates(
        claims,
        "",
        vec![
            (bound(), storage("3Gi"), &[]),
            (bound(), storage("1500Mi"), &[]),
            (
                bound(),
                storage("1Gi"),
                &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
            ),
            (claim(json!({}), json!({})), storage("3Gi"), &[fixed]),
            (claim(json!({}), json!({})), json!({"spec": {"volumeName": "v"}}), &[]),
            (claim(json!({"volumeName": "v"}), json!({})), json!({"spec": {"volumeName": "w"}}), &[fixed]),
            (claim(json!({}), json!({})), json!({"spec": {"storageClassName": "a"}}), &[]),
            (
                claim(json!({"storageClassName": "a"}), json!({})),
                json!({"spec": {"storageClassName": "b"}}),
                &[fixed],
            ),
        ],
    );
    updates(
        claims,
        "status",
        vec![(
            bound(),
            json!({"status": {"capacity": {"storage": "-1"}}}),
            &["status.capacity[storage]: Invalid value: -1: must be a valid resource quantity"],
        )],
    );
    warned(
        claims,
        vec![(
            claim(json!({"resources": {"requests": {"storage": "1500m"}}}), json!({})),
            &[
                "spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer",
            ],
        )],
    );
}
