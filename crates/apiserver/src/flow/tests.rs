//! The whole chain, in-process, over a store in memory.

use std::sync::Arc;
use std::time::Duration;

use auth::{MASTERS_GROUP, UserInfo};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{ApiBody, ApiServer, Authenticated, Config};

/// A throw-away key that signs nothing else.
pub(crate) const TOKEN_KEY: &str = include_str!("../../../auth/src/token/test-key.pem");

pub(crate) fn config() -> Config {
    Config {
        advertise: "10.0.0.1:6443".parse().unwrap(),
        hostname: "host".into(),
        alone: true,
        service_cidr: "10.43.0.0/16".into(),
        node_ports: 30000..=32767,
        cluster_dns: "10.43.0.10".into(),
        cluster_domain: "cluster.local".into(),
        issuer: "https://kubernetes.default.svc.cluster.local".into(),
        audiences: vec!["https://kubernetes.default.svc.cluster.local".into()],
        token_key_pem: TOKEN_KEY.into(),
        ca_pem: String::new(),
        kubelet: None,
        components: Vec::new(),
        anonymous: true,
    }
}

pub(crate) async fn server() -> ApiServer {
    let store: Arc<dyn store::Store> = Arc::new(store::Embedded::in_memory(store::Options::default()));
    ApiServer::start(config(), store, CancellationToken::new()).await.unwrap()
}

pub(crate) struct Client<'a> {
    server: &'a ApiServer,
    user: Option<UserInfo>,
    headers: Vec<(&'static str, String)>,
}

pub(crate) struct Reply {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl<'a> Client<'a> {
    pub fn admin(server: &'a ApiServer) -> Client<'a> {
        Client::user(server, "root", &[MASTERS_GROUP])
    }

    pub fn user(server: &'a ApiServer, name: &str, groups: &[&str]) -> Client<'a> {
        Client { server, user: Some(UserInfo::new(name, groups)), headers: Vec::new() }
    }

    fn anonymous(server: &'a ApiServer) -> Client<'a> {
        Client { server, user: None, headers: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Client<'a> {
        self.headers.push((name, value.into()));
        self
    }

    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.raw(method, path, &[], body).await
    }

    /// Sends bytes as they are.
    pub async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_empty() { crate::http::empty() } else { crate::http::full(body) };
        let mut request: Request<ApiBody> = request.body(body).unwrap();
        if let Some(user) = &self.user {
            request.extensions_mut().insert(Authenticated::new(user.clone()));
        }
        let response: Response<ApiBody> = self.server.service().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Reply { code: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send("POST", path, Some(body)).await
    }
}

#[tokio::test]
async fn anonymous_gets_health_and_version_and_nothing_else() {
    let server = server().await;
    let nobody = Client::anonymous(&server);
    for path in ["/healthz", "/livez", "/readyz", "/version", "/readyz?verbose"] {
        assert_eq!(nobody.get(path).await.code, 200, "{path}");
    }
    let refused = nobody.get("/").await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (403, r#"forbidden: User "system:anonymous" cannot get path "/""#)
    );
    let refused = nobody.get("/api/v1/namespaces/default/configmaps").await;
    assert_eq!(
        refused.message(),
        r#"configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" in API group "" in the namespace "default""#
    );
    assert_eq!(refused.json()["details"], json!({"kind": "configmaps"}));
    for path in ["/metrics", "/api", "/openapi/v3", "/healthz/ping", "/apis/apps/v1"] {
        assert_eq!(nobody.get(path).await.code, 403, "{path}");
    }
    let bad = Client::anonymous(&server).with("authorization", "Bearer rubbish").get("/healthz").await;
    assert_eq!((bad.code, bad.message().as_str()), (401, "Unauthorized"));
}

#[tokio::test]
async fn every_answer_carries_an_audit_id() {
    let server = server().await;
    let reply = Client::admin(&server).get("/nothing").await;
    assert_eq!((reply.code, reply.body.as_slice()), (404, b"404 page not found\n".as_slice()));
    assert_eq!(reply.headers["audit-id"].len(), 36);
    let given = Client::admin(&server).with("audit-id", "mine").get("/version").await;
    assert_eq!(given.headers["audit-id"], "mine");
    assert_eq!(given.json()["gitVersion"], "v1.37.0+knarr");
}

#[tokio::test]
async fn recorded_refusals_of_paths() {
    let server = server().await;
    let admin = Client::admin(&server);
    let missing = admin.get("/api/v1/namespaces/default/nothings").await;
    assert_eq!(
        (missing.code, missing.message().as_str()),
        (404, "the server could not find the requested resource")
    );
    assert_eq!(admin.get("/apis/apps/v9/deployments").await.code, 404);
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "golden"}});
    let refused = admin.post("/api/v1/namespaces/default/configmaps/golden", body).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (405, "the server does not allow this method on the requested resource")
    );
    let large = json!({"data": "x".repeat(4 << 20)});
    let refused = admin.post("/api/v1/namespaces/default/configmaps", large).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (413, "Request entity too large: limit is 3145728")
    );
}

#[tokio::test]
async fn roles_decide_at_once_and_rights_do_not_grow() {
    let server = server().await;
    let (admin, alice) = (Client::admin(&server), Client::user(&server, "alice", &[]));
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(alice.get(pods).await.code, 403);
    let binding = |name: &str, role: &str, user: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        })
    };
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let made = admin.post(bindings, binding("alice", "admin", "alice")).await;
    assert_eq!(made.code, 201, "{}", made.message());
    eventually(|| async { alice.get(pods).await.code == 200 }).await;
    assert_eq!(alice.get("/api/v1/pods").await.code, 403, "not in all namespaces");

    // `admin` may write bindings, but only hand out what it holds.
    assert_eq!(alice.post(bindings, binding("bob", "view", "bob")).await.code, 201);
    let refused = alice.post(bindings, binding("root", "cluster-admin", "alice")).await;
    assert_eq!(refused.code, 403);
    assert!(
        refused.message().contains("is attempting to grant RBAC permissions not currently held:"),
        "{}",
        refused.message()
    );
    assert_eq!(admin.send("DELETE", &format!("{bindings}/alice"), None).await.code, 200);
    eventually(|| async { alice.get(pods).await.code == 403 }).await;
}

#[tokio::test]
async fn who_may_only_patch_does_not_create_by_applying() {
    let server = server().await;
    let (admin, alice) = (Client::admin(&server), Client::user(&server, "alice", &[]));
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"metadata": {"name": "patcher"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch", "get"]}]});
    assert_eq!(admin.post(&format!("{rbac}/roles"), role).await.code, 201);
    let binding = json!({"metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]});
    assert_eq!(admin.post(&format!("{rbac}/rolebindings"), binding).await.code, 201);
    let maps = "/api/v1/namespaces/default/configmaps";
    eventually(|| async { alice.get(&format!("{maps}/a")).await.code == 404 }).await;
    let alice = alice.with("content-type", "application/apply-patch+yaml");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let target = format!("{maps}/a?fieldManager=x");
    let refused = alice.send("PATCH", &target, Some(map.clone())).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "configmaps \"a\" is forbidden: User \"alice\" cannot create resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(admin.post(maps, map.clone()).await.code, 201);
    assert_eq!(alice.send("PATCH", &target, Some(map)).await.code, 200);
}

pub(crate) async fn eventually<F: Future<Output = bool>>(check: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !check().await {
        assert!(tokio::time::Instant::now() < deadline, "it did not come about");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn impersonation_needs_the_right_and_changes_who_asks() {
    let server = server().await;
    let refused = Client::user(&server, "alice", &[]).with("impersonate-user", "bob").get("/api").await;
    assert_eq!(
        refused.message(),
        r#"forbidden: User "alice" cannot impersonate-on:user-info:get path "/api""#
    );
    let as_bob = Client::admin(&server).with("impersonate-user", "bob").with("impersonate-group", "dev");
    let review = as_bob.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({})).await;
    assert_eq!(review.code, 201, "{}", review.message());
    assert_eq!(
        review.json()["status"]["userInfo"],
        json!({"username": "bob", "groups": ["dev", "system:authenticated"]})
    );
    assert_eq!(as_bob.get("/api/v1/pods").await.code, 403, "the administrator's rights are gone");
}

#[tokio::test]
async fn access_reviews() {
    let server = server().await;
    let (admin, alice) = (Client::admin(&server), Client::user(&server, "alice", &[]));
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let ask = |verb: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods"}}});
    assert_eq!(admin.post(path, ask("delete")).await.json()["status"]["allowed"], true);
    assert_eq!(alice.post(path, ask("delete")).await.json()["status"], json!({"allowed": false}));
    let refused = alice.post(path, json!({"spec": {}})).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused
            .message()
            .contains("exactly one of nonResourceAttributes or resourceAttributes must be specified")
    );
    let about = json!({"spec": {"user": "system:kube-scheduler", "resourceAttributes": {"verb": "create", "resource": "pods", "subresource": "binding"}}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(admin.post(path, about.clone()).await.json()["status"]["allowed"], true);
    assert_eq!(alice.post(path, about).await.code, 403);
    let rules = json!({"spec": {"namespace": "default"}});
    let rules = alice.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", rules).await.json();
    assert_eq!(rules["status"]["incomplete"], false);
    assert!(rules["status"]["nonResourceRules"].as_array().is_some_and(|rules| !rules.is_empty()));
    assert_eq!(alice.get("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").await.code, 403);
}

#[tokio::test]
async fn service_account_tokens() {
    let server = server().await;
    let admin = Client::admin(&server);
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let made = admin
        .post(accounts, json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa"}}))
        .await;
    assert_eq!(made.code, 201, "{}", made.message());
    let token_path = format!("{accounts}/sa/token");
    let short = admin.post(&token_path, json!({"spec": {"expirationSeconds": 1}})).await;
    assert!(
        short.message().ends_with("may not specify a duration less than 10 minutes"),
        "{}",
        short.message()
    );
    assert_eq!(admin.post(&format!("{accounts}/none/token"), json!({})).await.code, 404);
    let request = admin.post(&token_path, json!({})).await.json();
    let token = request["status"]["token"].as_str().unwrap();
    let bearer = Client::anonymous(&server).with("authorization", format!("Bearer {token}"));
    let who = bearer.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({})).await.json();
    let user = &who["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:sa");
    assert_eq!(
        user["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    let review = json!({"spec": {"token": token}});
    let review = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await.json();
    assert_eq!(review["status"]["authenticated"], true);
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:default:sa");

    assert_eq!(admin.send("DELETE", &format!("{accounts}/sa"), None).await.code, 200);
    eventually(|| async { bearer.get("/version").await.code == 401 }).await;
}

#[tokio::test]
async fn documents_are_served() {
    let server = server().await;
    let admin = Client::admin(&server);
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let discovery = Client::admin(&server).with("accept", aggregated).get("/apis").await;
    assert_eq!(discovery.headers["content-type"], aggregated);
    let tag = discovery.headers["etag"].to_str().unwrap().to_owned();
    let again =
        Client::admin(&server).with("accept", aggregated).with("if-none-match", tag).get("/apis").await;
    assert_eq!(again.code, StatusCode::NOT_MODIFIED.as_u16());
    let index = admin.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = admin.get(&url).await;
    assert_eq!(document.headers["cache-control"], "public, immutable");
    assert!(document.json()["components"]["schemas"].is_object());
    assert_eq!(admin.get("/openapi/v3/apis/apps/v1?hash=old").await.headers["location"], url.as_str());
    let none = admin.get("/openapi/v3/apis/none/v1").await;
    assert_eq!((none.code, none.body.as_slice()), (404, b"".as_slice()));
    assert!(admin.get("/openapi/v2").await.json()["definitions"].is_object());
    let keys = admin.get("/openid/v1/jwks").await;
    assert_eq!(keys.json()["keys"][0]["kty"], "EC");
    let metrics = admin.get("/metrics").await;
    assert!(String::from_utf8(metrics.body).unwrap().contains("apiserver_request_total{"));
}

#[tokio::test]
async fn large_answers_are_compressed_when_wanted() {
    let server = server().await;
    let reply = Client::admin(&server)
        .with("accept-encoding", "gzip")
        .get("/apis/rbac.authorization.k8s.io/v1/clusterroles")
        .await;
    let plain = Client::admin(&server).get("/apis/rbac.authorization.k8s.io/v1/clusterroles").await;
    if plain.body.len() >= 128 * 1024 {
        assert_eq!(reply.headers["content-encoding"], "gzip");
        assert!(reply.body.len() < plain.body.len() / 2);
    } else {
        assert!(!reply.headers.contains_key("content-encoding"));
    }
    let yaml =
        Client::admin(&server).with("accept", "application/yaml").get("/api/v1/namespaces/default").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(String::from_utf8(yaml.body).unwrap().contains("kind: Namespace"));
}

#[tokio::test]
async fn nodes_reach_their_own_things_only() {
    let server = server().await;
    let admin = Client::admin(&server);
    let node = Client::user(&server, "system:node:a", &["system:nodes"]);
    let made = node
        .post("/api/v1/nodes", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}))
        .await;
    assert_eq!(made.code, 201, "{}", made.message());
    assert_eq!(node.get("/api/v1/nodes/a").await.code, 200);
    let refused = node.get("/api/v1/nodes").await;
    assert!(
        refused.message().ends_with("node 'a' cannot read all nodes, only its own Node object"),
        "{}",
        refused.message()
    );
    assert_eq!(node.get("/api/v1/pods?fieldSelector=spec.nodeName%3Da").await.code, 200);
    assert_eq!(node.get("/api/v1/pods").await.code, 403);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    assert_eq!(admin.post("/api/v1/namespaces/default/secrets", secret).await.code, 201);
    let refused = node.get("/api/v1/namespaces/default/secrets/s").await;
    assert!(
        refused.message().ends_with("no relationship found between node 'a' and this object"),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn what_needs_a_kubelet_says_what_is_missing() {
    let server = server().await;
    let admin = Client::admin(&server);
    let base = "/api/v1/namespaces/default/pods/none";
    for (path, code) in [("log", 404), ("exec?command=x", 404), ("proxy/", 404)] {
        let reply = admin.get(&format!("{base}/{path}")).await;
        assert_eq!((reply.code, reply.message().as_str()), (code, "pods \"none\" not found"), "{path}");
    }
    assert_eq!(admin.get("/api/v1/namespaces/default/services/https:kubernetes:443/proxy/").await.code, 503);
    for (method, code) in [("OPTIONS", 404), ("PATCH", 404), ("TRACE", 405)] {
        let answer = admin.send(method, "/api/v1/namespaces/default/pods/none/proxy/", None).await;
        assert_eq!(answer.code, code, "{method}");
    }
}

/// The recorded answers that depend on who asks and in which form; the others are the registry's.
#[tokio::test]
async fn recorded_refusals_of_callers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/refusals.json");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let server = server().await;
    let golden = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "golden"}});
    Client::admin(&server).post("/api/v1/namespaces/default/configmaps", golden).await;
    let mut seen = 0;
    for case in recorded["cases"].as_array().unwrap() {
        let client = if case["anonymous"] == true {
            Client::anonymous(&server)
        } else if let Some(token) = case["token"].as_str() {
            Client::anonymous(&server).with("authorization", format!("Bearer {token}"))
        } else if let Some(accept) = case["accept"].as_str() {
            Client::admin(&server).with("accept", accept)
        } else {
            continue;
        };
        let path = case["path"].as_str().unwrap();
        let reply = client.get(path).await;
        assert_eq!(u64::from(reply.code), case["code"].as_u64().unwrap(), "{path}");
        if case["answer"].is_object() {
            let mut have = reply.json();
            // The router of 1.37 also says what there is.
            let short = reply.message().split("\n\nAvailable representations").next().map(str::to_owned);
            have["message"] = short.into();
            assert_eq!(have, case["answer"], "{path}");
        }
        seen += 1;
    }
    assert!(seen >= 5, "{seen} cases");
}

#[tokio::test]
async fn a_request_costs_little_before_it_is_known_what_it_is() {
    let server = server().await;
    let request = Request::builder().uri("/version").body(crate::http::empty()).unwrap();
    // The future is moved several times on its way into a task, and exists once for each request in flight.
    let size = std::mem::size_of_val(&server.chain.answer(request));
    assert!(size < 4096, "{size} bytes");
}
