//! Workloads: what is refused of new ones and their status, and warned of.

use serde_json::{Value, json};

use super::tables::{made, refused, updates, warned};
use super::workload_with;

const DEPLOYMENTS: (&str, &str) = ("apps", "deployments");
const SETS: (&str, &str) = ("apps", "statefulsets");

fn in_template(fields: &Value) -> Value {
    let mut object = workload_with(&json!({}));
    super::tables::merge(&mut object["spec"]["template"], fields);
    object
}

#[test]
fn templates_are_refused() {
    refused(
        DEPLOYMENTS,
        vec![
            (workload_with(&json!({})), &[]),
            (
                in_template(&json!({"metadata": {"labels": {"x": "a b"}}})),
                &[
                    "spec.template.labels: Invalid value: \"a b\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                ],
            ),
            (
                in_template(&json!({"spec": {"restartPolicy": "Never"}})),
                &[
                    "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                ],
            ),
            (
                in_template(&json!({"spec": {"activeDeadlineSeconds": 5}})),
                &[
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
                ],
            ),
            (
                in_template(
                    &json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]}}),
                ),
                &[
                    "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
                ],
            ),
            (
                workload_with(&json!({"strategy": {"type": "X"}})),
                &[
                    "spec.strategy: Unsupported value: {\"Type\":\"X\",\"RollingUpdate\":null}: supported values: \"Recreate\", \"RollingUpdate\"",
                ],
            ),
        ],
    );
}

#[test]
fn pods_of_sets_have_their_claims_and_names() {
    let mut claiming = in_template(&json!({"spec": {"hostname": "A", "subdomain": "A", "containers": [
        {"name": "c", "image": "i", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}]}}));
    claiming["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "d"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    refused(
        SETS,
        vec![
            (
                in_template(&json!({"spec": {"containers": []}})),
                &["spec.template.spec.containers: Required value"],
            ),
            (claiming, &[]),
            (
                in_template(&json!({"spec": {"activeDeadlineSeconds": 5}})),
                &[
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
                ],
            ),
            (
                workload_with(&json!({"podManagementPolicy": "X"})),
                &["spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'"],
            ),
            (
                workload_with(&json!({"ordinals": {"start": -1}})),
                &["spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"],
            ),
        ],
    );
}

#[test]
fn counts_agree() {
    let status = |status: Value| json!({ "status": status });
    let few = json!({"replicas": 1, "readyReplicas": 2});
    for resource in [DEPLOYMENTS, SETS, ("apps", "replicasets")] {
        updates(
            resource,
            "status",
            vec![
                (
                    workload_with(&json!({})),
                    status(json!({"readyReplicas": -1})),
                    &[
                        "status.readyReplicas: Invalid value: -1: must be greater than or equal to 0",
                        "status.availableReplicas: Invalid value: 0: cannot be greater than ",
                    ],
                ),
                (
                    workload_with(&json!({})),
                    status(few.clone()),
                    &["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"],
                ),
                (
                    workload_with(&json!({})),
                    status(json!({"replicas": 2, "readyReplicas": 1, "availableReplicas": 2})),
                    &["status.availableReplicas: Invalid value: 2: cannot be greater than "],
                ),
            ],
        );
    }
    let mut collided = workload_with(&json!({}));
    collided["status"] = json!({"collisionCount": 2});
    for resource in [DEPLOYMENTS, SETS, ("apps", "daemonsets")] {
        let patch = status(json!({"collisionCount": 1}));
        updates(
            resource,
            "status",
            vec![(
                collided.clone(),
                patch,
                &["status.collisionCount: Invalid value: 1: cannot be decremented"],
            )],
        );
    }
}

#[test]
fn revisions_have_data() {
    refused(
        ("apps", "controllerrevisions"),
        vec![(
            json!({"metadata": {"name": "r"}, "revision": -1}),
            &[
                "revision: Invalid value: -1: must be greater than or equal to 0",
                "data: Required value: data is mandatory",
            ],
        )],
    );
}

#[test]
fn odd_workloads_are_warned_of() {
    let mut named = workload_with(&json!({}));
    named["metadata"]["name"] = json!("a.b");
    warned(
        DEPLOYMENTS,
        vec![
            (
                named,
                &[
                    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
                ],
            ),
            (
                in_template(&json!({"spec": {"nodeSelector": {"beta.kubernetes.io/arch": "x"}}})),
                &[
                    "spec.template.spec.nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; use \"kubernetes.io/arch\" instead",
                ],
            ),
        ],
    );
    warned(
        SETS,
        vec![(
            workload_with(&json!({"revisionHistoryLimit": -1})),
            &[
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
            ],
        )],
    );
}

#[test]
fn how_pods_are_replaced_is_defaulted() {
    for (resource, field, expected) in [
        (
            DEPLOYMENTS,
            "strategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}),
        ),
        (SETS, "updateStrategy", json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})),
        (
            ("apps", "daemonsets"),
            "updateStrategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
        ),
    ] {
        assert_eq!(made(resource, workload_with(&json!({})))["spec"][field], expected, "{resource:?}");
    }
}
