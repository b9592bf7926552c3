//! A small API server in memory: list, watch, create, patch and delete of whatever it is given.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use client::kube;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use machinery::schema::Schema;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Objects by path, e.g. `/api/v1/namespaces/ns/pods/p`.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    objects: Mutex<(u64, BTreeMap<String, Value>)>,
    changes: broadcast::Sender<(String, String, Value)>,
}

impl Api {
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            objects: Mutex::new((1, BTreeMap::new())),
            changes: broadcast::channel(1024).0,
        }))
    }

    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.0.objects.lock().1.get(path).cloned()
    }

    /// Objects below a path.
    pub fn list(&self, prefix: &str) -> Vec<Value> {
        let objects = self.0.objects.lock();
        objects
            .1
            .iter()
            .filter(|(path, _)| path.starts_with(prefix))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Creates or replaces an object.
    pub fn put(&self, path: &str, mut object: Value) -> Value {
        let mut objects = self.0.objects.lock();
        objects.0 += 1;
        let revision = objects.0.to_string();
        let name = path.rsplit('/').next().unwrap_or_default();
        object["metadata"]["name"] = json!(name);
        object["metadata"]["resourceVersion"] = json!(revision);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{revision}"));
        }
        let kind = if objects.1.contains_key(path) { "MODIFIED" } else { "ADDED" };
        objects.1.insert(path.to_owned(), object.clone());
        let _ = self.0.changes.send((path.to_owned(), kind.to_owned(), object.clone()));
        object
    }

    pub fn remove(&self, path: &str) -> Option<Value> {
        let mut objects = self.0.objects.lock();
        objects.0 += 1;
        let revision = objects.0.to_string();
        let mut object = objects.1.remove(path)?;
        object["metadata"]["resourceVersion"] = json!(revision);
        let _ = self.0.changes.send((path.to_owned(), "DELETED".to_owned(), object.clone()));
        Some(object)
    }

    /// What a user's delete does first.
    pub fn delete_gracefully(&self, path: &str, grace: i64) {
        let mut object = self.get(path).expect("an object to delete");
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.put(path, object);
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        match parts.method {
            Method::GET if query.contains("watch=true") => self.watch(path, &query),
            Method::GET => match self.get(&path) {
                Some(object) => json_answer(StatusCode::OK, &object),
                None if is_collection(&path) => self.list_answer(&path, &query),
                None => status(StatusCode::NOT_FOUND, "NotFound"),
            },
            Method::POST => self.create(&path, &body),
            Method::PATCH => self.patch(path.trim_end_matches("/status"), &body),
            Method::PUT => {
                let object = serde_json::from_slice(&body).expect("an object");
                json_answer(StatusCode::OK, &self.put(&path, object))
            }
            Method::DELETE => match self.remove(&path) {
                Some(object) => json_answer(StatusCode::OK, &object),
                None => status(StatusCode::NOT_FOUND, "NotFound"),
            },
            _ => status(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn create(&self, path: &str, body: &[u8]) -> Response<Body> {
        let mut object: Value = serde_json::from_slice(body).expect("an object");
        if path.ends_with("/token") {
            object["status"] = json!({"token": "a-token", "expirationTimestamp": "2099-01-01T00:00:00Z"});
            return json_answer(StatusCode::CREATED, &object);
        }
        if path.ends_with("/subjectaccessreviews") {
            object["status"] = json!({"allowed": object["spec"]["user"] == "friend"});
            return json_answer(StatusCode::CREATED, &object);
        }
        let name = object["metadata"]["name"].as_str().map(str::to_owned);
        let name = name.unwrap_or_else(|| format!("generated-{}", self.0.objects.lock().0));
        let path = format!("{path}/{name}");
        if self.get(&path).is_some() {
            return status(StatusCode::CONFLICT, "AlreadyExists");
        }
        json_answer(StatusCode::CREATED, &self.put(&path, object))
    }

    fn patch(&self, path: &str, body: &[u8]) -> Response<Body> {
        let Some(object) = self.get(path) else { return status(StatusCode::NOT_FOUND, "NotFound") };
        let patch: Value = serde_json::from_slice(body).expect("a patch");
        let uid = &patch["metadata"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return status(StatusCode::CONFLICT, "Conflict");
        }
        let kind = match path.split('/').rev().nth(1) {
            Some("pods") => "Pod",
            Some("nodes") => "Node",
            _ => "Event",
        };
        let ty = Schema::builtin().kind("", "v1", kind).expect("a kind");
        let object = machinery::patch::strategic(&object, &patch, ty).expect("the patch applies");
        json_answer(StatusCode::OK, &self.put(path, object))
    }

    fn list_answer(&self, path: &str, query: &str) -> Response<Body> {
        let (revision, objects) = {
            let objects = self.0.objects.lock();
            (objects.0, objects.1.clone())
        };
        let items: Vec<Value> = objects
            .into_iter()
            .filter(|(key, object)| within(path, key) && selected(query, object))
            .map(|(_, object)| object)
            .collect();
        json_answer(
            StatusCode::OK,
            &json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": revision.to_string()}, "items": items}),
        )
    }

    fn watch(&self, path: String, query: &str) -> Response<Body> {
        let query = query.to_owned();
        let from: u64 = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("resourceVersion="))
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        // Subscribed before looking at what is there: nothing falls in between; doubles are cut by revision.
        let changes = BroadcastStream::new(self.0.changes.subscribe());
        let revision = |object: &Value| {
            object["metadata"]["resourceVersion"]
                .as_str()
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let missed: Vec<(String, String, Value)> = {
            let objects = self.0.objects.lock();
            let newer = objects.1.iter().filter(|(_, object)| revision(object) > from);
            newer.map(|(key, object)| (key.clone(), "MODIFIED".to_owned(), object.clone())).collect()
        };
        let seen = missed.iter().map(|(_, _, object)| revision(object)).max().unwrap_or(from).max(from);
        let later = changes.filter_map(Result::ok).filter(move |(_, _, object)| revision(object) > seen);
        let events = tokio_stream::iter(missed).chain(later).filter_map(move |(key, kind, object)| {
            (within(&path, &key) && selected(&query, &object)).then(|| {
                let mut line = json!({"type": kind, "object": object}).to_string().into_bytes();
                line.push(b'\n');
                Ok(Frame::data(Bytes::from(line)))
            })
        });
        Response::new(StreamBody::new(events).boxed_unsync())
    }
}

fn is_collection(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    ["pods", "services", "nodes", "configmaps", "secrets", "events", "leases"].contains(&last)
}

/// Whether an object's path belongs to a collection, in one namespace or in all.
fn within(collection: &str, key: &str) -> bool {
    let Some((parent, _)) = key.rsplit_once('/') else { return false };
    if parent == collection {
        return true;
    }
    let (Some(kind), Some(other)) = (collection.rsplit('/').next(), parent.rsplit('/').next()) else {
        return false;
    };
    kind == other && !collection.contains("/namespaces/") && parent.contains("/namespaces/")
}

fn selected(query: &str, object: &Value) -> bool {
    let selector = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector=")).unwrap_or_default();
    let selector = selector.replace("%3D", "=");
    let Some((field, wanted)) = selector.split_once('=') else { return true };
    let pointer = format!("/{}", field.replace('.', "/"));
    object.pointer(&pointer).and_then(Value::as_str) == Some(wanted)
}

fn json_answer(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *response.status_mut() = code;
    response
}

fn status(code: StatusCode, reason: &str) -> Response<Body> {
    let value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16(),
    });
    json_answer(code, &value)
}
