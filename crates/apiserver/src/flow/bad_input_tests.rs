//! Input that no well-meaning client sends: each is refused in upstream's words, and the server goes on.

use serde_json::{Value, json};

use super::tests::{Client, Reply, server};

pub(super) const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(super) const JSON: &str = "application/json";
pub(super) const YAML: &str = "application/yaml";
pub(super) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Sends bytes as they are.
pub(super) async fn send(
    admin: &Client<'_>,
    method: &str,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> Reply {
    admin.raw(method, path, &[("content-type", content_type)], body).await
}

pub(super) fn deep(open: &str, close: &str, depth: usize) -> String {
    format!("{{\"data\":{}1{}}}", open.repeat(depth), close.repeat(depth))
}

/// Aliases of aliases: a few lines that stand for billions.
pub(super) fn yaml_bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", alias.trim_end_matches(", ")));
    }
    text
}

#[tokio::test]
async fn objects_that_no_store_would_take() {
    let server = server().await;
    let admin = Client::admin(&server);
    let crd = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({"metadata": {"name": "a"}, "spec": {"holderIdentity": "x".repeat(1_600_000)}});
    let refused = admin.post(crd, lease).await;
    assert_eq!((refused.code, refused.message().as_str()), (500, "etcdserver: request is too large"));
    // Text that only JSON makes long is taken: it is not kept as JSON upstream.
    let lines = json!({"metadata": {"name": "lines"}, "data": {"k": "\n".repeat(900_000)}});
    assert_eq!(admin.post(MAPS, lines).await.code, 201);
}

#[tokio::test]
async fn patches_that_explode() {
    let server = server().await;
    let admin = Client::admin(&server);
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(1000)}});
    assert_eq!(admin.post(MAPS, map).await.code, 201);
    let path = format!("{MAPS}/a");
    let doubling: Vec<Value> = (0..60)
        .flat_map(|n| {
            let to = if n % 2 == 0 { "/metadata/annotations" } else { "/data" };
            let from = if n % 2 == 0 { "/data" } else { "/metadata/annotations" };
            [
                json!({"op": "copy", "from": from, "path": format!("{to}/x{n}")}),
                json!({"op": "copy", "from": to, "path": to}),
            ]
        })
        .collect();
    let copies: Vec<Value> =
        (0..9_000).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/x{n}")})).collect();
    let many: Vec<Value> =
        (0..20_000).map(|_| json!({"op": "test", "path": "/data/k", "value": 1})).collect();
    for (kind, patch) in [
        ("json-patch+json", json!(doubling).to_string()),
        ("json-patch+json", json!(copies).to_string()),
        ("json-patch+json", json!(many).to_string()),
        ("json-patch+json", r#"[{"op":"add","path":"/data/-1/0","value":1}]"#.to_owned()),
        ("json-patch+json", r#"[{"op":"move","from":"","path":"/data/x"}]"#.to_owned()),
        ("json-patch+json", r#"[{"op":"nothing","path":"/data"}]"#.to_owned()),
        ("json-patch+json", "{}".to_owned()),
        ("json-patch+json", "[".repeat(100_000)),
        ("merge-patch+json", deep("{\"a\":", "}", 5_000)),
        ("merge-patch+json", "nonsense".to_owned()),
        ("merge-patch+json", String::new()),
        ("merge-patch+json", "[]".to_owned()),
        ("strategic-merge-patch+json", r#"{"$patch":"nonsense"}"#.to_owned()),
        ("strategic-merge-patch+json", r#"{"metadata":{"ownerReferences":[{"x":1}]}}"#.to_owned()),
        ("strategic-merge-patch+json", deep("{\"a\":", "}", 5_000)),
        ("apply-patch+yaml", yaml_bomb()),
        ("apply-patch+yaml", "a: &a [*a]".to_owned()),
        ("nonsense", "{}".to_owned()),
    ] {
        let query = if kind.starts_with("apply") { "?fieldManager=m" } else { "" };
        let content_type = format!("application/{kind}");
        let start: String = patch.chars().take(60).collect();
        let reply = send(&admin, "PATCH", &format!("{path}{query}"), &content_type, patch.into_bytes()).await;
        // Upstream does not wrap this one.
        let unwrapped = reply.code == 500 && reply.message().starts_with("unknown patch type: ");
        let refused = (400..500).contains(&reply.code) || unwrapped;
        assert!(refused, "{kind} {start}: {} {}", reply.code, reply.message());
        assert_eq!(reply.json()["kind"], "Status", "{kind} {start}");
    }
    assert_eq!(admin.get(&path).await.json()["data"]["k"].as_str().map(str::len), Some(1000));
}

#[tokio::test]
async fn paths_lead_nowhere_else() {
    let server = server().await;
    let admin = Client::admin(&server);
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "hidden"}});
    assert_eq!(admin.post("/api/v1/namespaces/kube-system/secrets", secret).await.code, 201);
    let invalid = |name: &str, why: &str| format!("Name parameter invalid: \"{name}\": {why}");
    for (path, code, message) in [
        (format!("{MAPS}/.."), 400, invalid("..", "may not be '..'")),
        (format!("{MAPS}/%2e%2e"), 400, invalid("..", "may not be '..'")),
        (format!("{MAPS}/."), 400, invalid(".", "may not be '.'")),
        (format!("{MAPS}/a%25b"), 400, invalid("a%b", "may not contain '%'")),
        (format!("{MAPS}/..%2f..%2fkube-system%2fsecrets%2fs"), 404, String::new()),
        (format!("{MAPS}/%00"), 404, String::new()),
        (format!("{MAPS}/a%00b"), 404, String::new()),
        (format!("{MAPS}/{}", "a".repeat(5_000)), 404, String::new()),
        ("/api//v1/namespaces/kube-system/secrets/s".to_owned(), 404, String::new()),
        ("/api/v1//secrets".to_owned(), 404, String::new()),
        ("/api/v1/../v1/secrets".to_owned(), 404, String::new()),
        ("/api/v1/namespaces/../secrets".to_owned(), 200, String::new()),
        ("/api/v1/watch".to_owned(), 400, String::new()),
        ("/%zz".to_owned(), 400, String::new()),
        ("/api/v1/%ff".to_owned(), 400, String::new()),
        ("/apis/../api/v1/secrets".to_owned(), 404, String::new()),
        ("/healthz/../api/v1/secrets".to_owned(), 404, String::new()),
    ] {
        let reply = admin.get(&path).await;
        assert_eq!(reply.code, code, "{path}: {}", reply.message());
        assert!(reply.message().starts_with(&message), "{path}: {}", reply.message());
        assert!(!String::from_utf8_lossy(&reply.body).contains("aGlkZGVu"), "{path}");
    }
}

#[tokio::test]
async fn queries_of_all_kinds() {
    let server = server().await;
    let admin = Client::admin(&server);
    let labels: String = (0..3_000).map(|n| format!("k{n}!=v,")).collect();
    let fields: String = (0..1_500).map(|n| format!("metadata.name!=v{n},")).collect();
    for (query, code) in [
        (format!("labelSelector={}", labels.trim_end_matches(',').replace('=', "%3D")), 200),
        (format!("fieldSelector={}", fields.trim_end_matches(',').replace('=', "%3D")), 200),
        (format!("labelSelector={}", "(".repeat(10_000)), 400),
        (format!("labelSelector=a+in+({})", "x,".repeat(20_000)), 200),
        (format!("labelSelector={}", "a".repeat(60_000)), 400),
        (format!("fieldSelector={}", "%5C".repeat(10_000)), 400),
        (format!("continue={}", "A".repeat(60_000)), 400),
        (format!("limit={}", "9".repeat(60_000)), 400),
        (format!("resourceVersion={}", "9".repeat(60_000)), 400),
        ("a=1&".repeat(15_000), 200),
        // A zero ends the text for upstream's lexer, too.
        ("labelSelector=%00".to_owned(), 200),
        ("labelSelector=%ff".to_owned(), 200),
        ("timeout=nonsense".to_owned(), 400),
    ] {
        let reply = admin.get(&format!("{MAPS}?{query}")).await;
        let start: String = query.chars().take(40).collect();
        assert_eq!(reply.code, code, "{start}: {}", reply.message());
    }
}

#[tokio::test]
async fn wrong_options_of_writes() {
    let server = server().await;
    let admin = Client::admin(&server);
    let options = |kind: &str, why: &str| format!("{kind}Options.meta.k8s.io \"\" is invalid: {why}");
    let long = "x".repeat(129);
    let supported = "Unsupported value: \"x\": supported values:";
    for (method, query, code, message) in [
        (
            "POST",
            "dryRun=x",
            422,
            options("Create", "dryRun: Unsupported value: [\"x\"]: supported values: \"All\""),
        ),
        (
            "POST",
            "dryRun=",
            422,
            options("Create", "dryRun: Unsupported value: [\"\"]: supported values: \"All\""),
        ),
        (
            "POST",
            "fieldValidation=x",
            422,
            options(
                "Create",
                &format!("fieldValidation: {supported} \"\", \"Ignore\", \"Strict\", \"Warn\""),
            ),
        ),
        (
            "POST",
            &format!("fieldManager={long}"),
            422,
            options("Create", "fieldManager: Too long: may not be more than 128 bytes"),
        ),
        (
            "POST",
            "fieldManager=a%07",
            422,
            options(
                "Create",
                "fieldManager: Invalid value: \"a\\a\": invalid character U+0007 (at position 1)",
            ),
        ),
        (
            "PUT",
            "dryRun=All&dryRun=x",
            422,
            options("Update", "dryRun: Unsupported value: [\"All\",\"x\"]: supported values: \"All\""),
        ),
        (
            "DELETE",
            "propagationPolicy=x",
            422,
            options(
                "Delete",
                &format!(
                    "propagationPolicy: {supported} \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                ),
            ),
        ),
        (
            "DELETE",
            "gracePeriodSeconds=soon",
            400,
            "strconv.ParseInt: parsing \"soon\": invalid syntax".to_owned(),
        ),
        (
            "DELETE",
            "orphanDependents=true&propagationPolicy=Orphan",
            422,
            options(
                "Delete",
                "propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
            ),
        ),
    ] {
        let path = if method == "POST" { format!("{MAPS}?{query}") } else { format!("{MAPS}/a?{query}") };
        let body = if method == "DELETE" { Vec::new() } else { br#"{"metadata":{"name":"a"}}"#.to_vec() };
        let reply = send(&admin, method, &path, JSON, body).await;
        assert_eq!((reply.code, reply.message()), (code, message), "{method} {query}");
    }
}

#[tokio::test]
async fn answers_are_indented_and_compressed_for_those_who_ask() {
    let server = server().await;
    let admin = Client::admin(&server);
    let name = format!("{MAPS}/large");
    let map = json!({"metadata": {"name": "large"}, "data": {"k": "x".repeat(140_000)}});
    assert_eq!(admin.post(MAPS, map).await.code, 201);
    let small = "/api/v1/namespaces/default";
    for (path, headers, gzip, pretty) in [
        (name.as_str(), vec![], false, false),
        (&name, vec![("accept-encoding", "gzip")], true, false),
        (&name, vec![("accept-encoding", "deflate, gzip")], true, false),
        (&name, vec![("accept-encoding", "gzip;q=0.5")], false, false),
        (&name, vec![("accept-encoding", "br")], false, false),
        (small, vec![("accept-encoding", "gzip")], false, false),
        (small, vec![("user-agent", "curl/8")], false, true),
        (small, vec![("user-agent", "Mozilla/5.0 (X)")], false, true),
        (small, vec![("user-agent", "kubectl/v1")], false, false),
        (small, vec![("accept", "application/json;pretty=1")], false, true),
        ("/api/v1/namespaces/default?pretty=true", vec![], false, true),
        ("/api/v1/namespaces/default?pretty=1", vec![], false, true),
        ("/api/v1/namespaces/default?pretty=yes", vec![], false, false),
        ("/api/v1/namespaces/default?pretty=false", vec![("user-agent", "curl/8")], false, false),
        ("/api/v1/namespaces/default?pretty=", vec![("user-agent", "curl/8")], false, true),
    ] {
        let reply = admin.raw("GET", path, &headers, Vec::new()).await;
        let encoding = reply.headers.get("content-encoding").and_then(|value| value.to_str().ok());
        assert_eq!((reply.code, encoding), (200, gzip.then_some("gzip")), "{path} {headers:?}");
        assert_eq!(reply.body.starts_with(b"{\n  "), pretty, "{path} {headers:?}");
    }
    let watch = format!("{name}?watch=1&timeoutSeconds=1").replace("/large", "");
    let reply = admin.raw("GET", &watch, &[("accept-encoding", "gzip")], Vec::new()).await;
    assert!(reply.headers.get("content-encoding").is_none() && reply.body.len() > 140_000);
    let list = admin.raw("GET", MAPS, &[("accept", PROTOBUF)], Vec::new()).await;
    assert!(list.body.starts_with(b"k8s\0") && list.body.len() > 140_000);
    let yaml = admin.raw("GET", small, &[("accept", YAML)], Vec::new()).await;
    assert_eq!(yaml.headers["content-type"], YAML);
    assert!(String::from_utf8_lossy(&yaml.body).contains("kind: Namespace"));
}

#[tokio::test]
async fn user_agents_need_not_be_ascii() {
    let server = server().await;
    let admin = Client::admin(&server);
    for (agent, manager) in [("m\u{e4}nner/1", "m\u{e4}nner"), ("\u{200b}a/b", "a"), ("/1", "unknown")] {
        let map = json!({"metadata": {"generateName": "m-"}, "data": {"k": "v"}}).to_string();
        let headers = [("content-type", JSON), ("user-agent", agent)];
        let created: Value = admin.raw("POST", MAPS, &headers, map.into_bytes()).await.json();
        assert_eq!(created["metadata"]["managedFields"][0]["manager"], manager, "{agent}");
    }
}
