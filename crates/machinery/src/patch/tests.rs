use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use super::*;
use crate::schema::{Schema, TypeId};

fn ty(group: &str, version: &str, kind: &str) -> TypeId {
    Schema::builtin().kind(group, version, kind).expect("a kind")
}

#[test]
fn json_patches() {
    let object = json!({"a": {"b": [1, 2, 3]}, "x/y": {"~z": 1}});
    for (patch, want) in [
        (json!([]), object.clone()),
        (
            json!([{"op": "add", "path": "/c", "value": 1}]),
            json!({"a": {"b": [1, 2, 3]}, "x/y": {"~z": 1}, "c": 1}),
        ),
        (
            json!([{"op": "add", "path": "/a/b/-", "value": 4}]),
            json!({"a": {"b": [1, 2, 3, 4]}, "x/y": {"~z": 1}}),
        ),
        (
            json!([{"op": "add", "path": "/a/b/1", "value": 9}]),
            json!({"a": {"b": [1, 9, 2, 3]}, "x/y": {"~z": 1}}),
        ),
        (json!([{"op": "remove", "path": "/a/b/-1"}]), json!({"a": {"b": [1, 2]}, "x/y": {"~z": 1}})),
        (
            json!([{"op": "replace", "path": "/x~1y/~0z", "value": 2}]),
            json!({"a": {"b": [1, 2, 3]}, "x/y": {"~z": 2}}),
        ),
        (
            json!([{"op": "move", "from": "/a/b/0", "path": "/m"}, {"op": "remove", "path": "/x~1y"}]),
            json!({"a": {"b": [2, 3]}, "m": 1}),
        ),
        (
            json!([{"op": "copy", "from": "/a/b", "path": "/a/c"}, {"op": "test", "path": "/a/c/0", "value": 1}]),
            json!({"a": {"b": [1, 2, 3], "c": [1, 2, 3]}, "x/y": {"~z": 1}}),
        ),
        (json!([{"op": "test", "path": "/none", "value": null}]), object.clone()),
        (json!([{"op": "replace", "path": "", "value": {}}]), json!({})),
        // A field that is not there is null, and what is before the first slash does not matter.
        (
            json!([{"op": "replace", "path": "/c", "value": 1}, {"op": "copy", "from": "/none", "path": "/n"}]),
            json!({"a": {"b": [1, 2, 3]}, "x/y": {"~z": 1}, "c": 1, "n": null}),
        ),
        (
            json!([{"op": "remove", "path": "a/a/b/+0"}, {"op": "add", "path": "/a/b/-0", "value": 7}]),
            json!({"a": {"b": [7, 2, 3]}, "x/y": {"~z": 1}}),
        ),
    ] {
        assert_eq!(json(&object, &patch).unwrap_or_else(|e| panic!("{patch}: {e}")), want, "{patch}");
    }
    for patch in [
        json!([{"op": "remove", "path": "/none"}]),
        json!([{"op": "replace", "path": "/a/b/3", "value": 1}]),
        json!([{"op": "replace", "path": "", "value": 1}]),
        json!([{"op": "replace", "path": "/a/b/0/c", "value": 1}]),
        json!([{"op": "add", "path": "", "value": {}}]),
        json!([{"op": "remove", "path": ""}]),
        json!([{"op": "test", "path": "/none/deep", "value": null}]),
        json!([{"op": "test", "path": "/a/b/3", "value": null}]),
        json!([{"op": "copy", "from": "/a/b/3", "path": "/c"}]),
        json!([null]),
        json!([{"op": "add", "path": "/none/deep", "value": 1}]),
        json!([{"op": "add", "path": "/a/b/9", "value": 1}]),
        json!([{"op": "test", "path": "/a/b/0", "value": 2}]),
        json!([{"op": "jump", "path": "/a"}]),
        json!([{"op": "add"}]),
        json!([{"op": "move", "from": "/a", "path": "/a/b"}]),
        json!([{"op": "remove", "path": "a"}]),
    ] {
        let error = json(&object, &patch).expect_err(&patch.to_string());
        assert!(matches!(error, PatchError::Unprocessable(_)), "{patch}: {error:?}");
        assert_eq!(
            error.to_status().message,
            "the server rejected our request due to an error in our request"
        );
    }
    let error = json(&object, &json!({"a": 1})).unwrap_err();
    assert_eq!(
        error.to_status().to_json()["message"],
        "json: cannot unmarshal object into Go value of type jsonpatch.Patch"
    );
    let many = Value::Array(vec![json!({"op": "test", "path": "/none", "value": null}); OPERATIONS_MAX + 1]);
    assert_eq!(json(&object, &many).unwrap_err().to_status().code, 413);
}

#[test]
fn merge_patches() {
    // The examples of RFC 7396 that objects of the API can meet.
    for (object, patch, want) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
    ] {
        assert_eq!(merge(&object, &patch).unwrap(), want);
    }
    assert_eq!(merge(&json!({}), &json!([1])).unwrap(), json!([1]));
    assert_eq!(merge(&json!({}), &json!(1)).unwrap_err().to_status().code, 400);
}

fn pod(spec: Value) -> Value {
    json!({"spec": spec})
}

fn on_pod(original: Value, patch: Value) -> Result<Value, PatchError> {
    strategic(&pod(original), &pod(patch), ty("", "v1", "Pod")).map(|mut v| v["spec"].take())
}

#[test]
fn strategic_lists_are_merged_by_key() {
    for (before, patch, want) in [
        // A struct in the list is merged, another added; new items come before those that the patch does not mention.
        (
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "image": "2"}, {"name": "c"}]}),
            json!({"containers": [{"name": "a", "image": "2"}, {"name": "c"}, {"name": "b"}]}),
        ),
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
            json!({"containers": [{"name": "c"}]}),
        ),
        // Ports have a key of their own, lists of plain values without strategy are replaced.
        (
            json!({"containers": [{"name": "a", "command": ["x"], "ports": [{"containerPort": 80, "name": "h"}]}]}),
            json!({"containers": [{"name": "a", "command": ["y"], "ports": [{"containerPort": 81}, {"containerPort": 80, "name": "i"}]}]}),
            json!({"containers": [{"name": "a", "command": ["y"], "ports": [{"containerPort": 81}, {"containerPort": 80, "name": "i"}]}]}),
        ),
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}),
            json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}]}),
        ),
        // An item that only the server has stays where it was, relative to those after it.
        (
            json!({"containers": [{"name": "a"}, {"name": "injected"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b", "image": "x"}]}),
            json!({"containers": [{"name": "a"}, {"name": "injected"}, {"name": "b", "image": "x"}]}),
        ),
        (
            json!({}),
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a", "image": null}]}),
            json!({"containers": [{"name": "a"}]}),
        ),
        // What is new is not looked into: only `$patch` takes anything out of it.
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "w", "emptyDir": null, "$retainKeys": ["name"]}], "securityContext": {"$retainKeys": [], "windowsOptions": {"$patch": "delete"}}}),
            json!({"volumes": [{"name": "w", "emptyDir": null, "$retainKeys": ["name"]}, {"name": "v", "emptyDir": {}}], "securityContext": {"$retainKeys": []}}),
        ),
        // Tolerations have no merge key: replaced as a whole.
        (
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        // nodeSelector is a map: merged.
        (
            json!({"nodeSelector": {"a": "b"}}),
            json!({"nodeSelector": {"c": "d", "a": null}}),
            json!({"nodeSelector": {"c": "d"}}),
        ),
        (
            json!({"nodeSelector": {"a": "b"}}),
            json!({"nodeSelector": {"$patch": "replace", "c": "d"}}),
            json!({"nodeSelector": {"c": "d"}}),
        ),
        (
            json!({"nodeSelector": {"a": "b"}}),
            json!({"nodeSelector": {"$patch": "delete"}}),
            json!({"nodeSelector": {}}),
        ),
        // A volume changes its kind.
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
        ),
        (json!({"hostname": "a"}), json!({"hostname": null, "subdomain": "s"}), json!({"subdomain": "s"})),
    ] {
        let got = on_pod(before.clone(), patch.clone());
        assert_eq!(got, Ok(want), "{before} with {patch}");
    }
}

#[test]
fn strategic_lists_of_values() {
    let ty = ty("", "v1", "ConfigMap");
    for (before, patch, want) in [
        (json!(["a", "b"]), json!({"finalizers": ["c", "a"]}), json!(["c", "a", "b"])),
        (json!(["a", "b", "c"]), json!({"$deleteFromPrimitiveList/finalizers": ["b"]}), json!(["a", "c"])),
        (json!(["a", "b", "c"]), json!({"$deleteFromPrimitiveList/finalizers": null}), json!(null)),
        (
            json!(["a", "b", "c"]),
            json!({"$setElementOrder/finalizers": ["d", "a"], "finalizers": ["d"], "$deleteFromPrimitiveList/finalizers": ["c"]}),
            json!(["d", "a", "b"]),
        ),
    ] {
        let got =
            strategic(&json!({"metadata": {"finalizers": before}}), &json!({"metadata": patch}), ty).unwrap();
        assert_eq!(got["metadata"]["finalizers"], want, "{patch}");
    }
}

#[test]
fn strategies_of_structs() {
    let deployment = ty("apps", "v1", "Deployment");
    let before = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let got = strategic(&before, &patch, deployment).unwrap();
    assert_eq!(got, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let budget = ty("policy", "v1", "PodDisruptionBudget");
    let before = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}});
    let patch = json!({"spec": {"selector": {"matchLabels": {"c": "d"}}}});
    assert_eq!(strategic(&before, &patch, budget).unwrap(), patch, "the selector is replaced");
}

#[test]
fn strategic_patches_refused_in_upstreams_words() {
    for (before, patch, code, want) in [
        (
            json!({}),
            json!({"$patch": "nonsense"}),
            500,
            "unknown patch type: nonsense in map: map[$patch:nonsense]",
        ),
        (
            json!({}),
            json!({"$patch": {"a": 1, "b": [null, true, 1.5]}}),
            500,
            "unknown patch type: map[a:%!s(int64=1) b:[%!s(<nil>) %!s(bool=true) %!s(float64=1.5)]] in map: map[$patch:map[a:1 b:[<nil> true 1.5]]]",
        ),
        (
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"image": "x"}]}),
            500,
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"$patch": "merge", "name": "a"}]}),
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({}),
            json!({"$retainKeys": ["a"], "hostname": "b"}),
            400,
            "invalid patch format of retainKeys",
        ),
        (json!({}), json!({"$retainKeys": 1}), 400, "invalid patch format of retainKeys"),
        (json!({}), json!({"$setElementOrder": []}), 400, "invalid patch format of setElementOrder list"),
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b"}, {"name": "a"}]}),
            500,
            "The order in patch list:\n[map[name:b] map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:a] map[name:b]]\n",
        ),
        (
            json!({"containers": [{"name": "a"}]}),
            json!({"$setElementOrder/containers": [], "containers": null}),
            500,
            "expected a []interface {}, but received a %!s(<nil>)",
        ),
        (
            json!({}),
            json!({"$setElementOrder/containers": [], "containers": []}),
            500,
            "no elements in any of the given slices",
        ),
        (
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": ["a"]}),
            500,
            "list element types are not identical: [[map[name:a]] [a]]",
        ),
        (
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [[1]]}),
            500,
            "list element types are not identical: [[map[name:a]] [[1]]]",
        ),
        (
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"name": "b"}, {"$patch": "replace"}], "$setElementOrder/containers": [{"name": "b"}]}),
            500,
            "The order in patch list:\n[map[name:b] map[$patch:replace]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
        ),
        // A list that is replaced as a whole has no order to ask for.
        (
            json!({"tolerations": [{"key": "k"}]}),
            json!({"tolerations": [], "$setElementOrder/tolerations": []}),
            500,
            "map: map[key:k] does not contain declared merge key: ",
        ),
        (
            json!({"containers": []}),
            json!({"containers": [[1]]}),
            422,
            "the server rejected our request due to an error in our request",
        ),
    ] {
        let status = on_pod(before, patch.clone()).expect_err(&patch.to_string()).to_status();
        assert_eq!((status.code, status.message.as_str()), (code, want), "{patch}");
    }
    assert_eq!(strategic(&json!({}), &json!([]), ty("", "v1", "Pod")).unwrap_err().to_status().code, 400);
}

/// Random JSON over few keys, so that documents overlap.
fn random(rng: &mut StdRng, depth: usize) -> Value {
    match rng.random_range(0..if depth == 0 { 3 } else { 6 }) {
        0 => json!(rng.random_range(0..3)),
        1 => json!(["x", "y"][rng.random_range(0..2)]),
        2 => json!(rng.random_bool(0.5)),
        3 => (0..rng.random_range(0..3)).map(|_| random(rng, depth - 1)).collect(),
        _ => Value::Object(random_map(rng, depth - 1)),
    }
}

fn random_map(rng: &mut StdRng, depth: usize) -> Map<String, Value> {
    let keys = ["a", "b", "c", "d"];
    (0..rng.random_range(0..4))
        .map(|_| (keys[rng.random_range(0..4)].to_owned(), random(rng, depth)))
        .collect()
}

/// The merge patch that turns one document into another.
fn merge_diff(from: &Map<String, Value>, to: &Map<String, Value>) -> Value {
    let mut patch = Map::new();
    for key in from.keys().filter(|k| !to.contains_key(*k)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, want) in to {
        match (from.get(key), want) {
            (Some(have), want) if have == want => {}
            (Some(Value::Object(have)), Value::Object(want)) => {
                patch.insert(key.clone(), merge_diff(have, want));
            }
            _ => {
                patch.insert(key.clone(), want.clone());
            }
        }
    }
    Value::Object(patch)
}

#[test]
fn merge_patch_laws() {
    let mut rng = StdRng::seed_from_u64(5);
    for _ in 0..2_000 {
        let (from, to) = (random_map(&mut rng, 3), random_map(&mut rng, 3));
        let patch = merge_diff(&from, &to);
        let (from, to) = (Value::Object(from), Value::Object(to));
        let once = merge(&from, &patch).unwrap();
        assert_eq!(once, to, "{from} with {patch}");
        assert_eq!(merge(&once, &patch).unwrap(), once, "applying twice changes nothing");
        assert_eq!(merge(&from, &json!({})).unwrap(), from);
        // Where no list and no strategy is involved, a strategic patch is a merge patch.
        if !to.to_string().contains('[') && !from.to_string().contains('[') {
            let annotations = |v: &Value| json!({"data": v});
            let got =
                strategic(&annotations(&from), &annotations(&patch), ty("apps", "v1", "ControllerRevision"));
            assert_eq!(got.unwrap(), annotations(&to));
        }
    }
}

#[test]
fn json_patch_laws() {
    let mut rng = StdRng::seed_from_u64(6);
    for _ in 0..2_000 {
        let object = Value::Object(random_map(&mut rng, 3));
        let value = random(&mut rng, 2);
        let add = json!([{"op": "add", "path": "/new", "value": value}, {"op": "test", "path": "/new", "value": value}]);
        let added = json(&object, &add).unwrap();
        let undone = json(&added, &json!([{"op": "remove", "path": "/new"}])).unwrap();
        assert_eq!(undone, object);
        let moved = json(&added, &json!([{"op": "move", "from": "/new", "path": "/old"}])).unwrap();
        assert_eq!(moved["old"], value);
        assert_eq!(moved.get("new"), None);
    }
}

/// Random lists of containers: after a patch, each item asked for is there in the order asked for, nothing is twice, and
/// what the patch does not mention stays in its order.
#[test]
fn strategic_order_laws() {
    let mut rng = StdRng::seed_from_u64(8);
    let names = ["a", "b", "c", "d", "e"];
    let pick = |rng: &mut StdRng| {
        let mut picked: Vec<&str> = Vec::new();
        for _ in 0..rng.random_range(0..5) {
            let name = names[rng.random_range(0..names.len())];
            if !picked.contains(&name) {
                picked.push(name);
            }
        }
        picked
    };
    for _ in 0..3_000 {
        let (before, asked) = (pick(&mut rng), pick(&mut rng));
        if before.is_empty() && asked.is_empty() {
            continue;
        }
        let list = |names: &[&str]| names.iter().map(|n| json!({"name": n})).collect::<Value>();
        let patch = json!({"containers": list(&asked), "$setElementOrder/containers": list(&asked)});
        let got = on_pod(json!({"containers": list(&before)}), patch).unwrap();
        let got: Vec<&str> =
            got["containers"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
        let kept = |of: &[&str]| got.iter().copied().filter(|n| of.contains(n)).collect::<Vec<_>>();
        assert_eq!(kept(&asked), asked, "{before:?} with {asked:?}: {got:?}");
        let others: Vec<&str> = before.iter().copied().filter(|n| !asked.contains(n)).collect();
        assert_eq!(kept(&others), others, "{before:?} with {asked:?}: {got:?}");
        assert_eq!(got.len(), asked.len() + others.len());
    }
}
