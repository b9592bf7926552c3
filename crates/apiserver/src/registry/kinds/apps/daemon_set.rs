//! DaemonSets.

use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, containers, count, labels, selector};
use super::super::check;
use super::super::rules::Rules;
use super::super::value::{has, put, text};
use super::super::workload::{self, Counts};
use crate::registry::strategy::Strategy;

pub(in super::super) struct DaemonSet;

static DEFAULTS: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(
        "spec.revisionHistoryLimit = 10\nspec.updateStrategy = {}\nspec.updateStrategy.type ?= \"RollingUpdate\"",
    )
});
static ROLLING: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new("rollingUpdate = {}\nrollingUpdate.maxUnavailable = 1\nrollingUpdate.maxSurge = 0")
});

/// Upstream's own form of the strategy has no numbers that are not set.
static ZEROS: LazyLock<Rules> =
    LazyLock::new(|| Rules::new("rollingUpdate.maxUnavailable = 0\nrollingUpdate.maxSurge = 0"));

const COUNTS: Counts = Counts {
    all: &[
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ],
    of_replicas: &[],
    ready: "",
};

const GENERATION: &str = "deprecated.daemonset.template.generation";

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        DEFAULTS.apply(object);
        workload::default(object, "updateStrategy", &ROLLING);
        if let Some(strategy) = object.pointer_mut("/spec/updateStrategy") {
            ZEROS.apply(strategy);
        }
        // Likewise it counts templates in a field, which is always there; the annotation is what clients see of it.
        if meta::annotation(object, GENERATION).is_none() {
            meta::set_annotation(object, GENERATION, "0");
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let none = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0});
        put(object, "status", none);
        workload::prepare(object);
        meta::set_annotation(object, GENERATION, &template_generation(object).to_string());
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        workload::prepare_update(object, old);
        let was = template_generation(old);
        let changed = object["spec"]["template"] != old["spec"]["template"];
        meta::set_annotation(object, GENERATION, &(was + i64::from(changed)).to_string());
    }

    fn validate_create(&self, object: &Value) -> Errors {
        validate(object)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        let mut errors = workload::validate_update(object, old);
        errors.extend(validate(object));
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> Errors {
        COUNTS.validate(object, old)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        workload::template_warnings(object)
    }

    fn update_warnings(&self, subresource: &str, object: &Value, old: &Value) -> Vec<String> {
        let changed = object["spec"]["template"] != old["spec"]["template"];
        if subresource.is_empty() && changed { workload::template_warnings(object) } else { Vec::new() }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let (names, images) = containers(&spec["template"]["spec"]);
        Some(vec![
            json!(meta::name(object)),
            count(status, "desiredNumberScheduled"),
            count(status, "currentNumberScheduled"),
            count(status, "numberReady"),
            count(status, "updatedNumberScheduled"),
            count(status, "numberAvailable"),
            labels(&spec["template"]["spec"], "nodeSelector"),
            age(object, now),
            names,
            images,
            selector(&spec["selector"]),
        ])
    }
}

/// How often the template changed, as it is annotated.
fn template_generation(object: &Value) -> i64 {
    let annotated = meta::annotation(object, GENERATION).and_then(|generation| generation.parse().ok());
    annotated.unwrap_or(1).max(1)
}

fn validate(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = check::selector(&spec["selector"], &path.child("selector"));
    errors.extend(check::template_matches(spec, &path));
    errors.extend(check::not_empty_selector(spec, "daemonset", &path));
    errors.extend(workload::validate(spec, "DaemonSet", &path));
    errors.extend(check::non_negative(spec, "minReadySeconds", &path));
    errors.extend(strategy(&spec["updateStrategy"], &path.child("updateStrategy")));
    errors.extend(check::non_negative(spec, "revisionHistoryLimit", &path));
    errors
}

fn strategy(strategy: &Value, path: &Path) -> Errors {
    const TYPES: [&str; 2] = ["RollingUpdate", "OnDelete"];
    match text(strategy, "type") {
        "OnDelete" => Errors::new(),
        "RollingUpdate" if !has(strategy, "rollingUpdate") => {
            vec![FieldError::required(&path.child("rollingUpdate"), "")]
        }
        "RollingUpdate" => rolling_update(&strategy["rollingUpdate"], &path.child("rollingUpdate")),
        _ => {
            let error = FieldError::not_supported(path, strategy.clone(), &TYPES);
            vec![error.as_struct("DaemonSetUpdateStrategy")]
        }
    }
}

/// Old pods go first, or new ones come first: not both, and not neither.
fn rolling_update(rolling: &Value, path: &Path) -> Errors {
    const FIELDS: [&str; 2] = ["maxUnavailable", "maxSurge"];
    let mut errors = Errors::new();
    for field in FIELDS {
        errors.extend(check::int_or_percent(&rolling[field], &path.child(field)));
    }
    for field in FIELDS {
        errors.extend(check::not_more_than_all(&rolling[field], &path.child(field)));
    }
    let some = |field: &str| check::number_of(&rolling[field]) != 0;
    match (some("maxUnavailable"), some("maxSurge")) {
        (true, true) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(&path.child("maxSurge"), rolling["maxSurge"].clone(), detail));
        }
        (false, false) => {
            let detail = "cannot be 0 when maxSurge is 0";
            errors.push(FieldError::required(&path.child("maxUnavailable"), detail));
        }
        _ => {}
    }
    errors
}
