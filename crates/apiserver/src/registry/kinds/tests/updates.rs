//! What an update may change.

use serde_json::{Value, json};

use super::{job_with, pod_with, workload_with};
use crate::registry::tests::harness::{Harness, config_map};

/// Collection, the object, what a merge patch asks for, and how the refusal begins; empty: it is done.
type Case = (&'static str, Value, Value, &'static str);

const CORE: &str = "/api/v1/namespaces/default";

fn pods() -> Vec<Case> {
    let pods = "/api/v1/namespaces/default/pods";
    let spec = |spec: Value| json!({"spec": spec});
    let image = |image: &str| json!({"containers": [{"name": "c", "image": image}]});
    let two = json!({"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]});
    let waiting = || pod_with(&json!({"schedulingGates": [{"name": "a.b/c"}]}));
    let stop = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,";
    vec![
        (pods, pod_with(&json!({})), json!({"metadata": {"labels": {"a": "b"}}}), ""),
        (pods, pod_with(&json!({})), spec(json!({"activeDeadlineSeconds": 5})), ""),
        (
            pods,
            pod_with(&json!({"activeDeadlineSeconds": 5})),
            spec(json!({"activeDeadlineSeconds": 6})),
            "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value",
        ),
        (pods, pod_with(&json!({})), spec(json!({"hostname": "x"})), stop),
        (pods, pod_with(&json!({})), spec(json!({"nodeSelector": {"a": "b"}})), stop),
        (pods, waiting(), spec(json!({"nodeSelector": {"a": "b"}})), ""),
        (pods, waiting(), spec(json!({"schedulingGates": []})), ""),
        (
            pods,
            pod_with(&json!({})),
            spec(json!({"schedulingGates": [{"name": "a.b/c"}]})),
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a.b/c'",
        ),
        (
            pods,
            pod_with(&json!({})),
            spec(two),
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            pods,
            pod_with(&json!({"tolerations": [{"key": "k", "operator": "Exists"}]})),
            spec(json!({"tolerations": []})),
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ),
        (
            pods,
            pod_with(&json!({})),
            spec(image(" x")),
            "[spec.containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace, ",
        ),
    ]
}

fn configuration() -> Vec<Case> {
    let maps = "/api/v1/namespaces/default/configmaps";
    let secrets = "/api/v1/namespaces/default/secrets";
    let mut fixed = config_map("m", json!({"a": "b"}));
    fixed["immutable"] = json!(true);
    vec![
        (
            maps,
            fixed.clone(),
            json!({"data": {"a": "c"}}),
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            maps,
            fixed.clone(),
            json!({"immutable": false}),
            "immutable: Forbidden: field is immutable when `immutable` is set",
        ),
        (maps, fixed, json!({"metadata": {"labels": {"a": "b"}}}), ""),
        (
            secrets,
            json!({"metadata": {"name": "m"}}),
            json!({"type": "x"}),
            "type: Invalid value: \"x\": field is immutable",
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            json!({"metadata": {"name": "m"}, "roleRef": {"kind": "Role", "name": "r"}}),
            json!({"roleRef": {"name": "x"}}),
            "roleRef: Invalid value: ",
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            json!({"metadata": {"name": "m"}, "provisioner": "a.b/c"}),
            json!({"provisioner": "a.b/d"}),
            "provisioner: Invalid value: null: field is immutable",
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            json!({"metadata": {"name": "n"}, "provisioner": "a.b/c"}),
            json!({"allowVolumeExpansion": true}),
            "",
        ),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            json!({"metadata": {"name": "m"}, "value": 1}),
            json!({"value": 2}),
            "value: Forbidden: may not be changed in an update.",
        ),
        (
            "/apis/node.k8s.io/v1/runtimeclasses",
            json!({"metadata": {"name": "m"}, "handler": "a"}),
            json!({"handler": "b"}),
            "handler: Invalid value: null: field is immutable",
        ),
    ]
}

fn workloads() -> Vec<Case> {
    let other = json!({"spec": {"selector": {"matchLabels": {"a": "c"}}, "template": {"metadata": {"labels": {"a": "c"}}}}});
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}});
    let service = || json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let mut choosy = json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}});
    choosy["spec"]["parallelism"] = json!(2);
    vec![
        ("/apis/apps/v1/namespaces/default/deployments", workload_with(&json!({})), image.clone(), ""),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            workload_with(&json!({})),
            other.clone(),
            "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable",
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            workload_with(&json!({})),
            json!({"spec": {"serviceName": "x"}}),
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template',",
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            workload_with(&json!({})),
            json!({"spec": {"replicas": 3}}),
            "",
        ),
        (jobs, job_with(&json!({})), image, "spec.template: Invalid value: "),
        (
            jobs,
            job_with(&json!({})),
            json!({"spec": {"completions": 5}}),
            "spec.completions: Invalid value: 5: field is immutable",
        ),
        (jobs, job_with(&json!({"suspend": true})), choosy, ""),
        (
            jobs,
            job_with(&json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2})),
            json!({"spec": {"completions": 3, "parallelism": 3}}),
            "",
        ),
        (
            "/api/v1/namespaces/default/services",
            service(),
            json!({"spec": {"clusterIP": "10.43.9.9", "clusterIPs": ["10.43.9.9"]}}),
            "spec.clusterIPs[0]: Invalid value: [\"10.43.9.9\"]: may not change once set",
        ),
        ("/api/v1/namespaces/default/services", service(), json!({"spec": {"type": "NodePort"}}), ""),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims",
            claim,
            json!({"spec": {"accessModes": ["ReadWriteMany"]}}),
            "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ),
    ]
}

#[tokio::test]
async fn updates_are_refused_or_done() {
    let h = Harness::start().await;
    let mut wrong = Vec::new();
    for (i, (path, mut object, patch, words)) in
        [pods(), configuration(), workloads()].into_iter().flatten().enumerate()
    {
        let name = format!("x{i}");
        object["metadata"]["name"] = json!(name);
        h.must(201, "POST", path, object).await;
        let (code, answer) = h.patch("merge-patch+json", &format!("{path}/{name}"), patch.clone()).await;
        let message = answer["message"].as_str().unwrap_or_default();
        let (_, have) = message.split_once(" is invalid: ").unwrap_or(("", ""));
        let as_wanted = if words.is_empty() { code == 200 } else { code == 422 && have.starts_with(words) };
        if !as_wanted {
            wrong.push(format!("{path} {patch}: {code}\n  want {words}\n  have {message}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn ephemeral_containers_come_and_stay() {
    let h = Harness::start().await;
    let pods = format!("{CORE}/pods");
    h.must(201, "POST", &pods, pod_with(&json!({}))).await;
    let target = format!("{pods}/p/ephemeralcontainers");
    let ask = |image: &str| json!({"spec": {"ephemeralContainers": [{"name": "e", "image": image}]}});
    assert_eq!(h.patch("merge-patch+json", &target, ask("i")).await.0, 200);
    let (code, answer) = h.patch("merge-patch+json", &target, ask("j")).await;
    assert_eq!(code, 422, "{answer}");
    let words = "existing ephemeral containers \"e\" may not be changed";
    assert!(answer["message"].as_str().is_some_and(|m| m.contains(words)), "{answer}");
}

#[tokio::test]
async fn pods_are_resized_within_their_class() {
    let h = Harness::start().await;
    let pods = format!("{CORE}/pods");
    let resources = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let pod = |cpu: &str| json!({"containers": [{"name": "c", "image": "i", "resources": resources(cpu)}]});
    h.must(201, "POST", &pods, pod_with(&pod("1"))).await;
    let target = format!("{pods}/p/resize");
    let (code, answer) = h.patch("strategic-merge-patch+json", &target, json!({"spec": pod("2")})).await;
    assert_eq!(
        (code, &answer["spec"]["containers"][0]["resources"]["requests"]["cpu"]),
        (200, &json!("2")),
        "{answer}"
    );
    let none = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": null}}]}});
    let (code, answer) = h.patch("strategic-merge-patch+json", &target, none).await;
    assert_eq!(code, 422, "{answer}");
}
