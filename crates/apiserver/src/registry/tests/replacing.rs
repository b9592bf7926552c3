//! Replacing objects, and what metadata may become.

use serde_json::{Value, json};

use super::harness::{Harness, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_new_object_has_no_version_yet() {
    let h = Harness::start().await;
    let map = |name: &str, version: &str| json!({"metadata": {"name": name, "resourceVersion": version}});
    let refused = h.must(500, "POST", MAPS, map("a", "5")).await;
    assert_eq!(refused["message"], "resourceVersion should not be set on objects to be created");
    // That is said last of all, and never of what is only tried.
    h.must(422, "POST", MAPS, map("A", "5")).await;
    let tried = h.must(201, "POST", &format!("{MAPS}?dryRun=All"), map("a", "5")).await;
    assert_eq!(tried["metadata"]["resourceVersion"], "5");
    for (name, version) in [("a", "0"), ("b", "x")] {
        let created = h.must(201, "POST", MAPS, map(name, version)).await;
        assert_ne!(created["metadata"]["resourceVersion"], version);
    }
    // Generations are counted for some kinds; of others they are what the client said when the object was new.
    let map = |generation: i64| json!({"metadata": {"name": "g", "generation": generation}});
    let refused = h.must(422, "POST", MAPS, map(-1)).await;
    assert_eq!(
        refused["message"],
        "ConfigMap \"g\" is invalid: metadata.generation: Invalid value: -1: must be greater than or equal to 0"
    );
    assert_eq!(h.must(201, "POST", MAPS, map(7)).await["metadata"]["generation"], 7);
    assert_eq!(h.must(200, "PUT", &format!("{MAPS}/g"), map(9)).await["metadata"]["generation"], 7);
    // Nobody says any more where an object is, and nobody minds when a client does.
    let linked = |name: &str| json!({"metadata": {"name": name, "selfLink": "/x"}});
    let created = h.must(201, "POST", MAPS, linked("l")).await;
    assert_eq!(created["metadata"].get("selfLink"), None);
    let changed = h.must(200, "PUT", &format!("{MAPS}/l"), linked("l")).await;
    assert_eq!(changed["metadata"]["selfLink"], "/x");
    // What only the server says is not owned by who said it.
    let deleted = json!({"metadata": {"name": "c", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}});
    let created = h.must(201, "POST", MAPS, deleted).await;
    assert!(created["metadata"].get("managedFields").is_none(), "{created}");
    assert!(created["metadata"].get("deletionTimestamp").is_none(), "{created}");
}

#[tokio::test]
async fn replacing_keeps_what_is_the_servers() {
    let h = Harness::start().await;
    let path = format!("{MAPS}/a");
    let created = h.must(201, "POST", MAPS, config_map("a", json!({"k": "v"}))).await;
    let mut changed = created.clone();
    changed["data"]["k"] = "w".into();
    let updated = h.must(200, "PUT", &path, changed.clone()).await;
    assert_eq!(updated["data"]["k"], "w");
    assert_ne!(updated["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    let conflict = h.must(409, "PUT", &path, changed).await;
    assert_eq!(
        conflict["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    // Without a version anything is replaced, and what clients may leave out stays.
    let again = h.must(200, "PUT", &path, config_map("a", json!({"k": "w"}))).await;
    assert_eq!(again, updated, "nothing changed, so the version did not either");
    let other = h.must(400, "PUT", &path, config_map("b", json!({}))).await;
    assert_eq!(other["message"], "the name of the object (b) does not match the name on the URL (a)");
    let nameless = h.must(400, "PUT", &path, json!({"metadata": {}})).await;
    assert_eq!(
        nameless["message"],
        "the name of the object (a based on URL) was undeterminable: name must be provided"
    );
    h.must(404, "PUT", &format!("{MAPS}/c"), config_map("c", json!({}))).await;
}

#[tokio::test]
async fn some_kinds_are_created_by_replacing() {
    let h = Harness::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let lease = |metadata: Value| {
        let mut lease = json!({"metadata": metadata, "spec": {"holderIdentity": "x"}});
        lease["metadata"]["name"] = "l".into();
        lease
    };
    // One that names a uid is for that object only; the version that it names does not matter.
    for (query, prefix) in [("", "/registry"), ("?dryRun=All", "")] {
        let refused = h.must(409, "PUT", &format!("{leases}{query}"), lease(json!({"uid": "u"}))).await;
        assert_eq!(
            refused["message"],
            format!(
                "Operation cannot be fulfilled on leases.coordination.k8s.io \"l\": StorageError: invalid object, Code: 4, Key: {prefix}/leases/default/l, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: u, UID in object meta: "
            )
        );
    }
    let created = h.must(201, "PUT", leases, lease(json!({"resourceVersion": "5"}))).await;
    for metadata in [json!({}), json!({"resourceVersion": "0"})] {
        let refused = h.must(422, "PUT", leases, lease(metadata)).await;
        assert_eq!(
            refused["message"],
            "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        );
    }
    let refused = h.must(500, "PUT", leases, lease(json!({"resourceVersion": "x"}))).await;
    assert_eq!(refused["message"], "strconv.ParseUint: parsing \"x\": invalid syntax");
    h.must(200, "PUT", leases, created).await;
}

#[tokio::test]
async fn replacing_races_to_create() {
    let h = Harness::start().await;
    let path = "/api/v1/namespaces/default/endpoints/e";
    let puts = (0..16).map(|i| {
        let body = json!({"metadata": {"name": "e", "labels": {"i": i.to_string()}}});
        async { h.send("PUT", path, body).await.0 }
    });
    let codes = futures::future::join_all(puts).await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 15, "{codes:?}");
}

#[tokio::test]
async fn owners_of_dns_names_and_immutable_metadata() {
    let h = Harness::start().await;
    for (metadata, message) in [
        (json!({"name": "A"}), "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain"),
        (json!({"name": "a", "labels": {"k": "-"}}), "metadata.labels"),
        (
            json!({"name": "a", "finalizers": ["x"]}),
            "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified",
        ),
        (
            json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]}),
            "metadata.ownerReferences[0].uid: Required value: must not be empty",
        ),
        (
            json!({"name": "a", "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "controller": true},
                {"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "2", "controller": true}]}),
            "Only one reference can have Controller set to true. Found \"true\" in references for Pod/p and Pod/q",
        ),
    ] {
        let refused = h.must(422, "POST", MAPS, json!({ "metadata": metadata })).await;
        let have = refused["message"].as_str().unwrap_or_default();
        assert!(have.contains(message), "{have}");
    }
    let lease = json!({"metadata": {"name": "a", "finalizers": ["x"]}});
    h.must(201, "POST", "/apis/coordination.k8s.io/v1/namespaces/default/leases", lease).await;
    let mut map = config_map("a", json!({}));
    map["metadata"]["finalizers"] = json!(["example.com/f"]);
    h.must(201, "POST", MAPS, map).await;
    let path = format!("{MAPS}/a");
    let refusal = async |metadata: Value| {
        let (code, refused) = h.patch("merge-patch+json", &path, json!({ "metadata": metadata })).await;
        assert_eq!(code, 422, "{refused}");
        refused["message"].as_str().unwrap_or_default().to_owned()
    };
    let immutable = |field: &str, value: Value| {
        format!("ConfigMap \"a\" is invalid: metadata.{field}: Invalid value: {value}: field is immutable")
    };
    let time = json!("2026-01-01T00:00:00Z");
    assert_eq!(
        refusal(json!({"deletionTimestamp": time})).await,
        immutable("deletionTimestamp", time.clone())
    );
    assert_eq!(refusal(json!({"uid": "u"})).await, immutable("uid", json!("u")));
    let grace = "deletionGracePeriodSeconds";
    assert_eq!(refusal(json!({ grace: 5 })).await, immutable(grace, json!(5)));
    h.must(200, "DELETE", &path, Value::Null).await;
    assert_eq!(refusal(json!({ grace: 5 })).await, immutable(grace, json!(5)));
    // Rules for all objects come before those for changes.
    let both = refusal(json!({"uid": "u", "labels": {"a b": "c"}})).await;
    assert!(both.find("metadata.labels") < both.find("metadata.uid"), "{both}");
    let (code, kept) =
        h.patch("merge-patch+json", &path, json!({"metadata": {"deletionTimestamp": time}})).await;
    assert!(code == 200 && kept["metadata"]["deletionTimestamp"] != time, "{kept}");
}

#[tokio::test]
async fn finalizers_of_extensions_have_any_name() {
    let h = Harness::start().await;
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let hook = json!({"metadata": {"name": "h", "finalizers": ["x"]}, "webhooks": []});
    let created = h.must(201, "POST", hooks, hook).await;
    assert_eq!(created["metadata"]["finalizers"], json!(["x"]));
}
