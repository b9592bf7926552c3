//! Rules that look beyond the object itself.

use serde_json::json;

use super::harness::{Ask, Harness, pod};

const CORE: &str = "/api/v1/namespaces/default";

#[tokio::test]
async fn claims_grow_where_their_class_permits_it() {
    let h = Harness::start().await;
    for (name, grows) in [("fixed", false), ("growing", true)] {
        let class =
            json!({"metadata": {"name": name}, "provisioner": "a.b/c", "allowVolumeExpansion": grows});
        h.must(201, "POST", "/apis/storage.k8s.io/v1/storageclasses", class).await;
        let claim = json!({"metadata": {"name": name}, "spec": {"storageClassName": name, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        h.must(201, "POST", &format!("{CORE}/persistentvolumeclaims"), claim).await;
    }
    h.registry.fresh().await.expect("the cache follows");
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let bound = json!({"status": {"phase": "Bound"}});
    for (name, code, words) in [
        (
            "fixed",
            403,
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ),
        ("growing", 200, ""),
    ] {
        let claim = format!("{CORE}/persistentvolumeclaims/{name}");
        assert_eq!(h.patch("merge-patch+json", &format!("{claim}/status"), bound.clone()).await.0, 200);
        let (have, answer) = h.patch("merge-patch+json", &claim, grow.clone()).await;
        assert_eq!(have, code, "{answer}");
        assert!(answer["message"].as_str().unwrap_or_default().ends_with(words), "{answer}");
    }
}

#[tokio::test]
async fn quotas_count_what_an_update_adds() {
    let h = Harness::start().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"services.nodeports": "1"}}});
    h.must(201, "POST", &format!("{CORE}/resourcequotas"), quota).await;
    for name in ["a", "b"] {
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        h.must(201, "POST", &format!("{CORE}/services"), service).await;
    }
    let expose = json!({"spec": {"type": "NodePort"}});
    let (code, done) = h.patch("merge-patch+json", &format!("{CORE}/services/a"), expose.clone()).await;
    assert_eq!(code, 200, "{done}");
    let again = json!({"metadata": {"labels": {"x": "y"}}});
    assert_eq!(h.patch("merge-patch+json", &format!("{CORE}/services/a"), again).await.0, 200);
    let (code, refused) = h.patch("merge-patch+json", &format!("{CORE}/services/b"), expose).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "services \"b\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: \
         services.nodeports=1"
    );
}

#[tokio::test]
async fn flow_control_starts_with_what_it_needs() {
    let h = Harness::start().await;
    let base = "/apis/flowcontrol.apiserver.k8s.io/v1";
    for (plural, count) in [("prioritylevelconfigurations", 8), ("flowschemas", 11)] {
        let list = h.get(&format!("{base}/{plural}")).await;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{plural}");
    }
    let exempt = h.get(&format!("{base}/flowschemas/exempt")).await;
    assert_eq!(exempt["spec"]["rules"][0]["subjects"][0]["group"]["name"], "system:masters");
    assert_eq!(exempt["spec"]["rules"][0]["resourceRules"][0]["clusterScope"], true);
    let probes = h.get(&format!("{base}/flowschemas/probes")).await;
    assert_eq!(probes["spec"]["rules"][0]["nonResourceRules"][0]["nonResourceURLs"][2], "/livez");
    let change = json!({"spec": {"matchingPrecedence": 2}});
    let (code, refused) =
        h.patch("merge-patch+json", &format!("{base}/flowschemas/exempt"), change.clone()).await;
    assert_eq!(code, 422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap_or_default()
            .contains("spec of 'exempt' must equal the fixed value")
    );
    assert_eq!(h.patch("merge-patch+json", &format!("{base}/flowschemas/probes"), change).await.0, 200);
}

/// Warnings of an answer, whatever it is.
async fn warned(
    h: &Harness,
    method: &str,
    target: &str,
    kind: Option<&str>,
    body: serde_json::Value,
) -> Vec<String> {
    let ask = Ask { content_type: kind, ..Ask::default() };
    match h.answer(method, target, ask, body.to_string().into()).await {
        Ok(answer) => answer.warnings,
        Err(status) => status.warnings().to_vec(),
    }
}

#[tokio::test]
async fn namespaces_say_how_secure_their_pods_are() {
    let h = Harness::start().await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"});
    h.must(201, "POST", "/api/v1/namespaces", json!({"metadata": {"name": "safe", "labels": labels}})).await;
    let account = json!({"metadata": {"name": "default"}});
    h.must(201, "POST", "/api/v1/namespaces/safe/serviceaccounts", account).await;
    h.registry.fresh().await.expect("the cache follows");
    let pods = "/api/v1/namespaces/safe/pods";
    let mut host = pod("host");
    host["spec"]["hostPID"] = json!(true);
    let refused = h.must(403, "POST", pods, host.clone()).await;
    assert_eq!(
        refused["message"],
        "pods \"host\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
    );
    let would = "would violate PodSecurity \"restricted:latest\": ";
    let warnings = warned(&h, "POST", pods, None, pod("plain")).await;
    assert!(warnings.len() == 1 && warnings[0].starts_with(would), "{warnings:?}");
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": host["spec"]});
    let controller =
        json!({"metadata": {"name": "r"}, "spec": {"selector": {"a": "b"}, "template": template}});
    let warnings =
        warned(&h, "POST", "/api/v1/namespaces/safe/replicationcontrollers", None, controller).await;
    assert!(
        warnings.len() == 1 && warnings[0].starts_with(&format!("{would}host namespaces")),
        "{warnings:?}"
    );
    h.registry.fresh().await.expect("the cache follows");
    let stricter = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let patch = Some("application/merge-patch+json");
    let warnings = warned(&h, "PATCH", "/api/v1/namespaces/safe", patch, stricter).await;
    assert_eq!(
        warnings,
        [
            "existing pods in namespace \"safe\" violate the new PodSecurity enforce level \"restricted:latest\"",
            "plain: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
        ]
    );
}

#[tokio::test]
async fn classes_of_runtimes_say_where_pods_run() {
    let h = Harness::start().await;
    let class = json!({"metadata": {"name": "r"}, "handler": "h", "overhead": {"podFixed": {"cpu": "10m"}},
        "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]}});
    h.must(201, "POST", "/apis/node.k8s.io/v1/runtimeclasses", class).await;
    h.registry.fresh().await.expect("the cache follows");
    let of_class = |spec: serde_json::Value| {
        let mut pod = pod("p");
        pod["spec"]["runtimeClassName"] = json!("r");
        for (field, value) in spec.as_object().expect("fields") {
            pod["spec"][field] = value.clone();
        }
        pod
    };
    let pods = format!("{CORE}/pods?dryRun=All");
    let narrow = json!([{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}]);
    let made = h.must(201, "POST", &pods, of_class(json!({ "tolerations": narrow }))).await;
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "10m"}));
    assert_eq!(made["spec"]["nodeSelector"], json!({"a": "b"}));
    // After the two that every pod has; the pod's own is part of it.
    assert_eq!(made["spec"]["tolerations"][2], json!({"key": "k", "operator": "Exists"}));
    for (spec, said) in [
        (
            json!({"nodeSelector": {"a": "c"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c",
        ),
        (
            json!({"overhead": {"cpu": "20m"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
    ] {
        let refused = h.must(403, "POST", &pods, of_class(spec)).await;
        assert_eq!(refused["message"], format!("pods \"p\" is forbidden: {said}"));
    }
}

#[tokio::test]
async fn limits_of_pods_count_sidecars_and_the_pod_itself() {
    let h = Harness::start().await;
    let limits = json!([{"type": "Pod", "max": {"cpu": "3"}}]);
    h.must(
        201,
        "POST",
        &format!("{CORE}/limitranges"),
        json!({"metadata": {"name": "l"}, "spec": {"limits": limits}}),
    )
    .await;
    h.registry.fresh().await.expect("the cache follows");
    let limited = |cpu: &str| json!({"limits": {"cpu": cpu}});
    let mut whole = pod("p");
    whole["spec"]["resources"] = json!({"limits": {"cpu": "5"}, "requests": {"cpu": "1"}});
    let mut sidecar = pod("p");
    sidecar["spec"]["containers"][0]["resources"] = limited("2");
    sidecar["spec"]["initContainers"] =
        json!([{"name": "s", "image": "i", "restartPolicy": "Always", "resources": limited("2")}]);
    for (pod, has) in [(whole, "5"), (sidecar, "4")] {
        let refused = h.must(403, "POST", &format!("{CORE}/pods"), pod).await;
        let said = format!("pods \"p\" is forbidden: maximum cpu usage per Pod is 3, but limit is {has}");
        assert_eq!(refused["message"], said);
    }
}

#[tokio::test]
async fn accounts_limit_the_secrets_of_their_pods() {
    let h = Harness::start().await;
    let limit = json!({"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}});
    let (code, _) = h.patch("merge-patch+json", &format!("{CORE}/serviceaccounts/default"), limit).await;
    assert_eq!(code, 200);
    h.registry.fresh().await.expect("the cache follows");
    let mut using = pod("p");
    using["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": "other"}}]);
    let refused = h.must(403, "POST", &format!("{CORE}/pods"), using).await;
    assert_eq!(
        refused["message"],
        "pods \"p\" is forbidden: volume with secret.secretName=\"other\" is not allowed because service account default does not reference that secret"
    );
}

#[tokio::test]
async fn pods_do_not_outgrow_their_nodes() {
    let h = Harness::start().await;
    h.must(201, "POST", "/api/v1/nodes", json!({"metadata": {"name": "n"}})).await;
    let allocatable = json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi"}}});
    assert_eq!(h.patch("merge-patch+json", "/api/v1/nodes/n/status", allocatable).await.0, 200);
    let mut there = pod("p");
    there["spec"]["nodeName"] = json!("n");
    there["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
    h.must(201, "POST", &format!("{CORE}/pods"), there).await;
    h.registry.fresh().await.expect("the cache follows");
    let name = pod("p")["spec"]["containers"][0]["name"].clone();
    for (cpu, code) in [("800m", 200), ("1100m", 403)] {
        let resize =
            json!({"spec": {"containers": [{"name": name, "resources": {"requests": {"cpu": cpu}}}]}});
        let (have, answer) =
            h.patch("strategic-merge-patch+json", &format!("{CORE}/pods/p/resize"), resize).await;
        assert_eq!(have, code, "{answer}");
        if code == 403 {
            assert_eq!(
                answer["message"],
                "pods \"p\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 1100, allocatable: 1000"
            );
            assert_eq!(answer["details"]["causes"], json!([{"reason": "NodeCapacity"}]));
        }
    }
}
