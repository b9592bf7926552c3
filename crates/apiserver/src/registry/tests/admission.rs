//! Rules that look beyond the object itself.

use serde_json::json;

use super::harness::Harness;

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
