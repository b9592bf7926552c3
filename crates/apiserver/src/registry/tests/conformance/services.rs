//! What every cluster has for services.

use serde_json::json;

use super::super::harness::Harness;
use super::{items, name, text};

/// A service in every cluster: by its name, among all of them, and by where it leads.
#[tokio::test]
async fn the_service_of_the_api_server_is_found() {
    let h = Harness::start().await;
    let service = h.get("/api/v1/namespaces/default/services/kubernetes").await;
    let everywhere = h.get("/api/v1/services").await;
    let found = items(&everywhere).iter().find(|service| name(service) == "kubernetes");
    assert_eq!(found.map(|service| &service["metadata"]["uid"]), Some(&service["metadata"]["uid"]));
    assert_eq!(text(&service, "/metadata/namespace"), "default");
}

#[tokio::test]
async fn the_range_of_services_is_an_object() {
    const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
    let h = Harness::start().await;
    let range = h.get(&format!("{RANGES}/kubernetes")).await;
    let status = h.get(&format!("{RANGES}/kubernetes/status")).await;
    assert_eq!(
        (&status["apiVersion"], &status["kind"], &status["metadata"]["uid"]),
        (&json!("networking.k8s.io/v1"), &json!("ServiceCIDR"), &range["metadata"]["uid"])
    );
    assert!(!items(&h.get(RANGES).await).is_empty());
    let mut events = h.watch(&format!("{RANGES}?watch=1")).await;
    assert_eq!(events.brief().await, ("ADDED".to_owned(), "kubernetes".to_owned()));
}
