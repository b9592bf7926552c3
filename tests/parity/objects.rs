//! The table of objects that all suites go through.

use std::collections::BTreeSet;

use machinery::resources::{Resource, Resources};
use serde_json::{Value, json};

/// `objects.yaml`.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/objects.yaml");

/// One object in one version.
pub struct Row {
    pub object: Value,
    /// Merge patch of something that may change.
    pub change: Value,
    /// Merge patch for the status subresource, or null.
    pub status: Value,
}

impl Row {
    /// The resource that the object is of.
    pub fn resource(&self) -> &'static Resource {
        let api_version = self.object["apiVersion"].as_str().unwrap();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = self.object["kind"].as_str().unwrap();
        Resources::builtin()
            .by_kind(group, version, kind)
            .unwrap_or_else(|| panic!("{api_version} {kind} is not served"))
    }
}

/// The objects for a suite, each in all its versions.
pub fn rows(suite: &str, number: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(FILE).unwrap();
    let text = text.replace("{suite}", suite).replace("{n}", number);
    let table: Vec<Value> = serde_saphyr::from_str(&text).unwrap();
    table.iter().flat_map(|row| versions(row, suite)).collect()
}

fn versions(row: &Value, suite: &str) -> Vec<Row> {
    let api_version = row["object"]["apiVersion"].as_str().unwrap();
    let group = api_version.split_once('/').map(|(group, _)| group);
    let others = row["also"].as_array().into_iter().flatten().map(|version| {
        let version = version.as_str().unwrap();
        group.map_or_else(|| version.to_owned(), |group| format!("{group}/{version}"))
    });
    std::iter::once(api_version.to_owned())
        .chain(others)
        .map(|api_version| {
            let mut object = row["object"].clone();
            object["apiVersion"] = json!(api_version);
            object["metadata"]["labels"] = json!({ "parity.example.com/suite": suite });
            let change = if row["change"].is_null() { json!({}) } else { row["change"].clone() };
            Row { object, change, status: row["status"].clone() }
        })
        .collect()
}

/// Whether every stored resource has a row, with a status where it has one.
pub fn complete() {
    let name = |resource: &Resource| format!("{} {}", resource.api_version(), resource.kind);
    let rows = rows("any", "1");
    let have: BTreeSet<String> = rows.iter().map(|row| name(row.resource())).collect();
    let stored = Resources::builtin().iter().filter(|r| r.allows("create") && r.is_stored());
    let wanted: BTreeSet<String> = stored.map(name).collect();
    assert_eq!(have, wanted, "objects.yaml has one object of each stored resource");
    for row in &rows {
        let resource = row.resource();
        assert_eq!(
            !row.status.is_null(),
            resource.subresource("status").is_some(),
            "status of {}",
            name(resource)
        );
    }
}
