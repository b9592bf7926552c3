use http_body_util::BodyExt;
use machinery::metrics::Kind;

use super::*;
use crate::http::full;

fn info(verb: &str, name: &str) -> RequestInfo {
    RequestInfo {
        is_resource: true,
        verb: verb.into(),
        version: "v1".into(),
        resource: "pods".into(),
        name: name.into(),
        ..RequestInfo::default()
    }
}

fn answer(code: u16, body: &'static str) -> Response<ApiBody> {
    Response::builder().status(code).body(full(body)).unwrap()
}

fn has(text: &str, expected: &[&str]) {
    for expected in expected {
        assert!(text.lines().any(|line| line == *expected), "{expected}\n{text}");
    }
}

const PODS: &str = "component=\"apiserver\",group=\"\",resource=\"pods\"";

#[test]
fn requests_are_counted_by_what_they_ask_for() {
    let metrics = Metrics::default();
    let started = Metrics::start(&Query::default(), None);
    metrics.observe(&started, &info("list", ""), true, answer(200, "0123"));
    metrics.observe(&started, &info("list", ""), true, answer(403, ""));
    metrics.observe(&started, &info("get", "made-up"), false, answer(404, ""));
    let dry = Metrics::start(&Query::parse("dryRun=All"), Some("application/apply-patch+yaml"));
    metrics.observe(&dry, &info("patch", "a"), true, answer(201, ""));
    let text = metrics.render(&[Gauge {
        name: "g",
        kind: Kind::Gauge,
        help: "h",
        values: vec![("l=\"a\"".into(), 2.0)],
    }]);
    let lists = format!("{PODS},scope=\"cluster\",subresource=\"\",verb=\"LIST\",version=\"v1\"");
    let nothing = "component=\"apiserver\",group=\"\",resource=\"\",scope=\"\",subresource=\"\",verb=\"GET\",version=\"\"";
    let applies = format!("{PODS},scope=\"resource\",subresource=\"\",verb=\"APPLY\",version=\"v1\"");
    has(
        &text,
        &[
            &format!("apiserver_request_total{{code=\"200\",{lists},dry_run=\"\"}} 1"),
            &format!("apiserver_request_total{{code=\"403\",{lists},dry_run=\"\"}} 1"),
            &format!("apiserver_request_total{{code=\"404\",{nothing},dry_run=\"\"}} 1"),
            &format!("apiserver_request_total{{code=\"201\",{applies},dry_run=\"All\"}} 1"),
            &format!("apiserver_request_duration_seconds_count{{{lists},dry_run=\"\"}} 2"),
            &format!("apiserver_request_sli_duration_seconds_bucket{{{lists},le=\"+Inf\"}} 2"),
            &format!("apiserver_response_sizes_bucket{{{lists},le=\"1000\"}} 2"),
            &format!("apiserver_response_sizes_sum{{{lists}}} 4"),
            "# TYPE apiserver_request_duration_seconds histogram",
            "g{l=\"a\"} 2",
        ],
    );
    assert!(!text.contains("made-up"));
    assert!(
        !text.contains(&format!("apiserver_request_sli_duration_seconds_count{{{applies}")),
        "dry runs are no service level"
    );
}

#[tokio::test]
async fn watches_are_counted_while_they_last() {
    let metrics = Metrics::default();
    let started = Metrics::start(&Query::default(), None);
    let response = metrics.observe(&started, &info("watch", ""), true, answer(200, "{}\n{}\n"));
    let labels = format!("{PODS},scope=\"cluster\",subresource=\"\",verb=\"WATCH\",version=\"v1\"");
    let running = |count: u8| format!("apiserver_longrunning_requests{{{labels}}} {count}");
    has(&metrics.render(&[]), &[&running(1)]);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "{}\n{}\n");
    has(
        &metrics.render(&[]),
        &[
            &running(0),
            "apiserver_watch_events_total{group=\"\",resource=\"pods\",version=\"v1\"} 2",
            "apiserver_watch_events_sizes_bucket{group=\"\",resource=\"pods\",version=\"v1\",le=\"1024\"} 2",
            "apiserver_watch_events_sizes_sum{group=\"\",resource=\"pods\",version=\"v1\"} 6",
        ],
    );
    assert!(!metrics.render(&[]).contains(&format!("apiserver_request_duration_seconds_count{{{labels}")));
}

#[test]
fn checks_are_counted_by_their_result() {
    let metrics = Metrics::default();
    let now = Instant::now();
    let user = |name: &str| Ok(Arc::new(auth::UserInfo::new(name, &[])));
    assert!(metrics.authenticated(now, user("root")).is_ok());
    assert!(metrics.authenticated(now, user("a@example.com")).is_ok());
    assert!(metrics.authenticated(now, user("admin")).is_ok());
    assert!(metrics.authenticated(now, Err(Status::unauthorized())).is_err());
    assert!(metrics.authorized(now, Ok(())).is_ok());
    has(
        &metrics.render(&[]),
        &[
            "authenticated_user_requests{username=\"admin\"} 1",
            "authenticated_user_requests{username=\"email_id\"} 1",
            "authenticated_user_requests{username=\"other\"} 1",
            "authentication_attempts{result=\"success\"} 3",
            "authentication_attempts{result=\"failure\"} 1",
            "authorization_attempts_total{result=\"allowed\"} 1",
            "authorization_attempts_total{result=\"no-opinion\"} 0",
            "authentication_duration_seconds_count{result=\"success\"} 3",
        ],
    );
}

#[tokio::test]
async fn operations_of_the_store_are_counted() {
    use ::store::Store;
    let metrics = Metrics::default();
    let inner = Arc::new(::store::Embedded::in_memory(::store::Options::default()));
    let store = metrics.observed(inner);
    assert!(store.get("/registry/deployments/default/a").await.unwrap().is_none());
    let delete =
        ::store::Write::Delete { key: "/registry/pods/default/a".into(), expect: ::store::Expect::Any };
    assert!(store.write(delete).await.is_err());
    has(
        &metrics.render(&[]),
        &[
            "etcd_requests_total{group=\"apps\",operation=\"get\",resource=\"deployments\"} 1",
            "etcd_request_duration_seconds_count{group=\"\",operation=\"delete\",resource=\"pods\"} 1",
            "etcd_request_errors_total{group=\"\",operation=\"delete\",resource=\"pods\"} 1",
        ],
    );
}

/// Reads a page as Prometheus does, and returns the values by series.
fn parse(page: &str) -> std::collections::BTreeMap<String, f64> {
    let mut series = std::collections::BTreeMap::new();
    let (mut families, mut family) = (std::collections::BTreeSet::new(), (String::new(), String::new()));
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
    };
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split(' ').next().unwrap();
            assert!(is_name(name) && families.insert(name.to_owned()), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap();
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            family = (name.to_owned(), kind.to_owned());
            continue;
        }
        let (id, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let name = id.split('{').next().unwrap();
        let suffix = name.strip_prefix(&family.0).unwrap_or_else(|| panic!("{line} after {}", family.0));
        let fits = if family.1 == "histogram" {
            matches!(suffix, "_bucket" | "_sum" | "_count")
        } else {
            suffix.is_empty()
        };
        assert!(fits && is_name(name), "{line}");
        for label in labels(&id[name.len()..]) {
            assert!(is_name(label), "{line}");
        }
        let value = value.parse().unwrap_or_else(|why| panic!("{line}: {why}"));
        assert!(series.insert(id.to_owned(), value).is_none(), "twice: {line}");
    }
    series
}

/// Names of the labels in braces.
fn labels(braces: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = braces.trim_start_matches('{').trim_end_matches('}');
    while let Some((name, after)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(','));
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = &after[end.unwrap() + 1..];
    }
    assert!(rest.is_empty(), "{braces}");
    names
}

#[tokio::test]
async fn the_page_is_what_prometheus_reads() {
    let server = crate::flow::tests::server().await;
    let admin = crate::flow::tests::Client::admin(&server);
    let map = serde_json::json!({"metadata": {"name": "a"}});
    assert_eq!(admin.post("/api/v1/namespaces/default/configmaps", map).await.code, 201);
    assert_eq!(admin.get("/readyz").await.code, 200);
    let list = admin.get("/api/v1/configmaps?fieldSelector=metadata.name%3Da").await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let exact = format!("/api/v1/configmaps?resourceVersion={version}&resourceVersionMatch=Exact");
    assert_eq!(admin.get(&exact).await.code, 200);
    let queued: &'static machinery::metrics::Metric = &machinery::metrics::Metric {
        name: "workqueue_depth",
        help: "[BETA] Current depth of workqueue",
        kind: Kind::Gauge,
        labels: &["name"],
    };
    server.metrics().number(queued, &["a \"b\""]).set(2);
    let page = admin.get("/metrics").await;
    let content_type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    assert_eq!(page.headers["content-type"], content_type);
    assert!(page.headers["process-start-time-unix"].to_str().unwrap().parse::<u32>().is_ok());
    let small = admin.raw("GET", "/metrics", &[("accept-encoding", "gzip")], Vec::new()).await;
    assert_eq!(small.headers["content-encoding"], "gzip");
    assert!(small.body.len() < page.body.len() / 2);
    let series = parse(std::str::from_utf8(&page.body).unwrap());
    for (id, value) in [
        ("workqueue_depth{name=\"a \\\"b\\\"\"}", 2.0),
        ("kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"}", 1.0),
        ("apiserver_current_inflight_requests{request_kind=\"mutating\"}", 0.0),
        (
            "apiserver_admission_step_admission_duration_seconds_count{operation=\"CREATE\",rejected=\"false\",type=\"validate\"}",
            1.0,
        ),
        ("apiserver_resource_objects{group=\"\",resource=\"configmaps\"}", 1.0),
        ("apiserver_resource_size_estimate_bytes{group=\"\",resource=\"configmaps\"}", 100.0),
        ("apiserver_request_body_size_bytes_count{group=\"\",resource=\"configmaps\",verb=\"create\"}", 1.0),
        ("apiserver_cache_list_total{group=\"\",index=\"\",resource=\"configmaps\"}", 1.0),
        ("apiserver_cache_list_fetched_objects_total{group=\"\",index=\"\",resource=\"configmaps\"}", 3.0),
        ("apiserver_cache_list_returned_objects_total{group=\"\",resource=\"configmaps\"}", 1.0),
        ("apiserver_storage_list_total{group=\"\",resource=\"configmaps\"}", 1.0),
        ("aggregator_unavailable_apiservice{name=\"v1.apps\"}", 0.0),
        ("apiserver_tls_handshake_errors_total", 0.0),
        ("kube_apiserver_clusterip_allocator_allocated_ips{cidr=\"10.43.0.0/16\"}", 1.0),
        ("kube_apiserver_clusterip_allocator_available_ips{cidr=\"10.43.0.0/16\"}", 65_500.0),
    ] {
        assert!(series.get(id).is_some_and(|have| *have >= value), "{id} {:?}", series.get(id));
    }
    let levels = admin.get("/metrics/slis").await;
    let levels = parse(std::str::from_utf8(&levels.body).unwrap());
    assert!(levels["process_start_time_seconds"] > 1e9);
    assert_eq!(
        levels["kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"readyz\"}"],
        1.0
    );
}
