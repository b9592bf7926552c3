use std::net::SocketAddr;

use http::StatusCode;
use hyper_util::rt::TokioExecutor;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use super::*;
use crate::flow::tests::config;
use crate::{ApiServer, Config, KubeletTls};

/// A CA and what it signs.
pub(super) struct Pki {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    pub fn new() -> Pki {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Pki { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key, PEM.
    pub fn sign(&self, name: &str, groups: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    pub fn client_tls(&self, identity: Option<(String, String)>, alpn: &str) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("the CA", &self.pem).unwrap() {
            roots.add(certificate).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(
                    certificates("the certificate", &cert).unwrap(),
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Arc::new(config)
    }
}

pub(super) struct Running {
    pub address: SocketAddr,
    pub token: CancellationToken,
    pub task: tokio::task::JoinHandle<io::Result<()>>,
    pub server: Arc<ApiServer>,
}

async fn start(pki: &Pki, config: Config) -> Running {
    start_within(pki, config, Patience::default()).await
}

pub(super) async fn start_within(pki: &Pki, config: Config, patience: Patience) -> Running {
    let store: Arc<dyn store::Store> = Arc::new(store::Embedded::in_memory(store::Options::default()));
    let token = CancellationToken::new();
    let server = Arc::new(ApiServer::start(config, store, token.clone()).await.unwrap());
    let (cert, key) = pki.sign("kube-apiserver", &[]);
    let tls = server_tls(&cert, &key, &pki.pem).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = server.clone();
    let task = TaskTracker::new().spawn(async move { serving.serve_within(listener, tls, patience).await });
    Running { address, token, task, server }
}

pub(super) async fn tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    tls_over(TcpStream::connect(address).await.unwrap(), config).await
}

pub(super) async fn tls_over(
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(config).connect(name, stream).await.unwrap()
}

pub(super) async fn body(response: http::Response<Incoming>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap_or(Value::Null)
}

pub(super) fn get(path: &str) -> Request<crate::ApiBody> {
    Request::get(path).header("host", "127.0.0.1").body(crate::http::empty()).unwrap()
}

#[tokio::test]
async fn certificates_name_the_user_over_both_protocols() {
    let pki = Pki::new();
    let running = start(&pki, config()).await;
    let tasks = TaskTracker::new();
    let admin = || Some(pki.sign("admin", &["system:masters"]));

    let stream = tls(running.address, pki.client_tls(admin(), "h2")).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tasks.spawn(connection);
    let uri = "https://127.0.0.1/api/v1/namespaces";
    let request = Request::get(uri).body(crate::http::empty()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(body(answer).await["kind"], "NamespaceList");

    let stream = tls(running.address, pki.client_tls(None, "http/1.1")).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tasks.spawn(connection);
    let refused = sender.send_request(get("/api/v1/namespaces")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    drop(body(refused).await);
    assert_eq!(sender.send_request(get("/version")).await.unwrap().status(), StatusCode::OK);

    // A certificate of somebody else's CA does not even get a connection that works.
    let stranger = Pki::new().sign("admin", &["system:masters"]);
    let stream = tls(running.address, pki.client_tls(Some(stranger), "http/1.1")).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tasks.spawn(connection);
    assert!(sender.send_request(get("/api/v1/namespaces")).await.is_err());
}

#[tokio::test]
async fn the_end_is_graceful() {
    let pki = Pki::new();
    let running = start(&pki, config()).await;
    let stream =
        tls(running.address, pki.client_tls(Some(pki.sign("admin", &["system:masters"])), "http/1.1")).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(connection);
    let watch = sender.send_request(get("/api/v1/namespaces?watch=1")).await.unwrap();
    assert_eq!(watch.status(), StatusCode::OK);
    running.token.cancel();
    let ended = tokio::time::timeout(Patience::default().drain, running.task).await;
    assert!(ended.expect("in time").unwrap().is_ok());
    assert!(watch.into_body().collect().await.is_ok(), "the watch ends, it does not break");
}

/// Stands in for a kubelet: echoes an upgraded connection, and tells what it was asked for.
async fn kubelet(pki: &Pki, tasks: &TaskTracker) -> SocketAddr {
    let (cert, key) = pki.sign("system:node:n", &["system:nodes"]);
    let acceptor = TlsAcceptor::from({
        let mut config = Arc::unwrap_or_clone(server_tls(&cert, &key, &pki.pem).unwrap());
        config.alpn_protocols.clear();
        Arc::new(config)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.unwrap();
            let caller = client_user(&stream).map(|known| known.user().name.clone()).unwrap_or_default();
            let tasks = own.clone();
            let service = service_fn(move |mut request: Request<Incoming>| {
                let (tasks, caller) = (tasks.clone(), caller.clone());
                async move {
                    let asked = format!("{} {}", caller, request.uri());
                    let mut response = http::Response::new(crate::http::full(asked.clone()));
                    if request.headers().contains_key(http::header::UPGRADE) {
                        let upgrade = hyper::upgrade::on(&mut request);
                        tasks.spawn(async move {
                            let mut stream = TokioIo::new(upgrade.await.unwrap());
                            tokio::io::AsyncWriteExt::write_all(&mut stream, asked.as_bytes()).await.unwrap();
                        });
                        response = http::Response::new(crate::http::empty());
                        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                        let headers = response.headers_mut();
                        headers.insert("connection", http::HeaderValue::from_static("Upgrade"));
                        headers.insert("upgrade", http::HeaderValue::from_static("websocket"));
                    } else if request.uri().path().ends_with("/waiting") {
                        let why =
                            "container \"waiting\" in pod \"web\" is waiting to start: ContainerCreating";
                        response = http::Response::new(crate::http::full(why));
                        *response.status_mut() = StatusCode::BAD_REQUEST;
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            own.spawn(served);
        }
    });
    address
}

/// A node at the stand-in's address with a pod on it.
async fn populate(running: &Running, kubelet: SocketAddr) {
    let node = serde_json::json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": kubelet.ip().to_string()}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}},
        },
    });
    let account = serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}});
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "i"}, {"name": "waiting", "image": "i"}]},
    });
    let registry = running.server.registry();
    for object in [node, account, pod] {
        registry.ensure(object).await.unwrap();
        registry.fresh().await.unwrap();
    }
    // What is created has no status yet.
    let status = serde_json::json!({
        "status": {
            "addresses": [{"type": "InternalIP", "address": kubelet.ip().to_string()}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}},
        },
    });
    let mut request = Request::patch("/api/v1/nodes/n/status")
        .header("content-type", "application/merge-patch+json")
        .body(crate::http::full(status.to_string()))
        .unwrap();
    let admin = auth::UserInfo::new("admin", &[auth::MASTERS_GROUP]);
    request.extensions_mut().insert(Authenticated::new(admin));
    let answer = tower::ServiceExt::oneshot(running.server.service(), request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    registry.fresh().await.unwrap();
}

#[tokio::test]
async fn logs_and_sessions_reach_the_kubelet() {
    let pki = Pki::new();
    let tasks = TaskTracker::new();
    let (cert_pem, key_pem) = pki.sign("kube-apiserver-kubelet-client", &[]);
    let kubelet_tls = KubeletTls { ca_pem: pki.pem.clone(), cert_pem, key_pem };
    let running = start(&pki, Config { kubelet: Some(kubelet_tls), ..config() }).await;
    populate(&running, kubelet(&pki, &tasks).await).await;
    let identity = || Some(pki.sign("admin", &["system:masters"]));
    let connect = || async {
        let stream = tls(running.address, pki.client_tls(identity(), "http/1.1")).await;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tasks.spawn(connection.with_upgrades());
        sender
    };
    let pod = "/api/v1/namespaces/default/pods/web";

    let mut sender = connect().await;
    let log =
        sender.send_request(get(&format!("{pod}/log?container=main&follow=true&tailLines=3"))).await.unwrap();
    assert_eq!(log.status(), StatusCode::OK);
    let text = log.into_body().collect().await.unwrap().to_bytes();
    let expected = "kube-apiserver-kubelet-client /containerLogs/default/web/main?follow=true&tailLines=3";
    assert_eq!(text, expected);

    let waiting = sender.send_request(get(&format!("{pod}/log?container=waiting"))).await.unwrap();
    assert_eq!(waiting.status(), StatusCode::BAD_REQUEST);
    let message = "container \"waiting\" in pod \"web\" is waiting to start: ContainerCreating";
    assert_eq!(body(waiting).await["message"], message);

    let plain = sender.send_request(get(&format!("{pod}/exec?container=main&command=ls"))).await.unwrap();
    assert_eq!(body(plain).await["message"], "Upgrade request required");

    let mut request = get(&format!("{pod}/exec?container=main&command=ls&stdout=true"));
    request.headers_mut().insert("connection", http::HeaderValue::from_static("Upgrade"));
    request.headers_mut().insert("upgrade", http::HeaderValue::from_static("websocket"));
    let switched = sender.send_request(request).await.unwrap();
    assert_eq!(switched.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(switched).await.unwrap());
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await.unwrap();
    assert_eq!(text, "kube-apiserver-kubelet-client /exec/default/web/main?output=1&command=ls");

    let mut sender = connect().await;
    let stats = sender.send_request(get("/api/v1/nodes/n/proxy/stats/summary?only=1")).await.unwrap();
    let text = stats.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "kube-apiserver-kubelet-client /stats/summary?only=1");
}
