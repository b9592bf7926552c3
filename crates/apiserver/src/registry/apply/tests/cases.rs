//! Tables of cases.

use super::*;

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

/// The specification of a Deployment with all that Go writes of it.
fn whole(spec: &Value) -> Value {
    let Shape::Struct(id) = DEPLOYMENT.own_shape() else { panic!("a known kind") };
    let mut object = deployment(spec.clone());
    decode::check(&mut object, id).expect("fits the schema");
    object["spec"].take()
}

fn containers(list: Value) -> Value {
    deployment(json!({"template": {"spec": {"containers": list}}}))
}

pub(super) fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

#[test]
fn a_configuration_names_its_fields() {
    for (config, want) in [
        (
            deployment(json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}}})),
            json!({"f:replicas": {}, "f:selector": {}}),
        ),
        // Items are members, and so are their keys when they are given; the protocol has a default.
        (
            containers(json!([{"name": "c", "args": ["x"], "ports": [{"containerPort": 80}]}])),
            json!({"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:args": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}),
        ),
        // So has a key that Go always writes.
        (
            containers(json!([{"image": "i", "env": [{"value": "v"}]}])),
            json!({"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"\"}": {".": {}, "f:image": {},
                "f:env": {"k:{\"name\":\"\"}": {".": {}, "f:value": {}}}}}}}}),
        ),
        // What is null or an empty map is named; an empty list of items is not.
        (
            deployment(
                json!({"template": {"metadata": {"labels": {}, "annotations": null, "creationTimestamp": null},
                "spec": {"containers": [], "nodeSelector": {"a": "b"}}}}),
            ),
            json!({"f:template": {"f:metadata": {"f:labels": {}, "f:annotations": {}, "f:creationTimestamp": {}},
                "f:spec": {"f:nodeSelector": {}}}}),
        ),
        (
            deployment(json!({"template": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "a"}, {"name": "a"}]}}})),
            json!({"f:template": {"f:spec": {"f:volumes": {"k:{\"name\":\"v\"}": {".": {}, "f:name": {}, "f:emptyDir": {}}},
                "f:containers": {"k:{\"name\":\"a\"}": {}}}}}),
        ),
    ] {
        let set = Set::of(&config["spec"], DEPLOYMENT.own_shape().field("spec"));
        assert_eq!(set.to_json(), want, "{config}");
        assert_eq!(Set::from_json(&want), set);
        assert_eq!(Set::parse(&want), Ok(set));
    }
}

#[test]
fn a_create_owns_what_go_would_write() {
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x/y"]},
        "spec": {"containers": [{"name": "c", "env": [{"name": "N", "value": "v"}]}], "restartPolicy": "Always",
            "hostNetwork": false, "terminationGracePeriodSeconds": 0}, "status": {"phase": "Pending"}});
    let mut live = Live::new(&POD);
    live.update("me", &pod);
    assert_eq!(
        live.owned(),
        json!({"me Update": {
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}, "f:finalizers": {".": {}, "v:\"x/y\"": {}}},
            "f:spec": {"f:restartPolicy": {}, "f:terminationGracePeriodSeconds": {}, "f:containers": {
                "k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:resources": {},
                    "f:env": {".": {}, "k:{\"name\":\"N\"}": {".": {}, "f:name": {}, "f:value": {}}}}}},
        }})
    );
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "selector": {"a": "b"}, "type": "ClusterIP"}});
    let mut live = Live::new(&SERVICE);
    live.update("", &service);
    assert_eq!(
        live.owned(),
        json!({"unknown Update": {"f:spec": {"f:type": {}, "f:selector": {}, "f:ports": {".": {},
            "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}}}}})
    );
}

#[test]
fn an_update_owns_what_it_changes() {
    let mut live = Live::new(&CONFIG_MAP);
    live.update("a", &config_map(json!({"x": "1", "y": "1", "z": "1"})));
    live.update("b", &config_map(json!({"x": "1", "y": "2"})));
    assert_eq!(
        live.owned(),
        json!({"a Update": {"f:data": {".": {}, "f:x": {}}}, "b Update": {"f:data": {"f:y": {}}}})
    );
    // Nothing new: nothing changes, not even the time.
    let before = managed::to_json(live.entries.clone());
    live.update("c", &config_map(json!({"x": "1", "y": "2"})));
    assert_eq!(managed::to_json(live.entries.clone()), before);
    // Only taking away leaves no entry of one's own.
    live.update("c", &config_map(json!({"x": "1"})));
    assert_eq!(live.owned(), json!({"a Update": {"f:data": {".": {}, "f:x": {}}}}));
    let before = live.entries[0].time.clone();
    live.update("a", &config_map(json!({"x": "1", "w": "1"})));
    assert_eq!(live.owned(), json!({"a Update": {"f:data": {".": {}, "f:x": {}, "f:w": {}}}}));
    assert!(live.entries[0].time > before);
}

#[test]
fn too_many_updaters_become_one() {
    let mut live = Live::new(&CONFIG_MAP);
    let mut data = Map::new();
    for i in 0..13 {
        data.insert(format!("k{i:02}"), "v".into());
        live.update(&format!("m{i:02}"), &config_map(Value::Object(data.clone())));
    }
    let owned = live.owned();
    assert_eq!(owned.as_object().map(Map::len), Some(10), "{owned}");
    assert_eq!(
        owned["ancient-changes Update"],
        json!({"f:data": {".": {}, "f:k00": {}, "f:k01": {}, "f:k02": {}, "f:k03": {}}})
    );
}

#[test]
fn entries_are_in_upstreams_order() {
    let entry = |manager: &str, operation: &str, time: &str| {
        let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {}}});
        if !time.is_empty() {
            entry["time"] = time.into();
        }
        entry
    };
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let sorted = json!([
        entry("z", "Apply", ""),
        entry("b", "Apply", old),
        entry("a", "Apply", new),
        entry("a", "Update", old),
        entry("b", "Update", old)
    ]);
    let mut shuffled = sorted.as_array().cloned().expect("a list");
    shuffled.reverse();
    let entries = managed::sent(Some(&Value::Array(shuffled))).expect("valid");
    assert_eq!(managed::to_json(entries), sorted);
}

#[test]
fn what_clients_send_is_checked() {
    let entry = |change: Value| {
        let mut entry = json!({"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {}}});
        for (key, value) in change.as_object().expect("an object") {
            entry[key] = value.clone();
        }
        json!([entry])
    };
    for wrong in [
        json!({"operation": "Create"}),
        json!({"apiVersion": ""}),
        json!({"fieldsType": ""}),
        json!({"fieldsV1": {"data": {}}}),
        json!({"fieldsV1": {"k:[]": {}}}),
        json!({"fieldsV1": {"k:{": {}}}),
        json!({"fieldsV1": {"f:a": 1}}),
        json!({"fieldsV1": {"i:x": {}}}),
    ] {
        assert!(managed::sent(Some(&entry(wrong.clone()))).is_err(), "{wrong}");
    }
    let odd = entry(json!({"fieldsV1": {"k:{ \"b\":1, \"a\" : \"<\" }": {}, "z:new": {}, "v: 1 ": {}}}));
    let read = managed::sent(Some(&odd)).expect("valid");
    assert_eq!(
        managed::to_json(read)[0]["fieldsV1"],
        json!({"k:{\"a\":\"\\u003c\",\"b\":1}": {}, "v:1": {}})
    );
    assert!(managed::is_reset(Some(&json!([{}]))) && managed::is_reset(Some(&json!([]))));
    assert!(!managed::is_reset(None) && !managed::is_reset(Some(&odd)));
}

#[test]
fn what_is_no_longer_applied_goes() {
    for (first, second, want) in [
        (
            containers(json!([{"name": "c", "image": "i", "workingDir": "/"}, {"name": "d", "image": "j"}])),
            containers(json!([{"name": "c", "image": "k"}])),
            json!({"template": {"metadata": {}, "spec": {"containers": [{"name": "c", "image": "k"}]}}}),
        ),
        // Whole structs, maps and lists go when nothing is left of them.
        (
            deployment(
                json!({"paused": true, "strategy": {"rollingUpdate": {"maxSurge": 1}}, "template": {"metadata":
                {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1}]}]}}}),
            ),
            deployment(json!({"paused": true, "template": {"spec": {"containers": [{"name": "c"}]}}})),
            json!({"paused": true, "template": {"metadata": {}, "spec": {"containers": [{"name": "c"}]}}}),
        ),
        // Null takes out, and owns the absence.
        (
            deployment(json!({"replicas": 3, "paused": true})),
            deployment(json!({"replicas": null, "paused": true})),
            json!({"paused": true}),
        ),
    ] {
        let mut live = Live::new(&DEPLOYMENT);
        live.apply("a", &first, false).expect("applies");
        live.apply("a", &second, false).expect("applies");
        assert_eq!(live.object["spec"], whole(&want), "{second}");
    }
}

#[test]
fn what_somebody_else_owns_stays() {
    let mut live = Live::new(&DEPLOYMENT);
    live.apply("a", &deployment(json!({"replicas": 1, "paused": true})), false).expect("applies");
    live.apply("b", &deployment(json!({"replicas": 1})), false).expect("the same value is no conflict");
    live.apply("a", &deployment(json!({"minReadySeconds": 3})), false).expect("applies");
    assert_eq!(live.object["spec"], whole(&json!({"replicas": 1, "minReadySeconds": 3})));
    // An updater's fields stay as well, but not within items that nobody owns any more.
    let mut live = Live::new(&DEPLOYMENT);
    live.apply("a", &containers(json!([{"name": "c", "image": "i"}, {"name": "d", "image": "j"}])), false)
        .expect("applies");
    live.update(
        "b",
        &containers(
            json!([{"name": "c", "image": "i", "tty": true}, {"name": "d", "image": "j", "tty": true}]),
        ),
    );
    live.apply("a", &containers(json!([{"name": "c"}])), false).expect("applies");
    let left = json!([{"name": "c", "resources": {}, "tty": true}]);
    assert_eq!(live.object["spec"]["template"]["spec"]["containers"], left);
}

#[test]
fn lists_are_merged_in_order() {
    let names = |list: &[&str]| -> Value { list.iter().map(|name| json!({"name": name})).collect() };
    for (live, config, want) in [
        (&["a", "b", "c"][..], &["c", "a"][..], &["b", "c", "a"][..]),
        (&["a", "b", "c"], &["b", "d"], &["a", "b", "c", "d"]),
        (&["a", "b"], &["x", "a", "y", "b"], &["x", "a", "y", "b"]),
        (&["a", "b", "c", "d"], &["d", "c"], &["a", "b", "d", "c"]),
        (&[], &["b", "a"], &["b", "a"]),
        (&["a"], &["b"], &["a", "b"]),
    ] {
        let shape = DEPLOYMENT.own_shape();
        let merged = merge::merge(&containers(names(live)), &containers(names(config)), shape);
        let have: Vec<&str> = merged["spec"]["template"]["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c["name"].as_str())
            .collect();
        assert_eq!(have, want, "{live:?} {config:?}");
    }
}

#[test]
fn conflicts_are_told_in_upstreams_words() {
    let mut live = Live::new(&DEPLOYMENT);
    let first =
        deployment(json!({"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i",
        "ports": [{"containerPort": 80, "name": "p"}]}], "schedulerName": "s"}}}));
    live.update("up", &deployment(json!({"replicas": 1})));
    live.apply("ap", &first, true).expect("forced");
    for (config, message, fields) in [
        (
            deployment(json!({"replicas": 2, "minReadySeconds": 3})),
            "Apply failed with 2 conflicts: conflicts with \"ap\":\n- .spec.replicas\nconflicts with \"up\" using apps/v1:\n- .spec.replicas",
            &[".spec.replicas", ".spec.replicas"][..],
        ),
        (
            containers(json!([{"name": "c", "image": "j"}])),
            "Apply failed with 1 conflict: conflict with \"ap\": .spec.template.spec.containers[name=\"c\"].image",
            &[".spec.template.spec.containers[name=\"c\"].image"],
        ),
        (
            deployment(
                json!({"template": {"spec": {"schedulerName": "t", "containers": [{"name": "c", "image": "j",
                "ports": [{"containerPort": 80, "protocol": "TCP", "name": "q"}]}]}}}),
            ),
            "Apply failed with 3 conflicts: conflicts with \"ap\":\n- .spec.template.spec.schedulerName\n\
             - .spec.template.spec.containers[name=\"c\"].image\n\
             - .spec.template.spec.containers[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"].name",
            &[
                ".spec.template.spec.schedulerName",
                ".spec.template.spec.containers[name=\"c\"].image",
                ".spec.template.spec.containers[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"].name",
            ],
        ),
    ] {
        let before = (live.object.clone(), live.owned());
        let refused = live.apply("me", &config, false).expect_err("refused");
        assert_eq!((refused.code, refused.reason, refused.message.as_str()), (409, "Conflict", message));
        let causes = refused.details.expect("details").causes;
        let have: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(have, fields);
        assert!(causes.iter().all(|c| c.reason == "FieldManagerConflict"));
        assert_eq!(causes[0].message, "conflict with \"ap\"");
        assert_eq!((live.object.clone(), live.owned()), before);
    }
    live.apply("me", &deployment(json!({"replicas": 2})), true).expect("forced");
    assert_eq!(live.owned()["me Apply"], json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(live.owned().get("up Update"), None);
    let mut owner = live.entries[0].owner.clone();
    owner.subresource = "status".into();
    owner.applied = false;
    owner.api_version = "apps/v1".into();
    assert_eq!(owner.describe(), "\"ap\" with subresource \"status\" using apps/v1");
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut live = Live::new(&DEPLOYMENT);
    let config = containers(json!([{"name": "c", "image": "i"}]));
    live.apply("a", &config, false).expect("applies");
    let once = (live.object.clone(), managed::to_json(live.entries.clone()));
    live.apply("a", &config, false).expect("applies");
    assert_eq!((live.object.clone(), managed::to_json(live.entries.clone())), once);
    // Who applies what is there already has no time of a change.
    live.apply("b", &config, false).expect("applies");
    let time = |live: &Live, manager: &str| {
        live.entries.iter().find(|e| e.owner.manager == manager).and_then(|e| e.time.clone())
    };
    assert_eq!(time(&live, "b"), None);
    // To upstream a null is a change, even where nothing was.
    live.apply("c", &deployment(json!({"paused": null})), false).expect("applies");
    assert!(time(&live, "c").is_some());
}

#[test]
fn configurations_have_to_fit_the_schema() {
    let id = |kind: &OneVersion| Schema::builtin().kind(kind.0, kind.1, kind.2).expect("a kind");
    for (config, why) in [
        (containers(json!([{"name": "c"}])), None),
        (deployment(json!({"foo": 1})), Some(".spec.foo: field not declared in schema")),
        (
            deployment(json!({"replicas": "1"})),
            Some(".spec.replicas: expected numeric (int or float), got string"),
        ),
        (deployment(json!({"paused": "x"})), Some(".spec.paused: expected boolean, got &{x}")),
        (deployment(json!([])), Some(".spec: expected map, got &{[]}")),
        (containers(json!({"a": 1})), Some(".spec.template.spec.containers: expected list, got &{map[a:1]}")),
        (
            containers(json!([{"name": 1}])),
            Some(
                ".spec.template.spec.containers[name=1].name: expected string, got &value.valueUnstructured{Value:1}",
            ),
        ),
        (
            containers(json!([{"name": "c"}, {"name": "c"}])),
            Some(".spec.template.spec.containers: duplicate entries for key [name=\"c\"]"),
        ),
        (
            containers(json!([{"image": "c", "ports": [{}, {"protocol": "TCP"}]}])),
            Some(
                ".spec.template.spec.containers[name=\"\"].ports: duplicate entries for key [containerPort=0,protocol=\"TCP\"]",
            ),
        ),
        (
            containers(json!([{"name": "c", "args": [1]}])),
            Some(
                ".spec.template.spec.containers[name=\"c\"].args[0]: expected string, got &value.valueUnstructured{Value:1}",
            ),
        ),
        (
            deployment(json!({"paused": 1, "replicas": true})),
            Some(
                "errors:\n  .spec.paused: expected boolean, got &{1}\n  .spec.replicas: expected numeric (int or float), got bool",
            ),
        ),
    ] {
        let have = typed::complaint(&config, id(&DEPLOYMENT));
        assert_eq!(have.as_deref(), why, "{config}");
    }
    let account = OneVersion("", "v1", "ServiceAccount");
    assert_eq!(
        typed::complaint(&json!({"secrets": [{}]}), id(&account)).as_deref(),
        Some(
            ".secrets: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)"
        )
    );
}
