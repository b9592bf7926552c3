//! Bodies that are not what they have to be, told in upstream's words.

use serde_json::json;

use super::bad_input_tests::{JSON, MAPS, PROTOBUF, YAML, deep, send, yaml_bomb};
use super::tests::{Client, server};

/// A media type, a body, and the code and the beginning of the message that it is refused with.
type Case<'a> = (&'a str, Vec<u8>, u16, String);

async fn refused(admin: &Client<'_>, cases: Vec<Case<'_>>) {
    for (content_type, body, code, message) in cases {
        let start: String = String::from_utf8_lossy(&body).chars().take(40).collect();
        let reply = send(admin, "POST", MAPS, content_type, body).await;
        assert_eq!(reply.code, code, "{content_type} {start:?}: {}", reply.message());
        assert_eq!(reply.json()["kind"], "Status", "{content_type} {start:?}");
        assert!(reply.message().starts_with(&message), "{content_type} {start:?}: {}", reply.message());
    }
}

const MUST_BE: &str = "the object provided is unrecognized (must be of type ConfigMap): ";

#[tokio::test]
async fn bodies_that_name_no_kind() {
    let server = server().await;
    let admin = Client::admin(&server);
    let must_be = MUST_BE;
    let unrecognized = format!("{MUST_BE}couldn't get version/kind; json parse error: ");
    let cases: Vec<Case<'_>> = vec![
        (YAML, yaml_bomb().into_bytes(), 400, String::new()),
        (YAML, format!("a: {}", "[".repeat(100_000)).into_bytes(), 400, String::new()),
        (YAML, format!("{}a: 1", "- ".repeat(100_000)).into_bytes(), 400, String::new()),
        (
            YAML,
            b"a: *nowhere".to_vec(),
            400,
            format!("{must_be}yaml: unknown anchor 'nowhere' referenced (613a202a6e6f7768657265)"),
        ),
        (
            YAML,
            b"a: &a [*a]".to_vec(),
            400,
            format!("{must_be}yaml: anchor 'a' value contains itself (613a202661205b2a615d)"),
        ),
        (YAML, b"a: \"\x01\xff\"".to_vec(), 400, format!("{must_be}yaml: invalid leading UTF-8 octet")),
        (YAML, b"a: \"\x01\"".to_vec(), 400, format!("{must_be}yaml: control characters are not allowed")),
        (
            YAML,
            b"a: b: c".to_vec(),
            400,
            format!("{must_be}yaml: mapping values are not allowed in this context (613a20623a2063)"),
        ),
        (
            YAML,
            b"a: 1\nb: c: d\n".to_vec(),
            400,
            format!("{must_be}yaml: line 2: mapping values are not allowed in this context"),
        ),
        (YAML, b"a: .nan".to_vec(), 400, format!("{must_be}json: unsupported value: NaN")),
        (
            YAML,
            b"- a".to_vec(),
            400,
            format!(
                "{unrecognized}json: cannot unmarshal array into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }} (2d2061)"
            ),
        ),
        (
            JSON,
            b"[]".to_vec(),
            400,
            format!("{unrecognized}json: cannot unmarshal array into Go value of type struct {{"),
        ),
        (
            JSON,
            b"null".to_vec(),
            422,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
                .to_owned(),
        ),
        (
            JSON,
            b"{\"apiVersion\":1}".to_vec(),
            400,
            format!(
                "{unrecognized}json: cannot unmarshal number into Go struct field .apiVersion of type string ({{\"apiVersion\":1}})"
            ),
        ),
        (
            JSON,
            b"{\"kind\":[]}".to_vec(),
            400,
            format!("{unrecognized}json: cannot unmarshal array into Go struct field .kind of type string"),
        ),
        (
            JSON,
            b"{\"apiVersion\":\"a/b/c\"}".to_vec(),
            400,
            format!("{must_be}unexpected GroupVersion string: a/b/c ({{\"apiVersion\":\"a/b/c\"}})"),
        ),
        (YAML, b"%YAML 9.9\n---\n!!binary x: ?".to_vec(), 400, String::new()),
    ];
    refused(&admin, cases).await;
}

#[tokio::test]
async fn bodies_that_are_no_objects() {
    let server = server().await;
    let admin = Client::admin(&server);
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: ";
    let must_be = MUST_BE;
    let unknown = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let long = "x".repeat(2 << 20);
    let cases: Vec<Case<'_>> = vec![
        (JSON, b"{".to_vec(), 400, format!("{unrecognized}unexpected end of JSON input ({{)")),
        (
            JSON,
            b"nonsense".to_vec(),
            400,
            format!("{unrecognized}invalid character 'o' in literal null (expecting 'u') (6e6f6e73656e7365)"),
        ),
        (
            JSON,
            b"{\"a\":1}}".to_vec(),
            400,
            format!("{unrecognized}invalid character '}}' after top-level value ({{\"a\":1}}}})"),
        ),
        (
            JSON,
            b"{\"a\":\0}".to_vec(),
            400,
            format!("{unrecognized}invalid character '\\x00' looking for beginning of value"),
        ),
        (
            JSON,
            b"{\"a\":\"\0\"}".to_vec(),
            400,
            format!("{unrecognized}invalid character '\\x00' in string literal"),
        ),
        (
            JSON,
            b"\xff\xfe{\0}\0".to_vec(),
            400,
            format!("{unrecognized}invalid character '\u{ff}' looking for beginning of value"),
        ),
        (JSON, deep("[", "]", 20_000).into_bytes(), 400, format!("{unrecognized}exceeded max depth")),
        (JSON, deep("{\"a\":", "}", 20_000).into_bytes(), 400, format!("{unrecognized}exceeded max depth")),
        (JSON, "[".repeat(3_000_000).into_bytes(), 400, format!("{unrecognized}exceeded max depth")),
        (PROTOBUF, b"nonsense".to_vec(), 400, String::new()),
        (PROTOBUF, b"k8s\0".to_vec(), 400, format!("{must_be}empty body (6b387300)")),
        (PROTOBUF, b"k8s\0\x0a\xff\xff\xff\xff\x0f".to_vec(), 400, String::new()),
        (
            PROTOBUF,
            b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x05\x0a\xff\xff\xff\x7f".to_vec(),
            400,
            String::new(),
        ),
        (PROTOBUF, [b"k8s\0".to_vec(), b"\x0b".repeat(1_000_000)].concat(), 400, String::new()),
        ("text/plain", b"{}".to_vec(), 415, unknown.to_owned()),
        ("application/json; charset=\"", b"{".to_vec(), 415, unknown.to_owned()),
        ("application/json; charset=\"x\"", b"{".to_vec(), 400, String::new()),
        ("*/*", b"{}".to_vec(), 415, unknown.to_owned()),
        ("application/cbor", b"\xa0".to_vec(), 415, unknown.to_owned()),
        (JSON, vec![b' '; 3 * 1024 * 1024 + 1], 413, "Request entity too large: limit is 3145728".to_owned()),
        (
            JSON,
            json!({"metadata": {"name": "a", "annotations": {"k": "x".repeat(256 << 10)}}})
                .to_string()
                .into_bytes(),
            422,
            "ConfigMap \"a\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"
                .to_owned(),
        ),
        (
            JSON,
            json!({"metadata": {"name": "x".repeat(254)}}).to_string().into_bytes(),
            422,
            format!(
                "ConfigMap \"{0}\" is invalid: metadata.name: Invalid value: \"{0}\": must be no more than 253 characters",
                "x".repeat(254)
            ),
        ),
        (
            JSON,
            json!({"metadata": {"name": "a"}, "data": {"k": long}}).to_string().into_bytes(),
            422,
            String::new(),
        ),
        (JSON, json!({"metadata": {"name": "a\0"}}).to_string().into_bytes(), 422, String::new()),
        (
            JSON,
            json!({"metadata": {"name": "a", "labels": {"a/b/c": "\0"}}}).to_string().into_bytes(),
            422,
            String::new(),
        ),
    ];
    refused(&admin, cases).await;
    assert_eq!(admin.get(MAPS).await.code, 200);
    // Go replaces what is not UTF-8.
    let odd = b"{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"\xff\"}}".to_vec();
    let created = send(&admin, "POST", MAPS, JSON, odd).await;
    assert_eq!((created.code, created.json()["data"]["k"].as_str()), (201, Some("\u{fffd}")));
}

#[tokio::test]
async fn fields_that_there_are_not() {
    let server = server().await;
    let admin = Client::admin(&server);
    let cannot = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: ";
    let json =
        r#"{"metadata": {"name": "a", "z": 1, "b": 2}, "data": {"k": "1", "k": "2", "k": "3"}, "a": 1}"#;
    let in_json = [
        "unknown field \"metadata.z\"",
        "unknown field \"metadata.b\"",
        "duplicate field \"data.k\"",
        "unknown field \"a\"",
    ];
    let yaml = "metadata: {name: a, z: 1}\ndata:\n  k: '1'\n  k: '2'\n\"data\": {k: '3'}\n";
    let in_yaml = ["line 4: key \"k\" already set in map", "line 5: key \"data\" already set in map"];
    let yaml_error =
        format!("yaml: unmarshal errors:\n  {}, unknown field \"metadata.z\"", in_yaml.join("\n  "));
    let warned = |texts: &[&str]| -> Vec<String> {
        texts.iter().map(|text| format!("299 - \"{}\"", text.replace('"', "\\\""))).collect()
    };
    for (content_type, body, strict, warnings) in [
        (JSON, json, in_json.join(", "), warned(&in_json)),
        (YAML, yaml, yaml_error, warned(&[in_yaml[0], in_yaml[1], "unknown field \"metadata.z\""])),
    ] {
        let path = format!("{MAPS}?fieldValidation=Strict&dryRun=All");
        let refused = send(&admin, "POST", &path, content_type, body.into()).await;
        assert_eq!((refused.code, refused.message()), (400, format!("{cannot}{strict}")));
        let path = format!("{MAPS}?fieldValidation=Warn&dryRun=All");
        let taken = send(&admin, "POST", &path, content_type, body.into()).await;
        let have: Vec<&str> =
            taken.headers.get_all("warning").iter().map(|value| value.to_str().unwrap_or_default()).collect();
        assert_eq!((taken.code, have), (201, warnings.iter().map(String::as_str).collect()));
        let path = format!("{MAPS}?fieldValidation=Ignore&dryRun=All");
        let silent = send(&admin, "POST", &path, content_type, body.into()).await;
        assert_eq!((silent.code, silent.headers.get("warning")), (201, None));
    }
    let apply = format!("{MAPS}/a?fieldManager=m&fieldValidation=Strict");
    let refused = send(
        &admin,
        "PATCH",
        &apply,
        "application/apply-patch+yaml",
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: '1'\n  k: '2'\n".to_vec(),
    )
    .await;
    let want = "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  line 6: key \"k\" already set in map";
    assert_eq!((refused.code, refused.message().as_str()), (400, want));
}

#[tokio::test]
async fn options_of_deletions_in_bodies() {
    let server = server().await;
    let admin = Client::admin(&server);
    assert_eq!(admin.post(MAPS, json!({"metadata": {"name": "a"}})).await.code, 201);
    let path = format!("{MAPS}/a");
    let scheme = "in scheme \"pkg/apis/meta/internalversion/scheme/register.go:27\"";
    for (body, code, message) in [
        ("{", 400, "couldn't get version/kind; json parse error: unexpected end of JSON input".to_owned()),
        (
            r#"{"gracePeriodSeconds":"x"}"#,
            400,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64".to_owned(),
        ),
        (r#"{"kind":"Pod","apiVersion":"v1"}"#, 400, format!("no kind \"Pod\" is registered for version \"v1\" {scheme}")),
        (r#"{"kind":"CreateOptions"}"#, 400, "decoded object cannot be converted to DeleteOptions".to_owned()),
        (
            r#"{"dryRun":["x"]}"#,
            422,
            "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"x\"]: supported values: \"All\"".to_owned(),
        ),
        (r#"{"kind":"DeleteOptions","apiVersion":"apps/v1","unknown":1}"#, 200, String::new()),
    ] {
        let reply = send(&admin, "DELETE", &path, JSON, body.into()).await;
        assert_eq!((reply.code, reply.message()), (code, message), "{body}");
    }
}

#[tokio::test]
async fn reviews_are_read_like_objects() {
    let server = server().await;
    let admin = Client::admin(&server);
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (body, message) in [
        (
            "",
            "the object provided is unrecognized (must be of type SelfSubjectAccessReview): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
        ),
        (
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            "Pod in version \"v1\" cannot be handled as a SelfSubjectAccessReview: converting (v1.Pod) to (authorization.SelfSubjectAccessReview): unknown conversion",
        ),
        (
            r#"{"spec":1}"#,
            "SelfSubjectAccessReview in version \"v1\" cannot be handled as a SelfSubjectAccessReview: json: cannot unmarshal number into Go struct field SelfSubjectAccessReview.spec of type v1.SelfSubjectAccessReviewSpec",
        ),
    ] {
        let reply = send(&admin, "POST", path, JSON, body.into()).await;
        assert_eq!((reply.code, reply.message().as_str()), (400, message), "{body}");
    }
    let odd = br#"{"x":1,"spec":{"nonResourceAttributes":{"verb":"get","path":"/"}}}"#;
    let warned = send(&admin, "POST", path, JSON, odd.to_vec()).await;
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"x\\\"\"");
    let refused = send(&admin, "POST", path, JSON, br#"{"x":1}"#.to_vec()).await;
    assert_eq!((refused.code, &refused.headers["warning"]), (422, &warned.headers["warning"]));
}
