//! What every cluster has from its first moment.

use machinery::resources::Resources;
use serde_json::json;

use super::harness::Harness;

#[tokio::test]
async fn every_group_version_has_its_service() {
    let h = Harness::start().await;
    let services = h.get("/apis/apiregistration.k8s.io/v1/apiservices").await;
    let names: Vec<&str> = services["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["metadata"]["name"].as_str())
        .collect();
    let versions: usize = Resources::builtin().groups().iter().map(|(_, versions)| versions.len()).sum();
    // Upstream's aggregator does not register itself either.
    assert_eq!(names.len(), versions - 1);
    assert!(names.contains(&"v1.") && !names.contains(&"v1.apiregistration.k8s.io"));
    let apps = h.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.apps").await;
    let spec =
        json!({"group": "apps", "groupPriorityMinimum": 17_800, "version": "v1", "versionPriority": 15});
    assert_eq!(apps["spec"], spec);
    assert_eq!(apps["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"}));
    let condition = &apps["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("Available"), &json!("Local")));
}

#[tokio::test]
async fn clients_and_extensions_find_what_they_authenticate_with() {
    let h = Harness::start().await;
    let maps = "/api/v1/namespaces/kube-system/configmaps";
    let info = h.get(&format!("{maps}/extension-apiserver-authentication")).await;
    assert_eq!(info["data"], json!({"client-ca-file": h.registry.config().ca_pem}));
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system";
    let reader = h.get(&format!("{roles}/roles/extension-apiserver-authentication-reader")).await;
    assert_eq!(reader["rules"][0]["resourceNames"], json!(["extension-apiserver-authentication"]));
    let tracking = h.get(&format!("{maps}/kube-apiserver-legacy-service-account-token-tracking")).await;
    assert_eq!(tracking["data"]["since"].as_str().map(str::len), Some("2026-01-31".len()));
}
