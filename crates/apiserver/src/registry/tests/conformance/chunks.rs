//! Lists that come in pages.

use serde_json::{Value, json};

use super::super::harness::Harness;
use super::{items, name, text, version};

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";
const COUNT: usize = 120;
const PAGE: usize = 17;

async fn with_templates() -> Harness {
    let h = Harness::start().await;
    for number in 0..COUNT {
        let template = json!({"metadata": {"name": format!("template-{number:04}")},
            "template": {"spec": {"containers": [{"name": "test", "image": "test2"}]}}});
        h.must(201, "POST", TEMPLATES, template).await;
    }
    h
}

fn token(page: &Value) -> &str {
    text(page, "/metadata/continue")
}

/// Counts a page that follows so many others: it goes on where they ended, and says how many remain.
fn add(found: &mut usize, page: &Value) {
    assert!(items(page).len() <= PAGE);
    for item in items(page) {
        assert_eq!(name(item), format!("template-{found:04}"));
        *found += 1;
    }
    let remain = (!token(page).is_empty()).then(|| json!(COUNT - *found));
    assert_eq!(page["metadata"].get("remainingItemCount"), remain.as_ref());
}

/// The pages after this one, all of its version.
async fn follow(h: &Harness, found: &mut usize, first: &Value) {
    let mut next = token(first).to_owned();
    while !next.is_empty() {
        let page = h.get(&format!("{TEMPLATES}?limit={PAGE}&continue={next}")).await;
        assert_eq!(version(&page), version(first));
        add(found, &page);
        token(&page).clone_into(&mut next);
    }
    assert_eq!(*found, COUNT);
}

#[tokio::test]
async fn chunks_together_are_the_list() {
    let h = with_templates().await;
    for _ in 0..3 {
        let mut found = 0;
        let first = h.get(&format!("{TEMPLATES}?limit={PAGE}")).await;
        add(&mut found, &first);
        follow(&h, &mut found, &first).await;
    }
    let whole = h.get(&format!("{TEMPLATES}?limit={}", COUNT + 1)).await;
    assert_eq!(items(&whole).len(), COUNT);
    assert_eq!(token(&whole), "");
}

#[tokio::test]
async fn chunks_go_on_from_the_last_key_after_compaction() {
    let h = with_templates().await;
    let mut found = 0;
    let first = h.get(&format!("{TEMPLATES}?limit={PAGE}")).await;
    add(&mut found, &first);
    // Something newer, up to which history is forgotten.
    let more = json!({"metadata": {"name": "other"}, "data": {}});
    h.must(201, "POST", "/api/v1/namespaces/default/configmaps", more).await;
    h.registry.store.compact(h.registry.store.revision()).await.expect("compacts");
    let target = format!("{TEMPLATES}?limit={PAGE}&continue={}", token(&first));
    let expired = h.must(410, "GET", &target, Value::Null).await;
    let inconsistent = token(&expired);
    assert!(!inconsistent.is_empty(), "{expired}");
    let second = h.get(&format!("{TEMPLATES}?limit={PAGE}&continue={inconsistent}")).await;
    assert_ne!(version(&second), version(&first));
    assert_eq!(items(&second).len(), PAGE);
    add(&mut found, &second);
    follow(&h, &mut found, &second).await;
}
