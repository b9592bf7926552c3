//! What works but is likely a mistake, kind by kind.

use serde_json::{Value, json};

use super::tables::{made, warned};
use crate::registry::kinds::strategy;

fn named(rest: Value) -> Value {
    let mut object = rest;
    object["metadata"]["name"] = "n".into();
    object
}

#[test]
fn old_labels_of_nodes_are_warned_of() {
    let old = json!([{"key": "beta.kubernetes.io/os", "operator": "In", "values": ["linux"], "extra": null}]);
    let topology = json!({"matchLabelExpressions": [{"key": "failure-domain.beta.kubernetes.io/zone", "values": ["a"]}]});
    warned(
        ("storage.k8s.io", "storageclasses"),
        vec![(
            named(json!({"provisioner": "a/b", "allowedTopologies": [topology]})),
            &[
                "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
            ],
        )],
    );
    warned(
        ("storage.k8s.io", "csistoragecapacities"),
        vec![(
            named(
                json!({"nodeTopology": {"matchExpressions": old, "matchLabels": {"node-role.kubernetes.io/master": ""}}}),
            ),
            &[
                "nodeTopology.matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "nodeTopology.matchLabels.node-role.kubernetes.io/master: use \"node-role.kubernetes.io/control-plane\" instead",
            ],
        )],
    );
    warned(
        ("node.k8s.io", "runtimeclasses"),
        vec![(
            named(json!({"handler": "h", "scheduling": {"nodeSelector": {"beta.kubernetes.io/arch": "x"}}})),
            &["scheduling.nodeSelector: deprecated since v1.14; use \"kubernetes.io/arch\" instead"],
        )],
    );
    let odd = json!([{"key": "zone", "operator": "In", "values": ["a b"]}]);
    let terms = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": odd}]}});
    warned(
        ("", "persistentvolumes"),
        vec![(
            named(json!({"spec": {"nodeAffinity": terms, "rbd": {"image": "i"}}})),
            &[
                "spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]: a b is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
            ],
        )],
    );
}

#[test]
fn things_of_the_past_are_warned_of() {
    let annotated = |key: &str| named(json!({"metadata": {"annotations": {key: "x"}}}));
    warned(
        ("", "persistentvolumeclaims"),
        vec![(
            annotated("volume.beta.kubernetes.io/storage-class"),
            &[
                "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead",
            ],
        )],
    );
    let secrets = "kubernetes.io/enforce-mountable-secrets";
    warned(
        ("", "serviceaccounts"),
        vec![(
            annotated(secrets),
            &[
                "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets",
            ],
        )],
    );
    let account = annotated(secrets);
    assert_eq!(strategy("", "serviceaccounts").update_warnings("", &account, &account), Vec::<String>::new());
    warned(
        ("", "nodes"),
        vec![(
            named(json!({"spec": {"externalID": "e", "configSource": {}}})),
            &["spec.externalID: this field is deprecated, and is unused by Kubernetes"],
        )],
    );
    warned(
        ("networking.k8s.io", "ingresses"),
        vec![
            (
                annotated("kubernetes.io/ingress.class"),
                &[
                    "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
                ],
            ),
            (named(json!({"spec": {"ingressClassName": "c"}})), &[]),
        ],
    );
}

#[test]
fn odd_addresses_are_warned_of() {
    let usual = "should be in RFC 5952 canonical format";
    let address = |place: &str| format!("{place}: IPv6 address \"FD00::1\" {usual} (\"fd00::1\")");
    let range = |place: &str| format!("{place}: IPv6 CIDR value \"FD00::/8\" {usual} (\"fd00::/8\")");
    let warnings = |(group, plural): (&'static str, &'static str), object: Value| {
        strategy(group, plural).warnings(&made((group, plural), named(object)))
    };
    let ip = json!({"ip": "FD00::1"});
    assert_eq!(
        warnings(("", "endpoints"), json!({"subsets": [{"addresses": [ip], "notReadyAddresses": [ip]}]})),
        [address("subsets[0].addresses[0].ip"), address("subsets[0].notReadyAddresses[0].ip")]
    );
    let slice = json!({"addressType": "IPv6", "endpoints": [{"addresses": ["FD00::1"]}]});
    assert_eq!(
        warnings(("discovery.k8s.io", "endpointslices"), slice),
        [address("endpoints[0].addresses[0]")]
    );
    assert_eq!(
        warnings(("discovery.k8s.io", "endpointslices"), json!({"addressType": "FQDN"})),
        ["spec.addressType: FQDN endpoints are deprecated"]
    );
    let block = json!({"ipBlock": {"cidr": "FD00::/8", "except": ["FD00::/8"]}});
    assert_eq!(
        warnings(("networking.k8s.io", "networkpolicies"), json!({"spec": {"egress": [{"to": [block]}]}})),
        [range("spec.egress[0].to[0].ipBlock.cidr"), range("spec.egress[0].to[0].ipBlock.except[0]")]
    );
}

#[test]
fn jobs_are_warned_of() {
    let template =
        json!({"spec": {"containers": [{"name": "c"}], "nodeSelector": {"beta.kubernetes.io/os": "linux"}}});
    let spec = json!({"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001, "template": template});
    let many = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
    let label = "deprecated since v1.14; use \"kubernetes.io/os\" instead";
    let job = strategy("batch", "jobs");
    let object = named(json!({ "spec": spec }));
    assert_eq!(
        job.warnings(&object),
        [format!("spec: {many}"), format!("spec.template.spec.nodeSelector[beta.kubernetes.io/os]: {label}")]
    );
    assert_eq!(job.update_warnings("", &object, &object), Vec::<String>::new());
    let mut cron = named(json!({"spec": {"schedule": "TZ=UTC * * * * *", "jobTemplate": {"spec": spec}}}));
    cron["metadata"]["name"] = "a.b".into();
    let warnings = strategy("batch", "cronjobs").warnings(&cron);
    assert!(
        warnings[0].starts_with("metadata.name: this is used in Pod names and hostnames"),
        "{warnings:?}"
    );
    assert_eq!(
        warnings[1..],
        [
            format!("spec.jobTemplate.spec: {many}"),
            format!("spec.jobTemplate.spec.template.spec.nodeSelector[beta.kubernetes.io/os]: {label}"),
        ]
    );
    let zoned = strategy("batch", "cronjobs").update_warnings("", &cron, &cron);
    let wanted = "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
                  https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
    assert_eq!(zoned, [wanted]);
}
