//! What is below a resource, and what admission adds.

use auth::UserInfo;
use serde_json::{Value, json};

use super::harness::{Ask, Harness, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn deployment(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let h = Harness::start().await;
    let mut body = deployment("d");
    body["status"] = json!({"replicas": 7});
    let created = h.must(201, "POST", DEPLOYMENTS, body).await;
    assert!(created["status"].get("replicas").is_none_or(|r| r == 0));
    assert_eq!(created["metadata"]["generation"], 1);
    let mut status = created.clone();
    status["status"] = json!({"replicas": 1, "observedGeneration": 1});
    status["spec"]["replicas"] = 9.into();
    let path = format!("{DEPLOYMENTS}/d");
    let updated = h.must(200, "PUT", &format!("{path}/status"), status).await;
    assert_eq!((&updated["spec"]["replicas"], &updated["status"]["replicas"]), (&json!(1), &json!(1)));
    assert_eq!(updated["metadata"]["generation"], 1);
    let (_, patched) =
        h.patch("merge-patch+json", &path, json!({"spec": {"replicas": 3}, "status": {"replicas": 5}})).await;
    assert_eq!((&patched["spec"]["replicas"], &patched["status"]["replicas"]), (&json!(3), &json!(1)));
    assert_eq!(patched["metadata"]["generation"], 2);
    assert_eq!(h.get(&format!("{path}/status")).await, patched);
}

#[tokio::test]
async fn scale_reads_and_writes_replicas() {
    let h = Harness::start().await;
    h.must(201, "POST", DEPLOYMENTS, deployment("d")).await;
    let path = format!("{DEPLOYMENTS}/d/scale");
    let mut scale = h.get(&path).await;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    assert_eq!(scale["status"]["selector"], "a=b");
    scale["spec"]["replicas"] = 4.into();
    assert_eq!(h.must(200, "PUT", &path, scale.clone()).await["spec"]["replicas"], 4);
    h.must(409, "PUT", &path, scale).await;
    let (code, patched) = h.patch("merge-patch+json", &path, json!({"spec": {"replicas": 2}})).await;
    assert_eq!((code, &patched["spec"]["replicas"]), (200, &json!(2)), "{patched}");
    let stored = h.get(&format!("{DEPLOYMENTS}/d")).await;
    assert_eq!((&stored["spec"]["replicas"], &stored["metadata"]["generation"]), (&json!(2), &json!(3)));
}

#[tokio::test]
async fn scales_have_a_table_of_their_own() {
    let h = Harness::start().await;
    h.must(201, "POST", DEPLOYMENTS, deployment("d")).await;
    let table =
        h.view(&format!("{DEPLOYMENTS}/d/scale"), "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let titles: Vec<&Value> =
        table["columnDefinitions"].as_array().into_iter().flatten().map(|column| &column["name"]).collect();
    assert_eq!(titles, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(
        table["rows"][0]["cells"].as_array().map(|cells| &cells[..3]),
        Some(&[json!("d"), json!(1), json!(0)][..])
    );
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn patches_of_scales_are_warned_of() {
    let h = Harness::start().await;
    h.must(201, "POST", DEPLOYMENTS, deployment("d")).await;
    let body = json!({"spec": {"replicas": 2, "odd": 1}}).to_string().into();
    let ask = Ask { content_type: Some("application/merge-patch+json"), ..Ask::default() };
    let answer = h.answer("PATCH", &format!("{DEPLOYMENTS}/d/scale"), ask, body).await;
    let warnings = answer.map(|answer| answer.warnings).unwrap_or_default();
    assert_eq!(warnings, [r#"unknown field "spec.odd""#]);
}

#[tokio::test]
async fn scales_are_refused_in_the_words_of_their_kind() {
    let h = Harness::start().await;
    // Where there is no object, its kind is named.
    for (path, resource) in [
        ("/apis/apps/v1/namespaces/default/deployments", "deployments.apps"),
        ("/apis/apps/v1/namespaces/default/replicasets", "replicasets.apps"),
        ("/apis/apps/v1/namespaces/default/statefulsets", "statefulsets.apps"),
        ("/api/v1/namespaces/default/replicationcontrollers", "replicationcontrollers"),
    ] {
        let path = format!("{path}/none/scale");
        let (_, patched) = h.patch("merge-patch+json", &path, json!({})).await;
        let read = h.must(404, "GET", &path, Value::Null).await;
        let written = h.must(404, "PUT", &path, json!({"metadata": {"name": "none"}})).await;
        for refused in [read, written, patched] {
            assert_eq!(refused["message"], format!("{resource} \"none\" not found"));
        }
    }
    let made = h.must(201, "POST", DEPLOYMENTS, deployment("d")).await;
    let path = format!("{DEPLOYMENTS}/d/scale");
    let uid = made["metadata"]["uid"].as_str().unwrap_or_default();
    let failed = format!("Precondition failed: UID in precondition: x, UID in object meta: {uid}");
    // Of a replacement the store has the precondition, of a patch only what makes the scale.
    let refused = h.must(409, "PUT", &path, json!({"metadata": {"name": "d", "uid": "x"}})).await;
    assert_eq!(
        refused["message"],
        format!(
            "Operation cannot be fulfilled on deployments.apps \"d\": StorageError: invalid object, Code: 4, \
             Key: /registry/deployments/default/d, ResourceVersion: 0, AdditionalErrorMsg: {failed}"
        )
    );
    let (code, refused) = h.patch("merge-patch+json", &path, json!({"metadata": {"uid": "x"}})).await;
    assert_eq!(code, 409);
    assert_eq!(
        refused["message"],
        format!("Operation cannot be fulfilled on deployments/scale.apps \"d\": {failed}")
    );
    let refused =
        h.must(422, "PUT", &path, json!({"metadata": {"name": "d"}, "spec": {"replicas": -1}})).await;
    assert_eq!(
        refused["message"],
        "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
}

#[tokio::test]
async fn pods_get_account_priority_and_tolerations() {
    let h = Harness::start().await;
    let pod_made = h.must(201, "POST", PODS, pod("p")).await;
    let spec = &pod_made["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["priority"]), (&json!("default"), &json!(0)));
    assert_eq!(spec["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    let volume = &spec["volumes"][0];
    assert!(volume["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-")));
    assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3607);
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume["name"]);
    let mut stranger = pod("q");
    stranger["spec"]["serviceAccountName"] = "nobody".into();
    let refused = h.must(403, "POST", PODS, stranger).await;
    assert_eq!(
        refused["message"],
        "pods \"q\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
    );
    let mut ranked = pod("r");
    ranked["spec"]["priorityClassName"] = "nothing".into();
    let refused = h.must(403, "POST", PODS, ranked.clone()).await;
    assert_eq!(refused["message"], "pods \"r\" is forbidden: no PriorityClass with name nothing was found");
    ranked["spec"]["priorityClassName"] = "system-node-critical".into();
    assert_eq!(h.must(201, "POST", PODS, ranked).await["spec"]["priority"], 2_000_001_000);
}

#[tokio::test]
async fn limit_ranges_fill_and_bound() {
    let h = Harness::start().await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}, "max": {"cpu": "2"}}]}});
    h.must(201, "POST", "/api/v1/namespaces/default/limitranges", range).await;
    let made = h.must(201, "POST", PODS, pod("p")).await;
    assert_eq!(made["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
    assert_eq!(made["spec"]["containers"][0]["resources"]["requests"]["cpu"], "500m");
    let mut big = pod("q");
    big["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "3"}});
    let refused = h.must(403, "POST", PODS, big).await;
    assert_eq!(
        refused["message"],
        "pods \"q\" is forbidden: maximum cpu usage per Container is 2, but limit is 3"
    );
}

#[tokio::test]
async fn services_get_addresses() {
    let h = Harness::start().await;
    let service = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let ports = json!([{"port": 80, "protocol": "TCP"}]);
    let made =
        h.must(201, "POST", SERVICES, service("a", json!({"ports": ports, "type": "ClusterIP"}))).await;
    let ip = made["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    assert!(ip.starts_with("10.43."), "{made}");
    assert_eq!(made["spec"]["clusterIPs"], json!([ip]));
    let taken = h.must(422, "POST", SERVICES, service("b", json!({"ports": ports, "clusterIP": ip}))).await;
    assert!(
        taken["message"].as_str().is_some_and(|m| m.contains("provided IP is already allocated")),
        "{taken}"
    );
    let node = h.must(201, "POST", SERVICES, service("n", json!({"ports": ports, "type": "NodePort"}))).await;
    let port = node["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or_default();
    assert!((30000..=32767).contains(&port));
    let clash = json!([{"port": 81, "protocol": "TCP", "nodePort": port}]);
    let refused =
        h.must(422, "POST", SERVICES, service("m", json!({"ports": clash, "type": "NodePort"}))).await;
    assert!(
        refused["message"].as_str().is_some_and(|m| m.contains("provided port is already allocated")),
        "{refused}"
    );
    // Replacing without the addresses keeps them; what a deleted Service held is free again.
    let kept = h
        .must(200, "PUT", &format!("{SERVICES}/n"), service("n", json!({"ports": ports, "type": "NodePort"})))
        .await;
    assert_eq!(kept["spec"]["ports"][0]["nodePort"].as_u64(), Some(port));
    assert_eq!(kept["spec"]["clusterIP"], node["spec"]["clusterIP"]);
    h.must(200, "DELETE", &format!("{SERVICES}/a"), Value::Null).await;
    h.must(201, "POST", SERVICES, service("c", json!({"ports": ports, "clusterIP": ip}))).await;
    h.must(201, "POST", SERVICES, service("none", json!({"ports": ports, "clusterIP": "None"}))).await;
}

#[tokio::test]
async fn node_agents_keep_to_their_node() {
    let h = Harness::start().await;
    let node = h.as_user(UserInfo::new("system:node:n", &["system:nodes"]).authenticated());
    node.must(201, "POST", "/api/v1/nodes", json!({"metadata": {"name": "n"}})).await;
    let refused = node.must(403, "POST", "/api/v1/nodes", json!({"metadata": {"name": "m"}})).await;
    assert_eq!(
        refused["message"],
        "nodes \"m\" is forbidden: node \"n\" is not allowed to modify node \"m\""
    );
    h.must(201, "POST", PODS, pod("p")).await;
    h.must(
        201,
        "POST",
        &format!("{PODS}/p/binding"),
        json!({"metadata": {"name": "p"}, "target": {"name": "other"}}),
    )
    .await;
    let (code, _) = node
        .patch("merge-patch+json", &format!("{PODS}/p/status"), json!({"status": {"phase": "Running"}}))
        .await;
    assert_eq!(code, 403);
    let taints = h.get("/api/v1/nodes/n").await["spec"]["taints"].clone();
    assert_eq!(taints[0]["key"], "node.kubernetes.io/not-ready");
}

/// Asks a node for something and expects a 403 that says this.
async fn refuses(node: &Harness, method: &str, path: &str, body: Value, why: &str) {
    let refused = node.must(403, method, path, body).await;
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.ends_with(&format!("is forbidden: {why}")), "{message}");
}

#[tokio::test]
async fn mirror_pods_are_the_nodes_own_and_need_nothing() {
    let h = Harness::start().await;
    let node = h.as_user(UserInfo::new("system:node:n", &["system:nodes"]).authenticated());
    let made = node.must(201, "POST", "/api/v1/nodes", json!({"metadata": {"name": "n"}})).await;
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": made["metadata"]["uid"], "controller": true});
    let mirror = |owners: Value, more: Value| {
        let mut pod = pod("m");
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        pod["metadata"]["ownerReferences"] = owners;
        pod["spec"]["nodeName"] = "n".into();
        pod["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pod
    };
    let stranger = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "x", "controller": true});
    let no_controller = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "x"});
    let mismatch =
        format!("node n UID mismatch: expected x got {}", made["metadata"]["uid"].as_str().unwrap());
    for (owners, why) in [
        (json!([]), "node \"n\" can only create pods with an owner reference set to itself"),
        (
            json!([owner, stranger]),
            "node \"n\" can only create pods with a single owner reference set to itself",
        ),
        (
            json!([no_controller]),
            "node \"n\" can only create pods with a controller owner reference set to itself",
        ),
        (json!([stranger]), &mismatch),
    ] {
        refuses(&node, "POST", PODS, mirror(owners, json!({})), why).await;
    }
    for (more, why) in [
        (json!({"serviceAccountName": "x"}), "a mirror pod may not reference service accounts"),
        (
            json!({"volumes": [{"name": "s", "secret": {"secretName": "x"}}]}),
            "a mirror pod may not reference secrets",
        ),
        (
            json!({"volumes": [{"name": "s", "configMap": {"name": "x"}}]}),
            "node \"n\" can not create pods that reference configmaps",
        ),
    ] {
        refuses(&node, "POST", PODS, mirror(json!([owner]), more), why).await;
    }
    node.must(201, "POST", PODS, mirror(json!([owner]), json!({}))).await;
}

#[tokio::test]
async fn nodes_label_themselves_and_offer_their_own_devices() {
    let h = Harness::start().await;
    let node = h.as_user(UserInfo::new("system:node:n", &["system:nodes"]).authenticated());
    let labelled = |label: &str| json!({"metadata": {"name": "n", "labels": {label: "x"}}});
    refuses(
        &node,
        "POST",
        "/api/v1/nodes",
        labelled("kubernetes.io/x"),
        "node \"n\" is not allowed to set the following labels: kubernetes.io/x",
    )
    .await;
    node.must(201, "POST", "/api/v1/nodes", labelled("example.com/x")).await;
    let (_, refused) =
        node.patch("merge-patch+json", "/api/v1/nodes/n", labelled("node-role.kubernetes.io/x")).await;
    assert_eq!(
        refused["message"],
        "nodes \"n\" is forbidden: is not allowed to modify labels: node-role.kubernetes.io/x"
    );
    let slices = "/apis/resource.k8s.io/v1/resourceslices";
    let slice = |node: &str| json!({"metadata": {"name": node}, "spec": {"driver": "d", "nodeName": node, "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}});
    let why = "can only create ResourceSlice with the same NodeName as the requesting node";
    refuses(&node, "POST", slices, slice("other"), why).await;
    node.must(201, "POST", slices, slice("n")).await;
    h.must(201, "POST", slices, slice("other")).await;
    let why = "can only delete ResourceSlice with the same NodeName as the requesting node";
    refuses(&node, "DELETE", &format!("{slices}/other"), Value::Null, why).await;
    node.must(200, "DELETE", &format!("{slices}/n"), Value::Null).await;
}

#[tokio::test]
async fn quotas_bound_a_namespace() {
    let h = Harness::start().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2", "requests.cpu": "1", "count/configmaps": "1"}}});
    h.must(201, "POST", "/api/v1/namespaces/default/resourcequotas", quota).await;
    let sized = |name: &str, cpu: &str| {
        let mut pod = pod(name);
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
        pod
    };
    let refused = h.must(403, "POST", PODS, pod("a")).await;
    assert_eq!(
        refused["message"],
        "pods \"a\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    let refused = h.must(403, "POST", PODS, sized("a", "2")).await;
    assert_eq!(
        refused["message"],
        "pods \"a\" is forbidden: exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=0, limited: requests.cpu=1"
    );
    let names = ["a", "b", "c", "d"];
    let made = futures::future::join_all(names.map(|name| h.send("POST", PODS, sized(name, "100m")))).await;
    assert_eq!(
        made.iter().filter(|(code, _)| *code == 201).count(),
        2,
        "two at once cannot both take the last place"
    );
    let maps = "/api/v1/namespaces/default/configmaps";
    h.must(201, "POST", maps, json!({"metadata": {"name": "a"}})).await;
    let refused = h.must(403, "POST", maps, json!({"metadata": {"name": "b"}})).await;
    assert_eq!(
        refused["message"],
        "configmaps \"b\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"
    );
}

#[tokio::test]
async fn default_classes_are_filled_in() {
    let h = Harness::start().await;
    let class = json!({"metadata": {"name": "s", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "x/y"});
    h.must(201, "POST", "/apis/storage.k8s.io/v1/storageclasses", class).await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    h.registry.fresh().await.expect("the cache follows");
    let made = h.must(201, "POST", "/api/v1/namespaces/default/persistentvolumeclaims", claim).await;
    assert_eq!(made["spec"]["storageClassName"], "s");
    let mut classy = pod("p");
    classy["spec"]["runtimeClassName"] = "r".into();
    let refused = h.must(403, "POST", PODS, classy).await;
    assert_eq!(refused["message"], "pods \"p\" is forbidden: pod rejected: RuntimeClass \"r\" not found");
}

/// A request in PEM, base64, whose key signed it.
fn signing_request(organization: &str) -> String {
    use base64::Engine;
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut wanted = rcgen::CertificateParams::default();
    wanted.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
    let pem = wanted.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
    base64::engine::general_purpose::STANDARD.encode(pem)
}

#[tokio::test]
async fn signing_requests_are_approved_apart() {
    let h = Harness::start().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let body = json!({"metadata": {"name": "r"}, "spec": {"request": signing_request("system:nodes"),
        "signerName": "kubernetes.io/kubelet-serving", "usages": ["server auth"], "username": "somebody"}});
    let mut made = h.must(201, "POST", requests, body).await;
    assert_eq!(made["spec"]["username"], "admin");
    made["status"] = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "Test"}]});
    let refused = h.must(422, "PUT", &format!("{requests}/r/status"), made.clone()).await;
    assert_eq!(
        refused["details"]["causes"][0]["message"],
        "Forbidden: updates may not add a condition of type \"Approved\""
    );
    let approved = h.must(200, "PUT", &format!("{requests}/r/approval"), made).await;
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    assert!(approved["status"]["conditions"][0]["lastUpdateTime"].is_string());
    let nobody = json!({"status": {"conditions": null}});
    let kept = h.patch("merge-patch+json", &format!("{requests}/r/approval"), nobody).await;
    assert_eq!(kept.0, 422, "{}", kept.1);
    let words = h
        .patch(
            "merge-patch+json",
            &format!("{requests}/r/status"),
            json!({"status": {"certificate": "eA=="}}),
        )
        .await;
    assert_eq!(
        words.1["details"]["causes"][0]["message"],
        "Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"
    );
}

#[tokio::test]
async fn signers_are_asked_for_by_name() {
    let h = Harness::start().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let body = |name: &str, organization: &str| {
        json!({"metadata": {"name": name}, "spec": {"request": signing_request(organization), "usages": ["client auth"],
            "signerName": "kubernetes.io/kube-apiserver-client"}})
    };
    let refused = h.must(403, "POST", requests, body("m", "system:masters")).await;
    assert_eq!(
        refused["message"],
        "certificatesigningrequests.certificates.k8s.io \"m\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with \
         system:masters group is not allowed"
    );
    h.must(201, "POST", requests, body("r", "people")).await;
    let alice = h.as_user(auth::UserInfo::new("alice", &[]).authenticated());
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    let (code, refused) =
        alice.patch("merge-patch+json", &format!("{requests}/r/approval"), approval.clone()).await;
    assert_eq!(code, 403, "{refused}");
    assert_eq!(
        refused["message"],
        "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: user not permitted to approve requests with signerName \
         \"kubernetes.io/kube-apiserver-client\""
    );
    let role = json!({"metadata": {"name": "approver"}, "rules": [{"apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
        "resourceNames": ["kubernetes.io/*"], "verbs": ["approve"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    h.must(201, "POST", &format!("{rbac}/clusterroles"), role).await;
    let binding = json!({"metadata": {"name": "approver"}, "roleRef": {"kind": "ClusterRole", "name": "approver"},
        "subjects": [{"kind": "User", "name": "alice"}]});
    h.must(201, "POST", &format!("{rbac}/clusterrolebindings"), binding).await;
    let (code, done) = alice.patch("merge-patch+json", &format!("{requests}/r/approval"), approval).await;
    assert_eq!(code, 200, "{done}");
    let failed = json!({"type": "Failed", "status": "True"});
    let signed = json!([{"op": "add", "path": "/status/conditions/-", "value": failed}]);
    assert_eq!(alice.patch("json-patch+json", &format!("{requests}/r/status"), signed).await.0, 403);
}
