//! Tokens that are asked for: what is refused, and in which words.

use serde_json::{Value, json};

use super::tests::{Client, server};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn bound(reference: Value) -> Value {
    json!({"spec": {"boundObjectRef": reference}})
}

#[tokio::test]
async fn token_requests_are_refused_in_upstreams_words() {
    let server = server().await;
    let admin = Client::admin(&server);
    for name in ["sa", "default"] {
        assert_eq!(admin.post(ACCOUNTS, json!({"metadata": {"name": name}})).await.code, 201);
    }
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(admin.post(PODS, pod).await.code, 201);
    let own = "default";
    for (account, body, code, why) in [
        ("none", json!({"spec": {"expirationSeconds": 1}}), 404, "serviceaccounts \"none\" not found"),
        (
            "sa",
            json!({"metadata": {"name": "other"}}),
            422,
            "TokenRequest.authentication.k8s.io \"sa\" is invalid: metadata.name: Invalid value: \"other\": must match the service account name if specified",
        ),
        (
            "sa",
            json!({"spec": {"expirationSeconds": 599}}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
        ),
        (
            "sa",
            json!({"spec": {"expirationSeconds": 4_294_967_297_i64}}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
        ),
        (
            "sa",
            bound(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x"})),
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        ),
        (
            "sa",
            bound(json!({"apiVersion": "v1", "kind": "Pod", "name": "p"})),
            400,
            "cannot bind token for serviceaccount \"sa\" to pod running with different serviceaccount name.",
        ),
        (own, bound(json!({"apiVersion": "v1", "kind": "Pod", "name": "q"})), 404, "pods \"q\" not found"),
        (
            own,
            bound(json!({"kind": "Pod", "name": "p", "uid": "u"})),
            409,
            "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (u) does not match the UID in record. The object might have been deleted and then recreated",
        ),
    ] {
        let refused = admin.post(&format!("{ACCOUNTS}/{account}/token"), body).await;
        assert_eq!((refused.code, refused.message().as_str()), (code, why));
    }
}

#[tokio::test]
async fn no_tokens_are_given_where_all_ends() {
    let server = server().await;
    let admin = Client::admin(&server);
    assert_eq!(admin.post("/api/v1/namespaces", json!({"metadata": {"name": "ns"}})).await.code, 201);
    let accounts = "/api/v1/namespaces/ns/serviceaccounts";
    assert_eq!(admin.post(accounts, json!({"metadata": {"name": "sa"}})).await.code, 201);
    assert_eq!(admin.raw("DELETE", "/api/v1/namespaces/ns", &[], Vec::new()).await.code, 200);
    let refused = admin.post(&format!("{accounts}/sa/token"), json!({})).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            403,
            "serviceaccounts \"sa\" is forbidden: unable to create new content in namespace ns because it is being terminated"
        )
    );
    let refused = admin.post("/api/v1/namespaces/none/serviceaccounts/sa/token", json!({})).await;
    assert_eq!(refused.message(), "namespaces \"none\" not found");
}

#[tokio::test]
async fn long_lives_are_granted() {
    let server = server().await;
    let admin = Client::admin(&server);
    assert_eq!(admin.post(ACCOUNTS, json!({"metadata": {"name": "sa"}})).await.code, 201);
    let ten_years = 10 * 365 * 24 * 3600;
    let body = json!({"metadata": {"name": "sa"}, "spec": {"expirationSeconds": ten_years}});
    let granted = admin.post(&format!("{ACCOUNTS}/sa/token"), body).await;
    assert_eq!(granted.code, 201);
    assert_eq!(granted.json()["spec"]["expirationSeconds"], ten_years);
}
