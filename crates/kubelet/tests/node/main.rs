//! The node agent as a whole, between a runtime and an API that live in memory.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod api;
mod http_api;
mod pki;
mod pods;
mod runtime;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Everything one test needs.
pub struct Bench {
    pub api: api::Api,
    pub runtime: runtime::Fake,
    pub pki: pki::Pki,
    pub address: SocketAddr,
    dir: Arc<tempfile::TempDir>,
    token: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Bench {
    /// A node that has started and registered.
    pub async fn start() -> Self {
        let mut bench = Self {
            api: api::Api::new(),
            runtime: runtime::Fake::new(&["img:1", "img:2"]),
            pki: pki::Pki::new(),
            address: free_address(),
            dir: Arc::new(tempfile::tempdir().expect("a directory")),
            token: CancellationToken::new(),
            task: None,
        };
        bench.run();
        eventually("the node is ready", || {
            let node = bench.api.get("/api/v1/nodes/n1")?;
            let conditions = node["status"]["conditions"].as_array()?;
            conditions.iter().find(|c| c["type"] == "Ready" && c["status"] == "True").map(|_| ())
        })
        .await;
        bench
    }

    /// Starts the node agent, for the first time or again.
    pub fn run(&mut self) {
        let root = self.dir.path().join("kubelet");
        let ip = "127.0.0.1".parse().expect("ip");
        let mut config =
            kubelet::Config::new("n1", ip, root, self.dir.path().join("logs"), self.pki.server());
        config.listen = self.address;
        config.pod_cidr = "10.42.0.0/24".to_owned();
        // A test leaves the machine's mounts alone.
        config.secrets_in_memory = false;
        config.cluster_dns = vec!["10.43.0.10".parse().expect("ip")];
        let kubelet = kubelet::Kubelet::new(config, self.api.client(), Arc::new(self.runtime.clone()));
        self.token = CancellationToken::new();
        let token = self.token.clone();
        self.task = Some(tokio::spawn(async move { kubelet.run(token).await.expect("the kubelet runs") }));
    }

    /// Stops the node agent; containers stay.
    pub async fn stop(&mut self) {
        self.token.cancel();
        if let Some(task) = self.task.take() {
            tokio::time::timeout(Duration::from_secs(60), task).await.expect("it stops").expect("in peace");
        }
    }

    pub fn create(&self, name: &str, spec: Value) -> String {
        let path = format!("/api/v1/namespaces/ns/pods/{name}");
        let mut base = json!({
            "nodeName": "n1", "restartPolicy": "Always", "terminationGracePeriodSeconds": 3,
            "containers": [{"name": "web", "image": "img:1", "imagePullPolicy": "IfNotPresent"}],
        });
        base.as_object_mut().expect("object").extend(spec.as_object().expect("object").clone());
        self.api.put(&path, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "ns", "generation": 1}, "spec": base}));
        path
    }

    pub async fn phase(&self, path: &str, phase: &str) -> Value {
        eventually(&format!("{path} is {phase}"), || {
            self.api.get(path).filter(|pod| pod["status"]["phase"] == phase)
        })
        .await
    }

    pub fn pod_dir(&self, uid: &str) -> std::path::PathBuf {
        self.dir.path().join("kubelet/pods").join(uid)
    }

    /// Whether an event with this reason and message was reported.
    pub async fn event(&self, reason: &str, message: &str) {
        eventually(&format!("an event {reason} {message:?}"), || {
            let events = self.api.list("/api/v1/namespaces/ns/events/");
            events
                .into_iter()
                .find(|event| {
                    event["reason"] == reason
                        && event["message"].as_str().is_some_and(|text| text.contains(message))
                })
                .map(|_| ())
        })
        .await;
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// Waits until `look` finds something.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
