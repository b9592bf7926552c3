use super::*;

/// method, path and query → verb, group, version, namespace, resource, subresource, name
type Case = (&'static str, &'static str, [&'static str; 7]);

const CASES: &[Case] = &[
    ("GET", "/api/v1/namespaces", ["list", "", "v1", "", "namespaces", "", ""]),
    ("GET", "/api/v1/namespaces/other", ["get", "", "v1", "other", "namespaces", "", "other"]),
    (
        "PUT",
        "/api/v1/namespaces/other/finalize",
        ["update", "", "v1", "other", "namespaces", "finalize", "other"],
    ),
    (
        "PUT",
        "/api/v1/namespaces/other/status",
        ["update", "", "v1", "other", "namespaces", "status", "other"],
    ),
    ("DELETE", "/api/v1/namespaces", ["deletecollection", "", "v1", "", "namespaces", "", ""]),
    ("GET", "/api/v1/namespaces/other/pods", ["list", "", "v1", "other", "pods", "", ""]),
    ("GET", "/api/v1/namespaces/other/pods/foo", ["get", "", "v1", "other", "pods", "", "foo"]),
    ("HEAD", "/api/v1/namespaces/other/pods/foo", ["get", "", "v1", "other", "pods", "", "foo"]),
    ("GET", "/api/v1/pods", ["list", "", "v1", "", "pods", "", ""]),
    ("HEAD", "/api/v1/pods", ["list", "", "v1", "", "pods", "", ""]),
    ("GET", "/api/v1/pods?watch=true", ["watch", "", "v1", "", "pods", "", ""]),
    ("GET", "/api/v1/pods?watch=false", ["list", "", "v1", "", "pods", "", ""]),
    ("GET", "/api/v1/pods?watch", ["watch", "", "v1", "", "pods", "", ""]),
    ("GET", "/api/v1/watch/pods", ["watch", "", "v1", "", "pods", "", ""]),
    ("GET", "/api/v1/watch/namespaces/other/pods/foo", ["watch", "", "v1", "other", "pods", "", "foo"]),
    (
        "GET",
        "/api/v1/namespaces/other/pods?fieldSelector=metadata.name%3Dfoo&watch=1",
        ["watch", "", "v1", "other", "pods", "", "foo"],
    ),
    (
        "GET",
        "/api/v1/namespaces/other/pods?fieldSelector=metadata.name%3Dfo/o",
        ["list", "", "v1", "other", "pods", "", ""],
    ),
    ("GET", "/api/v1/namespaces/other/pods/foo/status", ["get", "", "v1", "other", "pods", "status", "foo"]),
    (
        "GET",
        "/api/v1/namespaces/other/pods/foo/proxy/a/b",
        ["get", "", "v1", "other", "pods", "proxy", "foo"],
    ),
    ("GET", "/api/v1/proxy/namespaces/other/pods/foo/x", ["proxy", "", "v1", "other", "pods", "", "foo"]),
    ("POST", "/api/v1/namespaces/other/pods", ["create", "", "v1", "other", "pods", "", ""]),
    ("DELETE", "/api/v1/namespaces/other/pods/foo", ["delete", "", "v1", "other", "pods", "", "foo"]),
    ("DELETE", "/api/v1/namespaces/other/pods", ["deletecollection", "", "v1", "other", "pods", "", ""]),
    (
        "PATCH",
        "/apis/apps/v1/namespaces/d/deployments/w/scale",
        ["patch", "apps", "v1", "d", "deployments", "scale", "w"],
    ),
    ("GET", "/apis/storage.k8s.io/v1/csinodes/n", ["get", "storage.k8s.io", "v1", "", "csinodes", "", "n"]),
    ("TRACE", "/api/v1/pods", ["", "", "v1", "", "pods", "", ""]),
];

fn resolve(method: &str, target: &str) -> Result<RequestInfo, RequestInfoError> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    RequestInfo::resolve(&method.parse().expect("method"), path, &Query::parse(query))
}

#[test]
fn resource_requests() {
    for (method, target, [verb, group, version, namespace, resource, subresource, name]) in CASES {
        let info = resolve(method, target).expect(target);
        assert!(info.is_resource, "{target}");
        let found = [
            info.verb.as_str(),
            &info.group,
            &info.version,
            &info.namespace,
            &info.resource,
            &info.subresource,
            &info.name,
        ];
        assert_eq!(
            found,
            [*verb, *group, *version, *namespace, *resource, *subresource, *name],
            "{method} {target}"
        );
    }
}

#[test]
fn other_paths_keep_the_method_as_verb() {
    let paths = [
        "/",
        "",
        "/api",
        "/apis",
        "/api/v1",
        "/api/v1/",
        "/apis/apps",
        "/apis/apps/v1",
        "/healthz",
        "/version",
        "/foo/v1/pods",
    ];
    for path in paths {
        let info = resolve("GET", path).expect(path);
        assert!(!info.is_resource, "{path}");
        assert_eq!((info.verb.as_str(), info.path.as_str()), ("get", path));
    }
}

#[test]
fn broken_paths_are_refused() {
    assert!(matches!(resolve("GET", "/api/v1/watch"), Err(RequestInfoError::NoKind(_))));
    assert!(matches!(resolve("GET", "/api/v1/pods/%zz"), Err(RequestInfoError::BadEscape(_))));
}

#[test]
fn long_running_requests() {
    let long = [
        "/api/v1/pods?watch=1",
        "/api/v1/namespaces/a/pods/b/log",
        "/api/v1/namespaces/a/pods/b/exec",
        "/api/v1/nodes/n/proxy/x",
    ];
    let short = ["/api/v1/pods", "/api/v1/namespaces/a/pods/b/status", "/healthz"];
    assert!(long.iter().all(|path| resolve("GET", path).expect(path).is_long_running()));
    assert!(!short.iter().any(|path| resolve("GET", path).expect(path).is_long_running()));
}

#[test]
fn the_proxied_path_keeps_its_escapes() {
    let cases = [
        ("/api/v1/namespaces/a/pods/b/proxy/x%2Fy/", "/x%2Fy/"),
        ("/api/v1/namespaces/a/pods/b/proxy/", "/"),
        ("/api/v1/namespaces/a/pods/b/proxy", ""),
        ("/api/v1/nodes/n/proxy/stats/summary", "/stats/summary"),
    ];
    for (path, expected) in cases {
        assert_eq!(resolve("GET", path).expect(path).raw_proxy_path(path), expected, "{path}");
    }
}
