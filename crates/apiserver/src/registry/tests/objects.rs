//! Creating, reading, listing and patching.

use bytes::Bytes;
use serde_json::{Value, json};

use super::harness::{Ask, Harness, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_from_birth_to_list() {
    let h = Harness::start().await;
    let created = h.must(201, "POST", MAPS, config_map("a", json!({"k": "v"}))).await;
    let meta = &created["metadata"];
    assert_eq!(meta["namespace"], "default");
    assert_eq!(meta["uid"].as_str().map(str::len), Some(36));
    assert!(meta["creationTimestamp"].is_string() && meta["resourceVersion"].is_string());
    assert!(meta.get("generation").is_none());
    assert_eq!(h.get(&format!("{MAPS}/a")).await, created);
    let list = h.get(MAPS).await;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    // The list says what its items are.
    let mut item = created.clone();
    item.as_object_mut().expect("an object").retain(|key, _| !matches!(key.as_str(), "kind" | "apiVersion"));
    assert_eq!(list["items"], json!([item]));
    let everywhere = h.get("/api/v1/configmaps").await;
    assert!(everywhere["items"].as_array().is_some_and(|items| items.contains(&item)), "{everywhere}");
    assert_eq!(h.get("/api/v1/namespaces/kube-public/configmaps").await["items"], json!([]));
}

#[tokio::test]
async fn names_are_generated() {
    let h = Harness::start().await;
    let body = json!({"metadata": {"generateName": "web-"}});
    let created = h.must(201, "POST", MAPS, body).await;
    let name = created["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    assert_eq!(created["metadata"]["generateName"], "web-");
    // A replacement that leaves the base out takes it away.
    let replaced = h.must(200, "PUT", &format!("{MAPS}/{name}"), config_map(&name, json!({}))).await;
    assert!(replaced["metadata"].get("generateName").is_none(), "{replaced}");
    // Whoever gives both has given the name, but is told as if it had been generated.
    let again = json!({"metadata": {"name": name, "generateName": "web-"}});
    for query in ["", "?dryRun=All"] {
        let refused = h.must(409, "POST", &format!("{MAPS}{query}"), again.clone()).await;
        assert_eq!(
            refused["message"],
            format!(
                "configmaps \"{name}\" already exists, the server was not able to generate a unique name for the object"
            )
        );
        assert_eq!(refused["details"]["retryAfterSeconds"], 1);
    }
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let h = Harness::start().await;
    let created = h.must(201, "POST", &format!("{MAPS}?dryRun=All"), config_map("a", json!({}))).await;
    assert!(created["metadata"].get("resourceVersion").is_none());
    h.must(404, "GET", &format!("{MAPS}/a"), Value::Null).await;
    h.must(201, "POST", MAPS, config_map("a", json!({"k": "v"}))).await;
    h.must(409, "POST", &format!("{MAPS}?dryRun=All"), config_map("a", json!({}))).await;
    let updated =
        h.must(200, "PUT", &format!("{MAPS}/a?dryRun=All"), config_map("a", json!({"k": "w"}))).await;
    assert_eq!(updated["data"]["k"], "w");
    let present = h.get(&format!("{MAPS}/a")).await;
    assert_eq!(present["data"]["k"], "v");
    assert_eq!(updated["metadata"]["resourceVersion"], present["metadata"]["resourceVersion"]);
    h.must(200, "DELETE", &format!("{MAPS}/a?dryRun=All"), Value::Null).await;
    h.get(&format!("{MAPS}/a")).await;
    let refused = h.must(422, "POST", &format!("{MAPS}?dryRun=Some"), config_map("b", json!({}))).await;
    assert_eq!(
        refused["message"],
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
    );
}

/// Of many who replace what is not there, one creates it.
#[tokio::test]
async fn patches_of_all_kinds() {
    let h = Harness::start().await;
    let path = format!("{MAPS}/a");
    h.must(201, "POST", MAPS, config_map("a", json!({"k": "v", "l": "m"}))).await;
    let cases = [
        ("merge-patch+json", json!({"data": {"k": "1", "l": null}}), json!({"k": "1"})),
        (
            "json-patch+json",
            json!([{"op": "add", "path": "/data/n", "value": "2"}]),
            json!({"k": "1", "n": "2"}),
        ),
        ("strategic-merge-patch+json", json!({"data": {"k": null}}), json!({"n": "2"})),
    ];
    for (kind, patch, data) in cases {
        let (code, answer) = h.patch(kind, &path, patch).await;
        assert_eq!((code, &answer["data"]), (200, &data), "{kind}: {answer}");
    }
    let before = h.get(&path).await;
    let (_, same) = h.patch("merge-patch+json", &path, json!({"data": {"n": "2"}})).await;
    assert_eq!(same, before, "a patch without effect changes nothing");
    let (code, stale) =
        h.patch("merge-patch+json", &path, json!({"metadata": {"resourceVersion": "1"}})).await;
    assert_eq!((code, &stale["reason"]), (409, &json!("Conflict")));
    let (code, _) = h.patch("merge-patch+json", &format!("{MAPS}/none"), json!({})).await;
    assert_eq!(code, 404);
}

#[tokio::test]
async fn a_version_on_its_way_out_warns() {
    let h = Harness::start().await;
    for (path, warning) in [
        (
            "/api/v1/namespaces/default/endpoints",
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ),
        ("/api/v1/componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
        (
            "/apis/certificates.k8s.io/v1beta1/clustertrustbundles",
            "certificates.k8s.io/v1beta1 ClusterTrustBundle is deprecated in v1.37+, unavailable in v1.40+; use \
             certificates.k8s.io/v1 ClusterTrustBundle",
        ),
        (
            "/apis/resource.k8s.io/v1beta2/resourceslices",
            "resource.k8s.io/v1beta2 ResourceSlice is deprecated in v1.36+, unavailable in v1.39+",
        ),
    ] {
        let answer = h.answer("GET", path, Ask::default(), Bytes::new()).await.expect("a list");
        assert_eq!(answer.warnings, [warning]);
    }
    let maps = h.answer("GET", MAPS, Ask::default(), Bytes::new()).await.expect("a list");
    assert!(maps.warnings.is_empty());
}

#[tokio::test]
async fn unknown_fields_warn_or_are_refused() {
    let h = Harness::start().await;
    let body = json!({"metadata": {"name": "a"}, "dta": {}});
    let post = async |query: &str| {
        h.answer("POST", &format!("{MAPS}?dryRun=All{query}"), Ask::default(), body.to_string().into()).await
    };
    assert_eq!(post("").await.expect("created").warnings, ["unknown field \"dta\""]);
    assert!(post("&fieldValidation=Ignore").await.expect("created").warnings.is_empty());
    let refused = post("&fieldValidation=Strict").await.err().expect("refused");
    assert_eq!(
        refused.message,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dta\""
    );
}

#[tokio::test]
async fn failures_come_with_warnings_too() {
    let h = Harness::start().await;
    h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    let odd = json!({"metadata": {"name": "a", "labels": {"a": "b c"}}, "dta": {}}).to_string();
    for (method, path, kind) in [
        ("POST", MAPS.to_owned(), None),
        ("PUT", format!("{MAPS}/a"), None),
        ("PATCH", format!("{MAPS}/a"), Some("application/merge-patch+json")),
    ] {
        let ask = Ask { content_type: kind, ..Ask::default() };
        let refused = h.answer(method, &path, ask, odd.clone().into()).await.err().expect("refused");
        assert_eq!(
            (refused.code, refused.warnings()),
            (422, &["unknown field \"dta\"".to_owned()][..]),
            "{method}"
        );
    }
    let odd = json!({"metadata": {"name": "b"}, "dta": {}}).to_string();
    for (method, path) in [
        ("PUT", format!("{MAPS}/a")),
        ("PUT", "/apis/apps/v1/namespaces/default/deployments/a/scale".to_owned()),
        ("POST", "/api/v1/namespaces/default/pods/a/binding".to_owned()),
        ("POST", "/api/v1/namespaces/default/pods/a/eviction".to_owned()),
    ] {
        let refused =
            h.answer(method, &path, Ask::default(), odd.clone().into()).await.err().expect("refused");
        assert_eq!(
            (refused.code, refused.warnings()),
            (400, &["unknown field \"dta\"".to_owned()][..]),
            "{path}"
        );
    }
    let endpoints = "/api/v1/namespaces/default/endpoints/none";
    let refused =
        h.answer("GET", endpoints, Ask::default(), bytes::Bytes::new()).await.err().expect("refused");
    assert_eq!(
        refused.warnings(),
        ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"]
    );
}

#[tokio::test]
async fn a_made_up_name_that_is_taken_may_be_tried_again() {
    let h = Harness::start().await;
    let map = json!({"metadata": {"name": "a", "generateName": "web-"}});
    h.must(201, "POST", MAPS, map.clone()).await;
    let refused = h.must(409, "POST", MAPS, map).await;
    assert_eq!(
        refused["message"],
        "configmaps \"a\" already exists, the server was not able to generate a unique name for the object"
    );
    assert_eq!(refused["details"]["retryAfterSeconds"], 1);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let h = Harness::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        let mut map = config_map(name, json!({}));
        map["metadata"]["labels"] = json!({"even": (name == "b" || name == "d").to_string()});
        h.must(201, "POST", MAPS, map).await;
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|i| i["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let first = h.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    // What comes later is not in the list that was begun.
    h.must(201, "POST", MAPS, config_map("bb", json!({}))).await;
    let token = first["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let second = h.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let third = h.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&third), ["e"]);
    assert!(third["metadata"].get("continue").is_none());

    let selected = h.get(&format!("{MAPS}?labelSelector=even%3Dtrue&limit=1")).await;
    assert_eq!(names(&selected), ["b"]);
    assert!(
        selected["metadata"]["continue"].is_string()
            && selected["metadata"].get("remainingItemCount").is_none()
    );
    assert_eq!(names(&h.get(&format!("{MAPS}?fieldSelector=metadata.name%3Dc")).await), ["c"]);
    assert_eq!(names(&h.get(&format!("{MAPS}?labelSelector=even%21%3Dtrue,even")).await), ["a", "c", "e"]);
    let version = first["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let exact = h.get(&format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact")).await;
    assert_eq!(names(&exact), ["a", "b", "c", "d", "e"]);
    assert_eq!(names(&h.get(&format!("{MAPS}?resourceVersion=0&limit=1")).await).len(), 6);
}

#[tokio::test]
async fn tables_and_partial_metadata() {
    let h = Harness::start().await;
    h.must(201, "POST", MAPS, config_map("a", json!({"k": "v"}))).await;
    let table = h.view(MAPS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await;
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    let columns = table["columnDefinitions"].as_array().map(Vec::len);
    assert_eq!(table["rows"][0]["cells"].as_array().map(Vec::len), columns);
    let none =
        h.view(&format!("{MAPS}?includeObject=None"), "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert_eq!(none["rows"][0].get("object"), Some(&Value::Null));
    let one = h
        .view(&format!("{MAPS}/a?includeObject=Object"), "application/json;as=Table;v=v1;g=meta.k8s.io")
        .await;
    assert_eq!(one["rows"][0]["object"]["data"]["k"], "v");
    let partial = h.view(MAPS, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await;
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert!(partial["items"][0].get("data").is_none());
    let one =
        h.view(&format!("{MAPS}/a"), "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await;
    assert_eq!((&one["kind"], &one["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("a")));
}

#[tokio::test]
async fn versions_share_their_objects() {
    let h = Harness::start().await;
    let event = json!({
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "message": "hello", "reason": "Test", "type": "Normal", "source": {"component": "x"},
    });
    h.must(201, "POST", "/api/v1/namespaces/default/events", event).await;
    let new = h.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await;
    assert_eq!((&new["apiVersion"], &new["note"]), (&json!("events.k8s.io/v1"), &json!("hello")));
    assert_eq!(new["regarding"]["name"], "p");
    let list = h.get("/apis/events.k8s.io/v1/events").await;
    assert_eq!((&list["kind"], &list["items"][0]["note"]), (&json!("EventList"), &json!("hello")));
    let claims = "/apis/resource.k8s.io/v1beta1/deviceclasses";
    h.must(201, "POST", claims, json!({"metadata": {"name": "d"}, "spec": {}})).await;
    assert_eq!(h.get("/apis/resource.k8s.io/v1/deviceclasses/d").await["apiVersion"], "resource.k8s.io/v1");
    assert_eq!(h.get(&format!("{claims}/d")).await["apiVersion"], "resource.k8s.io/v1beta1");
}

#[tokio::test]
async fn what_every_cluster_has() {
    let h = Harness::start().await;
    for path in [
        "/api/v1/namespaces/kube-node-lease",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cluster-admin",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        "/api/v1/namespaces/default/endpoints/kubernetes",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
    ] {
        h.get(path).await;
    }
    assert_eq!(
        h.get("/api/v1/namespaces/default/services/kubernetes").await["spec"]["clusterIP"],
        "10.43.0.1"
    );
    let namespace = h.get("/api/v1/namespaces/default").await;
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(namespace["status"]["phase"], "Active");
}

#[tokio::test]
async fn yaml_is_read_too() {
    let h = Harness::start().await;
    let ask = Ask { content_type: Some("application/yaml"), ..Ask::default() };
    let body = Bytes::from("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: why\ndata:\n  k: \"1\"\n");
    let (code, answer) = h.raw("POST", MAPS, ask, body).await;
    assert_eq!((code, &answer["data"]["k"]), (201, &json!("1")), "{answer}");
}

#[tokio::test]
async fn a_second_start_writes_nothing() {
    let store: std::sync::Arc<dyn store::Store> =
        std::sync::Arc::new(store::Embedded::in_memory(store::Options::default()));
    let start = async || {
        let token = tokio_util::sync::CancellationToken::new();
        let everyone = std::sync::Arc::new(super::harness::Everyone);
        crate::registry::Registry::start(&super::harness::config(), store.clone(), everyone, token)
            .await
            .expect("starts");
        store.revision()
    };
    let first = start().await;
    assert!(first > 100, "{first}");
    assert_eq!(start().await, first);
}
