//! Random histories: what pages show together, and what a watch leads to.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::harness::{Events, Harness, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// What lists and watches select by; nothing and everything among them.
const SELECTORS: [&str; 6] = [
    "",
    "&labelSelector=l%3Dx",
    "&labelSelector=l",
    "&labelSelector=%21l",
    "&labelSelector=l+notin+(x)",
    "&fieldSelector=metadata.name%21%3Dc",
];

fn labelled(name: &str, label: Option<&str>, data: u32) -> Value {
    let mut map = config_map(name, json!({"n": data.to_string()}));
    if let Some(label) = label {
        map["metadata"]["labels"] = json!({"l": label});
    }
    map
}

/// Creates, replaces or deletes something.
async fn write(h: &Harness, rng: &mut StdRng) {
    let name = NAMES[rng.random_range(0..NAMES.len())];
    let path = format!("{MAPS}/{name}");
    let label = [None, Some("x"), Some("y")][rng.random_range(0..3)];
    let map = labelled(name, label, rng.random_range(0..3));
    let code = match rng.random_range(0..3) {
        0 => h.send("DELETE", &path, Value::Null).await.0,
        _ => match h.send("PUT", &path, map.clone()).await {
            (404, _) => h.send("POST", MAPS, map).await.0,
            (code, _) => code,
        },
    };
    assert!(matches!(code, 200 | 201 | 404), "{code}");
}

async fn writes(h: &Harness, rng: &mut StdRng, most: usize) {
    for _ in 0..rng.random_range(0..=most) {
        write(h, rng).await;
    }
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().expect("items")
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"][key].as_str().unwrap_or_default()
}

/// However much is written between them, pages show the state that the first one is of.
#[tokio::test]
async fn pages_together_are_one_list() {
    let h = Harness::start().await;
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let selector = SELECTORS[rng.random_range(0..SELECTORS.len())];
        writes(&h, &mut rng, 12).await;
        let limit = rng.random_range(1..4);
        let mut page = h.get(&format!("{MAPS}?limit={limit}{selector}")).await;
        let version = text(&page, "resourceVersion").to_owned();
        let exact = format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact{selector}");
        let whole = items(&h.get(&exact).await);
        let mut seen = items(&page);
        while !text(&page, "continue").is_empty() {
            assert_eq!(items(&page).len(), limit, "only the last page is not full: seed {seed}");
            if let Some(remaining) = page["metadata"].get("remainingItemCount") {
                assert_eq!(remaining, &json!(whole.len() - seen.len()), "seed {seed}");
            }
            writes(&h, &mut rng, 3).await;
            let token = text(&page, "continue").to_owned();
            page = h.get(&format!("{MAPS}?limit={limit}&continue={token}{selector}")).await;
            assert_eq!(text(&page, "resourceVersion"), version, "seed {seed}");
            seen.extend(items(&page));
        }
        assert_eq!(seen, whole, "seed {seed}");
    }
}

/// Carries out the events up to that of the named object.
async fn follow(events: &mut Events, state: &mut BTreeMap<String, Value>, last: &str) {
    loop {
        let event = events.next().await.expect("an event");
        let mut object = event["object"].clone();
        let name = text(&object, "name").to_owned();
        if name == last {
            return;
        }
        // The list says what its items are.
        object
            .as_object_mut()
            .expect("an object")
            .retain(|key, _| !matches!(key.as_str(), "kind" | "apiVersion"));
        let before = match event["type"].as_str() {
            Some("DELETED") => state.remove(&name),
            _ => state.insert(name.clone(), object.clone()),
        };
        assert_eq!(event["type"] == "ADDED", before.is_none(), "{event}");
        let version = |object: &Value| text(object, "resourceVersion").parse::<u64>().expect("a version");
        assert!(before.is_none_or(|before| version(&before) < version(&object)), "{event}");
    }
}

/// A list and the events that follow it are the later list, whatever is selected.
#[tokio::test]
async fn a_watch_leads_from_one_list_to_a_later_one() {
    let h = Harness::start().await;
    let by_name = |list: &Value| -> BTreeMap<String, Value> {
        items(list).into_iter().map(|item| (text(&item, "name").to_owned(), item)).collect()
    };
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let selector = SELECTORS[rng.random_range(0..SELECTORS.len())];
        // The last object has to be selected as well.
        let label = if selector.contains("%21l") {
            None
        } else if selector.contains("notin") {
            Some("z")
        } else {
            Some("x")
        };
        writes(&h, &mut rng, 6).await;
        let list = h.get(&format!("{MAPS}?limit=0{selector}")).await;
        let mut state = by_name(&list);
        let version = text(&list, "resourceVersion");
        // Some writes are in the past when the watch begins.
        writes(&h, &mut rng, 6).await;
        let mut events = h.watch(&format!("{MAPS}?watch=1&resourceVersion={version}{selector}")).await;
        writes(&h, &mut rng, 12).await;
        let later = by_name(&h.get(&format!("{MAPS}?limit=0{selector}")).await);
        h.must(201, "POST", MAPS, labelled("last", label, 0)).await;
        follow(&mut events, &mut state, "last").await;
        assert_eq!(state, later, "seed {seed} {selector}");
        h.must(200, "DELETE", &format!("{MAPS}/last"), Value::Null).await;
    }
}
