use super::*;
use machinery::schema::Schema;

fn shape() -> Shape {
    Shape::of(Schema::builtin().kind("apps", "v1", "Deployment"))
}

fn now() -> Timestamp {
    Timestamp::from_second(1_780_000_000).expect("a time")
}

/// Applies one configuration after another, each by its manager.
fn apply(steps: &[(&str, bool, Value)]) -> Result<Value, Status> {
    let mut live = json!({});
    for (manager, force, config) in steps {
        let apply = Apply {
            manager,
            force: *force,
            api_version: "apps/v1",
            subresource: "",
            config,
            set: Set::of(config, shape()),
            shape: shape(),
        };
        let managers = managed::of(&live);
        meta::remove(&mut live, "managedFields");
        let applied = apply.to(&live, &managers, now())?;
        live = applied.object;
        meta::set(&mut live, "managedFields", applied.managed);
    }
    Ok(live)
}

fn containers(list: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": list}}}})
}

#[test]
fn fields_are_named_as_upstream_names_them() {
    let config = json!({
        "metadata": {"labels": {"a": "b"}, "finalizers": ["x/y"]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [
            {"name": "c", "args": ["x"], "ports": [{"containerPort": 80}]}]}}},
    });
    let set = Set::of(&config, shape());
    let want = json!({
        "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x/y\"": {}}},
        "f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:args": {}, "f:ports": {
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}},
    });
    assert_eq!(set.to_json(), want);
    assert_eq!(Set::from_json(&want), set);
}

#[test]
fn what_is_no_longer_applied_goes() {
    let result = apply(&[
        (
            "a",
            false,
            containers(json!([{"name": "c", "image": "i", "workingDir": "/"}, {"name": "d", "image": "j"}])),
        ),
        ("a", false, containers(json!([{"name": "c", "image": "k"}]))),
    ]);
    let result = result.expect("applies");
    assert_eq!(result["spec"]["template"]["spec"]["containers"], json!([{"name": "c", "image": "k"}]));
}

#[test]
fn what_somebody_else_applied_stays() {
    let result = apply(&[
        ("a", false, json!({"spec": {"replicas": 1, "paused": true}})),
        ("b", false, json!({"spec": {"replicas": 1}, "metadata": {"labels": {"x": "y"}}})),
        ("a", false, json!({"spec": {"minReadySeconds": 3}})),
    ]);
    let result = result.expect("applies");
    assert_eq!(result["spec"], json!({"replicas": 1, "minReadySeconds": 3}));
    assert_eq!(result["metadata"]["labels"], json!({"x": "y"}));
    assert_eq!(result["metadata"]["managedFields"].as_array().map(Vec::len), Some(2));
}

#[test]
fn another_value_is_a_conflict_unless_forced() {
    let first = ("a", false, containers(json!([{"name": "c", "image": "i"}])));
    let second = containers(json!([{"name": "c", "image": "j"}]));
    let refused = apply(&[first.clone(), ("b", false, second.clone())]).expect_err("refused");
    assert_eq!(refused.code, 409);
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"a\": .spec.template.spec.containers[name=\"c\"].image"
    );
    let forced = apply(&[first, ("b", true, second)]).expect("applies");
    assert_eq!(forced["spec"]["template"]["spec"]["containers"][0]["image"], "j");
    let fields = forced["metadata"]["managedFields"][0]["fieldsV1"].to_string();
    assert!(!fields.contains("f:image"), "{fields}");
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let config = containers(json!([{"name": "c", "image": "i"}]));
    let once = apply(&[("a", false, config.clone())]).expect("applies");
    let twice = apply(&[("a", false, config.clone()), ("a", false, config)]).expect("applies");
    assert_eq!(once, twice);
}
