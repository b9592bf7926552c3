//! Defaults of 1.37, kept here.

use serde_json::{Value, json};

use super::{container_with, job_with, pod_with, workload_with};
use crate::registry::tests::harness::Harness;

/// Path, what is sent, pointer, what is there afterwards.
type Case = (&'static str, Value, &'static str, Value);

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn cases() -> Vec<Case> {
    let ports = json!([{"containerPort": 80}]);
    let host = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": ports}]});
    let mut host_template = workload_with(&json!({}));
    host_template["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    host_template["spec"]["template"]["spec"]["containers"][0]["ports"] = ports;
    let service = |spec: Value| json!({"metadata": {"name": "s"}, "spec": spec});
    let indexed = json!({"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1});
    let failing = json!({"podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}});
    vec![
        (PODS, pod_with(&host), "/spec/containers/0/ports/0/hostPort", json!(80)),
        (DEPLOYMENTS, host_template, "/spec/template/spec/containers/0/ports/0/hostPort", json!(null)),
        (
            PODS,
            pod_with(&json!({"schedulingGates": [{"name": "a.b/c"}]})),
            "/status/conditions/0/reason",
            json!("SchedulingGated"),
        ),
        (
            PODS,
            container_with(&json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}})),
            "/status/qosClass",
            json!("Guaranteed"),
        ),
        (
            PODS,
            pod_with(&json!({"volumes": [{"name": "v", "image": {"reference": "r:v1"}}]})),
            "/spec/volumes/0/image/pullPolicy",
            json!("IfNotPresent"),
        ),
        (
            SERVICES,
            service(json!({"ports": [{"port": 80}], "sessionAffinity": "ClientIP"})),
            "/spec/sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 10800}}),
        ),
        (
            SERVICES,
            service(json!({"ports": [{"port": 80, "targetPort": 0}]})),
            "/spec/ports/0/targetPort",
            json!(80),
        ),
        (
            SERVICES,
            service(json!({"type": "NodePort", "ports": [{"port": 80}]})),
            "/spec/externalTrafficPolicy",
            json!("Cluster"),
        ),
        (SERVICES, service(json!({"ports": [{"port": 80}]})), "/spec/ipFamilyPolicy", json!("SingleStack")),
        (
            SERVICES,
            service(json!({"type": "ExternalName", "externalName": "a.b"})),
            "/spec/internalTrafficPolicy",
            json!(null),
        ),
        (
            JOBS,
            job_with(&json!({})),
            "/spec/template/metadata/labels/batch.kubernetes.io~1job-name",
            json!("j"),
        ),
        (JOBS, job_with(&json!({})), "/metadata/labels/job-name", json!("j")),
        (JOBS, job_with(&indexed), "/spec/backoffLimit", json!(2_147_483_647)),
        (JOBS, job_with(&failing), "/spec/podReplacementPolicy", json!("Failed")),
        (JOBS, job_with(&failing), "/spec/podFailurePolicy/rules/0/onPodConditions/0/status", json!("True")),
        (JOBS, job_with(&json!({"parallelism": 2})), "/spec/completions", json!(null)),
    ]
}

fn others() -> Vec<Case> {
    let scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "behavior": {"scaleDown": {}},
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let scalers = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    vec![
        (scalers, scaler.clone(), "/spec/metrics/0/resource/target/averageUtilization", json!(80)),
        (
            scalers,
            scaler.clone(),
            "/spec/behavior/scaleUp/policies/0",
            json!({"type": "Pods", "value": 4, "periodSeconds": 15}),
        ),
        (scalers, scaler, "/spec/behavior/scaleDown/selectPolicy", json!("Max")),
        (
            "/apis/networking.k8s.io/v1/ingressclasses",
            json!({"metadata": {"name": "c"}, "spec": {"controller": "a.b/c", "parameters": {"kind": "K", "name": "n"}}}),
            "/spec/parameters/scope",
            json!("Cluster"),
        ),
        (
            "/apis/storage.k8s.io/v1/csidrivers",
            json!({"metadata": {"name": "d"}, "spec": {}}),
            "/spec/volumeLifecycleModes",
            json!(["Persistent"]),
        ),
        (
            "/apis/storage.k8s.io/v1/csidrivers",
            json!({"metadata": {"name": "d"}, "spec": {}}),
            "/spec/fsGroupPolicy",
            json!("ReadWriteOnceWithFSType"),
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1}}),
            "/status/disruptionsAllowed",
            json!(0),
        ),
        (
            "/api/v1/nodes",
            json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "2"}}}),
            "/status/allocatable/cpu",
            json!("2"),
        ),
        (
            "/api/v1/namespaces",
            json!({"metadata": {"name": "n"}}),
            "/metadata/labels/kubernetes.io~1metadata.name",
            json!("n"),
        ),
        (
            "/api/v1/namespaces/default/limitranges",
            json!({"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}}),
            "/spec/limits/0/defaultRequest/cpu",
            json!("2"),
        ),
    ]
}

#[tokio::test]
async fn new_objects_get_them() {
    let h = Harness::start().await;
    for (path, object, pointer, wanted) in cases().into_iter().chain(others()) {
        let answer = h.must(201, "POST", &format!("{path}?dryRun=All"), object).await;
        assert_eq!(answer.pointer(pointer).unwrap_or(&Value::Null), &wanted, "{path}{pointer}: {answer}");
    }
}
