//! Deployments.

use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, containers, count, selector};
use super::super::check;
use super::super::plain::Plain;
use super::super::rules::Rules;
use super::super::value::{has, int, text};
use super::super::workload::{self, Counts};
use super::UNUSABLE;
use crate::registry::strategy::Generic;

static ROLLING: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new("rollingUpdate = {}\nrollingUpdate.maxUnavailable = \"25%\"\nrollingUpdate.maxSurge = \"25%\"")
});

const COUNTS: Counts = Counts {
    all: &[
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ],
    of_replicas: &["updatedReplicas", "readyReplicas", "availableReplicas"],
    ready: "readyReplicas",
};

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: r#"
            spec.replicas = 1
            spec.revisionHistoryLimit = 10
            spec.progressDeadlineSeconds = 600
            spec.strategy = {}
            spec.strategy.type ?= "RollingUpdate"
        "#,
        complete: |object| workload::default(object, "strategy", &ROLLING),
        prepare: workload::prepare,
        prepare_update: workload::prepare_update,
        status: "{}",
        validate,
        validate_update: workload::validate_update,
        prepare_status: |object, old| {
            let labels = old["metadata"].get("labels").cloned().unwrap_or_default();
            meta::set(object, "labels", labels);
        },
        validate_status: |object, old| COUNTS.validate(object, old),
        regenerates: Some(regenerates),
        row: Some(row),
        warnings: workload::warnings,
        update_warnings: |object, old| {
            if regenerates(object, old) { workload::template_warnings(object) } else { Vec::new() }
        },
        ..Plain::new(generic)
    }
}

/// What is annotated to a Deployment is annotated to its ReplicaSets.
fn regenerates(object: &Value, old: &Value) -> bool {
    object["spec"] != old["spec"] || meta::annotations(object) != meta::annotations(old)
}

fn validate(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors: Errors = check::non_negative(spec, "replicas", &path).into_iter().collect();
    let template = |_: &Path| workload::validate(spec, "ReplicaSet", &path);
    errors.extend(workload::controlled(spec, "deployment", UNUSABLE, template, &path));
    errors.extend(strategy(&spec["strategy"], &path.child("strategy")));
    errors.extend(check::non_negative(spec, "minReadySeconds", &path));
    errors.extend(check::non_negative(spec, "revisionHistoryLimit", &path));
    errors.extend(progress_deadline(spec, &path));
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    let ready = int(status, "readyReplicas").unwrap_or_default();
    vec![
        json!(meta::name(object)),
        json!(format!("{ready}/{}", int(spec, "replicas").unwrap_or_default())),
        count(status, "updatedReplicas"),
        count(status, "availableReplicas"),
        age(object, now),
        names,
        images,
        selector(&spec["selector"]),
    ]
}

fn strategy(strategy: &Value, path: &Path) -> Errors {
    let rolling = path.child("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if has(strategy, "rollingUpdate") => {
            vec![FieldError::forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'")]
        }
        "Recreate" => Errors::new(),
        "RollingUpdate" => rolling_update(&strategy["rollingUpdate"], &rolling),
        _ => {
            let error = FieldError::not_supported(path, strategy.clone(), &["Recreate", "RollingUpdate"]);
            vec![error.as_struct("DeploymentStrategy")]
        }
    }
}

fn rolling_update(rolling: &Value, path: &Path) -> Errors {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    let at = path.child("maxUnavailable");
    let mut errors = check::int_or_percent(unavailable, &at);
    errors.extend(check::int_or_percent(surge, &path.child("maxSurge")));
    if check::number_of(unavailable) == 0 && check::number_of(surge) == 0 {
        errors.push(FieldError::invalid(&at, unavailable.clone(), "may not be 0 when `maxSurge` is 0"));
    }
    errors.extend(check::not_more_than_all(unavailable, &at));
    errors
}

fn progress_deadline(spec: &Value, path: &Path) -> Errors {
    const FIELD: &str = "progressDeadlineSeconds";
    let Some(deadline) = int(spec, FIELD) else { return Errors::new() };
    let mut errors: Errors = check::non_negative(spec, FIELD, path).into_iter().collect();
    if deadline <= int(spec, "minReadySeconds").unwrap_or_default() {
        errors.push(FieldError::invalid(
            &path.child(FIELD),
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
    errors
}
