//! Decisions: a pod and nodes in, a node or reasons out.

use crate::schedule::schedule;
use crate::snapshot::{PodInfo, Snapshot};
use api::{Kind, Node, Pod};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::sync::Arc;

fn node(name: &str, extra: Value) -> Arc<Node> {
    let mut labels = json!({"kubernetes.io/hostname": name});
    merge(&mut labels, &extra["labels"]);
    let mut allocatable = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    merge(&mut allocatable, &extra["allocatable"]);
    let value = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": extra["taints"], "unschedulable": extra["unschedulable"]},
        "status": {"allocatable": allocatable, "images": extra["images"]},
    });
    Arc::new(Node::from_value(value).unwrap())
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.clone());
    }
}

fn pod(name: &str, labels: Value, spec: Value) -> PodInfo {
    let mut full = json!({"containers": [{"name": "c", "image": "i"}]});
    merge(&mut full, &spec);
    let owner =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]);
    let owners = if labels["owned"].is_null() { json!([]) } else { owner };
    let value = json!({
        "metadata": {"name": name, "namespace": "a", "uid": name, "labels": labels, "ownerReferences": owners},
        "spec": full,
    });
    PodInfo::new(Arc::new(Pod::from_value(value).unwrap()))
}

fn asks(cpu: &str, memory: &str) -> Value {
    json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
}

fn world(nodes: Vec<Arc<Node>>, placed: Vec<(PodInfo, &str)>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    nodes.into_iter().for_each(|node| snapshot.set_node(node));
    placed.into_iter().for_each(|(pod, node)| snapshot.place(pod, node));
    snapshot
}

fn decide(pod: &PodInfo, snapshot: &Snapshot) -> Result<String, String> {
    schedule(pod, snapshot, &mut StdRng::seed_from_u64(1)).map_err(|why| why.to_string())
}

#[test]
fn refusals_are_worded_as_upstream() {
    let plain = || node("n1", json!({}));
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let term =
        json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"});
    let required =
        |kind: &str| json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let claim = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]});
    let cases = [
        (vec![], vec![], json!({}), "no nodes available to schedule pods"),
        (
            vec![node(
                "n1",
                json!({"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]}),
            )],
            vec![],
            json!({}),
            "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}.",
        ),
        (
            vec![node("n1", json!({"unschedulable": true}))],
            vec![],
            json!({}),
            "0/1 nodes are available: 1 node(s) were unschedulable.",
        ),
        (
            vec![plain()],
            vec![],
            json!({"nodeSelector": {"disk": "ssd"}}),
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            vec![plain(), node("n2", json!({"allocatable": {"pods": "0"}}))],
            vec![],
            asks("8", "16Gi"),
            "0/2 nodes are available: 1 Too many pods, 2 Insufficient cpu, 2 Insufficient memory.",
        ),
        (
            vec![plain()],
            vec![(pod("x", json!({}), port.clone()), "n1")],
            port.clone(),
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
        ),
        (
            vec![plain()],
            vec![],
            required("podAffinity"),
            "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.",
        ),
        (
            vec![plain()],
            vec![(pod("x", json!({"app": "db"}), json!({})), "n1")],
            required("podAntiAffinity"),
            "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.",
        ),
        (vec![plain()], vec![], claim, "0/1 nodes are available: persistentvolumeclaim \"data\" not found."),
        (
            vec![plain()],
            vec![],
            spread,
            "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label).",
        ),
    ];
    for (nodes, placed, spec, want) in cases {
        let got = decide(&pod("p", json!({"app": "web"}), spec.clone()), &world(nodes, placed));
        assert_eq!(got.unwrap_err(), want, "{spec}");
    }
}

#[test]
fn running_pods_keep_others_away() {
    let term =
        json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"});
    let spec =
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let snapshot = world(vec![node("n1", json!({}))], vec![(pod("x", json!({}), spec), "n1")]);
    let got = decide(&pod("p", json!({"app": "web"}), json!({})), &snapshot);
    let want = "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.";
    assert_eq!(got.unwrap_err(), want);
    assert_eq!(decide(&pod("p", json!({"app": "db"}), json!({})), &snapshot), Ok("n1".into()));
}

#[test]
fn the_first_of_a_group_may_start_anywhere() {
    let term =
        json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"});
    let spec =
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let nodes = || vec![node("n1", json!({})), node("n2", json!({}))];
    let member = |name: &str| pod(name, json!({"app": "web"}), spec.clone());
    assert!(decide(&member("p"), &world(nodes(), vec![])).is_ok());
    let snapshot = world(nodes(), vec![(member("first"), "n2")]);
    assert_eq!(decide(&member("p"), &snapshot), Ok("n2".into()));
}

#[test]
fn preferences_decide_between_feasible_nodes() {
    let preferred = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}]}}});
    let image = json!([{"names": ["i:latest"], "sizeBytes": 900_000_000}]);
    let busy = |name: &str| pod(name, json!({}), asks("2", "4Gi"));
    let cases = [
        (
            "the emptier",
            vec![node("n1", json!({})), node("n2", json!({}))],
            vec![(busy("x"), "n1")],
            json!({}),
            "n2",
        ),
        (
            "the preferred",
            vec![node("n1", json!({})), node("n2", json!({"labels": {"disk": "ssd"}}))],
            vec![],
            preferred,
            "n2",
        ),
        (
            "without soft taints",
            vec![
                node("n1", json!({"taints": [{"key": "a", "effect": "PreferNoSchedule"}]})),
                node("n2", json!({})),
            ],
            vec![],
            json!({}),
            "n2",
        ),
        (
            "with the image",
            vec![node("n1", json!({})), node("n2", json!({"images": image}))],
            vec![],
            json!({}),
            "n2",
        ),
    ];
    for (what, nodes, placed, spec, want) in cases {
        let got = decide(&pod("p", json!({}), spec), &world(nodes, placed));
        assert_eq!(got, Ok(want.to_owned()), "{what}");
    }
}

#[test]
fn siblings_are_spread_over_nodes() {
    let mut snapshot =
        world(vec![node("n1", json!({})), node("n2", json!({})), node("n3", json!({}))], vec![]);
    let mut rng = StdRng::seed_from_u64(7);
    for index in 0..9 {
        let pod = pod(&format!("p{index}"), json!({"owned": "yes"}), json!({}));
        let node = schedule(&pod, &snapshot, &mut rng).expect("a node");
        snapshot.place(pod, &node);
    }
    let counts: Vec<usize> = ["n1", "n2", "n3"].map(|name| snapshot.node(name).unwrap().pods.len()).to_vec();
    assert_eq!(counts, [3, 3, 3]);
}

#[test]
fn required_spreading_bounds_the_skew() {
    let spec = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let zone = |name: &str, zone: &str| node(name, json!({"labels": {"zone": zone}}));
    let web = |name: &str| pod(name, json!({"app": "web"}), spec.clone());
    let snapshot = world(vec![zone("n1", "a"), zone("n2", "b")], vec![(web("x"), "n1")]);
    assert_eq!(decide(&web("p"), &snapshot), Ok("n2".into()));
    let full = node("n2", json!({"labels": {"zone": "b"}, "allocatable": {"pods": "0"}}));
    let snapshot = world(vec![zone("n1", "a"), full], vec![(web("x"), "n1")]);
    let want =
        "0/2 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints.";
    assert_eq!(decide(&web("p"), &snapshot).unwrap_err(), want);
}

#[test]
fn what_is_placed_counts_until_it_leaves() {
    let mut snapshot = world(vec![node("n1", json!({}))], vec![]);
    snapshot.place(pod("x", json!({}), asks("3", "1Gi")), "n1");
    let wanted = pod("p", json!({}), asks("2", "1Gi"));
    assert!(decide(&wanted, &snapshot).is_err());
    snapshot.remove_node("n1");
    assert_eq!(decide(&wanted, &snapshot).unwrap_err(), "no nodes available to schedule pods");
    snapshot.set_node(node("n1", json!({})));
    assert!(decide(&wanted, &snapshot).is_err(), "its pods were not forgotten");
    assert_eq!(snapshot.unplace("x").as_deref(), Some("n1"));
    assert_eq!(decide(&wanted, &snapshot), Ok("n1".into()));
}
