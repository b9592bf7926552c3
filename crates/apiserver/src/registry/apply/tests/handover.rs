//! Owners that are handed over, named or forgotten.

use super::cases::config_map;
use super::*;

#[test]
fn owners_in_versions_that_are_no_more_are_forgotten() {
    let mut live = Live::new(&CONFIG_MAP);
    let map = config_map(json!({"x": "1"}));
    live.update("a", &map);
    let old = json!([{"manager": "o", "operation": "Update", "apiVersion": "v0", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:x": {}}}}]);
    live.entries.extend(managed::stored(Some(&old)));
    live.update("b", &map);
    assert_eq!(live.owned(), json!({"a Update": {"f:data": {".": {}, "f:x": {}}}}));
}

#[test]
fn what_was_there_before_is_owned_by_what_was_before() {
    let mut live = Live::new(&CONFIG_MAP);
    live.object = config_map(json!({"x": "1"}));
    meta::set_uid(&mut live.object, "u");
    live.update("a", &config_map(json!({"x": "1", "y": "1"})));
    assert_eq!(live.owned(), json!({}), "ownership begins with the first apply");
    let refused = live.apply("b", &config_map(json!({"y": "2"})), false).expect_err("refused");
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.y"
    );
    live.apply("b", &config_map(json!({"z": "1"})), false).expect("applies");
    assert_eq!(
        live.owned(),
        json!({"b Apply": {"f:data": {"f:z": {}}},
            "before-first-apply Update": {"f:data": {".": {}, "f:x": {}, "f:y": {}}}})
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_from_the_client() {
    let mut live = Live::new(&CONFIG_MAP);
    let applied = config_map(json!({"x": "1", "y": "1"}));
    let mut object = applied.clone();
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    meta::set_annotation(&mut object, annotation, &format!("{applied}\n"));
    live.update("kubectl-client-side-apply", &object);
    let config = config_map(json!({"x": "2"}));
    let refused = live.clone().apply("other", &config, false).expect_err("refused");
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.x"
    );
    live.apply("kubectl", &config, false).expect("handed over");
    assert_eq!(live.object["data"]["x"], "2");
    last_applied::update("kubectl", &mut live.object, &config);
    assert_eq!(meta::annotation(&live.object, annotation), Some(format!("{config}\n").as_str()));
    // The annotation does not speak of itself, but of the map that it is in.
    let mut itself = config.clone();
    meta::set_annotation(&mut itself, annotation, "x");
    last_applied::update("kubectl", &mut live.object, &itself);
    itself["metadata"]["annotations"] = json!({});
    assert_eq!(meta::annotation(&live.object, annotation), Some(format!("{itself}\n").as_str()));
    // One that does not fit the schema says nothing.
    let mut unfit = live.clone();
    let mut wrong = config.clone();
    wrong["foo"] = 1.into();
    meta::set_annotation(&mut unfit.object, annotation, &wrong.to_string());
    unfit.entries.retain(|entry| !entry.owner.applied);
    let conflict = json!([{"manager": "editor", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:x": {}}}}]);
    unfit.entries.extend(managed::stored(Some(&conflict)));
    unfit.apply("kubectl", &config_map(json!({"x": "9"})), false).expect_err("refused");
    // A field that was changed since is not kubectl's.
    let mut changed = live.object.clone();
    changed["data"]["x"] = "3".into();
    live.update("editor", &changed);
    let refused = live.apply("kubectl", &config, false).expect_err("refused");
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"editor\" using v1: .data.x");
}

#[test]
fn managers_are_named_by_user_agents() {
    let long = "ä".repeat(100);
    for (agent, want) in [
        ("kubectl/v1.33.0 (linux/amd64) kubernetes/abc", "kubectl"),
        ("Python-urllib", "Python-urllib"),
        ("a\tb\u{200b}c", "abc"),
        ("", ""),
        (long.as_str(), &long[..128]),
    ] {
        assert_eq!(from_user_agent(agent), want);
    }
}

#[test]
fn replicas_are_owned_through_the_scale() {
    let entry = |manager: &str, operation: &str, version: &str, subresource: &str, fields: Value| {
        let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": version,
            "fieldsType": "FieldsV1", "fieldsV1": fields, "time": "2026-01-01T00:00:00Z"});
        if !subresource.is_empty() {
            entry["subresource"] = subresource.into();
        }
        entry
    };
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    let parent = managed::stored(Some(&json!([
        entry("test", "Apply", "apps/v1", "", json!({"f:spec": {"f:replicas": {}, "f:selector": {}}})),
        entry("other", "Update", "apps/v1", "", json!({"f:spec": {"f:paused": {}}})),
        entry("gone", "Update", "apps/v0", "", replicas.clone()),
    ])));
    let served = |version: &str| version == "apps/v1";
    let in_scale = scale::to_scale(&parent, served);
    assert_eq!(
        managed::to_json(in_scale.clone()),
        json!([entry("test", "Apply", "autoscaling/v1", "", replicas.clone())])
    );
    // Not touched: as it was, but for the version that is no more.
    let kept = managed::to_json(scale::to_parent(parent.clone(), in_scale, "apps/v1", served));
    assert_eq!(kept, managed::to_json(parent[..2].to_vec()));
    // Taken by somebody who scales: like upstream's, the new entry has no time.
    let taken =
        managed::stored(Some(&json!([entry("me", "Update", "autoscaling/v1", "scale", replicas.clone())])));
    let mut wanted = entry("me", "Update", "apps/v1", "scale", replicas);
    wanted.as_object_mut().expect("an object").remove("time");
    assert_eq!(
        managed::to_json(scale::to_parent(parent, taken, "apps/v1", served)),
        json!([
            entry("test", "Apply", "apps/v1", "", json!({"f:spec": {"f:selector": {}}})),
            wanted,
            entry("other", "Update", "apps/v1", "", json!({"f:spec": {"f:paused": {}}}))
        ])
    );
}
