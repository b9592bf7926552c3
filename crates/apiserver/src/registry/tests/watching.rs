//! Watches.

use serde_json::{Value, json};

use super::harness::{Ask, Harness, config_map};
use crate::registry::Registry;

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
    // From no version in particular, whoever takes bookmarks is told the end as well; and nothing comes twice.
    for query in ["watch=1&allowWatchBookmarks=true", "watch=1&allowWatchBookmarks=1&resourceVersion=0"] {
        let mut events = h.watch(&format!("{MAPS}?{query}")).await;
        assert_eq!(events.brief().await, pair("ADDED", "a"));
        let bookmark = events.next().await.expect("a bookmark");
        assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    }
    // Paths of old take the options of lists: they begin with the state, and nothing tells its end.
    let old = "/api/v1/watch/namespaces/default/configmaps";
    let mut events = h.watch(&format!("{old}?allowWatchBookmarks=true&timeoutSeconds=1")).await;
    assert_eq!(events.brief().await, pair("ADDED", "a"));
    assert!(events.next().await.is_none());
    let query = query.trim_start_matches("watch=1&");
    let (code, refused) = h.send("GET", &format!("{old}?{query}"), Value::Null).await;
    assert_eq!(code, 422, "{refused}");
    // Nobody who wants no first events gets any.
    let query = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let mut later = h.watch(&format!("{MAPS}?{query}")).await;
    h.must(201, "POST", MAPS, config_map("b", json!({}))).await;
    assert_eq!(later.brief().await, pair("ADDED", "b"));
    let (code, refused) = h.send("GET", &format!("{MAPS}?watch=1&sendInitialEvents=true"), Value::Null).await;
    assert_eq!(code, 422, "{refused}");
}

#[tokio::test]
async fn a_bookmark_comes_shortly_before_the_end_of_a_watch() {
    let h = Harness::start().await;
    let mut events = h.watch(&format!("{MAPS}?watch=1&timeoutSeconds=3&allowWatchBookmarks=true")).await;
    let end = events.next().await.expect("the end of the first events");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // Somewhere else something happens, which the watcher is to know of.
    h.must(201, "POST", "/api/v1/namespaces/kube-system/configmaps", config_map("a", json!({}))).await;
    let last = events.next().await.expect("a bookmark");
    assert_eq!((&last["type"], &last["object"]["metadata"].get("annotations")), (&json!("BOOKMARK"), &None));
    assert!(events.next().await.is_none());
    // Nothing happened, or there was no time.
    for seconds in [1, 3] {
        let query = format!("watch=1&timeoutSeconds={seconds}&allowWatchBookmarks=true");
        let mut events = h.watch(&format!("{MAPS}?{query}")).await;
        assert_eq!(events.brief().await.0, "BOOKMARK");
        assert!(events.next().await.is_none(), "{seconds}");
    }
    // In the past, and beyond all clocks.
    assert!(h.watch(&format!("{MAPS}?watch=1&timeoutSeconds=-5")).await.next().await.is_none());
    h.watch(&format!("{MAPS}?watch=1&timeoutSeconds={}", i64::MAX)).await;
}

#[tokio::test]
async fn bookmarks_are_objects_in_which_nothing_is_set() {
    let h = Harness::start().await;
    let nothing = json!({"metadata": {}, "spec": {"containers": null}});
    for (path, want) in [
        ("/api/v1/pods", json!({"spec": {"containers": null}, "status": {}})),
        ("/api/v1/services", json!({"spec": {}, "status": {"loadBalancer": {}}})),
        (
            "/apis/apps/v1/deployments",
            json!({
                "spec": {"replicas": 0, "selector": null, "strategy": {}, "template": nothing}, "status": {},
            }),
        ),
        (
            "/apis/autoscaling/v1/horizontalpodautoscalers",
            json!({
                "spec": {"maxReplicas": 0, "scaleTargetRef": {"kind": "", "name": ""}},
                "status": {"currentReplicas": 0, "desiredReplicas": 0},
            }),
        ),
        ("/api/v1/configmaps", json!({})),
    ] {
        let mut events =
            h.watch(&format!("{path}?watch=1&allowWatchBookmarks=1&labelSelector=none%3Dnone")).await;
        let mut bookmark = events.next().await.expect("a bookmark");
        let object = bookmark["object"].as_object_mut().expect("an object");
        object.retain(|field, _| field == "spec" || field == "status");
        assert_eq!(bookmark["object"], want, "{path}");
    }
}

#[tokio::test]
async fn refusals_after_the_beginning_are_events() {
    let h = Harness::start().await;
    let created = h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    let version: u64 =
        created["metadata"]["resourceVersion"].as_str().expect("text").parse().expect("a number");
    let future = version + 1000;
    let query =
        format!("watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={future}");
    let mut events = h.watch(&format!("{MAPS}?{query}")).await;
    let event = events.next().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(504)));
    assert!(events.next().await.is_none());

    h.must(201, "POST", MAPS, config_map("b", json!({}))).await;
    h.registry.store.compact(h.registry.store.revision()).await.expect("compacts");
    // A server that has just started remembers nothing that its store has forgotten.
    let token = tokio_util::sync::CancellationToken::new();
    let again = Registry::start(
        &super::harness::config(),
        h.registry.store.clone(),
        h.registry.authorizer.clone(),
        token,
    )
    .await;
    let h = h.restarted(again.expect("starts again"));
    let mut events = h.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await;
    let event = events.next().await.expect("an event");
    let status = &event["object"];
    assert_eq!(
        (&event["type"], &status["code"], &status["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("too old resource version: 1 ("), "{message}");
    assert!(events.next().await.is_none());
    // A watch from the future waits for what is newer.
    let mut events = h.watch(&format!("{MAPS}?watch=1&resourceVersion={}", version + 2)).await;
    h.must(201, "POST", MAPS, config_map("c", json!({}))).await;
    h.must(201, "POST", MAPS, config_map("d", json!({}))).await;
    assert_eq!(events.brief().await, pair("ADDED", "d"));
}

#[tokio::test]
async fn one_object_is_watched_by_its_name() {
    let h = Harness::start().await;
    h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    for target in [
        format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Da"),
        "/api/v1/configmaps?watch=1&fieldSelector=metadata.name%3Da".to_owned(),
        "/api/v1/watch/namespaces/default/configmaps/a".to_owned(),
        "/api/v1/watch/configmaps?fieldSelector=metadata.name%3Da,metadata.namespace%3Ddefault".to_owned(),
    ] {
        let mut events = h.watch(&target).await;
        assert_eq!(events.brief().await, pair("ADDED", "a"), "{target}");
        h.must(201, "POST", MAPS, config_map("b", json!({}))).await;
        h.must(200, "DELETE", &format!("{MAPS}/b"), Value::Null).await;
        h.must(200, "PUT", &format!("{MAPS}/a"), config_map("a", json!({"k": target}))).await;
        assert_eq!(events.brief().await, pair("MODIFIED", "a"), "{target}");
    }
    // A named path knows no watching: it is the object.
    assert_eq!(h.get(&format!("{MAPS}/a?watch=1")).await["metadata"]["name"], "a");
}

#[tokio::test]
async fn other_views_are_watched_too() {
    let h = Harness::start().await;
    let view = |name: &str| format!("application/json;as={name};v=v1;g=meta.k8s.io");
    let first = "watch=1&allowWatchBookmarks=true&resourceVersion=0";
    let mut events = h.watch_as(&format!("{MAPS}?{first}"), Some(&view("PartialObjectMetadata"))).await;
    let end = events.next().await.expect("a bookmark");
    assert_eq!(end["object"]["kind"], "PartialObjectMetadata");
    h.must(201, "POST", MAPS, labelled("a", "x")).await;
    let event = events.next().await.expect("an event");
    assert_eq!(
        (&event["object"]["kind"], event["object"].get("data")),
        (&json!("PartialObjectMetadata"), None)
    );
    for (include, kind) in
        [("None", None), ("Metadata", Some("PartialObjectMetadata")), ("Object", Some("ConfigMap"))]
    {
        let target = format!("{MAPS}?{first}&includeObject={include}");
        let mut events = h.watch_as(&target, Some(&view("Table"))).await;
        let event = events.next().await.expect("an event");
        let row = &event["object"]["rows"][0];
        assert_eq!(
            (row["cells"][0].as_str(), row["object"]["kind"].as_str()),
            (Some("a"), kind),
            "{include}"
        );
        let end = events.next().await.expect("a bookmark");
        let annotations = &end["object"]["rows"][0]["object"]["metadata"]["annotations"];
        assert_eq!(annotations["k8s.io/initial-events-end"], "true", "{end}");
    }
    let refused = h
        .answer(
            "GET",
            &format!("{MAPS}?watch=1"),
            Ask { accept: Some("application/yaml"), ..Ask::default() },
            bytes::Bytes::new(),
        )
        .await;
    let message = refused.err().map(|status| (status.code, status.message));
    let types = "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    assert_eq!(message, Some((406, types.to_owned())));
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
