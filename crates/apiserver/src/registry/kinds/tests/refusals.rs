//! What 1.37 refuses to create, kept here: the words that follow `… is invalid: `.

use serde_json::{Value, json};

use super::{container_with, job_with, pod_with, workload_with};
use crate::registry::tests::harness::Harness;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const APPS: &str = "/apis/apps/v1/namespaces/default";
const BATCH: &str = "/apis/batch/v1/namespaces/default";
const NETWORKING: &str = "/apis/networking.k8s.io/v1/namespaces/default";

type Case = (String, Value, &'static str);

fn pods() -> Vec<Case> {
    let case = |object: Value, words| (PODS.to_owned(), object, words);
    let twice = json!({"readinessProbe": {"httpGet": {"port": 80}, "tcpSocket": {"port": 80}}});
    vec![
        case(
            pod_with(&json!({"ephemeralContainers": [{"name": "e", "image": "i"}]})),
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
        case(
            container_with(&json!({"ports": [{"containerPort": 70000}]})),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        case(
            container_with(&json!({"env": [{"name": ""}]})),
            "spec.containers[0].env[0].name: Required value",
        ),
        case(
            container_with(&twice),
            "spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        case(
            container_with(&json!({"livenessProbe": {"exec": {"command": ["a"]}, "successThreshold": 2}})),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        case(
            container_with(&json!({"resources": {"requests": {"bananas": "1"}}})),
            "[spec.containers[0].resources.requests[bananas]: Invalid value: \"bananas\": must be a standard resource type or fully qualified, spec.containers[0].resources.requests[bananas]: Invalid value: \"bananas\": must be a standard resource for containers]",
        ),
        case(
            pod_with(&json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]})),
            "spec.volumes[1].name: Duplicate value: \"v\"",
        ),
        case(
            pod_with(&json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]})),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
    ]
}

fn workloads() -> Vec<Case> {
    let case = |plural: &str, object: Value, words| (format!("{APPS}/{plural}"), object, words);
    let empty = json!({"selector": {}});
    let surge = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}});
    let none = json!({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}});
    let mut deadline = workload_with(&json!({}));
    deadline["spec"]["template"]["spec"]["activeDeadlineSeconds"] = json!(5);
    vec![
        case(
            "deployments",
            workload_with(&empty),
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
        ),
        case(
            "deployments",
            workload_with(&none),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        case(
            "deployments",
            workload_with(&json!({"progressDeadlineSeconds": 5, "minReadySeconds": 5})),
            "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
        ),
        case(
            "deployments",
            deadline,
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
        ),
        case(
            "daemonsets",
            workload_with(&empty),
            "spec.selector: Invalid value: {}: empty selector is invalid for daemonset",
        ),
        case(
            "daemonsets",
            workload_with(&surge),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ),
        case(
            "statefulsets",
            workload_with(&json!({"podManagementPolicy": "x"})),
            "spec.podManagementPolicy: Invalid value: \"x\": must be 'OrderedReady' or 'Parallel'",
        ),
        case(
            "statefulsets",
            workload_with(&json!({"ordinals": {"start": -1}})),
            "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
        ),
    ]
}

fn jobs() -> Vec<Case> {
    let job = |fields: Value, words| (format!("{BATCH}/jobs"), job_with(&fields), words);
    let cron = |fields: Value, words| {
        let mut object = json!({"metadata": {"name": "c"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job_with(&json!({}))["spec"]}}});
        for (field, value) in fields.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        (format!("{BATCH}/cronjobs"), object, words)
    };
    let long = {
        let mut case = cron(
            json!({}),
            "metadata.name: Invalid value: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\": must be no more than 52 characters",
        );
        case.1["metadata"]["name"] = json!("a".repeat(53));
        case
    };
    vec![
        job(
            json!({"completionMode": "Indexed", "parallelism": 2}),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        job(
            json!({"backoffLimitPerIndex": 1}),
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
        ),
        job(
            json!({"podReplacementPolicy": "x"}),
            "spec.podReplacementPolicy: Unsupported value: \"x\": supported values: \"Failed\", \"TerminatingOrFailed\"",
        ),
        cron(
            json!({"schedule": "61 * * * *"}),
            "spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61",
        ),
        cron(
            json!({"schedule": "CRON_TZ=UTC * * * * *"}),
            "spec.schedule: Invalid value: \"CRON_TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ),
        cron(
            json!({"timeZone": "Local"}),
            "spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ),
        cron(json!({"timeZone": "a b"}), "spec.timeZone: Invalid value: \"a b\": unknown time zone a b"),
        cron(
            json!({"concurrencyPolicy": "x"}),
            "spec.concurrencyPolicy: Unsupported value: \"x\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
        ),
        long,
    ]
}

fn network() -> Vec<Case> {
    let service =
        |spec: Value, words| (SERVICES.to_owned(), json!({"metadata": {"name": "s"}, "spec": spec}), words);
    let ingress = |spec: Value, words| {
        (format!("{NETWORKING}/ingresses"), json!({"metadata": {"name": "i"}, "spec": spec}), words)
    };
    let path = |path: Value| json!({"rules": [{"http": {"paths": [path]}}]});
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let policy = |spec: Value, words| {
        (format!("{NETWORKING}/networkpolicies"), json!({"metadata": {"name": "n"}, "spec": spec}), words)
    };
    vec![
        service(
            json!({"type": "x", "ports": [{"port": 80}]}),
            "spec.type: Unsupported value: \"x\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
        service(
            json!({"ports": [{"port": 80, "nodePort": 30000}]}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        service(
            json!({"ports": [{"port": 80}], "externalTrafficPolicy": "Local"}),
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ),
        service(
            json!({"ports": [{"port": 80}], "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90000}}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than 86400",
        ),
        service(
            json!({"ports": [{"port": 80}], "loadBalancerClass": "a.b/c"}),
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        ingress(
            path(json!({"path": "/", "backend": backend})),
            "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
        ),
        ingress(
            path(json!({"path": "x", "pathType": "Prefix", "backend": backend})),
            "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path",
        ),
        ingress(
            path(json!({"path": "/a//b", "pathType": "Exact", "backend": backend})),
            "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b\": must not contain '//'",
        ),
        ingress(
            json!({"defaultBackend": {"service": {"name": "s"}}}),
            "spec.defaultBackend: Required value: port name or number is required",
        ),
        ingress(
            json!({"rules": [{"host": "1.2.3.4"}]}),
            "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
        ),
        policy(
            json!({"podSelector": {}, "ingress": [{"from": [{}]}]}),
            "spec.ingress[0].from[0]: Required value: must specify a peer",
        ),
        policy(
            json!({"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "x"}}]}]}),
            "spec.egress[0].to[0].ipBlock.cidr: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ),
        (
            "/apis/networking.k8s.io/v1/ingressclasses".into(),
            json!({"metadata": {"name": "c"}, "spec": {"controller": "x"}}),
            "spec.controller: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            "/api/v1/namespaces/default/endpoints".into(),
            json!({"metadata": {"name": "e"}, "subsets": [{}]}),
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices".into(),
            json!({"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}], "ports": []}),
            "endpoints[0].addresses: Invalid value: \"::1\": must be an IPv4 address",
        ),
    ]
}

fn configuration() -> Vec<Case> {
    let secret = |kind: &str, words| {
        (
            "/api/v1/namespaces/default/secrets".to_owned(),
            json!({"metadata": {"name": "s"}, "type": kind}),
            words,
        )
    };
    let binding = |subject: Value, words| {
        let object = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [subject]});
        ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(), object, words)
    };
    let limit = json!({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "2"}});
    vec![
        secret("kubernetes.io/tls", "[data[tls.crt]: Required value, data[tls.key]: Required value]"),
        secret("kubernetes.io/dockerconfigjson", "data[.dockerconfigjson]: Required value"),
        secret(
            "kubernetes.io/service-account-token",
            "metadata.annotations[kubernetes.io/service-account.name]: Required value",
        ),
        (
            "/api/v1/namespaces/default/configmaps".into(),
            json!({"metadata": {"name": "c"}, "data": {"k": "x".repeat(1_048_577)}}),
            "[]: Too long: may not be more than 1048576 bytes",
        ),
        binding(json!({"kind": "ServiceAccount", "name": "a"}), "subjects[0].namespace: Required value"),
        binding(
            json!({"kind": "X", "name": "a"}),
            "subjects[0].kind: Unsupported value: \"X\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
        ),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses".into(),
            json!({"metadata": {"name": "p"}, "value": 1_000_000_001}),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses".into(),
            json!({"metadata": {"name": "s"}, "provisioner": "a.b/c", "volumeBindingMode": "x"}),
            "volumeBindingMode: Unsupported value: \"x\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases".into(),
            json!({"metadata": {"name": "l"}, "spec": {"leaseDurationSeconds": 0}}),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "/apis/node.k8s.io/v1/runtimeclasses".into(),
            json!({"metadata": {"name": "r"}, "handler": "A"}),
            "handler: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets".into(),
            json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "maxUnavailable": 1}}),
            "spec: Invalid value: {\"MinAvailable\":1,\"Selector\":null,\"MaxUnavailable\":1,\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set",
        ),
        (
            "/api/v1/namespaces/default/limitranges".into(),
            json!({"metadata": {"name": "l"}, "spec": {"limits": [limit]}}),
            "[spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1, spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than max value 1, spec.limits[0].default[cpu]: Invalid value: \"1\": default value 2 is greater than max value 1]",
        ),
        (
            "/api/v1/namespaces/default/resourcequotas".into(),
            json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1500m"}}}),
            "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
        ),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims".into(),
            json!({"metadata": {"name": "c"}, "spec": {}}),
            "[spec.accessModes: Required value: at least 1 access mode is required, spec.resources[storage]: Required value]",
        ),
        (
            "/api/v1/nodes".into(),
            json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "k", "effect": "x"}]}}),
            "metadata.taints[0].effect: Unsupported value: \"x\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ),
        (
            "/api/v1/namespaces/default/events".into(),
            json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "other"}}),
            "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace",
        ),
        (
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers".into(),
            json!({"metadata": {"name": "h"}, "spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
        ),
    ]
}

#[tokio::test]
async fn new_objects_are_refused() {
    let h = Harness::start().await;
    let mut wrong = Vec::new();
    for (path, object, words) in
        [pods(), workloads(), jobs(), network(), configuration()].into_iter().flatten()
    {
        let (code, answer) = h.send("POST", &path, object).await;
        let message = answer["message"].as_str().unwrap_or_default();
        let (_, have) = message.split_once(" is invalid: ").unwrap_or_default();
        if code != 422 || have != words {
            wrong.push(format!("{path}: {code}\n  want {words}\n  have {message}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
