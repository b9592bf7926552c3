//! Who owns which fields after requests of all kinds.

use std::path::Path;

use serde_json::{Value, json};

use super::harness::{Harness, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SCALERS: &str = "horizontalpodautoscalers";
/// Recordings beside the repository.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/defaults.json");

pub(super) fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

/// The entries as `manager operation version subresource`, with their fields.
fn owners(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|entry| {
            let parts = ["manager", "operation", "apiVersion", "subresource"].map(|key| text(entry, key));
            (parts.join(" ").trim_end().to_owned(), entry["fieldsV1"].clone())
        })
        .collect()
}

fn names(object: &Value) -> Vec<String> {
    owners(object).into_iter().map(|(name, _)| name).collect()
}

fn fields_of(object: &Value, owner: &str) -> Value {
    owners(object).into_iter().find(|(name, _)| name == owner).map(|(_, fields)| fields).unwrap_or_default()
}

pub(super) async fn apply(h: &Harness, target: &str, body: Value) -> (u16, Value) {
    h.patch("apply-patch+yaml", target, body).await
}

#[tokio::test]
async fn every_write_is_recorded() {
    let h = Harness::start().await;
    let created = h.must(201, "POST", &format!("{DEPLOYMENTS}?fieldManager=creator"), deployment()).await;
    assert_eq!(names(&created), ["creator Update apps/v1"]);
    assert!(created["metadata"]["managedFields"][0]["time"].is_string());
    assert_eq!(fields_of(&created, "creator Update apps/v1").get("f:status"), None);
    let path = format!("{DEPLOYMENTS}/d");
    // A patch of each kind, and a write to the status.
    let (code, _) = h
        .patch("merge-patch+json", &format!("{path}?fieldManager=merger"), json!({"spec": {"paused": true}}))
        .await;
    assert_eq!(code, 200);
    let operations = json!([{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]);
    assert_eq!(h.patch("json-patch+json", &format!("{path}?fieldManager=op"), operations).await.0, 200);
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}});
    let (code, _) =
        h.patch("strategic-merge-patch+json", &format!("{path}?fieldManager=strategist"), change).await;
    assert_eq!(code, 200);
    let status = json!({"status": {"replicas": 2}, "spec": {"replicas": 7}});
    let (code, object) =
        h.patch("merge-patch+json", &format!("{path}/status?fieldManager=observer"), status).await;
    assert_eq!((code, &object["spec"]["replicas"]), (200, &json!(2)));
    let mut have = names(&object);
    have.sort();
    assert_eq!(
        have,
        [
            "creator Update apps/v1",
            "merger Update apps/v1",
            "observer Update apps/v1 status",
            "op Update apps/v1",
            "strategist Update apps/v1"
        ]
    );
    assert_eq!(fields_of(&object, "merger Update apps/v1"), json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(
        fields_of(&object, "op Update apps/v1"),
        json!({"f:metadata": {"f:labels": {".": {}, "f:x": {}}}})
    );
    assert_eq!(
        fields_of(&object, "strategist Update apps/v1"),
        json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {"f:image": {}}}}}}})
    );
    assert_eq!(fields_of(&object, "observer Update apps/v1 status"), json!({"f:status": {"f:replicas": {}}}));
}

#[tokio::test]
async fn daemon_sets_count_their_templates_for_whoever_wrote_them() {
    const GENERATION: &str = "deprecated.daemonset.template.generation";
    const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
    let h = Harness::start().await;
    let mut set = deployment();
    set["kind"] = json!("DaemonSet");
    set["spec"].as_object_mut().unwrap().remove("replicas");
    let owned = json!({"f:annotations": {"f:deprecated.daemonset.template.generation": {}}});
    let created = h.must(201, "POST", &format!("{SETS}?fieldManager=a"), set.clone()).await;
    assert_eq!(created["metadata"]["annotations"][GENERATION], "1");
    let mut first = owned.clone();
    first["f:annotations"]["."] = json!({});
    assert_eq!(fields_of(&created, "a Update apps/v1")["f:metadata"], first);
    // Who applies has said nothing of it.
    set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("j");
    let (code, applied) = apply(&h, &format!("{SETS}/d?fieldManager=b&force=true"), set.clone()).await;
    assert_eq!((code, &applied["metadata"]["annotations"][GENERATION]), (200, &json!("2")));
    assert_eq!(fields_of(&applied, "b Apply apps/v1").get("f:metadata"), None);
    assert_eq!(fields_of(&applied, "a Update apps/v1")["f:metadata"], first);
    // Who replaces it without the annotation has set it back to nothing, for a moment.
    let replaced = h.must(200, "PUT", &format!("{SETS}/d?fieldManager=c"), set).await;
    assert_eq!(replaced["metadata"]["annotations"][GENERATION], "2");
    assert_eq!(fields_of(&replaced, "c Update apps/v1")["f:metadata"], owned);
}

#[tokio::test]
async fn a_write_without_change_is_none() {
    let h = Harness::start().await;
    let created = h.must(201, "POST", MAPS, config_map("a", json!({"k": "v"}))).await;
    let same = h.must(200, "PUT", &format!("{MAPS}/a?fieldManager=other"), created.clone()).await;
    assert_eq!(same, created);
    let plain = config_map("a", json!({"k": "v"}));
    assert_eq!(h.must(200, "PUT", &format!("{MAPS}/a?fieldManager=other"), plain).await, created);
    let (_, same) = h.patch("merge-patch+json", &format!("{MAPS}/a"), json!({"data": {"k": "v"}})).await;
    assert_eq!(same, created);
}

#[tokio::test]
async fn clients_may_forget_or_bring_the_record() {
    let h = Harness::start().await;
    let target = format!("{MAPS}/a");
    let mut created =
        h.must(201, "POST", &format!("{MAPS}?fieldManager=x"), config_map("a", json!({"k": "v"}))).await;
    // What makes no sense is not taken.
    created["metadata"]["managedFields"][0]["operation"] = "Nonsense".into();
    let kept = h.must(200, "PUT", &target, created.clone()).await;
    assert_eq!(names(&kept), ["x Update v1"]);
    // What makes sense is.
    created["metadata"]["managedFields"][0]["operation"] = "Update".into();
    created["metadata"]["managedFields"][0]["manager"] = "renamed".into();
    let mut brought = h.must(200, "PUT", &target, created).await;
    assert_eq!(names(&brought), ["renamed Update v1"]);
    // Names of managers are held to what they may be.
    brought["metadata"]["managedFields"][0]["manager"] = "m".repeat(129).into();
    brought["metadata"]["managedFields"][0]["subresource"] = "s".repeat(257).into();
    let refused = h.must(422, "PUT", &target, brought).await;
    assert_eq!(
        refused["message"],
        "ConfigMap \"a\" is invalid: [metadata.managedFields[0].manager: Too long: may not be more than 128 bytes, metadata.managedFields[0].subresource: Too long: may not be more than 256 bytes]"
    );
    for (kind, nothing) in [("merge-patch+json", json!([{}])), ("strategic-merge-patch+json", json!([]))] {
        let forget = json!({"metadata": {"managedFields": nothing}});
        let (code, forgotten) = h.patch(kind, &format!("{target}?dryRun=All"), forget.clone()).await;
        assert_eq!((code, names(&forgotten)), (200, vec![]), "{forget}");
    }
    let mut forgetful = config_map("a", json!({"k": "v"}));
    forgetful["metadata"]["managedFields"] = json!([]);
    let forgotten = h.must(200, "PUT", &target, forgetful).await;
    assert_eq!(names(&forgotten), Vec::<String>::new());
    // Nothing is recorded until somebody applies.
    let (_, object) = h.patch("merge-patch+json", &target, json!({"data": {"l": "v"}})).await;
    assert_eq!(names(&object), Vec::<String>::new());
    let (_, object) =
        apply(&h, &format!("{target}?fieldManager=z"), config_map("a", json!({"m": "v"}))).await;
    assert_eq!(names(&object), ["z Apply v1", "before-first-apply Update v1"]);
}

#[tokio::test]
async fn the_scale_shares_its_owners() {
    let h = Harness::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    let (code, created) = apply(&h, &format!("{path}?fieldManager=x"), deployment()).await;
    assert_eq!(code, 201, "{created}");
    let scale = |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}});
    let (code, refused) = apply(&h, &format!("{path}/scale?fieldManager=y"), scale(3)).await;
    assert_eq!(
        (code, refused["message"].as_str()),
        (409, Some("Apply failed with 1 conflict: conflict with \"x\": .spec.replicas"))
    );
    let (code, scaled) = apply(&h, &format!("{path}/scale?fieldManager=y&force=true"), scale(3)).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(3)), "{scaled}");
    let object = h.get(&path).await;
    assert_eq!(names(&object), ["y Apply apps/v1 scale", "x Apply apps/v1"]);
    assert_eq!(fields_of(&object, "y Apply apps/v1 scale"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields_of(&object, "x Apply apps/v1")["f:spec"].get("f:replicas"), None);
    let (code, refused) = apply(&h, &format!("{path}?fieldManager=x"), deployment()).await;
    assert_eq!(
        (code, refused["message"].as_str()),
        (
            409,
            Some(
                "Apply failed with 1 conflict: conflict with \"y\" with subresource \"scale\": .spec.replicas"
            )
        )
    );
    h.must(200, "PUT", &format!("{path}/scale?fieldManager=w"), scale(4)).await;
    let object = h.get(&path).await;
    assert_eq!(names(&object), ["x Apply apps/v1", "w Update apps/v1 scale"]);
    assert_eq!(object["metadata"]["managedFields"][1].get("time"), None);
    let patch = json!({"spec": {"replicas": 5}});
    let (code, _) = h.patch("merge-patch+json", &format!("{path}/scale?fieldManager=v"), patch).await;
    assert_eq!(
        (code, names(&h.get(&path).await)),
        (200, vec!["x Apply apps/v1".into(), "v Update apps/v1 scale".into()])
    );
}

#[tokio::test]
async fn the_status_is_applied_by_itself() {
    let h = Harness::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    h.must(201, "POST", &format!("{DEPLOYMENTS}?fieldManager=x"), deployment()).await;
    let condition = |status: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 9},
            "status": {"conditions": [{"type": "T", "status": status}]}})
    };
    let target = format!("{path}/status?fieldManager=x");
    let (code, object) = apply(&h, &target, condition("True")).await;
    assert_eq!((code, &object["spec"]["replicas"]), (200, &json!(2)), "{object}");
    assert_eq!(names(&object), ["x Apply apps/v1 status", "x Update apps/v1"]);
    assert_eq!(
        fields_of(&object, "x Apply apps/v1 status"),
        json!({"f:status": {"f:conditions": {"k:{\"type\":\"T\"}": {".": {}, "f:type": {}, "f:status": {}}}}})
    );
    let (code, refused) = apply(&h, &format!("{path}/status?fieldManager=y"), condition("False")).await;
    assert_eq!(
        (code, refused["message"].as_str()),
        (
            409,
            Some(
                "Apply failed with 1 conflict: conflict with \"x\" with subresource \"status\": .status.conditions[type=\"T\"].status"
            )
        )
    );
    let (code, _) = apply(&h, &format!("{DEPLOYMENTS}/e/status?fieldManager=y"), condition("False")).await;
    assert_eq!(code, 404);
}

#[tokio::test]
async fn a_status_is_written_with_metadata_or_without() {
    let h = Harness::start().await;
    let mut replicas = deployment();
    replicas["kind"] = "ReplicaSet".into();
    let schema = json!({"metadata": {"name": "d"}, "spec": {"matchingPrecedence": 7, "priorityLevelConfiguration": {"name": "exempt"}}});
    let flows = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
    let metadata = json!({"labels": {"l": "x"}, "annotations": {"a": "x"}, "ownerReferences": [owner], "finalizers": ["a.b/c"]});
    for (path, object, written) in [
        (DEPLOYMENTS, deployment(), &["annotations", "finalizers", "ownerReferences"][..]),
        (
            "/apis/apps/v1/namespaces/default/replicasets",
            replicas,
            &["annotations", "finalizers", "labels", "ownerReferences"],
        ),
        (
            "/api/v1/namespaces/default/pods",
            super::harness::pod("d"),
            &["annotations", "finalizers", "labels"],
        ),
        (flows, schema, &[]),
    ] {
        h.must(201, "POST", path, object).await;
        let patch = json!({ "metadata": metadata });
        let target = format!("{path}/d/status?fieldManager=observer");
        let (code, object) = h.patch("merge-patch+json", &target, patch).await;
        assert_eq!(code, 200, "{object}");
        let all = metadata.as_object().expect("an object");
        let have: Vec<&str> = all
            .iter()
            .filter(|(key, value)| object["metadata"][*key] == **value)
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(have, written, "{path}");
        assert_eq!(names(&object).iter().any(|name| name.starts_with("observer")), path != flows, "{object}");
    }
}

#[tokio::test]
async fn owners_in_another_version_count() {
    let h = Harness::start().await;
    let path = |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/{SCALERS}/a");
    let old = |percentage: i64| {
        json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {
            "maxReplicas": 3, "targetCPUUtilizationPercentage": percentage,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}})
    };
    let (code, created) = apply(&h, &format!("{}?fieldManager=x", path("v1")), old(50)).await;
    assert_eq!(code, 201, "{created}");
    assert_eq!(
        fields_of(&created, "x Apply autoscaling/v1"),
        json!({"f:spec": {"f:maxReplicas": {}, "f:scaleTargetRef": {}, "f:targetCPUUtilizationPercentage": {}}})
    );
    let new = |percentage: i64| {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {
            "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target":
                {"type": "Utilization", "averageUtilization": percentage}}}]}})
    };
    let (code, refused) = apply(&h, &format!("{}?fieldManager=y", path("v2")), new(60)).await;
    assert_eq!(
        (code, refused["message"].as_str()),
        (
            409,
            Some("Apply failed with 1 conflict: conflict with \"x\": .spec.targetCPUUtilizationPercentage")
        )
    );
    let (code, forced) = apply(&h, &format!("{}?fieldManager=y&force=true", path("v2")), new(60)).await;
    assert_eq!(code, 200, "{forced}");
    assert_eq!(
        fields_of(&forced, "x Apply autoscaling/v1"),
        json!({"f:spec": {"f:maxReplicas": {}, "f:scaleTargetRef": {}}})
    );
    // The same manager in the other version: one entry, and what it owned before is not lost on the way.
    let (code, object) = apply(&h, &format!("{}?fieldManager=x&force=true", path("v2")), new(70)).await;
    // Their order is that of the seconds in which they came.
    let mut have = names(&object);
    have.sort();
    assert_eq!((code, have), (200, vec!["x Apply autoscaling/v2".into(), "y Apply autoscaling/v2".into()]));
    let read = h.get(&path("v1")).await;
    assert_eq!(read["spec"]["targetCPUUtilizationPercentage"], 70);
}

/// Where 1.37 differs from the recorded 1.20: the resource, the fields, and why.
const NEWER: &[(&str, &str, &str)] = &[
    (
        "pods",
        "/f:spec/f:containers/k:{\"name\":\"c\"}/f:env/k:{\"name\":\"N\"}/f:valueFrom/f:fieldRef",
        "atomic",
    ),
    ("services", "/f:spec/f:selector", "atomic"),
    ("services", "/f:spec/f:internalTrafficPolicy", "has a default"),
    ("services", "/f:spec/f:allocateLoadBalancerNodePorts", "has a default"),
    ("persistentvolumes", "/f:status", "belongs to the subresource"),
    ("persistentvolumeclaims", "/f:status", "belongs to the subresource"),
    ("customresourcedefinitions", "/f:status", "belongs to the subresource"),
    ("statefulsets", "/f:spec/f:persistentVolumeClaimRetentionPolicy", "has a default"),
    ("daemonsets", "/f:spec/f:updateStrategy/f:rollingUpdate/f:maxSurge", "has a default"),
    ("daemonsets", "/f:metadata", "the annotation of the template's generation is not kept"),
    ("jobs", "/f:spec/f:completionMode", "has a default"),
    ("jobs", "/f:spec/f:manualSelector", "has a default"),
    ("jobs", "/f:spec/f:podReplacementPolicy", "has a default"),
    ("jobs", "/f:spec/f:suspend", "has a default"),
    ("ingresses", "/f:spec/f:defaultBackend/f:service/f:port", "atomic"),
    ("rolebindings", "/f:roleRef", "atomic"),
];

/// The fields without those that are known to differ.
fn comparable(resource: &str, fields: &Value) -> Value {
    let mut fields = fields.clone();
    for (_, pointer, _) in NEWER.iter().filter(|(of, ..)| *of == resource) {
        let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
        if let Some(parent) = fields.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(last);
        }
    }
    fields
}

/// What upstream was recorded to own after a create, where the recordings are present.
#[tokio::test]
async fn recorded_owners() {
    if !Path::new(RECORDED).exists() {
        return;
    }
    let text = std::fs::read(RECORDED).expect("the recordings can be read");
    let cases: Value = serde_json::from_slice(&text).expect("the recordings are JSON");
    let h = Harness::start().await;
    let mut wrong = Vec::new();
    for case in cases["cases"].as_array().expect("cases") {
        let want = &case["answer"]["metadata"]["managedFields"][0]["fieldsV1"];
        let post = case["post"].as_str().unwrap_or_default();
        if want.is_null() {
            continue;
        }
        let (code, answer) =
            h.send("POST", &format!("{post}?dryRun=All&fieldManager=golden"), case["send"].clone()).await;
        if !matches!(code, 200 | 201) {
            continue;
        }
        let resource = post.rsplit('/').next().unwrap_or_default();
        let have = comparable(resource, &answer["metadata"]["managedFields"][0]["fieldsV1"]);
        let want = comparable(resource, want);
        if have != want {
            wrong.push(format!("{post}\n  want {want}\n  have {have}\n  sent {}", case["send"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
