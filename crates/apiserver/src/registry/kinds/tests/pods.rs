//! Pods: what is refused of new ones, and what is made of them.

use serde_json::{Value, json};

use super::tables::{made, refused};
use super::{container_with, pod_with};

const PODS: (&str, &str) = ("", "pods");

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn specifications_are_refused_with_all_causes() {
    let spread = |fields: Value| {
        let mut constraint =
            json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
        super::tables::merge(&mut constraint, &fields);
        pod_with(&json!({ "topologySpreadConstraints": [constraint] }))
    };
    let required = |terms: Value| {
        pod_with(
            &json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}),
        )
    };
    refused(
        PODS,
        vec![
            (
                pod_with(&json!({"restartPolicy": "X"})),
                &[
                    "spec.restartPolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                ],
            ),
            (
                pod_with(&json!({"dnsPolicy": "None"})),
                &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
            ),
            (
                pod_with(
                    &json!({"dnsConfig": {"nameservers": ["x"], "searches": ["_a.b.", ".", "A"], "options": [{}]}}),
                ),
                &[
                    "spec.dnsConfig.nameservers[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    "spec.dnsConfig.searches[2]: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')",
                    "spec.dnsConfig.options[0]: Required value: must not be empty",
                ],
            ),
            (
                pod_with(&json!({"schedulingGates": [{"name": "a"}, {"name": "a"}], "nodeName": "n"})),
                &[
                    "spec.schedulingGates[1]: Duplicate value: \"a\"",
                    "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
                ],
            ),
            (
                spread(json!({"maxSkew": 0})),
                &["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
            ),
            (
                spread(json!({"minDomains": 1, "whenUnsatisfiable": "ScheduleAnyway"})),
                &[
                    "spec.topologySpreadConstraints[0].minDomains: Invalid value: 1: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
                ],
            ),
            (
                spread(json!({"matchLabelKeys": ["a"]})),
                &[
                    "spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
                ],
            ),
            (
                spread(json!({"nodeTaintsPolicy": "X"})),
                &[
                    "spec.topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value: \"X\": supported values: \"Honor\", \"Ignore\"",
                ],
            ),
            (
                required(json!([])),
                &[
                    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
                ],
            ),
            (
                required(json!([{"matchFields": [{"key": "x", "operator": "Exists"}]}])),
                &[
                    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator",
                    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"x\": not a valid field selector key",
                ],
            ),
            (
                pod_with(&json!({"tolerations": [{"key": "k", "operator": "Lt", "value": "1"}]})),
                &[
                    "spec.tolerations[0].operator: Unsupported value: \"Lt\": supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"",
                ],
            ),
            (
                pod_with(&json!({"hostNetwork": true, "hostPID": true, "hostUsers": false})),
                &[
                    "spec.hostNetwork: Forbidden: when `hostUsers` is false",
                    "spec.HostPID: Forbidden: when `hostUsers` is false",
                ],
            ),
            (
                pod_with(&json!({"hostPID": true, "shareProcessNamespace": true})),
                &[
                    "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
                ],
            ),
            (
                pod_with(
                    &json!({"securityContext": {"runAsUser": -1, "sysctls": [{"name": "a b"}, {"name": "net.x"}, {"name": "net.x"}]}}),
                ),
                &[
                    "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                    "spec.securityContext.sysctls[0].name: Invalid value: \"a b\": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
                    "spec.securityContext.sysctls[2].name: Duplicate value: \"net.x\"",
                ],
            ),
            (
                pod_with(&json!({"hostNetwork": true, "hostnameOverride": "h", "setHostnameAsFQDN": true})),
                &[
                    "spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",
                    "spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true",
                ],
            ),
            (
                pod_with(
                    &json!({"os": {"name": "windows"}, "hostPID": true, "resources": {"requests": {"cpu": "1"}}}),
                ),
                &[
                    "spec.resources: Forbidden: may not be set for a windows pod",
                    "spec.hostPID: Forbidden: cannot be set for a windows pod",
                ],
            ),
            (
                pod_with(
                    &json!({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {"runAsUserName": "u"}}}),
                ),
                &[
                    "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
                ],
            ),
            (
                pod_with(&json!({"resourceClaims": [{"name": "a"}]})),
                &[
                    "spec.resourceClaims[0]: Invalid value: {\"Name\":\"a\",\"ResourceClaimName\":null,\"ResourceClaimTemplateName\":null}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
                ],
            ),
            (
                pod_with(&json!({"activeDeadlineSeconds": 0, "preemptionPolicy": "X"})),
                &[
                    "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
                    "spec.preemptionPolicy: Unsupported value: \"X\": supported values: \"PreemptLowerPriority\", \"Never\"",
                ],
            ),
            (
                pod_with(&json!({"overhead": {"cpu": "-1"}})),
                &["spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
            ),
            (pod_with(&json!({"imagePullSecrets": [{}]})), &[]),
        ],
    );
}

#[test]
fn keys_of_labels_are_merged_into_selectors() {
    let mut pod = pod_with(&json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": ["app", "none"], "labelSelector": {}}]}));
    pod["metadata"]["labels"] = json!({"app": "a"});
    let made = made(PODS, pod);
    let expected = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}]});
    assert_eq!(made["spec"]["topologySpreadConstraints"][0]["labelSelector"], expected);
}

#[test]
fn fields_that_are_off_are_dropped() {
    let pod = made(
        PODS,
        pod_with(&json!({"schedulingGroup": {"podGroupName": "g"}, "volumes": [{"name": "v", "projected":
            {"sources": [{"podCertificate": {"signerName": "a/b"}}]}}]})),
    );
    assert_eq!(pod["spec"].get("schedulingGroup"), None);
    assert_eq!(pod["spec"]["volumes"][0]["projected"]["sources"], json!([{}]));
}

#[test]
fn pods_as_a_whole_ask_for_resources() {
    let whole = |resources: Value, containers: Value| {
        let mut pod = container_with(&json!({ "resources": containers }));
        pod["spec"]["resources"] = resources;
        pod
    };
    refused(
        PODS,
        vec![
            (
                whole(json!({"requests": {"cpu": "1"}}), json!({"requests": {"cpu": "2"}})),
                &[
                    "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
                ],
            ),
            (
                whole(
                    json!({"limits": {"cpu": "1"}}),
                    json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}),
                ),
                &[
                    "spec.resources.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits of 1",
                ],
            ),
            (
                whole(json!({"requests": {"ephemeral-storage": "1"}}), json!({})),
                &[
                    "spec.resources.requests[ephemeral-storage]: Unsupported value: \"ephemeral-storage\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
                ],
            ),
        ],
    );
    let pod = made(
        PODS,
        whole(json!({"limits": {"cpu": "2", "memory": "1Gi"}}), json!({"requests": {"cpu": "1"}})),
    );
    assert_eq!(pod["spec"]["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(pod["status"]["qosClass"], "Burstable");
}
