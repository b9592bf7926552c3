//! Deployments.

use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, containers, count, selector};
use super::super::check;
use super::super::rules::Rules;
use super::super::value::{has, int, text};
use super::template;
use crate::registry::strategy::Strategy;

pub(in super::super) struct Deployment;

static DEFAULTS: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(
        r#"
        spec.replicas = 1
        spec.revisionHistoryLimit = 10
        spec.progressDeadlineSeconds = 600
        spec.strategy = {}
        spec.strategy.type = "RollingUpdate"
        "#,
    )
});
static ROLLING: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new("rollingUpdate = {}\nrollingUpdate.maxUnavailable = \"25%\"\nrollingUpdate.maxSurge = \"25%\"")
});

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        DEFAULTS.apply(object);
        if let Some(strategy) =
            object.pointer_mut("/spec/strategy").filter(|s| text(s, "type") == "RollingUpdate")
        {
            ROLLING.apply(strategy);
        }
        template::default(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        template::clear_status(object, json!({}));
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        template::keep_status(object, old);
    }

    fn validate(&self, object: &Value) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors: Errors = check::non_negative(spec, "replicas", &path).into_iter().collect();
        errors.extend(check::selector_and_template(spec, "deployment", &path));
        errors.extend(template::validate(spec, "ReplicaSet", &path));
        errors.extend(strategy(&spec["strategy"], &path.child("strategy")));
        errors.extend(check::non_negative(spec, "minReadySeconds", &path));
        errors.extend(check::non_negative(spec, "revisionHistoryLimit", &path));
        errors.extend(progress_deadline(spec));
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        template::validate_update(object, old)
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> Errors {
        const COUNTS: [&str; 5] =
            ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"];
        template::validate_status(object, &COUNTS)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let (names, images) = containers(&spec["template"]["spec"]);
        let ready = int(status, "readyReplicas").unwrap_or_default();
        Some(vec![
            json!(meta::name(object)),
            json!(format!("{ready}/{}", int(spec, "replicas").unwrap_or_default())),
            count(status, "updatedReplicas"),
            count(status, "availableReplicas"),
            age(object, now),
            names,
            images,
            selector(&spec["selector"]),
        ])
    }
}

fn strategy(strategy: &Value, path: &Path) -> Errors {
    const TYPES: [&str; 2] = ["Recreate", "RollingUpdate"];
    let rolling = path.child("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if has(strategy, "rollingUpdate") => {
            vec![FieldError::forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'")]
        }
        "Recreate" => Errors::new(),
        "RollingUpdate" => rolling_update(&strategy["rollingUpdate"], &rolling),
        "" => vec![FieldError::required(&path.child("type"), "")],
        other => vec![FieldError::not_supported(&path.child("type"), other, &TYPES)],
    }
}

fn rolling_update(rolling: &Value, path: &Path) -> Errors {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    let at = path.child("maxUnavailable");
    let mut errors = check::int_or_percent(unavailable, &at);
    errors.extend(check::int_or_percent(surge, &path.child("maxSurge")));
    let zero = |value: &Value| *value == 0 || *value == "0%";
    if zero(unavailable) && zero(surge) {
        errors.push(FieldError::invalid(&at, unavailable.clone(), "may not be 0 when `maxSurge` is 0"));
    }
    errors.extend(check::not_more_than_all(unavailable, &at));
    errors
}

fn progress_deadline(spec: &Value) -> Option<FieldError> {
    let path = Path::new("spec");
    let deadline = int(spec, "progressDeadlineSeconds")?;
    if let Some(negative) = check::non_negative(spec, "progressDeadlineSeconds", &path) {
        return Some(negative);
    }
    let detail = "must be greater than minReadySeconds";
    (deadline <= int(spec, "minReadySeconds").unwrap_or_default())
        .then(|| FieldError::invalid(&path.child("progressDeadlineSeconds"), deadline, detail))
}
