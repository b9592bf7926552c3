//! Protobuf through the whole chain, as Go clients use it.

use auth::{MASTERS_GROUP, UserInfo};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, Response};
use http_body_util::BodyExt;
use machinery::codec::protobuf;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{empty, full};
use crate::flow::tests::server;
use crate::{ApiBody, ApiServer, Authenticated};

/// What client-go sends with typed requests.
pub(super) const BOTH: &str = "application/vnd.kubernetes.protobuf,application/json";

pub(super) async fn send(
    server: &ApiServer,
    method: &str,
    path: &str,
    accept: &str,
    body: Option<Bytes>,
) -> Response<ApiBody> {
    let mut request = Request::builder().method(method).uri(path).header(ACCEPT, accept);
    if body.is_some() {
        request = request.header(CONTENT_TYPE, protobuf::MEDIA_TYPE);
    }
    let mut request = request.body(body.map_or_else(empty, full)).expect("a request");
    request.extensions_mut().insert(Authenticated::new(UserInfo::new("root", &[MASTERS_GROUP])));
    server.service().oneshot(request).await.expect("an answer")
}

pub(super) fn content_type(response: &Response<ApiBody>) -> &str {
    response.headers()[CONTENT_TYPE].to_str().expect("text")
}

/// Code and object of an answer in protobuf.
pub(super) async fn object(response: Response<ApiBody>) -> (u16, Value) {
    assert_eq!(content_type(&response), protobuf::MEDIA_TYPE);
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (code, protobuf::decode(&bytes).expect("an object"))
}

pub(super) fn encoded(object: &Value) -> Option<Bytes> {
    Some(protobuf::encode(object).expect("encodes").into())
}

/// `kubectl create namespace demo`, byte for byte.
const NAMESPACE: &[u8] = b"k8s\0\n\x0f\n\x02v1\x12\tNamespace\x12\x1c\
    \n\x14\n\x04demo\x12\0\x1a\0\"\0*\0\x32\0\x38\0\x42\0\x12\0\x1a\x02\n\0\x1a\0\"\0";

#[tokio::test]
async fn objects_are_created_read_and_deleted() {
    let server = server().await;
    let created = send(
        &server,
        "POST",
        "/api/v1/namespaces?fieldManager=kubectl-create&fieldValidation=Strict",
        BOTH,
        Some(Bytes::from_static(NAMESPACE)),
    )
    .await;
    let (code, namespace) = object(created).await;
    assert_eq!((code, &namespace["status"]["phase"]), (201, &json!("Active")), "{namespace}");
    assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "demo");

    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let maps = "/api/v1/namespaces/demo/configmaps";
    assert_eq!(object(send(&server, "POST", maps, BOTH, encoded(&map)).await).await.0, 201);
    let (code, list) = object(send(&server, "GET", maps, BOTH, None).await).await;
    assert_eq!(
        (code, &list["kind"], &list["items"][0]["data"]),
        (200, &json!("ConfigMapList"), &map["data"])
    );
    let metadata = format!("{};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", protobuf::MEDIA_TYPE);
    let (_, list) = object(send(&server, "GET", maps, &metadata, None).await).await;
    assert_eq!(list["items"][0]["metadata"]["name"], "a");

    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let one = format!("{maps}/a");
    let (code, status) = object(send(&server, "DELETE", &one, BOTH, encoded(&options)).await).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")), "{status}");
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    assert_eq!(object(send(&server, "DELETE", &one, BOTH, encoded(&options)).await).await.0, 200);
    assert_eq!(object(send(&server, "GET", &one, BOTH, None).await).await.0, 404);
}

#[tokio::test]
async fn reviews_are_taken_and_given() {
    let server = server().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let (code, answered) = object(send(&server, "POST", path, BOTH, encoded(&review)).await).await;
    assert_eq!((code, &answered["status"]["allowed"]), (201, &json!(true)));
}

#[tokio::test]
async fn watches_are_frames() {
    let server = server().await;
    let path = "/api/v1/namespaces?watch=1&fieldSelector=metadata.name%3Ddefault&timeoutSeconds=60";
    let response = send(&server, "GET", path, BOTH, None).await;
    assert_eq!(content_type(&response), protobuf::WATCH_MEDIA_TYPE);
    let frame = response.into_body().frame().await.expect("a frame").expect("no error");
    let bytes = frame.into_data().expect("data");
    let length = u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"));
    assert_eq!(usize::try_from(length).expect("short"), bytes.len() - 4);
    assert_eq!(bytes[4..11], *b"\n\x05ADDED");
    // The headers of the event stand before the object.
    let at = bytes.windows(4).position(|part| part == b"k8s\0").expect("an object");
    assert_eq!(protobuf::decode(&bytes[at..]).expect("an object")["metadata"]["name"], "default");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let server = server().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let cases: [(&[u8], &str); 4] = [
        (
            b"{}",
            "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a \
             protobuf message, expected prefix [107 56 115 0] ({})",
        ),
        (
            b"k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12\x03\n\x05a",
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: unexpected EOF",
        ),
        (
            b"k8s\0\n\x0d\n\x02v1\x12\x07Nothing",
            "Nothing in version \"v1\" cannot be handled as a ConfigMap: no kind \"Nothing\" is registered for version \
             \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            NAMESPACE,
            "Namespace in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Namespace) to (core.ConfigMap): unknown conversion",
        ),
    ];
    for (body, message) in cases {
        let (code, status) =
            object(send(&server, "POST", maps, BOTH, Some(Bytes::from_static(body))).await).await;
        assert_eq!((code, status["message"].as_str()), (400, Some(message)));
    }
    // Tables have no protobuf form, and no client asks for one.
    let tables = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json";
    let response = send(&server, "GET", maps, tables, None).await;
    assert_eq!(content_type(&response), "application/json");
}
