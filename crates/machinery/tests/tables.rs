//! The committed tables are what the distilling program makes of the facts.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

#[path = "../examples/distil.rs"]
mod distil;

#[test]
fn tables_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../../../shared");
    if !shared.join("api/types.json").exists() {
        return;
    }
    for (name, fresh) in [
        ("schema.txt", distil::schema(&shared).unwrap()),
        ("resources.txt", distil::resources(&shared).unwrap()),
    ] {
        let committed = std::fs::read_to_string(root.join("tables").join(name)).unwrap();
        assert!(
            committed == fresh,
            "tables/{name} is stale: run `cargo run -p knarr-machinery --example distil`"
        );
    }
}

#[test]
fn every_served_resource_is_in_the_table() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let Ok(text) = std::fs::read(shared.join("api/resources.json")) else { return };
    let served: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
    let resources = machinery::resources::Resources::builtin();
    for resource in &served {
        let part = |key: &str| resource[key].as_str().unwrap();
        let found = resources.lookup(part("group"), part("version"), part("resource"));
        let found = found.unwrap_or_else(|| panic!("{resource} is missing"));
        assert_eq!(found.kind, part("kind"));
        let below = resource["subresources"].as_object().unwrap();
        assert!(below.keys().all(|name| found.subresource(name).is_some()), "{resource}");
    }
    assert_eq!(served.len(), resources.iter().count());
}
