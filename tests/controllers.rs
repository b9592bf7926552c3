//! What controllers do by themselves, on a control plane without nodes: pods are there, and nothing runs them.

mod deployments;
mod place;
mod scheduling;
mod services;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testkit::{eventually, until};

use place::{PATIENCE, Place, in_a_namespace, is_ending, name, pod};

const HELD: &str = "example.com/held";

fn owners(object: &Value) -> Vec<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().filter_map(|owner| owner["name"].as_str()).collect()
}

fn template(app: &str) -> Value {
    let mut template = pod(app);
    template["metadata"] = json!({"labels": {"app": app}});
    json!({"metadata": template["metadata"], "spec": template["spec"]})
}

/// A replication controller, or a replica set.
fn controller(kind: &str, name: &str, replicas: usize) -> Value {
    let labels = json!({ "app": name });
    let (version, selector) = match kind {
        "ReplicaSet" => ("apps/v1", json!({ "matchLabels": labels })),
        _ => ("v1", labels),
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": selector, "template": template(name)}})
}

fn rc(name: &str, replicas: usize) -> Value {
    controller("ReplicationController", name, replicas)
}

// --- what owners leave behind

#[test]
fn pods_go_with_their_controller() {
    in_a_namespace(|place| {
        place.create(&rc("a", 2))?;
        place.has("pods", 2)?;
        place.delete("rc a", "background")?;
        place.is_gone("rc a")?;
        place.has("pods", 0).map(drop)
    });
}

#[test]
fn a_controller_stays_until_its_pods_are_gone() {
    in_a_namespace(|place| {
        let mut held = rc("a", 3);
        held["spec"]["template"]["metadata"]["finalizers"] = json!([HELD]);
        place.create(&held)?;
        let pods = place.has("pods", 3)?;
        place.delete("rc a", "foreground")?;
        eventually("the end of all pods", PATIENCE, || Ok(place.list("pods")?.iter().all(is_ending)))?;
        for pod in &pods {
            ensure!(is_ending(&place.get("rc a")?), "the controller waits");
            place.patch(&format!("pod {}", name(pod)), &json!({"metadata": {"finalizers": null}}))?;
        }
        place.is_gone("rc a")?;
        place.has("pods", 0).map(drop)
    });
}

#[test]
fn pods_that_another_owner_needs_stay() {
    in_a_namespace(|place| {
        place.create(&rc("ends", 4))?;
        place.create(&rc("stays", 0))?;
        let pods = place.has("pods", 4)?;
        let uid = place.get("rc stays")?["metadata"]["uid"].clone();
        let other = json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "stays", "uid": uid});
        for pod in &pods[..2] {
            let mut both = pod["metadata"]["ownerReferences"].clone();
            both.as_array_mut().context("an owner")?.push(other.clone());
            place.patch(&format!("pod {}", name(pod)), &json!({"metadata": {"ownerReferences": both}}))?;
        }
        place.delete("rc ends", "foreground")?;
        place.is_gone("rc ends")?;
        let left = place.has("pods", 2)?;
        for pod in &left {
            ensure!(!is_ending(pod) && owners(pod) == ["stays"], "{pod}");
        }
        Ok(())
    });
}

#[test]
fn orphaned_pods_stay() {
    in_a_namespace(|place| {
        place.create(&rc("a", 3))?;
        place.has("pods", 3)?;
        place.delete("rc a", "orphan")?;
        place.is_gone("rc a")?;
        // What is collected later shows that these were not.
        place.create(&rc("b", 1))?;
        place.has("pods -l app=b", 1)?;
        place.delete("rc b", "background")?;
        place.has("pods -l app=b", 0)?;
        let left = place.has("pods", 3)?;
        ensure!(left.iter().all(|pod| owners(pod).is_empty() && !is_ending(pod)), "{left:?}");
        Ok(())
    });
}

#[test]
fn replica_sets_go_with_their_deployment_or_are_orphaned() {
    in_a_namespace(|place| {
        let deployment = |name: &str| {
            let mut deployment = controller("ReplicaSet", name, 2);
            deployment["kind"] = "Deployment".into();
            deployment
        };
        for (name, cascade, sets, pods) in [("goes", "background", 0, 0), ("leaves", "orphan", 1, 2)] {
            place.create(&deployment(name))?;
            let ours = |what: &str| format!("{what} -l app={name}");
            place.has(&ours("rs"), 1)?;
            place.has(&ours("pods"), 2)?;
            place.delete(&format!("deployment {name}"), cascade)?;
            place.is_gone(&format!("deployment {name}"))?;
            let left = place.has(&ours("rs"), sets)?;
            ensure!(left.iter().all(|set| owners(set).is_empty()), "{left:?}");
            place.has(&ours("pods"), pods)?;
        }
        Ok(())
    });
}

#[test]
fn a_circle_of_owners_ends() {
    in_a_namespace(|place| {
        for name in ["pod1", "pod2", "pod3"] {
            place.create(&pod(name))?;
        }
        for (name, owner) in [("pod1", "pod3"), ("pod2", "pod1"), ("pod3", "pod2")] {
            let uid = place.get(&format!("pod {owner}"))?["metadata"]["uid"].clone();
            let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": uid, "controller": true, "blockOwnerDeletion": true}]);
            place.patch(&format!("pod {name}"), &json!({"metadata": {"ownerReferences": owner}}))?;
        }
        place.delete("pod pod1", "foreground")?;
        place.has("pods", 0).map(drop)
    });
}

// --- namespaces

#[test]
fn a_namespace_ends_with_all_that_is_in_it() {
    in_a_namespace(|place| {
        place.create(&pod("p"))?;
        place.kubectl("create service clusterip s --tcp=80:80")?;
        place.server.kubectl("delete namespace place --wait=false")?;
        place.is_gone("namespace place")?;
        place.open()?;
        place.has("pods", 0)?;
        place.has("services", 0).map(drop)
    });
}

#[test]
fn pods_of_a_namespace_end_first() {
    in_a_namespace(|place| {
        let mut held = pod("p");
        held["metadata"]["finalizers"] = json!([HELD]);
        place.create(&held)?;
        place.kubectl("create configmap c --from-literal=key=value")?;
        place.server.kubectl("delete namespace place --wait=false")?;
        eventually("word of what is left", PATIENCE, || {
            let status = place.get("namespace place")?["status"].take();
            let told = status["conditions"].as_array().is_some_and(|all| {
                all.iter().any(|condition| condition["type"] == "NamespaceDeletionContentFailure")
            });
            Ok(status["phase"] == "Terminating" && told)
        })?;
        ensure!(is_ending(&place.get("pod p")?), "the pod ends");
        ensure!(!is_ending(&place.get("configmap c")?), "the rest waits");
        place.patch("pod p", &json!({"metadata": {"finalizers": null}}))?;
        place.is_gone("pod p")?;
        place.is_gone("namespace place")
    });
}

#[test]
fn the_root_certificate_comes_back_to_every_namespace() {
    const MAP: &str = "configmap kube-root-ca.crt";
    in_a_namespace(|place| {
        let published = || {
            until("the certificate", PATIENCE, || {
                let map = place.find(MAP)?.context("no map")?;
                let certificate = map["data"]["ca.crt"].as_str().unwrap_or_default();
                ensure!(certificate.contains("BEGIN CERTIFICATE"), "{map}");
                Ok(Some(map))
            })
        };
        let first = published()?;
        place.kubectl(&format!("delete {MAP}"))?;
        let second = published()?;
        ensure!(first["metadata"]["uid"] != second["metadata"]["uid"], "it was deleted");
        place.patch(MAP, &json!({"data": {"ca.crt": ""}}))?;
        published().map(drop)
    });
}

// --- pods and their controllers, volumes

#[test]
fn matching_pods_are_adopted_and_released() {
    in_a_namespace(|place| {
        for (kind, app) in [("ReplicationController", "a"), ("ReplicaSet", "b")] {
            place.create(&pod(app))?;
            place.create(&controller(kind, app, 1))?;
            let uid = place.get(&format!("{kind} {app}"))?["metadata"]["uid"].clone();
            let one = format!("pod {app}");
            eventually("the adoption", PATIENCE, || {
                let pod = place.get(&one)?;
                let owner = &pod["metadata"]["ownerReferences"][0];
                Ok(owner["uid"] == uid && owner["controller"] == true)
            })?;
            place.has(&format!("pods -l app={app}"), 1)?;
            place.patch(&one, &json!({"metadata": {"labels": {"app": "other"}}}))?;
            eventually("the release", PATIENCE, || Ok(owners(&place.get(&one)?).is_empty()))?;
            // Another one takes its place.
            let others = place.has(&format!("pods -l app={app}"), 1)?;
            ensure!(owners(&others[0]) == [app], "{others:?}");
        }
        Ok(())
    });
}

#[test]
fn a_controller_beyond_its_quota_says_so() {
    in_a_namespace(|place| {
        place.kubectl("create quota q --hard=pods=2")?;
        place.create(&rc("a", 3))?;
        let fails = |wanted: bool| {
            eventually("the condition", PATIENCE, || {
                let status = place.get("rc a")?["status"].take();
                let failure = status["conditions"].as_array().is_some_and(|all| {
                    all.iter().any(|c| c["type"] == "ReplicaFailure" && c["status"] == "True")
                });
                Ok(failure == wanted && (!wanted || status["replicas"] == 2))
            })
        };
        fails(true)?;
        place.kubectl("scale rc a --replicas=2")?;
        fails(false)
    });
}

#[test]
fn what_is_protected_while_in_use_comes_and_goes() {
    in_a_namespace(|place| {
        let size = json!({"storage": "1Gi"});
        let volume = |name: &str| {
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": {"test": "yes"}}, "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": size, "storageClassName": "none",
                "csi": {"driver": "none.example.com", "volumeHandle": name}}})
        };
        let claim = |name: &str| {
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "labels": {"test": "yes"}}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": size}, "storageClassName": "none"}})
        };
        let class = |name: &str| {
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": name, "labels": {"test": "yes"}},
                "driverName": "none.example.com", "parameters": {"foo": "bar"}})
        };
        for (name, mark) in [("first", "patched"), ("second", "updated")] {
            for object in [volume(name), claim(name), class(name)] {
                place.create(&object)?;
            }
            for kind in ["pv", "pvc", "vac"] {
                let [found] = &place.list(&format!("{kind} -l test=yes"))?[..] else {
                    anyhow::bail!("one {kind}")
                };
                marked(place, kind, found, mark)?;
            }
            remove(place, name, mark)?;
        }
        Ok(())
    });
}

/// Labels an object by a patch or an update; it is the same one afterwards.
fn marked(place: &Place<'_>, kind: &str, object: &Value, mark: &str) -> anyhow::Result<()> {
    let what = format!("{kind} {}", name(object));
    if mark == "patched" {
        place.patch(&what, &json!({"metadata": {"labels": {"mark": mark}}}))?;
    } else {
        let mut object = place.get(&what)?;
        object["metadata"]["labels"]["mark"] = mark.into();
        let file = place.directory.path().join("update.json");
        std::fs::write(&file, object.to_string())?;
        place.kubectl(&format!("replace -f {}", file.display()))?;
    }
    let read = place.get(&what)?;
    ensure!(read["metadata"]["labels"]["mark"] == mark, "{read}");
    ensure!(read["metadata"]["uid"] == object["metadata"]["uid"], "{read}");
    Ok(())
}

/// The first ones go by their names, the others as what bears the mark.
fn remove(place: &Place<'_>, name: &str, mark: &str) -> anyhow::Result<()> {
    if mark == "patched" {
        place.kubectl(&format!("delete --wait=false pvc/{name} pv/{name} vac/{name}"))?;
    } else {
        for path in [
            "api/v1/namespaces/place/persistentvolumeclaims",
            "api/v1/persistentvolumes",
            "apis/storage.k8s.io/v1/volumeattributesclasses",
        ] {
            place.kubectl(&format!("delete --raw /{path}?labelSelector=mark%3D{mark}"))?;
        }
    }
    for kind in ["pvc", "pv", "vac"] {
        place.has(kind, 0)?;
    }
    Ok(())
}
