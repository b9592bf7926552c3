//! Rollouts, step by step: a Deployment and the sizes of its ReplicaSets in, the sizes they should have out.

use super::annotations;
use super::plan::{Action, World, plan};
use api::{Deployment, DeploymentStatus, Kind, Pod, ReplicaSet};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

const NEW: &str = "new";
const OLD: &str = "old";

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn deployment(replicas: i32, strategy: Value, extra: Value) -> Deployment {
    let mut spec = json!({
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
        "template": template(NEW), "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
    });
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let meta = json!({"name": "web", "namespace": "a", "uid": "d", "generation": 2});
    Deployment::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// Image, wanted, available, and the Deployment's size (and with surge) it was scaled for.
fn set(image: &str, wanted: i32, available: i32, sizes: (i32, i32)) -> Arc<ReplicaSet> {
    let order = if image == NEW { 9 } else { 1 };
    let value = json!({
        "metadata": {
            "name": format!("web-{image}"), "namespace": "a", "uid": image, "generation": 1,
            "creationTimestamp": format!("2026-01-01T00:0{order}:00Z"),
            "annotations": {
                "deployment.kubernetes.io/revision": if image == NEW { "2" } else { "1" },
                "deployment.kubernetes.io/desired-replicas": sizes.0.to_string(),
                "deployment.kubernetes.io/max-replicas": sizes.1.to_string(),
            },
        },
        "spec": {"replicas": wanted, "selector": {}, "template": template(image)},
        "status": {"replicas": wanted, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1},
    });
    Arc::new(ReplicaSet::from_value(value).unwrap())
}

fn steps(deployment: &Deployment, sets: Vec<Arc<ReplicaSet>>, pods: Vec<Arc<Pod>>) -> Vec<Action> {
    plan(&World { deployment, sets, pods, now: now() })
}

/// New sizes by image, in the order of the actions.
fn sizes(actions: &[Action]) -> Vec<(String, i32)> {
    let size = |action: &Action| match action {
        Action::CreateSet { set, .. } | Action::UpdateSet { set, .. } => {
            let image = set.spec.template.as_ref()?.spec.as_ref()?.containers[0].image.clone()?;
            Some((image, set.spec.replicas.unwrap_or(1)))
        }
        _ => None,
    };
    actions.iter().filter_map(size).collect()
}

fn status(actions: &[Action]) -> Option<&DeploymentStatus> {
    actions.iter().find_map(|action| match action {
        Action::Write { status, .. } => Some(status),
        _ => None,
    })
}

fn condition(status: &DeploymentStatus, type_: &str) -> (String, String, String) {
    let found = status.conditions.iter().flatten().find(|c| c.type_.as_deref() == Some(type_)).cloned();
    let found = found.unwrap_or_default();
    (found.status.unwrap_or_default(), found.reason.unwrap_or_default(), found.message.unwrap_or_default())
}

#[test]
fn a_new_deployment_creates_its_set() {
    let deployment = deployment(3, rolling(json!("25%"), json!("25%")), json!({}));
    let actions = steps(&deployment, vec![], vec![]);
    let Action::CreateSet { set, event } = &actions[0] else { panic!("{actions:?}") };
    let name = set.metadata.name.clone().unwrap();
    assert!(name.starts_with("web-"));
    let hash = name.strip_prefix("web-").unwrap();
    let labels = set.metadata.labels.as_ref().unwrap();
    assert_eq!(labels.get("pod-template-hash").map(String::as_str), Some(hash));
    assert_eq!(set.spec.selector.match_labels.as_ref().unwrap().len(), 2);
    assert_eq!(annotations::revision(&set.metadata), 1);
    assert_eq!((annotations::desired(set), annotations::max(set)), (Some(3), Some(4)));
    assert_eq!(event.as_deref(), Some(&*format!("Scaled up replica set {name} from 0 to 3")));
    let Some(Action::Write { status, revision }) = actions.last() else { panic!("{actions:?}") };
    assert_eq!(revision.as_deref(), Some("1"));
    assert_eq!(condition(status, "Progressing").1, "NewReplicaSetCreated");
    let available = condition(status, "Available");
    assert_eq!((available.0.as_str(), available.1.as_str()), ("False", "MinimumReplicasUnavailable"));
    assert_eq!(status.unavailable_replicas, Some(3));
}

#[test]
fn rolling_updates_stay_within_surge_and_availability() {
    // size, surge, unavailable, new (wanted, available), old (wanted, available), sizes afterwards
    let cases = [
        (10, json!(2), json!(0), (0, 0), (10, 10), vec![(NEW, 2)]),
        (10, json!(2), json!(0), (2, 0), (10, 10), vec![]),
        (10, json!(2), json!(0), (2, 2), (10, 10), vec![(OLD, 8)]),
        (10, json!(2), json!(0), (2, 2), (8, 8), vec![(NEW, 4)]),
        (10, json!(0), json!(2), (0, 0), (10, 10), vec![(OLD, 8)]),
        (10, json!(0), json!(2), (0, 0), (8, 8), vec![(NEW, 2)]),
        (10, json!(0), json!(0), (0, 0), (10, 10), vec![(OLD, 9)]),
        (4, json!("25%"), json!("25%"), (1, 0), (4, 4), vec![(OLD, 3)]),
        (10, json!(1), json!(2), (1, 0), (10, 7), vec![(OLD, 8)]),
        (10, json!(2), json!(0), (10, 10), (2, 2), vec![(OLD, 0)]),
        (0, json!(2), json!(0), (0, 0), (0, 0), vec![]),
    ];
    for (size, surge, unavailable, new, old, want) in cases {
        let deployment = deployment(size, rolling(surge.clone(), unavailable.clone()), json!({}));
        let max = size
            + match &surge {
                Value::Number(n) => i32::try_from(n.as_i64().unwrap()).unwrap(),
                _ => 1,
            };
        let sets = vec![set(NEW, new.0, new.1, (size, max)), set(OLD, old.0, old.1, (size, max))];
        let got = sizes(&steps(&deployment, sets, vec![]));
        let want: Vec<(String, i32)> = want.into_iter().map(|(image, n)| (image.to_owned(), n)).collect();
        assert_eq!(got, want, "{size} surge {surge} unavailable {unavailable} new {new:?} old {old:?}");
    }
}

#[test]
fn a_change_of_size_in_a_rollout_is_shared_out() {
    let cases = [
        // from 10 (+5) to 20 (+5): sets of 8 and 7 grow by their share
        (20, 25, (8, 7), vec![(NEW, 13), (OLD, 12)]),
        (5, 10, (8, 7), vec![(NEW, 5), (OLD, 5)]),
        (0, 0, (8, 7), vec![(NEW, 0), (OLD, 0)]),
    ];
    for (size, total, (new, old), want) in cases {
        let deployment = deployment(size, rolling(json!(5), json!(0)), json!({}));
        let sets = vec![set(NEW, new, 0, (10, 15)), set(OLD, old, old, (10, 15))];
        let got = sizes(&steps(&deployment, sets, vec![]));
        assert_eq!(got.iter().map(|(_, n)| n).sum::<i32>(), total, "to {size}");
        let want: Vec<(String, i32)> = want.into_iter().map(|(image, n)| (image.to_owned(), n)).collect();
        assert_eq!(got, want, "to {size}");
    }
}

#[test]
fn a_single_set_is_simply_scaled() {
    let deployment = deployment(1, rolling(json!(1), json!(0)), json!({}));
    let actions = steps(&deployment, vec![set(NEW, 5, 5, (5, 6))], vec![]);
    assert_eq!(sizes(&actions), [(NEW.to_owned(), 1)]);
    let Action::UpdateSet { event, .. } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(event.as_deref(), Some("Scaled down replica set web-new from 5 to 1"));
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let deployment = deployment(2, json!({"type": "Recreate"}), json!({}));
    let pod = |phase: &str| {
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-old", "uid": OLD, "controller": true}]);
        Arc::new(
            Pod::from_value(
                json!({"metadata": {"name": "p", "ownerReferences": owner}, "status": {"phase": phase}}),
            )
            .unwrap(),
        )
    };
    let scaled = steps(&deployment, vec![set(OLD, 2, 2, (2, 2))], vec![pod("Running")]);
    assert_eq!(sizes(&scaled), [(OLD.to_owned(), 0)]);
    let waiting = steps(&deployment, vec![set(OLD, 0, 0, (2, 2))], vec![pod("Running")]);
    assert_eq!(sizes(&waiting), []);
    let created = steps(&deployment, vec![set(OLD, 0, 0, (2, 2))], vec![pod("Succeeded")]);
    assert_eq!(sizes(&created), [(NEW.to_owned(), 2)]);
}

#[test]
fn a_paused_deployment_rolls_nothing() {
    let paused = deployment(2, rolling(json!(1), json!(0)), json!({"paused": true}));
    let actions = steps(&paused, vec![set(OLD, 2, 2, (2, 3))], vec![]);
    assert_eq!(sizes(&actions), []);
    assert_eq!(condition(status(&actions).unwrap(), "Progressing").1, "DeploymentPaused");
}

#[test]
fn a_finished_rollout_says_so_and_cleans_up() {
    let limited = deployment(2, rolling(json!(1), json!(0)), json!({"revisionHistoryLimit": 0}));
    let actions = steps(&limited, vec![set(NEW, 2, 2, (2, 3)), set(OLD, 0, 0, (2, 3))], vec![]);
    let progress = condition(status(&actions).unwrap(), "Progressing");
    assert_eq!(progress.1, "NewReplicaSetAvailable");
    assert_eq!(progress.2, "ReplicaSet \"web-new\" has successfully progressed.");
    let deleted =
        actions.iter().any(|action| matches!(action, Action::DeleteSet(key) if key.name == "web-old"));
    assert!(deleted, "{actions:?}");
}

#[test]
fn a_rollout_without_progress_times_out() {
    let mut stuck = deployment(2, rolling(json!(1), json!(0)), json!({}));
    let sets = || vec![set(NEW, 1, 0, (2, 3)), set(OLD, 2, 2, (2, 3))];
    let first = steps(&stuck, sets(), vec![]);
    stuck.status = status(&first).cloned();
    annotations::set(&mut stuck.metadata, annotations::REVISION, "2");
    let World { now, .. } = World { deployment: &stuck, sets: sets(), pods: vec![], now: now() };
    let again = plan(&World { deployment: &stuck, sets: sets(), pods: vec![], now });
    assert!(matches!(again.as_slice(), [Action::Again(after)] if after.as_secs() == 601), "{again:?}");
    let later = now + jiff::SignedDuration::from_secs(601);
    let timed_out = plan(&World { deployment: &stuck, sets: sets(), pods: vec![], now: later });
    let progress = condition(status(&timed_out).unwrap(), "Progressing");
    assert_eq!((progress.0.as_str(), progress.1.as_str()), ("False", "ProgressDeadlineExceeded"));
}

#[test]
fn rolling_back_raises_the_revision_and_remembers() {
    let back = deployment(2, rolling(json!(1), json!(0)), json!({}));
    let mut newest = (*set(NEW, 0, 0, (2, 3))).clone();
    annotations::set(&mut newest.metadata, annotations::REVISION, "1");
    let mut other = (*set(OLD, 2, 2, (2, 3))).clone();
    annotations::set(&mut other.metadata, annotations::REVISION, "2");
    let actions = steps(&back, vec![Arc::new(newest), Arc::new(other)], vec![]);
    let Action::UpdateSet { set, .. } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(annotations::revision(&set.metadata), 3);
    let history = annotations::get(&set.metadata, "deployment.kubernetes.io/revision-history");
    assert_eq!(history, Some("1"));
    assert_eq!(set.spec.replicas, Some(1), "scaled in the same write");
}
