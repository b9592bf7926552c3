use http_body_util::BodyExt;

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
    assert!(metrics.authenticated(now, Ok(())).is_ok());
    assert!(metrics.authenticated::<()>(now, Err(Status::unauthorized())).is_err());
    assert!(metrics.authorized(now, Ok(())).is_ok());
    has(
        &metrics.render(&[]),
        &[
            "authentication_attempts{result=\"success\"} 1",
            "authentication_attempts{result=\"failure\"} 1",
            "authorization_attempts_total{result=\"allowed\"} 1",
            "authorization_attempts_total{result=\"no-opinion\"} 0",
            "authentication_duration_seconds_count{result=\"success\"} 1",
        ],
    );
}

#[tokio::test]
async fn operations_of_the_store_are_counted() {
    use ::store::Store;
    let metrics = Metrics::default();
    let inner = Arc::new(::store::Embedded::in_memory(::store::Options::default()));
    let store = metrics.observed(inner);
    assert!(store.get("/registry/apps/deployments/default/a").await.unwrap().is_none());
    let delete =
        ::store::Write::Delete { key: "/registry/core/pods/default/a".into(), expect: ::store::Expect::Any };
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
