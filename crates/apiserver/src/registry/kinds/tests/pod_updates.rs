//! Pods: what is refused of changed ones, and warned of.

use serde_json::{Value, json};

use super::pod_volumes::volume_with;
use super::tables::{updates, warned};
use super::{container_with, pod_with};

const PODS: (&str, &str) = ("", "pods");

#[test]
fn waiting_pods_become_choosier() {
    let gated = |fields: Value| {
        let mut fields = fields;
        fields["schedulingGates"] = json!([{"name": "a"}]);
        pod_with(&fields)
    };
    let terms = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
    let exists = |key: &str| json!({"key": key, "operator": "Exists"});
    let one = terms(json!([{"matchExpressions": [exists("a")]}]));
    let patch = |spec: Value| json!({ "spec": spec });
    updates(
        PODS,
        "",
        vec![
            (gated(json!({"nodeSelector": {"a": "b"}})), patch(json!({"nodeSelector": {"c": "d"}})), &[]),
            (
                gated(json!({"nodeSelector": {"a": "b"}})),
                patch(json!({"nodeSelector": {"a": "c"}})),
                &[
                    "spec.nodeSelector: Invalid value: {\"a\":\"c\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
                ],
            ),
            (gated(json!({})), patch(one.clone()), &[]),
            (
                gated(one.clone()),
                patch(terms(json!([{"matchExpressions": [exists("a"), exists("b")]}]))),
                &[],
            ),
            (
                gated(one.clone()),
                patch(terms(json!([{"matchExpressions": [exists("b")]}]))),
                &[
                    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: Invalid value: ",
                ],
            ),
            (
                gated(one),
                patch(terms(
                    json!([{"matchExpressions": [exists("a")]}, {"matchExpressions": [exists("b")]}]),
                )),
                &[
                    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Invalid value: ",
                ],
            ),
        ],
    );
}

#[test]
fn statuses_are_refused() {
    let ended = json!({"name": "c", "state": {"terminated": {"exitCode": 1}}});
    let running = json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]});
    let with_status = |spec: Value, status: Value| {
        let mut pod = pod_with(&spec);
        pod["status"] = status;
        pod
    };
    let over =
        |policy: &str| with_status(json!({"restartPolicy": policy}), json!({ "containerStatuses": [ended] }));
    let status = |status: Value| json!({ "status": status });
    let again =
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    updates(
        PODS,
        "status",
        vec![
            (
                pod_with(&json!({})),
                status(json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]})),
                &[
                    "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.2\"}]: may specify no more than one IP for each IP family",
                ],
            ),
            (
                pod_with(&json!({})),
                status(json!({"podIP": "010.0.0.1"})),
                &["status.podIPs[0]: Invalid value: \"010.0.0.1\": must not have leading 0s"],
            ),
            (
                pod_with(&json!({})),
                status(json!({"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.2"}]})),
                &["status.hostIPs[0].ip: Invalid value: \"10.0.0.2\": must be equal to `hostIP`"],
            ),
            (
                pod_with(&json!({})),
                status(json!({"conditions": [{"type": "a b", "status": "True"}]})),
                &["status.conditions[0].Type: Invalid value: \"a b\": name part must consist"],
            ),
            (
                pod_with(&json!({})),
                status(json!({"qosClass": "Guaranteed"})),
                &["status.qosClass: Invalid value: \"Guaranteed\": field is immutable"],
            ),
            (
                pod_with(&json!({"nodeName": "n"})),
                status(json!({"nominatedNodeName": "m"})),
                &[
                    "status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node",
                ],
            ),
            (
                pod_with(&json!({})),
                status(json!({"observedGeneration": -1})),
                &["status.observedGeneration: Invalid value: -1: must be a non-negative integer"],
            ),
            (over("Never"), status(running.clone()), &[again]),
            (over("OnFailure"), status(running.clone()), &[]),
            (over("Always"), status(running), &[]),
            (
                pod_with(&json!({})),
                status(json!({"resourceClaimStatuses": [{"name": "x"}]})),
                &[
                    "status.resourceClaimStatuses[0].name: Invalid value: \"x\": must match the name of an entry in `spec.resourceClaims`",
                ],
            ),
        ],
    );
}

#[test]
fn resizes_are_refused() {
    let sized = |amounts: Value| container_with(&json!({"resources": {"requests": amounts}}));
    let patch = |resources: Value| json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
    let mut fixed = sized(json!({"cpu": "1"}));
    fixed["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let mut old_node = sized(json!({"cpu": "1"}));
    old_node["status"] = json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]});
    updates(
        PODS,
        "resize",
        vec![
            (sized(json!({"cpu": "1"})), patch(json!({"requests": {"cpu": "2"}})), &[]),
            (
                sized(json!({"cpu": "1", "memory": "1"})),
                patch(json!({"requests": {"cpu": "2"}})),
                &["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
            ),
            (
                sized(json!({"cpu": "1"})),
                patch(json!({"requests": {"cpu": "1", "ephemeral-storage": "1"}})),
                &["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
            (
                sized(json!({"cpu": "1"})),
                patch(
                    json!({"requests": {"cpu": "1", "memory": "1"}, "limits": {"cpu": "1", "memory": "1"}}),
                ),
                &["spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing"],
            ),
            (
                fixed,
                patch(json!({"requests": {"cpu": "2"}})),
                &["[]: Forbidden: static pods cannot be resized"],
            ),
            (
                old_node,
                patch(json!({"requests": {"cpu": "2"}})),
                &["spec: Forbidden: Pod running on node without support for resize"],
            ),
        ],
    );
}

#[test]
fn what_gets_in_each_others_way_is_warned_of() {
    let files = json!({"secret": {"secretName": "s", "items": [{"key": "a", "path": "p"}, {"key": "b", "path": "p/q/"}]}});
    let projected = json!({"projected": {"sources": [
        {"configMap": {"name": "m", "items": [{"key": "k", "path": "token"}]}},
        {"serviceAccountToken": {"path": "token"}}, {}]}});
    let preferred = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["-a"]}]}}]}});
    warned(
        PODS,
        vec![
            (volume_with(&files), &["volume \"v\" (Secret \"s\"): overlapping paths: \"p/q\" with \"p\""]),
            (
                volume_with(&projected),
                &[
                    "volume \"v\" (Projected) has no sources provided",
                    "volume \"v\" (Projected): overlapping paths: \"token\" (ServiceAccountToken) with \"token\" (ConfigMap \"m\")",
                ],
            ),
            (
                container_with(
                    &json!({"ports": [{"name": "a", "containerPort": 80, "hostIP": "::1", "protocol": "TCP"}]}),
                ),
                &[
                    "spec.containers[0].ports[0]: hostIP set without hostPort: {Name:a HostPort:0 ContainerPort:80 Protocol:TCP HostIP:::1}",
                ],
            ),
            (
                container_with(
                    &json!({"ports": [{"name": "a", "containerPort": 80}, {"name": "a", "containerPort": 81}]}),
                ),
                &[
                    "spec.containers[0].ports[1]: duplicate port name \"a\" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]",
                ],
            ),
            (
                pod_with(
                    &json!({"dnsConfig": {"nameservers": ["FD00::1"]}, "hostAliases": [{"ip": "010.0.0.1"}]}),
                ),
                &[
                    "spec.dnsConfig.nameservers[0]: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
                    "spec.hostAliases[0].ip: non-standard IP address \"010.0.0.1\" is invalid: use \"10.0.0.1\"",
                ],
            ),
            (
                pod_with(&json!({ "affinity": preferred })),
                &[
                    "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: -a is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                ],
            ),
        ],
    );
}

#[test]
fn odd_pods_are_warned_of() {
    let mut named = pod_with(&json!({}));
    named["metadata"]["name"] = json!("a.b");
    let port = |host: i64| json!({"containerPort": 80, "hostPort": host});
    warned(
        PODS,
        vec![
            (pod_with(&json!({})), &[]),
            (
                named,
                &[
                    "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
                ],
            ),
            (
                pod_with(&json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}})),
                &[
                    "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                ],
            ),
            (
                pod_with(&json!({"imagePullSecrets": [{}]})),
                &["spec.imagePullSecrets[0].name: invalid empty name \"\""],
            ),
            (
                pod_with(&json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]})),
                &["spec.imagePullSecrets[1].name: duplicate name \"a\""],
            ),
            (
                volume_with(&json!({"gitRepo": {"repository": "r"}})),
                &["spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"],
            ),
            (
                container_with(
                    &json!({"env": [{"name": "A", "value": "x"}, {"name": "A", "value": "$(A)y"}]}),
                ),
                &[],
            ),
            (
                container_with(&json!({"env": [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]})),
                &[
                    "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                ],
            ),
            (
                container_with(&json!({"resources": {"requests": {"memory": "100m"}}})),
                &[
                    "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                ],
            ),
            (
                container_with(&json!({"ports": [port(0), port(8080)]})),
                &[
                    "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
                ],
            ),
            // It is 1 before anybody looks at it.
            (pod_with(&json!({"terminationGracePeriodSeconds": -1})), &[]),
            (
                pod_with(&json!({"topologySpreadConstraints": [{"topologyKey": "z"}]})),
                &[
                    "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                ],
            ),
        ],
    );
}
