//! Protobuf through the whole chain for every resource that is stored: what is written so is read alike in both forms.

use std::collections::BTreeSet;

use http_body_util::BodyExt;
use machinery::codec::protobuf;
use machinery::decode::{self, Media};
use machinery::resources::{Resource, Resources};
use serde_json::{Value, json};

use super::protobuf_tests::{BOTH, content_type, encoded, object, send};
use crate::ApiServer;
use crate::flow::tests::server;

/// One object of each kind; the head of the file says more.
const OBJECTS: &str = include_str!("../../../../tests/parity/objects.yaml");
const NAMESPACE: &str = "parity-wire";
const JSON: &str = "application/json";
const METADATA: &str = ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

fn of_kind(object: &Value) -> &'static Resource {
    let (group, version) = machinery::meta::split_api_version(machinery::meta::api_version(object));
    let kind = machinery::meta::kind(object);
    Resources::builtin().by_kind(group, version, kind).unwrap_or_else(|| panic!("{group}/{version} {kind}"))
}

/// Each object in each version that takes it.
fn objects() -> Vec<Value> {
    let text = OBJECTS.replace("{suite}", "wire").replace("{n}", "1");
    let rows = decode::object(text.as_bytes(), Media::Yaml).expect("a table").value;
    let mut objects = Vec::new();
    for row in rows.as_array().expect("a list") {
        let group =
            row["object"]["apiVersion"].as_str().expect("a version").split('/').next().expect("a group");
        objects.push(row["object"].clone());
        for version in row["also"].as_array().into_iter().flatten() {
            let mut object = row["object"].clone();
            object["apiVersion"] = format!("{group}/{}", version.as_str().expect("text")).into();
            objects.push(object);
        }
    }
    objects
}

fn collection(resource: &Resource) -> String {
    let version = resource.api_version();
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    let namespace = if resource.namespaced { format!("namespaces/{NAMESPACE}/") } else { String::new() };
    format!("/{root}/{version}/{namespace}{}", resource.plural)
}

async fn json_of(server: &ApiServer, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let mut request = http::Request::builder().method(method).uri(path).header("accept", JSON);
    if body.is_some() {
        request = request.header("content-type", JSON);
    }
    let body = body.map_or_else(super::empty, |body| super::full(body.to_string()));
    let mut request = request.body(body).expect("a request");
    let root = auth::UserInfo::new("root", &[auth::MASTERS_GROUP]);
    request.extensions_mut().insert(crate::Authenticated::new(root));
    let response = tower::ServiceExt::oneshot(server.service(), request).await.expect("an answer");
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (code, serde_json::from_slice(&bytes).expect("JSON"))
}

/// Protobuf knows neither null nor an empty list from nothing.
fn without_nulls(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
            map.values_mut().for_each(|value| *value = without_nulls(value.take()));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| *value = without_nulls(value.take())),
        _ => {}
    }
    value
}

/// What differs between two creations of the same object.
fn without_identity(object: &Value) -> Value {
    // A job is selected by its own UID.
    let uid = object["metadata"]["uid"].as_str().unwrap_or("-");
    let text = without_nulls(object.clone()).to_string().replace(uid, "*");
    let mut object: Value = serde_json::from_str(&text).expect("JSON");
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["uid", "creationTimestamp", "resourceVersion", "managedFields"] {
            metadata.remove(field);
        }
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
        // The volume of the account's token has a random name.
        spec.remove("volumes");
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("lastPhaseTransitionTime");
    }
    if let Some(containers) = object.pointer_mut("/spec/containers").and_then(Value::as_array_mut) {
        containers
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(|container| drop(container.remove("volumeMounts")));
    }
    object
}

/// Items of a list name no kind in protobuf.
fn without_kinds(mut list: Value) -> Value {
    for item in list["items"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        item.remove("apiVersion");
        item.remove("kind");
    }
    list
}

async fn prepared() -> ApiServer {
    let server = server().await;
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    assert_eq!(json_of(&server, "POST", "/api/v1/namespaces", Some(&namespace)).await.0, 201);
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    assert_eq!(
        json_of(&server, "POST", &accounts, Some(&json!({"metadata": {"name": "default"}}))).await.0,
        201
    );
    server
}

/// Creates an object from protobuf, and makes sure that JSON would have made the same of it.
async fn create(server: &ApiServer, wanted: &Value, wrong: &mut Vec<String>) -> Value {
    let resource = of_kind(wanted);
    let what = format!("{} {}", resource.api_version(), resource.kind);
    let path = collection(resource);
    let dry = format!("{path}?dryRun=All");
    let (code, from_json) = json_of(server, "POST", &dry, Some(wanted)).await;
    assert_eq!(code, 201, "{what}: {from_json}");
    let (code, created) = object(send(server, "POST", &path, BOTH, encoded(wanted)).await).await;
    assert_eq!(code, 201, "{what}: {created}");
    let (have, want) = (without_identity(&created), without_identity(&from_json));
    if have != want {
        wrong.push(format!("{what}\n  from protobuf {have}\n  from JSON {want}"));
    }
    created
}

#[tokio::test]
async fn every_kind_is_written_and_read() {
    let server = prepared().await;
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for wanted in objects() {
        let resource = of_kind(&wanted);
        let what = format!("{} {}", resource.api_version(), resource.kind);
        let created = create(&server, &wanted, &mut wrong).await;
        let path = collection(resource);
        let one = format!("{path}/{}", created["metadata"]["name"].as_str().expect("a name"));
        let (code, in_json) = json_of(&server, "GET", &one, None).await;
        let in_json = without_nulls(in_json);
        if (code, &in_json) != (200, &created) {
            wrong.push(format!("{what}\n  GET {in_json}\n  POST {created}"));
        }
        assert_eq!(object(send(&server, "GET", &one, BOTH, None).await).await, (200, in_json), "{what}");
        check_list(&server, &path, &what).await;
        check_metadata(&server, &path, &one, &created).await;

        // A replacement by what is there changes nothing.
        let replaced = object(send(&server, "PUT", &one, BOTH, encoded(&created)).await).await;
        assert_eq!(
            (replaced.0, &replaced.1["metadata"]["resourceVersion"]),
            (200, &created["metadata"]["resourceVersion"]),
            "{what}: {}",
            replaced.1
        );
        let options =
            json!({"apiVersion": resource.api_version(), "kind": "DeleteOptions", "gracePeriodSeconds": 0});
        let (code, deleted) = object(send(&server, "DELETE", &one, BOTH, encoded(&options)).await).await;
        assert!(matches!(code, 200 | 202), "{what}: {deleted}");
        seen.insert(what);
    }
    let stored = Resources::builtin().iter().filter(|r| r.allows("create") && r.is_stored());
    let all: BTreeSet<String> = stored.map(|r| format!("{} {}", r.api_version(), r.kind)).collect();
    assert_eq!(seen, all);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn check_list(server: &ApiServer, path: &str, what: &str) {
    let (_, in_json) = json_of(server, "GET", path, None).await;
    let (code, list) = object(send(server, "GET", path, BOTH, None).await).await;
    assert_eq!((code, without_kinds(list)), (200, without_nulls(without_kinds(in_json))), "{what}");
    // Tables have no protobuf form.
    let table = format!("{};as=Table;g=meta.k8s.io;v=v1", protobuf::MEDIA_TYPE);
    let refused = send(server, "GET", path, &table, None).await;
    assert_eq!((refused.status().as_u16(), content_type(&refused)), (406, JSON), "{what}");
    let both = send(server, "GET", path, &format!("{table},{JSON};as=Table;g=meta.k8s.io;v=v1"), None).await;
    assert_eq!((both.status().as_u16(), content_type(&both)), (200, JSON), "{what}");
}

async fn check_metadata(server: &ApiServer, path: &str, one: &str, created: &Value) {
    let accept = format!("{}{METADATA}", protobuf::MEDIA_TYPE);
    let (code, partial) = object(send(server, "GET", one, &accept, None).await).await;
    assert_eq!((code, &partial["kind"]), (200, &json!("PartialObjectMetadata")));
    assert_eq!(partial["metadata"], created["metadata"]);
    let accept = format!("{}{METADATA_LIST}", protobuf::MEDIA_TYPE);
    let (code, list) = object(send(server, "GET", path, &accept, None).await).await;
    assert_eq!((code, &list["kind"]), (200, &json!("PartialObjectMetadataList")));
    let name = &created["metadata"]["name"];
    let item = list["items"].as_array().into_iter().flatten().find(|item| item["metadata"]["name"] == *name);
    assert_eq!(item.map(|item| &item["metadata"]), Some(&created["metadata"]));
}

/// Type and object of the first event of a watch.
async fn first_event(server: &ApiServer, path: &str, accept: &str) -> (String, Value) {
    let response = send(server, "GET", path, accept, None).await;
    assert_eq!(content_type(&response), protobuf::WATCH_MEDIA_TYPE, "{path}");
    let frame = response.into_body().frame().await.expect("a frame").expect("no error");
    let bytes = frame.into_data().expect("data");
    let length = u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"));
    assert_eq!(usize::try_from(length).expect("short"), bytes.len() - 4, "{path}");
    // Field 1 of the event is its type, field 2 holds the object's bytes in a field 1.
    assert_eq!(bytes[4], 0x0a);
    let word = usize::from(bytes[5]);
    let kind = String::from_utf8_lossy(&bytes[6..6 + word]).into_owned();
    let at = bytes.windows(4).position(|part| part == b"k8s\0").expect("an object");
    (kind, protobuf::decode(&bytes[at..]).expect("an object"))
}

#[tokio::test]
async fn every_kind_is_watched() {
    let server = prepared().await;
    let mut wrong = Vec::new();
    for wanted in objects() {
        let resource = of_kind(&wanted);
        let what = format!("{} {}", resource.api_version(), resource.kind);
        let path = collection(resource);
        let (_, before) = json_of(&server, "GET", &format!("{path}?limit=1"), None).await;
        let version = before["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
        let created = create(&server, &wanted, &mut wrong).await;
        let name = created["metadata"]["name"].as_str().expect("a name");
        let watch = format!(
            "{path}?watch=1&resourceVersion={version}&timeoutSeconds=60&fieldSelector=metadata.name%3D{name}"
        );
        assert_eq!(first_event(&server, &watch, BOTH).await, ("ADDED".to_owned(), created.clone()), "{what}");
        let accept = format!("{}{METADATA}", protobuf::MEDIA_TYPE);
        let (_, partial) = first_event(&server, &watch, &accept).await;
        assert_eq!(
            (&partial["kind"], &partial["metadata"]),
            (&json!("PartialObjectMetadata"), &created["metadata"]),
            "{what}"
        );
        let one = format!("{path}/{name}?gracePeriodSeconds=0");
        assert!(json_of(&server, "DELETE", &one, None).await.0 < 300, "{what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
