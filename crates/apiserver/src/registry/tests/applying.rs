//! Applying configurations, and how that is refused.

use bytes::Bytes;
use serde_json::{Value, json};

use super::harness::{Ask, Harness, config_map};
use super::ownership::{apply, deployment};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn configurations_are_applied() {
    let h = Harness::start().await;
    let path = format!("{MAPS}/a");
    let apply = async |manager: &str, body: Value| {
        h.patch("apply-patch+yaml", &format!("{path}?fieldManager={manager}"), body).await
    };
    let body = |data: Value| config_map("a", data);
    let (code, created) = apply("x", body(json!({"k": "v", "l": "m"}))).await;
    assert_eq!(code, 201, "{created}");
    let entry = &created["metadata"]["managedFields"][0];
    assert_eq!((&entry["manager"], &entry["operation"]), (&json!("x"), &json!("Apply")));
    assert_eq!(entry["fieldsV1"], json!({"f:data": {"f:k": {}, "f:l": {}}}));
    let (code, same) = apply("x", body(json!({"k": "v", "l": "m"}))).await;
    assert_eq!((code, &same), (200, &created), "nothing changed");
    // A plain update keeps what was applied, and is recorded as well.
    let mut plain = config_map("a", json!({"k": "v", "l": "m", "other": "o"}));
    plain["metadata"]["labels"] = json!({"a": "b"});
    let updated = h.must(200, "PUT", &path, plain).await;
    assert_eq!(updated["metadata"]["managedFields"][0], created["metadata"]["managedFields"][0]);
    assert_eq!(
        updated["metadata"]["managedFields"][1]["fieldsV1"],
        json!({"f:data": {"f:other": {}}, "f:metadata": {"f:labels": {".": {}, "f:a": {}}}})
    );
    let (code, less) = apply("x", body(json!({"k": "w"}))).await;
    assert_eq!((code, &less["data"]), (200, &json!({"k": "w", "other": "o"})), "{less}");
    let (code, refused) = apply("y", body(json!({"k": "z"}))).await;
    assert_eq!(
        (code, &refused["message"]),
        (409, &json!("Apply failed with 1 conflict: conflict with \"x\": .data.k"))
    );
    let (code, forced) = apply("y&force=true", body(json!({"k": "z"}))).await;
    assert_eq!((code, &forced["data"]["k"]), (200, &json!("z")));
    let managers = forced["metadata"]["managedFields"].as_array().expect("a list");
    let managers: Vec<&Value> = managers.iter().map(|entry| &entry["manager"]).collect();
    assert_eq!(managers, ["y", "unknown"]);
}

/// A map that somebody else applied as an empty one is not gone when the last entry goes.
#[tokio::test]
async fn empty_maps_stay_owned() {
    let h = Harness::start().await;
    let apply = async |manager: &str, data: Value| {
        let mut map = config_map("a", json!({}));
        map["data"] = data;
        h.patch("apply-patch+yaml", &format!("{MAPS}/a?fieldManager={manager}"), map).await.1
    };
    apply("x", json!({"k": "v"})).await;
    apply("y", json!({})).await;
    let left = apply("x", Value::Null).await;
    assert_eq!(left.get("data"), None);
    let owners = left["metadata"]["managedFields"].as_array().expect("a list");
    let owners: Vec<Value> =
        owners.iter().map(|entry| json!([entry["manager"], entry["fieldsV1"]])).collect();
    assert_eq!(owners, [json!(["y", {"f:data": {}}]), json!(["x", {"f:data": {}}])]);
}

#[tokio::test]
async fn applies_are_refused_in_upstreams_words() {
    let h = Harness::start().await;
    let target = format!("{MAPS}/a?fieldManager=x");
    h.must(201, "POST", MAPS, config_map("a", json!({"k": "v"}))).await;
    let with = |key: &str, value: Value| {
        let mut map = config_map("a", json!({}));
        map["metadata"][key] = value;
        map
    };
    for (target, body, code, message) in [
        (
            format!("{MAPS}/a"),
            config_map("a", json!({})),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        (
            format!("{MAPS}/a?fieldManager=a%09b"),
            config_map("a", json!({})),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\tb\": invalid character U+0009 (at position 1)",
        ),
        (target.clone(), with("managedFields", json!([])), 400, "metadata.managedFields must be nil"),
        (target.clone(), deployment(), 400, "invalid object type: apps/v1, Kind=Deployment"),
        (target.clone(), json!({"metadata": {"name": "a"}}), 400, "invalid object type: /, Kind="),
        (
            target.clone(),
            with("name", "b".into()),
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            target.clone(),
            with("namespace", "b".into()),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            target.clone(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "foo": 1}),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .foo: field not declared in schema",
        ),
        (
            target.clone(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "binaryData": {"b": "!!"}}),
            500,
            "failed to convert new object (/a; /v1, Kind=ConfigMap) to proper version: unable to convert unstructured object to /v1, Kind=ConfigMap: error decoding from json: illegal base64 data at input byte 0",
        ),
        (
            target.clone(),
            with("resourceVersion", "1".into()),
            409,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        (
            format!("{MAPS}/b?fieldManager=x"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "uid": "u"}}),
            409,
            "Operation cannot be fulfilled on configmaps \"b\": uid mismatch: the provided object specified uid u, and no existing object was found",
        ),
        (
            format!("{MAPS}/b?fieldManager=x"),
            json!({"apiVersion": "v1", "kind": "ConfigMap"}),
            400,
            "the name of the object (b based on URL) was undeterminable: name must be provided",
        ),
    ] {
        let (have, answer) = apply(&h, &target, body).await;
        assert_eq!((have, answer["message"].as_str()), (code, Some(message)), "{target}");
    }
}

#[tokio::test]
async fn bodies_of_applies_are_refused_in_upstreams_words() {
    let h = Harness::start().await;
    let target = format!("{MAPS}/a?fieldManager=x");
    h.must(201, "POST", MAPS, config_map("a", json!({"k": "v"}))).await;
    let forced = h.patch("merge-patch+json", &format!("{MAPS}/a?force=true"), json!({})).await;
    assert_eq!(
        (forced.0, forced.1["message"].as_str()),
        (
            422,
            Some(
                "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
            )
        )
    );
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: w, k: v}\n";
    let ask = Ask { content_type: Some("application/apply-patch+yaml"), ..Ask::default() };
    let (code, answer) =
        h.raw("PATCH", &format!("{target}&fieldValidation=Strict"), ask.clone(), Bytes::from(twice)).await;
    assert_eq!(code, 400, "{answer}");
    // Conflicts are told before keys that are there twice.
    let taken = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: w, k: w}\n";
    let (code, answer) =
        h.raw("PATCH", &format!("{target}&fieldValidation=Strict"), ask.clone(), Bytes::from(taken)).await;
    assert_eq!((code, &answer["reason"]), (409, &json!("Conflict")), "{answer}");
    for (body, why) in [
        (
            "[1]",
            "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        ("{", "error decoding patch: error converting YAML to JSON: yaml: "),
        ("", "invalid object type: /, Kind="),
    ] {
        let (code, answer) = h.raw("PATCH", &target, ask.clone(), Bytes::from(body)).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(code == 400 && message.starts_with(why), "{body}: {message}");
    }
    let empty = h.patch("merge-patch+json", &format!("{MAPS}/a?force="), json!({})).await;
    assert_eq!(empty.0, 422, "an empty value is a value");
    let cbor = Ask { content_type: Some("application/apply-patch+cbor"), ..Ask::default() };
    assert_eq!(h.raw("PATCH", &target, cbor, Bytes::new()).await.0, 415);
}
