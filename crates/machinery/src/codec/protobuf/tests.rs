use std::path::Path;

use serde_json::{Value, json};

use super::*;

/// `runtime.Unknown` around a message of less than 128 bytes.
fn object(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [PREFIX.to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
}

/// A field of bytes, text or a message, of less than 128 bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(value.len()).expect("short")], value].concat()
}

/// `ObjectMeta` of a name only, as upstream writes it: all that is no pointer is there.
fn metadata(name: &str) -> Vec<u8> {
    let empty = [2, 3, 4, 5, 6].map(|number| field(number, b"")).concat();
    [field(1, name.as_bytes()), empty, vec![7 << 3, 0], field(8, b"")].concat()
}

#[test]
fn a_namespace_is_what_kubectl_sends() {
    let raw = [field(1, &metadata("demo")), field(2, b""), field(3, &field(1, b""))].concat();
    let bytes = object("v1", "Namespace", &raw);
    let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"},
        "spec": {}, "status": {}});
    assert_eq!(decode(&bytes), Ok(value.clone()));
    assert_eq!(encode(&value), Ok(bytes.clone()));
    // What is unset comes out as its zero value.
    let short = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}});
    assert_eq!(encode(&short), Ok(bytes));
}

#[test]
fn zero_is_kept_where_it_means_something() {
    let value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 0, "minReadySeconds": 0, "selector": {}, "template": {"spec": {"containers": [
            {"name": "c", "image": "", "stdin": false, "securityContext": {"privileged": false}}]}}}});
    let decoded = decode(&encode(&value).expect("encodes")).expect("decodes");
    assert_eq!(decoded["spec"]["replicas"], 0);
    assert_eq!(decoded["spec"].get("minReadySeconds"), None);
    let container = &decoded["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(*container, json!({"name": "c", "resources": {}, "securityContext": {"privileged": false}}));
    assert_eq!(decoded["metadata"], json!({"name": "d"}));
}

#[test]
fn special_values_go_both_ways() {
    let roundtrip = |value: Value| {
        let bytes = encode(&value).unwrap_or_else(|error| panic!("{value}: {error}"));
        assert_eq!(decode(&bytes), Ok(value));
    };
    roundtrip(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "data": {"b": "AAEC", "a": ""}, "immutable": false}));
    roundtrip(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l",
        "creationTimestamp": "2026-07-01T12:00:00Z"},
        "spec": {"renewTime": "1969-12-31T23:59:59.500000Z", "leaseDurationSeconds": 40}}));
    roundtrip(json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "7"},
        "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}, "data": {"k": "v"}}]}));
    roundtrip(json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "no", "reason": "NotFound", "code": 404,
        "details": {"name": "x", "kind": "pods", "causes": [{"reason": "R", "field": "spec"}]}}));
    roundtrip(json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
        "metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "a", "uid": "u"}}]}));
    roundtrip(json!({"apiVersion": "policy/v1", "kind": "DeleteOptions", "propagationPolicy": "",
        "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}}));
    roundtrip(json!({"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": "v1", "resources": [
        {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get", "list"]}]}));
    roundtrip(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "c"}, "status": {"acceptedNames": {"plural": "", "kind": ""}}, "spec": {
        "group": "g", "scope": "Namespaced", "names": {"plural": "cs", "kind": "C"}, "versions": [{
        "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "default": null, "enum": [null, 1, "x", {"a": [true]}], "maximum": -1.5,
            "items": {"type": "string"}, "additionalProperties": false, "additionalItems": {"type": "integer"},
            "allOf": [{"items": [{"format": "f"}, {}]}],
            "dependencies": {"d": ["e", "f"], "g": {"type": "null"}},
            "x-kubernetes-validations": [{"rule": "self == 1"}]}}}]}}));
}

#[test]
fn times_and_numbers_are_written_as_go_writes_them() {
    let ports = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [
        {"port": 80, "targetPort": "web"}, {"port": -1, "targetPort": 8080}]}});
    let decoded = decode(&encode(&ports).expect("encodes")).expect("decodes");
    assert_eq!(
        decoded["spec"]["ports"],
        json!([{"port": 80, "targetPort": "web"}, {"port": -1, "targetPort": 8080}])
    );

    let quota =
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"cpu": 0.5, "pods": "10"}}});
    let decoded = decode(&encode(&quota).expect("encodes")).expect("decodes");
    assert_eq!(decoded["spec"]["hard"], json!({"cpu": "500m", "pods": "10"}));
}

#[test]
fn unknown_fields_are_skipped_and_repeated_messages_are_merged() {
    let unknown = [
        vec![15 << 3, 0xff, 0x01],
        vec![15 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![15 << 3 | 5, 0, 0, 0, 0],
        vec![15 << 3 | 3, 14 << 3 | 3, 14 << 3 | 4, 15 << 3 | 4],
    ]
    .concat();
    let raw = [unknown, field(1, &field(1, b"a")), field(1, &field(3, b"n"))].concat();
    let decoded = decode(&object("v1", "ConfigMap", &raw)).expect("decodes");
    assert_eq!(decoded["metadata"], json!({"name": "a", "namespace": "n"}));
    // Numbers in one piece, as proto3 writes lists of them.
    let context = field(1, b"");
    let security = field(14, &field(4, &[1, 0x80, 0x01]));
    let decoded = decode(&object("v1", "Pod", &[context, field(2, &security)].concat())).expect("decodes");
    assert_eq!(decoded["spec"]["securityContext"]["supplementalGroups"], json!([1, 128]));
}

#[test]
fn what_is_malformed_is_refused() {
    let good = object("v1", "Namespace", &field(1, &metadata("demo")));
    let cases: [(Vec<u8>, &str); 9] = [
        (
            b"{}".to_vec(),
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ),
        (good[..good.len() - 1].to_vec(), "unexpected EOF"),
        (object("v1", "Namespace", &[10, 5, 1]), "unexpected EOF"),
        (object("v1", "Namespace", &[8, 1]), "proto: wrong wireType = 0 for field metadata"),
        (object("v1", "Namespace", &[0xff; 11]), "proto: integer overflow"),
        (object("v1", "Namespace", &[2, 0]), "proto: illegal tag 0 (wire type 2)"),
        (object("v1", "Namespace", &[12]), "proto: unexpected end of group"),
        (object("v1", "Namespace", &field(1, &field(1, &[0xff]))), "proto: field name: invalid UTF-8"),
        (object("v1", "Nothing", b""), "no kind \"Nothing\" is registered for version \"v1\""),
    ];
    for (bytes, message) in cases {
        assert_eq!(decode(&bytes).map_err(|error| error.to_string()), Err(message.to_owned()), "{bytes:?}");
    }
    assert!(encode(&json!({"apiVersion": "example.com/v1", "kind": "Custom"})).is_err());
    assert!(encode(&json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": 1}})).is_err());
    assert!(encode(&json!("text")).is_err());
}

#[test]
fn nesting_is_limited() {
    let mut schema = Vec::new();
    for _ in 0..1000 {
        // `not`, number 28.
        let mut outer = vec![(28u8 << 3) | 2 | 0x80, 1];
        let mut length = schema.len();
        while length >= 0x80 {
            outer.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(schema);
        schema = outer;
    }
    let ty = json_schema_props();
    let envelope = Envelope { raw: &schema, ..Envelope::default() };
    assert_eq!(envelope.decode_as(ty), Err(DecodeError::Depth));
}

fn json_schema_props() -> TypeId {
    plan::json_schema_props().expect("a type")
}

/// Whatever the bytes are, reading them ends, and without a panic.
#[test]
fn broken_bytes_do_no_harm() {
    let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i", "livenessProbe": {"httpGet": {"port": 1}},
        "resources": {"limits": {"cpu": "1"}}}], "volumes": [{"name": "v", "emptyDir": {}}]}});
    let good = encode(&value).expect("encodes");
    for at in 4..good.len() {
        for change in [1u8, 2, 7, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            if let Ok(value) = decode(&bytes) {
                assert!(value.is_object());
            }
        }
        // The end may be missed where fields end.
        let _ = decode(&good[..at]);
    }
}

#[test]
fn frames_of_a_watch_carry_their_length() {
    let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}});
    let inner = encode(&value).expect("encodes");
    let event = [field(1, b"ADDED"), field(2, &field(1, &inner))].concat();
    let frame = watch_frame("ADDED", &value).expect("encodes");
    assert_eq!(frame[..4], u32::try_from(event.len()).expect("short").to_be_bytes());
    assert_eq!(frame[4..], event);
}

/// Every field of every kind, from upstream's own test data: both forms must be each other's.
#[test]
fn upstream_test_data_agrees() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/api/roundtrip");
    let Ok(files) = std::fs::read_dir(&folder) else { return };
    let mut wrong = Vec::new();
    let mut agreed = 0;
    for path in files.map(|file| file.expect("an entry").path()) {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read(&path).expect("a file");
        let text: Value = serde_json::from_slice(&text).expect("JSON");
        let bytes = std::fs::read(path.with_extension("pb")).expect("a file");
        let problem = match (encode(&text), decode(&bytes)) {
            (Err(EncodeError::Kind { .. }), Err(DecodeError::Kind { .. })) => continue,
            (Ok(encoded), Ok(decoded)) if encoded == bytes && decoded == text => None,
            (Ok(encoded), Ok(decoded)) => {
                Some(format!("{} {}", differing(&encoded, &bytes), difference("", &decoded, &text)))
            }
            other => Some(format!("{:?} {:?}", other.0.err(), other.1.err())),
        };
        match problem {
            Some(problem) => wrong.push(format!("{name}: {problem}")),
            None => agreed += 1,
        }
    }
    assert!(wrong.is_empty(), "{agreed} agree\n{}", wrong.join("\n"));
    assert!(agreed > 80, "{agreed}");
}

fn differing(have: &[u8], want: &[u8]) -> String {
    let Some(at) = (0..have.len().max(want.len())).find(|at| have.get(*at) != want.get(*at)) else {
        return "bytes equal".to_owned();
    };
    let part = |bytes: &[u8]| {
        let from = at.saturating_sub(24).min(bytes.len());
        String::from_utf8_lossy(&bytes[from..bytes.len().min(at + 24)]).into_owned()
    };
    format!("bytes differ at {at}: {:?} for {:?}", part(have), part(want))
}

fn difference(path: &str, have: &Value, want: &Value) -> String {
    match (have, want) {
        _ if have == want => String::new(),
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.dedup();
            let null = Value::Null;
            keys.iter()
                .map(|key| {
                    difference(
                        &format!("{path}.{key}"),
                        a.get(*key).unwrap_or(&null),
                        b.get(*key).unwrap_or(&null),
                    )
                })
                .find(|found| !found.is_empty())
                .unwrap_or_default()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .map(|(a, b)| difference(&format!("{path}[]"), a, b))
            .find(|found| !found.is_empty())
            .unwrap_or_default(),
        _ => format!("{path}: {have} for {want}"),
    }
}
