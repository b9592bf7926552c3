//! An API server of a test: lists and watches of what the test puts in.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use client::kube;
use futures::StreamExt as _;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

type Body = UnsyncBoxBody<Bytes, Infallible>;

const WATCH_BUFFER: usize = 64;

/// Objects by collection path (`/api/v1/services`) and by `namespace/name`.
#[derive(Clone, Default)]
pub struct FakeApi(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    watches: Vec<(String, mpsc::Sender<Bytes>)>,
}

impl FakeApi {
    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Creates or replaces.
    pub fn put(&self, collection: &str, mut object: Value) -> Value {
        let mut state = self.0.lock().unwrap();
        state.revision += 1;
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        let key = key(&object);
        let old = state.objects.entry(collection.to_owned()).or_default().insert(key, object.clone());
        state.tell(collection, if old.is_some() { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    pub fn get(&self, collection: &str, namespace: &str, name: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(collection)?.get(&format!("{namespace}/{name}")).cloned()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default();
        match head.method {
            Method::GET if query.contains("watch=true") => self.watch(&path),
            Method::GET => self.read(&path),
            Method::POST | Method::PUT => {
                let bytes = body.collect().await.expect("body").to_bytes();
                let object: Value = serde_json::from_slice(&bytes).expect("JSON");
                let (collection, _) = split(&path);
                json_answer(201, &self.put(&collection, object))
            }
            _ => json_answer(405, &json!({})),
        }
    }

    fn read(&self, path: &str) -> Response<Body> {
        let state = self.0.lock().unwrap();
        let (collection, key) = split(path);
        let objects = state.objects.get(&collection);
        match key {
            Some(key) => match objects.and_then(|objects| objects.get(&key)) {
                Some(object) => json_answer(200, object),
                None => json_answer(
                    404,
                    &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "reason": "NotFound", "message": "not found", "code": 404}),
                ),
            },
            None => {
                let items: Vec<&Value> = objects.into_iter().flat_map(BTreeMap::values).collect();
                json_answer(
                    200,
                    &json!({"kind": "List", "apiVersion": "v1", "items": items,
                    "metadata": {"resourceVersion": state.revision.to_string()}}),
                )
            }
        }
    }

    /// Tests put nothing in between the list and the watch.
    fn watch(&self, path: &str) -> Response<Body> {
        let (sender, receiver) = mpsc::channel(WATCH_BUFFER);
        self.0.lock().unwrap().watches.push((path.to_owned(), sender));
        let frames = ReceiverStream::new(receiver).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

impl State {
    fn tell(&mut self, collection: &str, kind: &str, object: &Value) {
        let line = Bytes::from(format!("{}\n", json!({"type": kind, "object": object})));
        for (_, watch) in self.watches.iter().filter(|(path, _)| path == collection) {
            drop(watch.try_send(line.clone()));
        }
    }
}

fn key(object: &Value) -> String {
    let meta = &object["metadata"];
    format!("{}/{}", meta["namespace"].as_str().unwrap_or(""), meta["name"].as_str().expect("name"))
}

/// `/api/v1/namespaces/a/services/b` is `/api/v1/services` and `a/b`.
fn split(path: &str) -> (String, Option<String>) {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.iter().position(|part| *part == "namespaces") {
        Some(at) if parts.len() > at + 2 => {
            let collection = format!("{}/{}", parts[..at].join("/"), parts[at + 2]);
            (collection, parts.get(at + 3).map(|name| format!("{}/{name}", parts[at + 1])))
        }
        _ => (path.to_owned(), None),
    }
}

fn json_answer(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).expect("response")
}
