//! ComponentStatuses.

use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::harness::{Everyone, Harness, config};
use crate::registry::Registry;
use crate::registry::components::Health;

#[derive(Debug)]
struct Scheduler(Result<(), &'static str>);

impl Health for Scheduler {
    fn check(&self) -> Result<(), String> {
        self.0.map_err(str::to_owned)
    }
}

async fn with_scheduler(health: Result<(), &'static str>) -> Harness {
    let first = Harness::start().await;
    let config = crate::Config { components: vec![("scheduler", Arc::new(Scheduler(health)))], ..config() };
    let store = first.registry.store.clone();
    let registry = Registry::start(&config, store, Arc::new(Everyone), CancellationToken::new()).await;
    first.restarted(registry.expect("a second server starts"))
}

#[tokio::test]
async fn components_say_how_they_are() {
    let h = with_scheduler(Err("connection refused")).await;
    let ok = json!({"type": "Healthy", "status": "True", "message": "ok"});
    let refused = json!({"type": "Healthy", "status": "False", "message": "connection refused"});
    assert_eq!(
        h.get("/api/v1/componentstatuses").await,
        json!({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": [
            {"metadata": {"name": "etcd-0"}, "conditions": [ok]},
            {"metadata": {"name": "scheduler"}, "conditions": [refused]},
        ]})
    );
    assert_eq!(
        h.get("/api/v1/componentstatuses/etcd-0").await,
        json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": "etcd-0"}, "conditions": [ok]})
    );
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let rows = h.view("/api/v1/componentstatuses", table).await["rows"].take();
    assert_eq!(rows[0]["cells"], json!(["etcd-0", "Healthy", "ok", ""]));
    assert_eq!(rows[1]["cells"], json!(["scheduler", "Unhealthy", "connection refused", ""]));
}

#[tokio::test]
async fn components_are_selected_by_name_only() {
    let h = with_scheduler(Ok(())).await;
    for (selector, found) in [
        ("fieldSelector=metadata.name%3Dscheduler", vec!["scheduler"]),
        ("fieldSelector=metadata.name%21%3Dscheduler", vec!["etcd-0"]),
        ("labelSelector=a%3Db", vec![]),
        ("labelSelector=%21a&limit=1", vec!["etcd-0", "scheduler"]),
    ] {
        let list = h.get(&format!("/api/v1/componentstatuses?{selector}")).await;
        let names: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|item| &item["metadata"]["name"]).collect();
        assert_eq!(names, found, "{selector}");
    }
    let none = h.must(404, "GET", "/api/v1/componentstatuses/none", json!(null)).await;
    assert_eq!(none["message"], r#"componentstatus "none" not found"#);
    assert_eq!(none["details"], json!({"name": "none", "kind": "componentstatus"}));
    h.must(405, "POST", "/api/v1/componentstatuses", json!({"metadata": {"name": "a"}})).await;
}
