//! Pods as the API has them, without a node that runs them; classes of them; volumes and claims.

use serde_json::{Value, json};

use super::super::harness::{Harness, pod};
use super::{changed, includes, items, text, version};

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn pods_with_equal_requests_and_limits_are_guaranteed() {
    let h = Harness::start().await;
    let amounts = json!({"cpu": "100m", "memory": "100Mi"});
    let mut sent = pod("p");
    sent["spec"]["containers"][0]["resources"] = json!({"requests": amounts, "limits": amounts});
    h.must(201, "POST", PODS, sent).await;
    assert_eq!(text(&h.get(&format!("{PODS}/p")).await, "/status/qosClass"), "Guaranteed");
}

#[tokio::test]
async fn generations_are_the_servers_and_grow_with_a_graceful_end() {
    let h = Harness::start().await;
    let mut sent = pod("p");
    sent["metadata"]["generation"] = 100.into();
    let made = h.must(201, "POST", PODS, sent).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    h.must(201, "POST", &format!("{PODS}/p/binding"), binding).await;
    assert_eq!(h.get(&format!("{PODS}/p")).await["metadata"]["generation"], 1);
    h.must(200, "DELETE", &format!("{PODS}/p?gracePeriodSeconds=60"), Value::Null).await;
    assert_eq!(h.get(&format!("{PODS}/p")).await["metadata"]["generation"], 2);
}

#[tokio::test]
async fn pods_are_rejected_without_their_runtime_class() {
    const CLASSES: &str = "/apis/node.k8s.io/v1/runtimeclasses";
    let h = Harness::start().await;
    let classy = |name: &str, class: &str| changed(&pod(name), &json!({"spec": {"runtimeClassName": class}}));
    let refused = h.must(403, "POST", PODS, classy("none", "none")).await;
    assert_eq!(refused["reason"], "Forbidden");
    h.must(201, "POST", CLASSES, json!({"metadata": {"name": "c"}, "handler": "h"})).await;
    h.registry.fresh().await.expect("the cache follows");
    h.must(201, "POST", PODS, classy("some", "c")).await;
    h.must(200, "DELETE", &format!("{CLASSES}/c"), Value::Null).await;
    h.registry.fresh().await.expect("the cache follows");
    let refused = h.must(403, "POST", PODS, classy("late", "c")).await;
    assert_eq!(refused["reason"], "Forbidden");
}

#[tokio::test]
async fn priorities_are_described_anew_but_keep_their_value() {
    const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let h = Harness::start().await;
    let value = json!({"value": 10});
    let described = json!({"description": "described anew"});
    let mut all = Vec::new();
    for (name, number) in [("p1", 1), ("p2", 2)] {
        let class = json!({"metadata": {"name": name}, "value": number});
        all.push(h.must(201, "POST", CLASSES, class).await);
    }
    let [first, second] = ["p1", "p2"].map(|name| format!("{CLASSES}/{name}"));
    assert_eq!(h.patch("strategic-merge-patch+json", &first, value.clone()).await.0, 422);
    h.must(422, "PUT", &second, changed(&all[1], &value)).await;
    assert_eq!(h.patch("strategic-merge-patch+json", &first, described.clone()).await.0, 200);
    h.must(200, "PUT", &second, changed(&all[1], &described)).await;
    let list = h.get(CLASSES).await;
    for before in &all {
        let live = h.get(&format!("{CLASSES}/{}", super::name(before))).await;
        assert!(items(&list).iter().any(|item| item["metadata"]["uid"] == before["metadata"]["uid"]));
        assert_eq!(live["value"], before["value"]);
        assert!(includes(&live, &described) && version(&live) > version(before), "{live}");
    }
}

#[tokio::test]
async fn statuses_of_volumes_and_claims_are_patched_and_updated() {
    const VOLUMES: &str = "/api/v1/persistentvolumes";
    const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
    let h = Harness::start().await;
    let storage = json!({"storage": "2Gi"});
    let volume = json!({"metadata": {"generateName": "test-", "labels": {"test": "pv"}}, "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": storage, "storageClassName": "test",
        "csi": {"driver": "test.example.com", "volumeHandle": "handle"}}});
    h.must(201, "POST", VOLUMES, volume).await;
    let claim = json!({"metadata": {"generateName": "test-"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": storage}, "storageClassName": "test"}});
    h.must(201, "POST", CLAIMS, claim).await;

    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": kind});
    let conditions = json!([{"conditions": [condition("Patched")]}, {"conditions": [condition("Patched"), condition("Updated")]}]);
    let messages =
        json!([{"reason": "Patch", "message": "patched"}, {"reason": "Update", "message": "updated"}]);
    for (list, at, writes) in [
        (format!("{VOLUMES}?labelSelector=test%3Dpv"), VOLUMES, messages),
        (CLAIMS.to_owned(), CLAIMS, conditions),
    ] {
        let found = h.get(&list).await;
        let [object] = items(&found) else { panic!("{found}") };
        let path = format!("{at}/{}", super::name(object));
        let status = format!("{path}/status");
        let read = h.get(&status).await;
        assert!(["Pending", "Available", "Bound"].contains(&text(&read, "/status/phase")), "{read}");
        let (code, patched) = h.patch("merge-patch+json", &status, json!({ "status": writes[0] })).await;
        assert_eq!(code, 200, "{patched}");
        assert!(includes(&patched["status"], &writes[0]), "{patched}");
        let sent = changed(&h.get(&path).await, &json!({ "status": writes[1] }));
        let updated = h.must(200, "PUT", &status, sent).await;
        assert!(includes(&updated["status"], &writes[1]), "{updated}");
        assert_eq!(h.get(&path).await, updated);
    }
}

#[tokio::test]
async fn pods_opt_out_of_the_token_of_their_account() {
    const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
    const MOUNTED_AT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let h = Harness::start().await;
    for (name, mounts) in [("mount", true), ("nomount", false)] {
        let account = json!({"metadata": {"name": name}, "automountServiceAccountToken": mounts});
        h.must(201, "POST", ACCOUNTS, account).await;
    }
    h.registry.fresh().await.expect("the cache follows");
    // What the pod says counts, then what the account says.
    for (account, wanted) in
        [("default", [true, true, false]), ("mount", [true, true, false]), ("nomount", [false, true, false])]
    {
        for (said, wanted) in [Value::Null, true.into(), false.into()].into_iter().zip(wanted) {
            let named = format!("{account}-{said}");
            let spec = json!({"serviceAccountName": account, "automountServiceAccountToken": said});
            let made = h.must(201, "POST", PODS, changed(&pod(&named), &json!({ "spec": spec }))).await;
            let mounts = made["spec"]["containers"][0]["volumeMounts"].as_array();
            let mounted = mounts.into_iter().flatten().any(|mount| mount["mountPath"] == MOUNTED_AT);
            assert_eq!(mounted, wanted, "{named}");
        }
    }
}

#[tokio::test]
async fn invalid_sysctls_are_rejected_and_others_not_named() {
    let h = Harness::start().await;
    let names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."];
    let sysctls = names.map(|name| json!({"name": name, "value": "100000000"}));
    let spec = json!({"securityContext": {"sysctls": sysctls}});
    let refused = h.must(422, "POST", PODS, changed(&pod("p"), &json!({ "spec": spec }))).await;
    let message = text(&refused, "/message");
    for (name, valid) in names.into_iter().zip([false, true, true, false]) {
        assert_eq!(message.contains(name), !valid, "{message}");
        assert_eq!(message.contains(&format!("Invalid value: {name:?}")), !valid, "{message}");
    }
}
