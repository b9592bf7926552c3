//! Watchers of config maps.

use serde_json::{Value, json};

use super::super::harness::{Events, Harness, config_map};
use super::{changed, version};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SELECTED: &str = "watch=1&labelSelector=watched%3Dyes";

fn labelled(name: &str, label: &str) -> Value {
    let mut map = config_map(name, json!({}));
    map["metadata"]["labels"] = json!({"watched": label});
    map
}

async fn create(h: &Harness, name: &str, label: &str) -> Value {
    h.must(201, "POST", MAPS, labelled(name, label)).await
}

/// Writes down how often the map was changed.
async fn mutate(h: &Harness, map: &Value, count: &str) -> Value {
    let path = format!("{MAPS}/{}", super::name(map));
    let now = h.get(&path).await;
    h.must(200, "PUT", &path, changed(&now, &json!({"data": {"mutation": count}}))).await
}

async fn relabel(h: &Harness, map: &Value, label: &str) -> Value {
    let path = format!("{MAPS}/{}", super::name(map));
    let now = h.get(&path).await;
    h.must(200, "PUT", &path, changed(&now, &json!({"metadata": {"labels": {"watched": label}}}))).await
}

async fn delete(h: &Harness, map: &Value) {
    h.must(200, "DELETE", &format!("{MAPS}/{}", super::name(map)), Value::Null).await;
}

/// The next event is this change of the object: as it is now, or its end.
async fn expect(events: &mut Events, what: &str, object: &Value) {
    let event = events.next().await.expect("an event");
    assert_eq!(event["type"], what, "{event}");
    match what {
        "DELETED" => assert_eq!(event["object"]["metadata"]["uid"], object["metadata"]["uid"]),
        _ => assert_eq!(&event["object"], object),
    }
}

#[tokio::test]
async fn watchers_see_all_of_what_they_select_and_nothing_else() {
    let h = Harness::start().await;
    let watch = async |labels: &str| {
        h.watch(&format!("{MAPS}?watch=1&labelSelector=watched%20in%20({labels})")).await
    };
    let (mut a, mut b, mut both) = (watch("a").await, watch("b").await, watch("a,b").await);
    let map = create(&h, "a", "a").await;
    let once = mutate(&h, &map, "1").await;
    let twice = mutate(&h, &map, "2").await;
    delete(&h, &map).await;
    let other = create(&h, "b", "b").await;
    delete(&h, &other).await;
    // What comes last shows that nothing else came before.
    let [last_a, last_b] = [create(&h, "last-a", "a").await, create(&h, "last-b", "b").await];

    for events in [&mut a, &mut both] {
        expect(events, "ADDED", &map).await;
        expect(events, "MODIFIED", &once).await;
        expect(events, "MODIFIED", &twice).await;
        expect(events, "DELETED", &map).await;
    }
    for events in [&mut b, &mut both] {
        expect(events, "ADDED", &other).await;
        expect(events, "DELETED", &other).await;
    }
    expect(&mut a, "ADDED", &last_a).await;
    expect(&mut both, "ADDED", &last_a).await;
    expect(&mut b, "ADDED", &last_b).await;
    expect(&mut both, "ADDED", &last_b).await;
}

#[tokio::test]
async fn a_watch_starts_from_a_version_of_the_past() {
    let h = Harness::start().await;
    let map = create(&h, "a", "yes").await;
    let once = mutate(&h, &map, "1").await;
    let twice = mutate(&h, &map, "2").await;
    delete(&h, &map).await;
    let mut events = h.watch(&format!("{MAPS}?{SELECTED}&resourceVersion={}", version(&once))).await;
    expect(&mut events, "MODIFIED", &twice).await;
    expect(&mut events, "DELETED", &map).await;
}

#[tokio::test]
async fn a_watch_goes_on_where_another_ended() {
    let h = Harness::start().await;
    let mut events = h.watch(&format!("{MAPS}?{SELECTED}")).await;
    let map = create(&h, "a", "yes").await;
    let once = mutate(&h, &map, "1").await;
    expect(&mut events, "ADDED", &map).await;
    let last = events.next().await.expect("an event")["object"].take();
    assert_eq!(last, once);
    drop(events);
    let twice = mutate(&h, &map, "2").await;
    let mut events = h.watch(&format!("{MAPS}?{SELECTED}&resourceVersion={}", version(&last))).await;
    delete(&h, &map).await;
    expect(&mut events, "MODIFIED", &twice).await;
    expect(&mut events, "DELETED", &map).await;
}

#[tokio::test]
async fn an_object_out_of_the_selection_is_gone_until_it_returns() {
    let h = Harness::start().await;
    let mut events = h.watch(&format!("{MAPS}?{SELECTED}")).await;
    let map = create(&h, "a", "yes").await;
    let once = mutate(&h, &map, "1").await;
    relabel(&h, &map, "no").await;
    mutate(&h, &map, "2").await;
    let back = relabel(&h, &map, "yes").await;
    let thrice = mutate(&h, &map, "3").await;
    delete(&h, &map).await;
    expect(&mut events, "ADDED", &map).await;
    expect(&mut events, "MODIFIED", &once).await;
    expect(&mut events, "DELETED", &map).await;
    expect(&mut events, "ADDED", &back).await;
    expect(&mut events, "MODIFIED", &thrice).await;
    expect(&mut events, "DELETED", &map).await;
}

/// A watch from each version, begun while more comes.
#[tokio::test]
async fn concurrent_watches_see_the_same_order() {
    const WRITES: usize = 60;
    let h = Harness::start().await;
    let start = version(&h.get(MAPS).await);
    let mut watches = vec![h.watch(&format!("{MAPS}?watch=1&resourceVersion={start}")).await];
    let mut there: Vec<Value> = Vec::new();
    for step in 0..WRITES {
        match step % 4 {
            0 | 1 => there.push(create(&h, &format!("map-{step}"), "yes").await),
            2 => drop(mutate(&h, &there[0], &step.to_string()).await),
            _ => delete(&h, &there.remove(0)).await,
        }
        let now = version(&h.get(MAPS).await);
        watches.push(h.watch(&format!("{MAPS}?watch=1&resourceVersion={now}")).await);
    }
    let mut whole: Vec<u64> = Vec::new();
    for (position, events) in watches.iter_mut().take(WRITES).enumerate() {
        let mut seen = Vec::new();
        for _ in position..WRITES {
            seen.push(version(&events.next().await.expect("an event")["object"]));
        }
        if position == 0 {
            assert!(seen.is_sorted() && seen[0] > start, "{seen:?}");
            whole.clone_from(&seen);
        }
        assert_eq!(seen, whole[position..]);
    }
}
