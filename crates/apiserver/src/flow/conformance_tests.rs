//! What upstream's conformance tests require of the whole chain; `docs/conformance.md` says which test shows what.

use auth::MASTERS_GROUP;
use serde_json::{Value, json};

use super::tests::{Client, eventually, server};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

fn items<'a>(document: &'a Value, field: &str) -> &'a [Value] {
    document[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[tokio::test]
async fn the_version_is_made_of_numbers() {
    let server = server().await;
    let version = Client::admin(&server).get("/version").await.json();
    let [major, minor] = ["major", "minor"].map(|part| version[part].as_str().unwrap().to_owned());
    assert!(matches!(major.as_bytes(), [b'1'..=b'9']), "{major}");
    assert!(minor.parse::<u32>().is_ok(), "{minor}");
}

#[tokio::test]
async fn every_group_prefers_a_version_it_has() {
    let server = server().await;
    let admin = Client::admin(&server);
    let list = admin.get("/apis/").await.json();
    assert!(!items(&list, "groups").is_empty());
    for group in items(&list, "groups") {
        let alone = admin.get(&format!("/apis/{}/", group["name"].as_str().unwrap())).await.json();
        let preferred = &alone["preferredVersion"]["groupVersion"];
        assert!(items(&alone, "versions").iter().any(|v| &v["groupVersion"] == preferred), "{alone}");
    }
}

/// Each group and version, and one of its resources that upstream's test looks for.
const LOCATED: [(&str, &str); 19] = [
    ("v1", "namespaces"),
    ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io/v1", "apiservices"),
    ("apps/v1", "deployments"),
    ("authentication.k8s.io/v1", "tokenreviews"),
    ("authorization.k8s.io/v1", "selfsubjectaccessreviews"),
    ("autoscaling/v1", "horizontalpodautoscalers"),
    ("autoscaling/v2", "horizontalpodautoscalers"),
    ("batch/v1", "jobs"),
    ("certificates.k8s.io/v1", "certificatesigningrequests"),
    ("coordination.k8s.io/v1", "leases"),
    ("discovery.k8s.io/v1", "endpointslices"),
    ("events.k8s.io/v1", "events"),
    ("networking.k8s.io/v1", "ingresses"),
    ("node.k8s.io/v1", "runtimeclasses"),
    ("policy/v1", "poddisruptionbudgets"),
    ("scheduling.k8s.io/v1", "priorityclasses"),
    ("storage.k8s.io/v1", "csinodes"),
];

#[tokio::test]
async fn resources_are_located_in_their_group_and_version() {
    let server = server().await;
    let admin = Client::admin(&server);
    for (group_version, resource) in LOCATED {
        let root = if group_version == "v1" { "/api" } else { "/apis" };
        let list = admin.get(&format!("{root}/{group_version}")).await.json();
        assert_eq!(list["groupVersion"], group_version);
        assert!(items(&list, "resources").iter().any(|r| r["name"] == resource), "{list}");
    }
    // Whatever group there is lists its resources under its own name.
    for group in items(&admin.get("/apis").await.json(), "groups") {
        for version in items(group, "versions") {
            let group_version = version["groupVersion"].as_str().unwrap();
            let list = admin.get(&format!("/apis/{group_version}")).await.json();
            assert_eq!(list["groupVersion"], group_version);
            assert!(!items(&list, "resources").is_empty(), "{group_version}");
        }
    }
}

/// Group, version and resource of everything in an aggregated document.
fn aggregated(document: &Value) -> Vec<(String, String)> {
    assert_eq!(
        (&document["kind"], &document["apiVersion"]),
        (&json!("APIGroupDiscoveryList"), &json!("apidiscovery.k8s.io/v2"))
    );
    let mut all = Vec::new();
    for group in items(document, "items") {
        let name = group["metadata"]["name"].as_str().unwrap_or_default();
        for version in items(group, "versions") {
            let word = version["version"].as_str().unwrap();
            let group_version = if name.is_empty() { word.to_owned() } else { format!("{name}/{word}") };
            let resources = items(version, "resources").iter();
            all.extend(
                resources.map(|r| (group_version.clone(), r["resource"].as_str().unwrap().to_owned())),
            );
        }
    }
    all
}

#[tokio::test]
async fn aggregated_documents_have_all_built_in_resources() {
    let server = server().await;
    let admin = Client::admin(&server);
    let mut plain = vec!["v1".to_owned()];
    for group in items(&admin.get("/apis").await.json(), "groups") {
        plain.extend(items(group, "versions").iter().map(|v| v["groupVersion"].as_str().unwrap().to_owned()));
    }
    let mut wanted = Vec::new();
    for group_version in plain {
        let root = if group_version == "v1" { "/api" } else { "/apis" };
        let list = admin.get(&format!("{root}/{group_version}")).await.json();
        let names = items(&list, "resources").iter().map(|r| r["name"].as_str().unwrap());
        wanted.extend(names.filter(|n| !n.contains('/')).map(|n| (group_version.clone(), n.to_owned())));
    }
    let mut found = Vec::new();
    for path in ["/api", "/apis"] {
        let reply = Client::admin(&server).with("accept", AGGREGATED).get(path).await;
        assert_eq!((reply.code, &reply.headers["content-type"]), (200, &AGGREGATED.parse().unwrap()));
        found.extend(aggregated(&reply.json()));
    }
    for (group_version, resource) in LOCATED {
        assert!(found.contains(&(group_version.to_owned(), resource.to_owned())), "{resource}");
    }
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}

/// Reviews say of an account what happens to it: before it has rights, and after.
#[tokio::test]
async fn reviews_foretell_what_an_account_may_do() {
    let server = server().await;
    let admin = Client::admin(&server);
    let made = admin.post(ACCOUNTS, json!({"metadata": {"name": "sa"}})).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let user = "system:serviceaccount:default:sa";
    let groups = ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"];
    let uid = made.json()["metadata"]["uid"].as_str().unwrap().to_owned();
    let mut account = Client::user(&server, "root", &[MASTERS_GROUP])
        .with("impersonate-user", user)
        .with("impersonate-uid", uid.clone());
    for group in groups {
        account = account.with("impersonate-group", group);
    }
    let attributes =
        json!({"verb": "list", "resource": "configmaps", "namespace": "default", "version": "v1"});
    let spec = json!({"resourceAttributes": attributes, "user": user, "groups": groups, "uid": uid});
    let told = async || {
        let authorization = "/apis/authorization.k8s.io/v1";
        let mut allowed = Vec::new();
        for (path, metadata) in [
            (format!("{authorization}/subjectaccessreviews"), json!({})),
            (
                format!("{authorization}/namespaces/default/localsubjectaccessreviews"),
                json!({"namespace": "default"}),
            ),
        ] {
            let reply = admin.post(&path, json!({"metadata": metadata, "spec": spec})).await;
            assert_eq!(reply.code, 201, "{}", reply.message());
            allowed.push(reply.json()["status"]["allowed"] == true);
        }
        assert_eq!(allowed[0], allowed[1]);
        allowed[0]
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!((told().await, account.get(maps).await.code), (false, 403));
    let binding = json!({"metadata": {"name": "sa"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "sa", "namespace": "default"}]});
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    assert_eq!(admin.post(path, binding).await.code, 201);
    eventually(|| async { account.get(maps).await.code == 200 }).await;
    assert!(told().await);
}

#[tokio::test]
async fn requested_tokens_pass_their_review() {
    let server = server().await;
    let admin = Client::admin(&server);
    assert_eq!(admin.post(ACCOUNTS, json!({"metadata": {"name": "sa"}})).await.code, 201);
    let request = admin.post(&format!("{ACCOUNTS}/sa/token"), json!({})).await;
    assert_eq!(request.code, 201, "{}", request.message());
    let token = request.json()["status"]["token"].as_str().unwrap_or_default().to_owned();
    assert!(!token.is_empty());
    let review = json!({"spec": {"token": token}});
    let reply = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await;
    let status = &reply.json()["status"];
    assert_eq!((reply.code, &status["authenticated"]), (201, &json!(true)));
    assert!(status["error"].as_str().is_none_or(str::is_empty), "{status}");
}
