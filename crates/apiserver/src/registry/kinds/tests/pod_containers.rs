//! Pods: what containers and annotations are refused.

use serde_json::{Value, json};

use super::tables::{made, refused};
use super::{container_with, pod_with};

const PODS: (&str, &str) = ("", "pods");

fn with_mount(mount: &Value) -> Value {
    let mut pod = container_with(&json!({ "volumeMounts": [mount] }));
    pod["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    pod
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn containers_are_refused_with_all_causes() {
    let mut twice = pod_with(&json!({"initContainers": [{"name": "c", "image": "i"}]}));
    twice["spec"]["initContainers"][0]["livenessProbe"] = json!({"exec": {"command": ["a"]}});
    refused(
        PODS,
        vec![
            (
                json!({"metadata": {"name": "p"}, "spec": {"containers": []}}),
                &["spec.containers: Required value"],
            ),
            (
                container_with(&json!({"name": "", "image": ""})),
                &["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
            ),
            (
                container_with(&json!({"image": "i "})),
                &[
                    "spec.containers[0].image: Invalid value: \"i \": must not have leading or trailing whitespace",
                ],
            ),
            (
                container_with(&json!({"imagePullPolicy": "X"})),
                &[
                    "spec.containers[0].imagePullPolicy: Unsupported value: \"X\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
                ],
            ),
            (
                twice,
                &[
                    "spec.initContainers[0].name: Duplicate value: \"c\"",
                    "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
                ],
            ),
            (
                pod_with(
                    &json!({"initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always", "readinessProbe": {"exec": {"command": ["a"]}}}]}),
                ),
                &[],
            ),
            (
                with_mount(&json!({"name": "w", "mountPath": "/a"})),
                &["spec.containers[0].volumeMounts[0].name: Not found: \"w\""],
            ),
            (
                with_mount(&json!({"name": "v", "mountPath": "/a", "subPath": "/b"})),
                &["spec.containers[0].volumeMounts.subPath: Invalid value: \"/b\": must be a relative path"],
            ),
            (
                with_mount(&json!({"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"})),
                &[
                    "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
                ],
            ),
            (
                container_with(&json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
                &[
                    "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
                ],
            ),
            (
                container_with(&json!({"resources": {"limits": {"hugepages-2Mi": "2Mi"}}})),
                &["spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
            ),
            (
                container_with(&json!({"resources": {"requests": {"example.com/gpu": "1"}}})),
                &[
                    "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
                ],
            ),
            (
                container_with(&json!({"resources": {"claims": [{"name": "x"}]}})),
                &[
                    "spec.containers[0].resources.claims[0]: Not found: \"x\": must be one of the names in pod.spec.resourceClaims which is empty",
                ],
            ),
            (
                container_with(
                    &json!({"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]}),
                ),
                &[
                    "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
                ],
            ),
            (
                container_with(
                    &json!({"securityContext": {"allowPrivilegeEscalation": false, "privileged": true}}),
                ),
                &[
                    "spec.containers[0].securityContext: Invalid value: {\"Capabilities\":null,\"Privileged\":true,\"SELinuxOptions\":null,\"WindowsOptions\":null,\"RunAsUser\":null,\"RunAsGroup\":null,\"RunAsNonRoot\":null,\"ReadOnlyRootFilesystem\":null,\"AllowPrivilegeEscalation\":false,\"ProcMount\":null,\"SeccompProfile\":null,\"AppArmorProfile\":null}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
                ],
            ),
            (
                container_with(&json!({"securityContext": {"procMount": "Unmasked"}})),
                &[
                    "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
                ],
            ),
            (
                container_with(
                    &json!({"securityContext": {"seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": "X"}}}),
                ),
                &[
                    "spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
                    "spec.containers[0].securityContext.appArmorProfile.type: Unsupported value: \"X\": supported values: \"Localhost\", \"RuntimeDefault\", \"Unconfined\"",
                ],
            ),
        ],
    );
}

#[test]
fn annotations_are_looked_at() {
    let with = |annotations: Value| {
        let mut pod = pod_with(&json!({}));
        pod["metadata"]["annotations"] = annotations;
        pod
    };
    let app_armor = "container.apparmor.security.beta.kubernetes.io/c";
    let mut differs = with(json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}));
    differs["spec"]["securityContext"] = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    refused(
        PODS,
        vec![
            (
                with(json!({"kubernetes.io/config.mirror": "x"})),
                &[
                    "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
                ],
            ),
            (
                with(json!({"controller.kubernetes.io/pod-deletion-cost": "+1"})),
                &[
                    "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer",
                ],
            ),
            (
                with(json!({"seccomp.security.alpha.kubernetes.io/pod": "x"})),
                &[
                    "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"x\": must be a valid seccomp profile",
                ],
            ),
            (
                with(json!({app_armor: "x"})),
                &[
                    "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Invalid value: \"x\": invalid AppArmor profile name: \"x\"",
                ],
            ),
            (
                with(json!({"container.apparmor.security.beta.kubernetes.io/d": ""})),
                &[
                    "metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: \"d\": container not found",
                ],
            ),
            (
                differs,
                &[
                    "spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
                ],
            ),
        ],
    );
    let pod = made(PODS, with(json!({app_armor: "localhost/x"})));
    let expected = json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "x"}});
    assert_eq!(pod["spec"]["containers"][0]["securityContext"], expected);
}
