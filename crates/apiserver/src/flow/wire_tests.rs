//! What answers look like from outside: codes, headers and forms.

use serde_json::json;

use super::tests::{Client, Reply, server};
use crate::registry::steps::Step;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const METADATA: &str = ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn ask(admin: &Client<'_>, method: &str, path: &str, accept: &str) -> Reply {
    admin.raw(method, path, &[("accept", accept)], Vec::new()).await
}

#[tokio::test]
async fn methods_are_those_of_the_path() {
    let server = server().await;
    let admin = Client::admin(&server);
    let refused = "the server does not allow this method on the requested resource";
    for (method, path, code) in [
        ("HEAD", MAPS, 405),
        ("HEAD", "/api/v1/namespaces/default", 405),
        ("HEAD", "/api/v1/nothings", 404),
        ("OPTIONS", MAPS, 405),
        ("TRACE", MAPS, 405),
        ("PUT", MAPS, 405),
        ("POST", "/version", 405),
        ("POST", "/version/x", 404),
        ("POST", "/api", 405),
        ("DELETE", "/apis/apps/v1", 405),
        ("PATCH", MAPS, 405),
        ("DELETE", "/api/v1/configmaps", 405),
        ("OPTIONS", "/api/v1/namespaces/default/bindings", 405),
        ("OPTIONS", "/api/v1/watch/pods", 405),
        ("POST", "/openid/v1/jwks", 405),
        // Not routed: any method will do.
        ("POST", "/healthz", 200),
        ("PUT", "/", 200),
        ("DELETE", "/apis/apps", 200),
        ("HEAD", "/apis", 200),
        ("DELETE", "/nothing", 404),
    ] {
        let reply = admin.raw(method, path, &[], Vec::new()).await;
        assert_eq!(reply.code, code, "{method} {path}");
        if code == 405 {
            assert_eq!(reply.message(), refused, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_by_those_who_would_know() {
    let server = server().await;
    let admin = Client::admin(&server);
    for path in [
        "/nothing",
        "/apix",
        "/apis/example.com",
        "/apis/example.com/v1",
        "/apis/example.com/v1/things",
        "/apis/example.com/v1/namespaces/default/things/a",
        "/healthz/nothing",
        "/healthz/",
        "/metrics/",
        "/logs",
        "/logs/",
        "/configz",
        "/debug/pprof/",
        "/debug/flags/v",
    ] {
        let reply = admin.get(path).await;
        assert_eq!((reply.code, reply.body.as_slice()), (404, b"404 page not found\n".as_slice()), "{path}");
        assert_eq!(header(&reply, "content-type"), "text/plain; charset=utf-8", "{path}");
        assert_eq!(header(&reply, "x-content-type-options"), "nosniff", "{path}");
    }
    for path in [
        "/api/v9",
        "/api/v9/pods",
        "/api/v1/nothings",
        "/apis/apps/v9",
        "/apis/apps/v1/nothings",
        "/version/x",
    ] {
        let reply = admin.get(path).await;
        assert_eq!(reply.message(), "the server could not find the requested resource", "{path}");
        assert_eq!((reply.code, &reply.json()["details"]), (404, &json!({})), "{path}");
    }
}

#[tokio::test]
async fn documents_end_as_gos_encoder_ends_them() {
    let server = server().await;
    let admin = Client::admin(&server);
    for (path, ends, indented) in [
        ("/api/v1/namespaces/default", "}\n", false),
        ("/api/v1/namespaces", "}\n", false),
        ("/apis", "}\n", false),
        ("/apis/apps/v9", "}\n", false),
        ("/version", "\n}", true),
        ("/", "]\n}", true),
        ("/index.html", "]\n}", true),
        ("/api/v1/namespaces/default?pretty=true", "\n}", true),
    ] {
        let reply = admin.get(path).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(text.ends_with(ends) && text.starts_with("{\n") == indented, "{path}: {text}");
    }
}

#[tokio::test]
async fn refusals_are_written_in_what_is_accepted() {
    let server = server().await;
    let admin = Client::admin(&server);
    let absent = format!("{MAPS}/absent");
    for (accept, content_type, indented) in [
        (PROTOBUF.to_owned(), PROTOBUF, false),
        (
            format!("{PROTOBUF}{METADATA},application/json{METADATA},application/json"),
            "application/json",
            false,
        ),
        // Nothing that a refusal could be written in.
        (format!("application/json{METADATA}"), "application/json", true),
    ] {
        let reply = ask(&admin, "GET", &absent, &accept).await;
        assert_eq!((reply.code, header(&reply, "content-type")), (404, content_type), "{accept}");
        assert_eq!(reply.body.starts_with(b"{\n  \"apiVersion\""), indented, "{accept}");
    }
    for (accept, indented) in [("application/cbor", true), ("text/html", true), ("application/*", false)] {
        let reply = ask(&admin, "GET", "/api/v1/namespaces/default", accept).await;
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        assert_eq!((reply.code, reply.message().as_str()), (406, message), "{accept}");
        assert_eq!(reply.body.starts_with(b"{\n"), indented, "{accept}");
    }
    let reply = ask(&admin, "GET", "/version", "application/yaml").await;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!((reply.code, header(&reply, "content-type")), (406, "application/yaml"));
    assert!(text.contains("Available representations: application/json"), "{text}");
    let reply = ask(&admin, "GET", "/apis", "text/html").await;
    assert_eq!(reply.code, 406);
    let streams = format!("{MAPS}?watch=1");
    let reply = ask(&admin, "GET", &streams, "application/yaml").await;
    let message = "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(reply.code == 406 && text.contains(message), "{text}");
    let reply = ask(&admin, "GET", &streams, "application/cbor-seq").await;
    assert_eq!(
        reply.message(),
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    );
}

#[tokio::test]
async fn headers_are_upstreams() {
    let server = server().await;
    let admin = Client::admin(&server);
    for (path, name, value) in [
        ("/api/v1/namespaces/default", "content-type", "application/json"),
        ("/api/v1/namespaces/default", "cache-control", "no-cache, private"),
        ("/nothing", "cache-control", "no-cache, private"),
        ("/healthz", "content-type", "text/plain; charset=utf-8"),
        ("/healthz", "x-content-type-options", "nosniff"),
        ("/healthz/ping", "x-content-type-options", ""),
        ("/openid/v1/jwks", "content-type", "application/jwk-set+json"),
        ("/openid/v1/jwks", "cache-control", "public, max-age=3600"),
        ("/.well-known/openid-configuration", "content-type", "application/json"),
        ("/.well-known/openid-configuration", "cache-control", "public, max-age=3600"),
        ("/metrics", "content-type", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
    ] {
        let reply = admin.get(path).await;
        assert_eq!(header(&reply, name), value, "{path} {name}");
        assert_eq!(header(&reply, "audit-id").len(), 36, "{path}");
    }
}

#[tokio::test]
async fn checks_are_told_one_by_one() {
    let server = server().await;
    let admin = Client::admin(&server);
    let steps: String = Step::ALL.iter().map(|step| format!("[+]{} ok\n", step.check())).collect();
    let whole = format!(
        "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n{steps}[+]shutdown ok\nreadyz check passed\n"
    );
    let excluded = format!(
        "[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n{steps}warn: some health checks cannot be excluded: no matches for \"x\"\nlivez check passed\n"
    );
    for (path, want) in [
        ("/readyz", "ok"),
        ("/readyz/etcd", "ok"),
        ("/livez/ping", "ok"),
        ("/readyz/poststarthook/rbac/bootstrap-roles", "ok"),
        ("/readyz?verbose", &whole),
        ("/readyz?verbose=false", &whole),
        ("/livez?verbose&exclude=etcd&exclude=x", &excluded),
    ] {
        let reply = admin.get(path).await;
        assert_eq!((reply.code, String::from_utf8_lossy(&reply.body).as_ref()), (200, want), "{path}");
    }
}

#[tokio::test]
async fn servers_tell_what_they_are() {
    let server = server().await;
    let admin = Client::admin(&server);
    let text = admin.get("/statusz").await;
    assert_eq!((text.code, header(&text, "content-type")), (200, "text/plain; charset=utf-8"));
    let page = String::from_utf8_lossy(&text.body).into_owned();
    assert!(page.starts_with("\napiserver statusz\nWarning: "), "{page}");
    assert!(page.ends_with("Paths: /flagz /healthz /livez /metrics /readyz /statusz /version\n"), "{page}");
    let flags = admin.get("/flagz").await;
    assert!(String::from_utf8_lossy(&flags.body).contains("\nauthorization-mode: [Node,RBAC]\n"));
    for (version, warning) in [
        ("v1beta1", ""),
        (
            "v1alpha1",
            "299 - \"This version of the flagz endpoint is deprecated. Please use a newer version.\"",
        ),
    ] {
        let parameters = format!("g=config.k8s.io;v={version};as=Flagz");
        let accept = format!("application/json;{parameters}");
        let reply = admin.raw("GET", "/flagz", &[("accept", &accept)], Vec::new()).await;
        assert_eq!((reply.code, header(&reply, "content-type")), (200, accept.as_str()));
        assert_eq!(header(&reply, "warning"), warning);
        let flags = reply.json();
        assert_eq!((&flags["kind"], &flags["metadata"]["name"]), (&json!("Flagz"), &json!("apiserver")));
        assert_eq!(flags["flags"]["max-requests-inflight"], "400");
    }
}

#[tokio::test]
async fn large_lists_are_compressed_whatever_their_form() {
    let server = server().await;
    let admin = Client::admin(&server);
    for name in ["a", "b"] {
        let map = json!({"metadata": {"name": name}, "data": {"k": "x".repeat(70_000)}});
        assert_eq!(admin.post(MAPS, map).await.code, 201);
    }
    for (accept, gzip) in [("application/json", true), ("application/yaml", true), (PROTOBUF, true)] {
        let reply =
            admin.raw("GET", MAPS, &[("accept", accept), ("accept-encoding", "gzip")], Vec::new()).await;
        assert_eq!(header(&reply, "content-encoding") == "gzip", gzip, "{accept}");
        assert_eq!(header(&reply, "vary"), "Accept-Encoding", "{accept}");
    }
    let one = admin.raw("GET", &format!("{MAPS}/a"), &[("accept-encoding", "gzip")], Vec::new()).await;
    assert!(one.headers.get("content-encoding").is_none() && one.headers.get("vary").is_none());
}
