//! A registry over a store in memory or in etcd, and requests to it as clients write them.

use std::sync::Arc;
use std::time::Duration;

use auth::UserInfo;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use store::{Embedded, Etcd, EtcdOptions, Store};
use tokio_util::sync::CancellationToken;

use crate::http::{Accept, Offer, Query, RequestInfo};
use crate::registry::{Answer, AnswerBody, ApiRequest, Authorizer, Registry};

/// How long a test waits for something that has to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// When this variable is set to `etcd`, each harness has an etcd of its own.
pub const STORE: &str = "KNARR_TEST_STORE";

/// What is authorized is not looked at here.
pub struct Everyone;

impl Authorizer for Everyone {
    fn allow(&self, _: &auth::Attributes<'_>) -> Result<(), machinery::status::Status> {
        Ok(())
    }
}

pub struct Harness {
    pub registry: Arc<Registry>,
    pub user: UserInfo,
    /// Ends with the last harness that uses it.
    etcd: Option<Arc<testkit::Etcd>>,
}

async fn store() -> (Arc<dyn Store>, Option<Arc<testkit::Etcd>>) {
    if std::env::var_os(STORE).is_none_or(|store| store != "etcd") {
        return (Arc::new(Embedded::in_memory(store::Options::default())), None);
    }
    let etcd = testkit::Etcd::start().unwrap_or_else(|error| panic!("{error:#}"));
    let mut options = EtcdOptions::from_url(&etcd.url()).expect("its own URL");
    options.completion = Some(Arc::new(crate::registry::Stored::new()));
    (Arc::new(Etcd::open(options).await.expect("etcd answers")), Some(Arc::new(etcd)))
}

/// One request: what differs from a plain GET.
#[derive(Default, Clone)]
pub struct Ask<'a> {
    pub content_type: Option<&'a str>,
    pub accept: Option<&'a str>,
}

pub fn config() -> crate::Config {
    crate::Config {
        advertise: ([127, 0, 0, 1], 6443).into(),
        hostname: "host".into(),
        alone: true,
        service_cidr: "10.43.0.0/16".into(),
        node_ports: 30000..=32767,
        cluster_dns: "10.43.0.10".into(),
        cluster_domain: "cluster.local".into(),
        issuer: "https://kubernetes.default.svc.cluster.local".into(),
        audiences: vec!["https://kubernetes.default.svc.cluster.local".into()],
        token_key_pem: String::new(),
        ca_pem: String::new(),
        kubelet: None,
        components: Vec::new(),
        anonymous: true,
    }
}

impl Harness {
    pub async fn start() -> Self {
        let (store, etcd) = store().await;
        let registry = Registry::start(&config(), store, Arc::new(Everyone), CancellationToken::new())
            .await
            .expect("a new registry starts");
        let user = UserInfo::new("admin", &[auth::MASTERS_GROUP]).authenticated();
        let harness = Self { registry, user, etcd };
        harness
            .must(
                201,
                "POST",
                "/api/v1/namespaces/default/serviceaccounts",
                json!({"metadata": {"name": "default"}}),
            )
            .await;
        harness
    }

    /// The same store behind another registry.
    pub fn restarted(&self, registry: Arc<Registry>) -> Self {
        Self { registry, user: self.user.clone(), etcd: self.etcd.clone() }
    }

    pub fn as_user(&self, user: UserInfo) -> Self {
        Self { registry: self.registry.clone(), user, etcd: self.etcd.clone() }
    }

    pub async fn answer(
        &self,
        method: &str,
        target: &str,
        ask: Ask<'_>,
        body: Bytes,
    ) -> Result<Answer, machinery::status::Status> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = Query::parse(query);
        let info = RequestInfo::resolve(&method.parse().expect("a method"), path, &query).expect("a path");
        let request = ApiRequest {
            info: Arc::new(info),
            user: Arc::new(self.user.clone()),
            query,
            content_type: ask.content_type.map(str::to_owned),
            accept: Accept::negotiate(ask.accept, Offer::ALL)?,
            user_agent: None,
        };
        self.registry.handle(request, body).await
    }

    pub async fn raw(&self, method: &str, target: &str, ask: Ask<'_>, body: Bytes) -> (u16, Value) {
        match self.answer(method, target, ask, body).await {
            Err(status) => (status.code, status.to_json()),
            Ok(Answer { code, body: AnswerBody::Json(bytes), .. }) => {
                (code, serde_json::from_slice(&bytes).expect("an answer is JSON"))
            }
            Ok(_) => panic!("{method} {target} answered with a stream"),
        }
    }

    pub async fn send(&self, method: &str, target: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.raw(method, target, Ask::default(), body).await
    }

    pub async fn patch(&self, kind: &str, target: &str, body: Value) -> (u16, Value) {
        let content_type = format!("application/{kind}");
        let ask = Ask { content_type: Some(&content_type), ..Ask::default() };
        self.raw("PATCH", target, ask, body.to_string().into()).await
    }

    /// Sends a request that has to be answered with this code.
    pub async fn must(&self, code: u16, method: &str, target: &str, body: Value) -> Value {
        let (have, answer) = self.send(method, target, body).await;
        assert_eq!(have, code, "{method} {target}: {answer}");
        answer
    }

    pub async fn get(&self, target: &str) -> Value {
        self.must(200, "GET", target, Value::Null).await
    }

    pub async fn view(&self, target: &str, accept: &str) -> Value {
        let ask = Ask { accept: Some(accept), ..Ask::default() };
        self.raw("GET", target, ask, Bytes::new()).await.1
    }

    pub async fn watch(&self, target: &str) -> Events {
        self.watch_as(target, None).await
    }

    pub async fn watch_as(&self, target: &str, accept: Option<&str>) -> Events {
        let ask = Ask { accept, ..Ask::default() };
        match self.answer("GET", target, ask, Bytes::new()).await {
            Ok(Answer { code: 200, body: AnswerBody::Stream(body), .. }) => {
                Events { body, lines: Vec::new() }
            }
            Ok(answer) => panic!("{target} answered {}", answer.code),
            Err(status) => panic!("{target} answered {status}"),
        }
    }
}

/// The events of a watch.
pub struct Events {
    body: crate::ApiBody,
    lines: Vec<Value>,
}

impl Events {
    /// The next event; none when the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        while self.lines.is_empty() {
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an event comes")?;
            let data = frame.expect("a frame").into_data().expect("data");
            let text = String::from_utf8(data.to_vec()).expect("text");
            assert!(text.ends_with('\n'), "events end their line");
            self.lines =
                text.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect();
        }
        Some(self.lines.remove(0))
    }

    /// Type and name of the next event.
    pub async fn brief(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event");
        let text =
            |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("/type"), text("/object/metadata/name"))
    }
}

pub fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}
