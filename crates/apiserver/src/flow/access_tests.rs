//! Who may what: reviews, and rights that cannot be handed out.

use serde_json::{Value, json};

use super::tests::{Client, eventually, server};
use crate::ApiServer;

const ACCESS: &str = "/apis/authorization.k8s.io/v1";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";

/// Gives a user rights in all namespaces.
async fn grant(server: &ApiServer, user: &str, rules: Value) {
    let admin = Client::admin(server);
    let role = json!({"metadata": {"name": user}, "rules": rules});
    assert_eq!(admin.post(&format!("{RBAC}/clusterroles"), role).await.code, 201);
    let binding = json!({"metadata": {"name": user}, "roleRef": {"kind": "ClusterRole", "name": user},
        "subjects": [{"kind": "User", "name": user}]});
    assert_eq!(admin.post(&format!("{RBAC}/clusterrolebindings"), binding).await.code, 201);
}

#[tokio::test]
async fn reviews_are_refused_in_upstreams_words() {
    let server = server().await;
    let admin = Client::admin(&server);
    let about = |more: Value| {
        let mut asked = json!({"verb": "get", "resource": "pods", "namespace": "default"});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"spec": {"user": "a", "resourceAttributes": asked}})
    };
    let mut named = about(json!({}));
    named["metadata"] = json!({"name": "x"});
    let selectors = "spec.resourceAttributes";
    for (resource, body, why) in [
        (
            "subjectaccessreviews",
            json!({"spec": {"groups": ["g"]}}),
            "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified".to_owned(),
        ),
        ("subjectaccessreviews", named, "metadata: Invalid value: {\"name\":\"x\"}: must be empty".to_owned()),
        (
            "subjectaccessreviews",
            about(json!({"labelSelector": {}, "fieldSelector": {"rawSelector": "a=b", "requirements": [{"key": "", "operator": "In"}]}})),
            format!(
                "[{selectors}.fieldSelector.rawSelector: Invalid value: \"a=b\": may not specified at the same time as requirements, {selectors}.fieldSelector.requirements[0].key: Required value: must be specified, {selectors}.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn', {selectors}.labelSelector.requirements: Required value: when {selectors}.labelSelector is specified, requirements or rawSelector is required]"
            ),
        ),
        (
            "namespaces/default/localsubjectaccessreviews",
            json!({"spec": {"nonResourceAttributes": {"path": "/x", "verb": "get"}}}),
            "[spec.user: Invalid value: \"\": at least one of user or group must be specified, spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: disallowed on this kind of request]".to_owned(),
        ),
    ] {
        let refused = admin.post(&format!("{ACCESS}/{resource}"), body).await;
        let message = format!(".authorization.k8s.io \"\" is invalid: {why}");
        assert_eq!((refused.code, refused.message()), (422, message));
        assert_eq!(refused.json()["details"]["kind"], Value::Null);
    }
}

#[tokio::test]
async fn reviews_tell_what_they_ignore() {
    let server = server().await;
    let asked = json!({"verb": "get", "resource": "pods", "labelSelector": {"rawSelector": "a in (b"},
        "fieldSelector": {"requirements": [{"key": "k", "operator": "New"}, {"key": "f", "operator": "In", "values": ["x"]}]}});
    let review = json!({"spec": {"user": "a", "resourceAttributes": asked}});
    let answer = Client::admin(&server).post(&format!("{ACCESS}/subjectaccessreviews"), review).await.json();
    assert_eq!(
        answer["status"]["evaluationError"],
        "spec.resourceAttributes.fieldSelector partially ignored due to parse error; spec.resourceAttributes.labelSelector ignored due to parse error"
    );
}

#[tokio::test]
async fn reviews_of_oneself_repeat_nothing() {
    let server = server().await;
    let admin = Client::admin(&server);
    let metadata = json!({"name": "x", "labels": {"a": "b"}});
    let asked = json!({"metadata": metadata, "spec": {"namespace": "default"}});
    let rules = admin.post(&format!("{ACCESS}/selfsubjectrulesreviews"), asked).await.json();
    assert_eq!((&rules["metadata"], &rules["spec"]), (&json!({}), &json!({})));
    let who = admin
        .post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({"metadata": metadata}))
        .await
        .json();
    assert_eq!((&who["metadata"]["name"], &who["metadata"]["labels"]), (&Value::Null, &Value::Null));
    assert_eq!(who["status"]["userInfo"]["username"], "root");
}

#[tokio::test]
async fn reviews_have_owners_and_no_tables() {
    let server = server().await;
    let path = format!("{ACCESS}/selfsubjectaccessreviews");
    let question = json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let client = |accept: &str| Client::admin(&server).with("accept", accept).with("user-agent", "kubectl/1");
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let refused = client(table).post(&path, question.clone()).await;
    assert_eq!((refused.code, refused.json()["reason"].as_str()), (406, Some("NotAcceptable")));
    let token =
        client(table).post("/api/v1/namespaces/default/serviceaccounts/default/token", json!({})).await;
    assert_eq!(token.code, 406, "nor have subresources that make things");
    let review = client(&format!("{table},application/json")).post(&path, question.clone()).await;
    let managed = &review.json()["metadata"]["managedFields"];
    assert_eq!(
        (&managed[0]["manager"], &managed[0]["fieldsV1"]),
        (
            &json!("kubectl"),
            &json!({"f:spec": {"f:nonResourceAttributes": {".": {}, "f:path": {}, "f:verb": {}}}})
        )
    );
    let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let partial = client(metadata).post(&path, question).await.json();
    assert_eq!((&partial["kind"], partial.get("spec")), (&json!("PartialObjectMetadata"), None));
}

#[tokio::test]
async fn foreign_tokens_are_nobodys() {
    let server = server().await;
    let review = json!({"spec": {"token": "bogus"}});
    let answer =
        Client::admin(&server).post("/apis/authentication.k8s.io/v1/tokenreviews", review).await.json();
    assert_eq!(answer["status"], json!({"user": {}, "error": "invalid bearer token"}));
}

#[tokio::test]
async fn tokens_are_for_one_account_and_not_the_next_of_its_name() {
    let server = server().await;
    let admin = Client::admin(&server);
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = admin.post(accounts, json!({"metadata": {"name": "sa"}})).await.json();
    let uid = account["metadata"]["uid"].as_str().unwrap();
    let path = format!("{accounts}/sa/token");
    let answer = admin.post(&path, json!({})).await.json();
    assert_eq!(answer["metadata"]["uid"], uid);
    let refused = admin.post(&path, json!({"metadata": {"uid": "other"}})).await;
    let message = format!(
        "Operation cannot be fulfilled on TokenRequest.authentication.k8s.io \"sa\": the UID in the token request (other) does not match the UID of the service account ({uid})"
    );
    assert_eq!((refused.code, refused.message()), (409, message));
}

#[tokio::test]
async fn rights_over_roles_do_not_grow() {
    let server = server().await;
    let write = json!({"apiGroups": ["rbac.authorization.k8s.io"], "verbs": ["create", "update", "get"],
        "resources": ["clusterroles", "rolebindings"]});
    grant(&server, "alice", json!([write])).await;
    let (admin, alice) = (Client::admin(&server), Client::user(&server, "alice", &[]));
    let roles = format!("{RBAC}/clusterroles");
    let secrets = |labels: Value| json!({"metadata": {"name": "secrets", "labels": labels}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    assert_eq!(admin.post(&roles, secrets(json!({}))).await.code, 201);
    eventually(|| async { alice.get(&format!("{roles}/secrets")).await.code == 200 }).await;

    let path = format!("{roles}/secrets");
    let same = alice.send("PUT", &path, Some(secrets(json!({"a": "b"})))).await;
    assert_eq!(same.code, 403, "a role that grants more than its writer holds");
    let mut letting_go = admin.get(&path).await.json();
    letting_go["metadata"]["finalizers"] = json!(["example.com/x"]);
    assert_eq!(alice.send("PUT", &path, Some(letting_go)).await.code, 200);

    let selectors = json!([{"matchLabels": {"a": "b"}}]);
    let aggregate =
        json!({"metadata": {"name": "all"}, "aggregationRule": {"clusterRoleSelectors": selectors}});
    assert_eq!(
        alice.post(&roles, aggregate).await.message(),
        "clusterroles.rbac.authorization.k8s.io \"all\" is forbidden: must have cluster-admin privileges to use the aggregationRule"
    );
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "none"}});
    assert_eq!(
        alice.post(&format!("{RBAC}/namespaces/default/rolebindings"), binding).await.message(),
        "rolebindings.rbac.authorization.k8s.io \"none\" not found"
    );
}

#[tokio::test]
async fn devices_are_bound_by_schedulers_and_described_by_their_drivers() {
    let server = server().await;
    let rule = |resource: &str, verbs: Value, names: Value| json!({"apiGroups": ["resource.k8s.io"], "resources": [resource], "verbs": verbs, "resourceNames": names});
    let status = rule("resourceclaims/status", json!(["update", "patch"]), json!([]));
    let driver = rule("resourceclaims/driver", json!(["arbitrary-node:patch"]), json!(["a.b"]));
    let binder = rule("resourceclaims/binding", json!(["patch"]), json!([]));
    grant(&server, "driver", json!([status, driver])).await;
    grant(&server, "binder", json!([status, binder])).await;
    let admin = Client::admin(&server);
    let request = json!({"name": "r", "exactly": {"deviceClassName": "c"}});
    let claim = json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}});
    assert_eq!(admin.post(CLAIMS, claim).await.code, 201);

    let patcher =
        |user: &str| Client::user(&server, user, &[]).with("content-type", "application/merge-patch+json");
    let (driver, binder) = (patcher("driver"), patcher("binder"));
    let result = |driver: &str| json!({"request": "r", "driver": driver, "pool": "p", "device": "d"});
    let allocation =
        json!({"status": {"allocation": {"devices": {"results": [result("a.b"), result("c.d")]}}}});
    let path = format!("{CLAIMS}/c/status");
    eventually(|| async { driver.send("PATCH", &path, Some(json!({}))).await.code == 200 }).await;
    let refused = driver.send("PATCH", &path, Some(allocation.clone())).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            422,
            r#"ResourceClaim.resource.k8s.io "c" is invalid: status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="patch" permission: resourceclaims.resource.k8s.io is forbidden: User "driver" cannot patch resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope"#
        )
    );
    eventually(|| async { binder.send("PATCH", &path, Some(json!({}))).await.code == 200 }).await;
    assert_eq!(binder.send("PATCH", &path, Some(allocation)).await.code, 200);

    let says =
        |driver: &str| json!({"status": {"devices": [{"driver": driver, "pool": "p", "device": "d"}]}});
    assert_eq!(driver.send("PATCH", &path, Some(says("a.b"))).await.code, 200);
    let refused = driver.send("PATCH", &path, Some(says("c.d"))).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            422,
            r#"ResourceClaim.resource.k8s.io "c" is invalid: status.devices: Forbidden: changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:patch]" permission: resourceclaims.resource.k8s.io "c.d" is forbidden: User "driver" cannot arbitrary-node:patch resource "resourceclaims/driver" in API group "resource.k8s.io" in the namespace "default""#
        )
    );
}

#[tokio::test]
async fn flow_schemas_say_that_their_levels_are_there() {
    let server = server().await;
    let schemas =
        Client::admin(&server).get("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas").await.json();
    let schemas = schemas["items"].as_array().unwrap();
    assert!(!schemas.is_empty());
    for schema in schemas {
        let condition = &schema["status"]["conditions"][0];
        assert_eq!((&condition["type"], &condition["status"]), (&json!("Dangling"), &json!("False")));
    }
}

#[tokio::test]
async fn nodes_get_the_tokens_that_their_pods_name() {
    let server = server().await;
    let (admin, node) = (Client::admin(&server), Client::user(&server, "system:node:a", &["system:nodes"]));
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(admin.post(accounts, json!({"metadata": {"name": "default"}})).await.code, 201);
    let source = json!({"serviceAccountToken": {"path": "t", "audience": "vault"}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "projected": {"sources": [source]}}]}});
    let pod = admin.post("/api/v1/namespaces/default/pods", pod).await.json();
    let bound =
        json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"].clone()});
    let path = format!("{accounts}/default/token");
    let ask = |audiences: Value| {
        node.post(&path, json!({"spec": {"boundObjectRef": bound, "audiences": audiences}}))
    };
    eventually(|| async { node.get("/api/v1/namespaces/default/pods/p").await.code == 200 }).await;
    assert_eq!(ask(json!([])).await.code, 201, "the volume that every pod gets");
    assert_eq!(ask(json!(["vault"])).await.code, 201);
    let forbidden = "serviceaccounts \"default\" is forbidden:";
    for (audiences, why) in [
        (json!(["vault", "other"]), "node may only request 0 or 1 audiences"),
        (
            json!(["other"]),
            "audience \"other\" not found in pod spec volume, system:node:a is not authorized to request tokens for this audience",
        ),
    ] {
        let refused = ask(audiences).await;
        assert_eq!((refused.code, refused.message()), (403, format!("{forbidden} {why}")));
    }
}
