//! Which kinds there are and how discovery tells of them; `life.rs` is what they go through.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::harness::{Harness, config};
use super::life::{Life, OTHER_NAMESPACE};
use super::text;
use crate::discovery::Discovery;
use crate::http::Wishes;

/// How objects of each kind are created and changed; see the README there.
pub(super) const KINDS: &str = include_str!("../../../../golden/operations.jsonl");
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const VERBS_BELOW: [&str; 3] = ["get", "patch", "update"];

/// A row of the table.
pub(super) struct Kind {
    pub row: Value,
}

impl Kind {
    /// Where the objects of a namespace are.
    pub fn at(&self, namespace: &str) -> String {
        text(&self.row, "/at").replace("{namespace}", namespace)
    }

    /// Where the objects of all namespaces are.
    pub fn everywhere(&self) -> String {
        text(&self.row, "/at").replace("namespaces/{namespace}/", "")
    }

    pub fn is_namespaced(&self) -> bool {
        text(&self.row, "/at").contains("{namespace}")
    }

    /// Group, empty for the oldest one, and version.
    pub fn group_version(&self) -> (&str, &str) {
        match text(&self.row, "/at").split('/').collect::<Vec<_>>()[1..] {
            ["apis", group, version, ..] => (group, version),
            ["api", version, ..] => ("", version),
            _ => panic!("{}", self.row),
        }
    }

    pub fn api_version(&self) -> String {
        let (group, version) = self.group_version();
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
    }

    pub fn plural(&self) -> &str {
        text(&self.row, "/at").rsplit('/').next().unwrap_or_default()
    }
}

async fn document(path: &str) -> Value {
    let discovery = Discovery::of(config().advertise);
    let answer = discovery.answer(&Method::GET, path, &HeaderMap::new(), Wishes::default()).await;
    let body = answer.expect("a document").into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&body).expect("a document is JSON")
}

fn find<'a>(list: &'a Value, field: &str, value: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|item| item[field] == value)
}

fn has_verbs(resource: &Value, verbs: &[&str]) -> bool {
    verbs.iter().all(|verb| resource["verbs"].as_array().is_some_and(|has| has.iter().any(|v| v == verb)))
}

async fn is_discovered(kind: &Kind) {
    let (group, version) = kind.group_version();
    let mut documents = vec![format!("/api/{version}")];
    if group.is_empty() {
        let versions = document("/api").await;
        assert!(versions["versions"].as_array().is_some_and(|v| v.iter().any(|v| v == version)));
    } else {
        let groups = document("/apis").await;
        let listed = find(&groups["groups"], "name", group).expect("the group is listed");
        let alone = document(&format!("/apis/{group}")).await;
        for group in [listed, &alone] {
            assert!(find(&group["versions"], "version", version).is_some(), "{group}");
        }
        documents = vec![format!("/apis/{group}/{version}")];
    }
    let resources = document(&documents[0]).await;
    assert_eq!(resources["groupVersion"], kind.api_version());
    let resource = find(&resources["resources"], "name", kind.plural()).expect("the resource is listed");
    assert_eq!(resource["namespaced"], kind.is_namespaced());
    assert_eq!(resource["kind"], kind.row["kind"]);
    assert!(has_verbs(resource, &VERBS), "{resource}");
    for below in ["status", "scale"] {
        if kind.row.get(below).is_some() {
            let name = format!("{}/{below}", kind.plural());
            let resource = find(&resources["resources"], "name", &name).expect("it is listed");
            assert!(has_verbs(resource, &VERBS_BELOW), "{resource}");
        }
    }
}

#[tokio::test]
async fn every_kind_has_all_operations() {
    let h = Harness::start().await;
    // Pods of the other namespace need it.
    let account = json!({"metadata": {"name": "default"}});
    h.must(201, "POST", &format!("/api/v1/namespaces/{OTHER_NAMESPACE}/serviceaccounts"), account).await;
    let mut failed = Vec::new();
    for line in KINDS.lines() {
        let row = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        let kind = Kind { row };
        // What fails has said why; the others are tried all the same.
        let tried = async {
            is_discovered(&kind).await;
            Life::begin(&h, &kind).await.live().await;
        };
        if AssertUnwindSafe(tried).catch_unwind().await.is_err() {
            failed.push(kind.row["kind"].clone());
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
