//! Patches through requests: what they make of objects, and how they are refused.

use bytes::Bytes;
use serde_json::{Value, json};

use super::harness::{Ask, Harness, config_map};
use crate::registry::AnswerBody;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Sends a patch as it is written.
async fn send(h: &Harness, kind: &str, target: &str, body: &str) -> (u16, Value) {
    let content_type = format!("application/{kind}");
    let ask = Ask { content_type: Some(&content_type), ..Ask::default() };
    h.raw("PATCH", target, ask, Bytes::from(body.to_owned())).await
}

/// Kind of patch, query, body, code, message.
type Case = (&'static str, &'static str, &'static str, u16, &'static str);

const REFUSED: &[Case] = &[
    (
        "json-patch+json",
        "",
        r#"{"a":1}"#,
        400,
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
    ),
    (
        "json-patch+json",
        "?fieldValidation=Ignore",
        r#"{"a":1}"#,
        400,
        "json: cannot unmarshal object into Go value of type jsonpatch.Patch",
    ),
    (
        "json-patch+json",
        "",
        "[1]",
        400,
        "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
    ),
    (
        "json-patch+json",
        "",
        r#"[{"op":1}]"#,
        400,
        "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
    ),
    (
        "json-patch+json",
        "",
        r#"[{"op":"test","path":"/data/k","value":"z"}]"#,
        422,
        "the server rejected our request due to an error in our request",
    ),
    (
        "json-patch+json",
        "",
        r#"[{"op":"remove","path":"/data/none"}]"#,
        422,
        "the server rejected our request due to an error in our request",
    ),
    (
        "json-patch+json",
        "",
        r#"[{"op":"replace","path":"/data/k","value":1}]"#,
        422,
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
    ),
    (
        "json-patch+json",
        "?fieldValidation=Strict",
        r#"[{"op":"add","path":"/data/l","value":"v","why":"x"}]"#,
        422,
        "strict decoding error: json patch unknown field \"[0].why\"",
    ),
    (
        "json-patch+json",
        "?fieldValidation=Strict",
        r#"[{"op":"add","path":"/foo","value":{"a":1,"a":2},"more":1,"less":1}]"#,
        422,
        "strict decoding error: json patch duplicate field \"[0].value.a\", json patch unknown field \"[0].more\", json patch unknown field \"[0].less\", unknown field \"foo\"",
    ),
    ("json-patch+json", "", "[null]", 422, "the server rejected our request due to an error in our request"),
    (
        "json-patch+json",
        "",
        r#"[{"op":"replace","path":"/kind","value":1}]"#,
        422,
        "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string",
    ),
    // Without a version it is read as an internal type, which has other fields.
    (
        "json-patch+json",
        "",
        r#"[{"op":"remove","path":"/apiVersion"}]"#,
        400,
        "the name of the object (a based on URL) was undeterminable: name must be provided",
    ),
    (
        "merge-patch+json",
        "?fieldValidation=Strict",
        r#"{"apiVersion":null}"#,
        422,
        "strict decoding error: unknown field \"data\", unknown field \"metadata\"",
    ),
    // What is refused is shown as the patch made it.
    (
        "merge-patch+json",
        "?fieldValidation=Strict",
        r#"{"metadata":null,"dta":{"a":"b"}}"#,
        422,
        r#"patch: Invalid value: "{\"apiVersion\":\"v1\",\"data\":{\"k\":\"v\"},\"dta\":{\"a\":\"b\"},\"kind\":\"ConfigMap\"}": strict decoding error"#,
    ),
    (
        "merge-patch+json",
        "",
        "[]",
        400,
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    ("merge-patch+json", "", "null", 400, "Invalid JSON Patch"),
    ("merge-patch+json", "?fieldValidation=Ignore", "1", 400, "Invalid JSON Patch"),
    (
        "merge-patch+json",
        "?fieldValidation=Ignore",
        "[]",
        422,
        "patch: Invalid value: \"[]\": couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct {",
    ),
    ("merge-patch+json", "", "{\"data\":", 400, "invalid JSON patch"),
    ("json-patch+json", "", "", 400, "invalid JSON patch"),
    ("strategic-merge-patch+json", "?fieldValidation=Ignore", "{,}", 400, "invalid JSON patch"),
    // What the object is cannot be patched.
    (
        "merge-patch+json",
        "",
        r#"{"kind":"Map"}"#,
        422,
        "no kind \"Map\" is registered for version \"v1\" in scheme",
    ),
    (
        "json-patch+json",
        "",
        r#"[{"op":"replace","path":"/apiVersion","value":"v2"}]"#,
        422,
        "no kind \"ConfigMap\" is registered for version \"v2\" in scheme",
    ),
    (
        "merge-patch+json",
        "",
        r#"{"kind":"Secret"}"#,
        422,
        "converting (v1.Secret) to (core.ConfigMap): unknown conversion",
    ),
    (
        "strategic-merge-patch+json",
        "?fieldValidation=Strict",
        r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u","$retainKeys":["uid"]}]}}"#,
        422,
        "strict decoding error: unknown field \"metadata.ownerReferences[0].$retainKeys\"",
    ),
    (
        "merge-patch+json",
        "?fieldValidation=Strict",
        r#"{"dta":{"a":"b"}}"#,
        422,
        "strict decoding error: unknown field \"dta\"",
    ),
    (
        "merge-patch+json",
        "?fieldValidation=Strict",
        r#"{"data":{"a":"b"},"data":{"c":"d"}}"#,
        422,
        "strict decoding error: duplicate field \"data\"",
    ),
    (
        "merge-patch+json",
        "",
        r#"{"metadata":{"resourceVersion":"1"}}"#,
        409,
        "the object has been modified; please apply your changes to the latest version and try again",
    ),
    (
        "merge-patch+json",
        "",
        r#"{"metadata":{"uid":"x"}}"#,
        422,
        "metadata.uid: Invalid value: \"x\": field is immutable",
    ),
    (
        "merge-patch+json",
        "",
        r#"{"metadata":{"name":"z"}}"#,
        400,
        "the name of the object (z) does not match the name on the URL (a)",
    ),
    (
        "merge-patch+json",
        "",
        r#"{"metadata":{"namespace":"z"}}"#,
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    (
        "strategic-merge-patch+json",
        "",
        "[]",
        400,
        "json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    ("strategic-merge-patch+json", "", r#"{"data":{"k":1}}"#, 422, "cannot convert int64 to string"),
    ("strategic-merge-patch+json", "", r#"{"data":{"k":[1]}}"#, 422, "unrecognized type: string"),
    ("strategic-merge-patch+json", "", r#"{"data":"x"}"#, 422, "cannot restore map from string"),
    ("strategic-merge-patch+json", "", r#"{"metadata":{"labels":[]}}"#, 422, "cannot restore map from slice"),
    (
        "strategic-merge-patch+json",
        "",
        r#"{"metadata":{"finalizers":{}}}"#,
        422,
        "cannot restore slice from map",
    ),
    ("strategic-merge-patch+json", "", r#"{"metadata":1}"#, 422, "cannot restore struct from: int64"),
    ("strategic-merge-patch+json", "", r#"{"metadata":{"uid":1}}"#, 422, "cannot convert int64 to types.UID"),
    ("strategic-merge-patch+json", "", r#"{"metadata":{"uid":[1]}}"#, 422, "unrecognized type: string"),
    ("strategic-merge-patch+json", "", r#"{"immutable":"x"}"#, 422, "unrecognized type: bool"),
    (
        "strategic-merge-patch+json",
        "",
        r#"{"binaryData":{"l":"!!"}}"#,
        422,
        "error decoding from json: illegal base64 data at input byte 0",
    ),
    (
        "strategic-merge-patch+json",
        "",
        r#"{"metadata":{"$setElementOrder/none":[]}}"#,
        500,
        "unable to find api field in struct ObjectMeta for the json field \"none\"",
    ),
    ("nonsense+json", "", "{}", 415, "415: Unsupported Media Type"),
];

#[tokio::test]
async fn patches_are_refused_in_upstreams_words() {
    let h = Harness::start().await;
    h.must(201, "POST", MAPS, config_map("a", json!({"k": "v"}))).await;
    let before = h.get(&format!("{MAPS}/a")).await;
    for (kind, query, body, code, message) in REFUSED {
        let (have, answer) = send(&h, kind, &format!("{MAPS}/a{query}"), body).await;
        let text = answer["message"].as_str().unwrap_or_default();
        assert!(have == *code && text.contains(message), "{kind} {body}: {answer}");
    }
    assert_eq!(h.get(&format!("{MAPS}/a")).await, before);
    let many: Vec<Value> = vec![json!({"op": "test", "path": "/data/k", "value": "v"}); 10_001];
    let (code, answer) =
        send(&h, "json-patch+json", &format!("{MAPS}/a"), &Value::from(many).to_string()).await;
    assert_eq!(
        (code, answer["message"].as_str()),
        (
            413,
            Some(
                "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
            )
        )
    );
    let copies: Vec<Value> =
        std::iter::once(json!({"op": "add", "path": "/data/l", "value": "x".repeat(1 << 20)}))
            .chain((0..10).map(|i| json!({"op": "copy", "from": "/data/l", "path": format!("/data/c{i}")})))
            .collect();
    let (code, _) = send(&h, "json-patch+json", &format!("{MAPS}/a"), &Value::from(copies).to_string()).await;
    assert_eq!(code, 422, "copies that explode");
}

#[tokio::test]
async fn null_patches_change_nothing() {
    let h = Harness::start().await;
    let created = h.must(201, "POST", MAPS, config_map("a", json!({"k": "v"}))).await;
    for (kind, body) in [
        ("json-patch+json", "null"),
        ("json-patch+json", "[]"),
        ("merge-patch+json", "{}"),
        ("strategic-merge-patch+json", "null"),
        ("strategic-merge-patch+json", "{}"),
        ("strategic-merge-patch+json", r#"{"kind":"Map"}"#),
        ("merge-patch+json", r#"{"kind":null}"#),
    ] {
        assert_eq!(send(&h, kind, &format!("{MAPS}/a"), body).await, (200, created.clone()), "{kind} {body}");
    }
}

/// Whether a patch makes sense is looked at when there is something to patch.
#[tokio::test]
async fn what_is_not_there_is_not_patched() {
    let h = Harness::start().await;
    for (kind, body, code) in [
        ("json-patch+json", "{}", 404),
        ("json-patch+json", "{", 400),
        ("merge-patch+json", "[]", 404),
        ("strategic-merge-patch+json", "1", 404),
    ] {
        assert_eq!(send(&h, kind, &format!("{MAPS}/none"), body).await.0, code, "{kind} {body}");
    }
}

#[tokio::test]
async fn concurrent_patches_all_arrive() {
    let h = Harness::start().await;
    h.must(201, "POST", MAPS, config_map("a", json!({}))).await;
    let patches = (0..20).map(|i| {
        let (h, target) = (&h, format!("{MAPS}/a"));
        async move { h.patch("merge-patch+json", &target, json!({"data": {format!("k{i}"): "v"}})).await.0 }
    });
    let codes = futures::future::join_all(patches).await;
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
    let data = h.get(&format!("{MAPS}/a")).await["data"].clone();
    assert_eq!(data.as_object().map(serde_json::Map::len), Some(20));
}

#[tokio::test]
async fn owners_are_kept_once() {
    let h = Harness::start().await;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
    let mut map = config_map("a", json!({}));
    map["metadata"]["ownerReferences"] = json!([owner, owner]);
    let answer = h.answer("POST", MAPS, Ask::default(), map.to_string().into()).await.expect("created");
    assert_eq!(answer.warnings.len(), 1, "{:?}", answer.warnings);
    assert!(
        answer.warnings[0]
            .starts_with(".metadata.ownerReferences contains duplicate entries; API server dedups")
    );
    assert!(answer.warnings[0].ends_with("duplicate UID(s) observed: u"));
    let AnswerBody::Json(bytes) = answer.body else { panic!("an object") };
    let created: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(created["metadata"]["ownerReferences"], json!([owner]));
    let again = json!([{"op": "add", "path": "/metadata/ownerReferences/-", "value": owner}]);
    let ask = Ask { content_type: Some("application/json-patch+json"), ..Ask::default() };
    let answer =
        h.answer("PATCH", &format!("{MAPS}/a"), ask, again.to_string().into()).await.expect("patched");
    assert!(answer.warnings[0].contains("duplicate entries after mutating admission happens;"));
}

/// An object that only its managers make too large is stored without them.
#[tokio::test]
async fn the_record_goes_before_the_object() {
    let h = Harness::start().await;
    let data: serde_json::Map<String, Value> =
        (0..40_000).map(|i| (format!("key-{i:06}-{}", "k".repeat(10)), "v".into())).collect();
    let (code, created) = h.send("POST", MAPS, config_map("big", Value::Object(data))).await;
    assert_eq!(code, 201, "{}", created["message"]);
    let recorded = created["metadata"].get("managedFields").is_some();
    let size = created.to_string().len();
    assert!(!recorded || size <= 3 << 20, "{size} bytes with the record");
}
