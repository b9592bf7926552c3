//! Watches.

use serde_json::{Value, json};

use super::harness::{Harness, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn pair(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

fn labelled(name: &str, label: &str) -> Value {
    let mut map = config_map(name, json!({}));
    map["metadata"]["labels"] = json!({ "l": label });
    map
}

#[tokio::test]
async fn a_watch_begins_with_the_state_and_follows() {
    let h = Harness::start().await;
    h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    let mut events = h.watch(&format!("{MAPS}?watch=true")).await;
    assert_eq!(events.brief().await, pair("ADDED", "a"));
    h.must(201, "POST", MAPS, config_map("b", json!({}))).await;
    h.must(200, "PUT", &format!("{MAPS}/a"), config_map("a", json!({"k": "v"}))).await;
    h.must(201, "POST", "/api/v1/namespaces/kube-system/configmaps", config_map("elsewhere", json!({})))
        .await;
    h.must(200, "DELETE", &format!("{MAPS}/a"), Value::Null).await;
    for want in [pair("ADDED", "b"), pair("MODIFIED", "a"), pair("DELETED", "a")] {
        assert_eq!(events.brief().await, want);
    }
}

#[tokio::test]
async fn a_watch_from_a_version_shows_what_came_after() {
    let h = Harness::start().await;
    let created = h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    let version = created["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    h.must(201, "POST", MAPS, config_map("b", json!({}))).await;
    let mut events = h.watch(&format!("{MAPS}?watch=1&resourceVersion={version}")).await;
    assert_eq!(events.brief().await, pair("ADDED", "b"));
    let mut named = h.watch("/api/v1/watch/namespaces/default/configmaps/b").await;
    assert_eq!(named.brief().await, pair("ADDED", "b"));
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let h = Harness::start().await;
    let mut events = h.watch(&format!("{MAPS}?watch=1&labelSelector=l%3Dx")).await;
    h.must(201, "POST", MAPS, labelled("a", "y")).await;
    h.must(200, "PUT", &format!("{MAPS}/a"), labelled("a", "x")).await;
    assert_eq!(events.brief().await, pair("ADDED", "a"));
    let left = h.must(200, "PUT", &format!("{MAPS}/a"), labelled("a", "z")).await;
    let event = events.next().await.expect("an event");
    assert_eq!(
        (&event["type"], &event["object"]["metadata"]["labels"]["l"]),
        (&json!("DELETED"), &json!("x"))
    );
    assert_eq!(event["object"]["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let h = Harness::start().await;
    h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    let query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = h.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(events.brief().await, pair("ADDED", "a"));
    let bookmark = events.next().await.expect("a bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    let (code, refused) = h.send("GET", &format!("{MAPS}?watch=1&sendInitialEvents=true"), Value::Null).await;
    assert_eq!(code, 422, "{refused}");
}

#[tokio::test]
async fn a_timeout_ends_the_watch_with_a_bookmark() {
    let h = Harness::start().await;
    let mut events = h.watch(&format!("{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true")).await;
    assert_eq!(events.brief().await.0, "BOOKMARK");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_watch_of_tables_names_its_columns_once() {
    let h = Harness::start().await;
    let mut events =
        h.watch_as(&format!("{MAPS}?watch=1"), Some("application/json;as=Table;v=v1;g=meta.k8s.io")).await;
    h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    h.must(201, "POST", MAPS, config_map("b", json!({}))).await;
    let (first, second) = (events.next().await.expect("one"), events.next().await.expect("two"));
    assert_eq!(first["object"]["kind"], "Table");
    assert!(first["object"]["columnDefinitions"].is_array());
    assert!(second["object"]["columnDefinitions"].is_null());
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}
