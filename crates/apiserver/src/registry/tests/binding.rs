//! How pods get their node.

use serde_json::{Value, json};

use super::harness::{Harness, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BINDINGS: &str = "/api/v1/namespaces/default/bindings";

fn binding(metadata: Value, target: Value) -> Value {
    json!({"metadata": metadata, "target": target})
}

fn to_node() -> Value {
    binding(json!({"name": "p"}), json!({"kind": "Node", "name": "n"}))
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let h = Harness::start().await;
    h.must(201, "POST", PODS, pod("p")).await;
    let done = h.must(201, "POST", BINDINGS, to_node()).await;
    assert_eq!(
        done,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
    );
    let bound = h.get(&format!("{PODS}/p")).await;
    assert_eq!(bound["spec"]["nodeName"], "n");
    assert_eq!(bound["metadata"]["generation"], 1);
    let scheduled = &bound["status"]["conditions"][0];
    assert_eq!((&scheduled["type"], scheduled.get("observedGeneration")), (&json!("PodScheduled"), None));
    let again = h.must(409, "POST", &format!("{PODS}/p/binding"), to_node()).await;
    assert_eq!(
        again["message"],
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\""
    );
    assert_eq!(
        h.get(&format!("{PODS}?fieldSelector=spec.nodeName%3Dn")).await["items"].as_array().map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn what_a_binding_says_goes_to_the_pod() {
    let h = Harness::start().await;
    let mut made = pod("p");
    made["metadata"]["labels"] = json!({"zone": "own"});
    h.must(201, "POST", PODS, made).await;
    let promised = json!({"status": {"nominatedNodeName": "m"}});
    h.patch("merge-patch+json", &format!("{PODS}/p/status"), promised).await;
    let said = json!({"name": "p", "labels": {"zone": "theirs", "region": "r"}, "annotations": {"a": "b"}});
    h.must(201, "POST", &format!("{PODS}/p/binding"), binding(said, json!({"name": "n"}))).await;
    let bound = h.get(&format!("{PODS}/p")).await;
    assert_eq!(bound["metadata"]["labels"], json!({"zone": "theirs", "region": "r"}));
    assert_eq!(bound["status"].get("nominatedNodeName"), None);
    assert_eq!(bound["metadata"]["annotations"]["a"], "b");
}

#[tokio::test]
async fn pods_tell_where_their_node_is() {
    let h = Harness::start().await;
    let labels =
        json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "o"});
    h.must(201, "POST", "/api/v1/nodes", json!({"metadata": {"name": "n", "labels": labels}})).await;
    h.must(201, "POST", PODS, pod("p")).await;
    h.must(201, "POST", BINDINGS, to_node()).await;
    let mut placed = pod("q");
    placed["spec"]["nodeName"] = "n".into();
    placed["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": "own"});
    h.must(201, "POST", PODS, placed).await;
    for name in ["p", "q"] {
        assert_eq!(
            h.get(&format!("{PODS}/{name}")).await["metadata"]["labels"],
            json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"})
        );
    }
}

#[tokio::test]
async fn bindings_are_refused() {
    let h = Harness::start().await;
    let mut gated = pod("gated");
    gated["spec"]["schedulingGates"] = json!([{"name": "g"}]);
    h.must(201, "POST", PODS, gated).await;
    let made = h.must(201, "POST", PODS, pod("p")).await;
    let node = json!({"name": "n"});
    let version = &made["metadata"]["resourceVersion"];
    let cases = [
        ("p", binding(json!({}), node.clone()), 400, "name in URL does not match name in Binding object".to_owned()),
        ("p", binding(json!({"name": "p"}), json!({"name": ""})), 500, "target.name: Required value".to_owned()),
        (
            "p",
            binding(json!({"name": "p"}), json!({"kind": "Host", "name": "n"})),
            500,
            "target.kind: Unsupported value: \"Host\": supported values: \"Node\", \"<empty>\"".to_owned(),
        ),
        (
            "p",
            binding(json!({"name": "p", "resourceVersion": "1"}), node.clone()),
            409,
            format!(
                "Operation cannot be fulfilled on pods/binding \"p\": Precondition failed: ResourceVersion in precondition: 1, \
                 ResourceVersion in object meta: {}",
                version.as_str().unwrap_or_default()
            ),
        ),
        (
            "gated",
            binding(json!({"name": "gated"}), node.clone()),
            409,
            "Operation cannot be fulfilled on pods/binding \"gated\": pod gated has non-empty .spec.schedulingGates"
                .to_owned(),
        ),
        ("gone", binding(json!({"name": "gone"}), node.clone()), 404, "pods \"gone\" not found".to_owned()),
    ];
    for (name, body, code, why) in cases {
        let refused = h.must(code, "POST", &format!("{PODS}/{name}/binding"), body).await;
        assert_eq!(refused["message"], why.as_str());
    }
    // What only the server says counts for the subresource alone.
    h.must(201, "POST", BINDINGS, binding(json!({"name": "p", "uid": "other"}), node)).await;
}
