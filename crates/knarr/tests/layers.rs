//! The layering of docs/ARCHITECTURE.md, asserted over what cargo says of the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Each crate and the crates it must not depend on, by whatever way.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("apiserver", &["api", "client"]),
    ("store", &["apiserver"]),
    ("container", &["api"]),
    ("controllers", &["apiserver", "store"]),
    ("scheduler", &["apiserver", "store"]),
    ("kubelet", &["apiserver", "store"]),
    ("network", &["apiserver", "store"]),
    ("descriptions", &["machinery", "api", "client"]),
    ("cel", &["machinery", "store", "auth", "apiserver", "api", "client"]),
    ("machinery", &["store", "auth", "cel", "apiserver", "api", "client"]),
];

#[test]
fn crates_know_only_those_below_them() {
    let edges = edges();
    for (from, forbidden) in FORBIDDEN {
        let reached = reachable(&edges, from);
        for to in *forbidden {
            assert!(!reached.contains(*to), "{from} must not depend on {to}");
        }
    }
    for (from, to) in &edges {
        assert!(!to.contains("knarr"), "{from} depends on the program itself");
    }
}

/// Dependencies among the workspace's crates, tests' own left out.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let short = |name: &Value| name.as_str().map(|name| name.trim_start_matches("knarr-").to_owned());
    let packages = metadata["packages"].as_array().expect("packages");
    let names: BTreeSet<String> = packages.iter().filter_map(|p| short(&p["name"])).collect();
    let edges_of = |package: &Value| {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let normal = dependencies.filter(|d| d["kind"].is_null());
        normal.filter_map(|d| short(&d["name"])).filter(|name| names.contains(name)).collect()
    };
    packages.iter().filter_map(|p| Some((short(&p["name"])?, edges_of(p)))).collect()
}

fn reachable(edges: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(next) = open.pop() {
        for to in edges.get(&next).into_iter().flatten() {
            if reached.insert(to.clone()) {
                open.push(to.clone());
            }
        }
    }
    reached
}
