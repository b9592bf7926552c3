//! ReplicaSets.

use std::sync::LazyLock;

use machinery::field::{Errors, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, containers, count, selector};
use super::super::check;
use super::super::rules::Rules;
use super::template;
use crate::registry::strategy::Strategy;

pub(in super::super) struct ReplicaSet;

static DEFAULTS: LazyLock<Rules> = LazyLock::new(|| Rules::new("spec.replicas = 1"));

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        DEFAULTS.apply(object);
        template::default(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        template::clear_status(object, json!({"replicas": 0}));
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        template::keep_status(object, old);
    }

    fn validate(&self, object: &Value) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors: Errors = check::non_negative(spec, "replicas", &path).into_iter().collect();
        errors.extend(check::non_negative(spec, "minReadySeconds", &path));
        errors.extend(check::selector_and_template(spec, "deployment", &path));
        errors.extend(template::validate(spec, "ReplicaSet", &path));
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        template::validate_update(object, old)
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> Errors {
        const COUNTS: [&str; 4] = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        template::validate_status(object, &COUNTS)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("status.replicas", object["status"]["replicas"].as_i64().unwrap_or_default().to_string())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let (names, images) = containers(&spec["template"]["spec"]);
        Some(vec![
            json!(meta::name(object)),
            count(spec, "replicas"),
            count(status, "replicas"),
            count(status, "readyReplicas"),
            age(object, now),
            names,
            images,
            selector(&spec["selector"]),
        ])
    }
}
