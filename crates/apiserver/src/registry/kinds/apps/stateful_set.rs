//! StatefulSets.

use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, containers};
use super::super::check;
use super::super::rules::Rules;
use super::super::value::{has, int, text};
use super::template;
use crate::registry::strategy::Strategy;

pub(in super::super) struct StatefulSet;

static DEFAULTS: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(
        r#"
        spec.replicas = 1
        spec.revisionHistoryLimit = 10
        spec.podManagementPolicy = "OrderedReady"
        spec.updateStrategy = {}
        spec.updateStrategy.type = "RollingUpdate"
        spec.persistentVolumeClaimRetentionPolicy = {}
        spec.persistentVolumeClaimRetentionPolicy.whenDeleted = "Retain"
        spec.persistentVolumeClaimRetentionPolicy.whenScaled = "Retain"
        spec.volumeClaimTemplates[].apiVersion = "v1"
        spec.volumeClaimTemplates[].kind = "PersistentVolumeClaim"
        spec.volumeClaimTemplates[].spec.volumeMode = "Filesystem"
        spec.volumeClaimTemplates[].status = {}
        spec.volumeClaimTemplates[].status.phase = "Pending"
        "#,
    )
});
static ROLLING: LazyLock<Rules> =
    LazyLock::new(|| Rules::new("rollingUpdate = {}\nrollingUpdate.partition = 0"));

/// Fields of a StatefulSet that an update may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        DEFAULTS.apply(object);
        if let Some(strategy) =
            object.pointer_mut("/spec/updateStrategy").filter(|s| text(s, "type") == "RollingUpdate")
        {
            ROLLING.apply(strategy);
        }
        template::default(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        template::clear_status(object, json!({"replicas": 0, "availableReplicas": 0}));
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        template::keep_status(object, old);
    }

    fn validate(&self, object: &Value) -> Errors {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let mut errors = policies(spec, &path);
        for field in ["replicas", "minReadySeconds"] {
            errors.extend(check::non_negative(spec, field, &path));
        }
        errors.extend(check::non_negative(&spec["ordinals"], "start", &path.child("ordinals")));
        let at = path.child("serviceName");
        let service = text(spec, "serviceName");
        if !service.is_empty() {
            errors.extend(check::named(&at, service, machinery::names::dns1123_subdomain(service)));
        }
        errors.extend(check::selector_and_template(spec, "statefulset", &path));
        errors.extend(template::validate(spec, "StatefulSet", &path));
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        let fixed = |object: &Value| {
            let mut spec = object["spec"].clone();
            if let Some(spec) = spec.as_object_mut() {
                spec.retain(|field, _| !MUTABLE.contains(&field.as_str()));
            }
            spec
        };
        if fixed(object) == fixed(old) {
            return Errors::new();
        }
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                      'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        vec![FieldError::forbidden(&Path::new("spec"), detail)]
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> Errors {
        const COUNTS: [&str; 5] =
            ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
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
            age(object, now),
            names,
            images,
        ])
    }
}

/// How pods are made, replaced and what becomes of their claims.
fn policies(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (policy, at) = (text(spec, "podManagementPolicy"), path.child("podManagementPolicy"));
    match policy {
        "" => errors.push(FieldError::required(&at, "")),
        "OrderedReady" | "Parallel" => {}
        other => errors.push(FieldError::invalid(&at, other, "must be 'OrderedReady' or 'Parallel'")),
    }
    errors.extend(update_strategy(&spec["updateStrategy"], &path.child("updateStrategy")));
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    let at = path.child("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"].into_iter().filter(|_| retention.is_object()) {
        if !["Retain", "Delete"].contains(&text(retention, field)) {
            let value = text(retention, field);
            errors.push(FieldError::not_supported(&at.child(field), value, &["Retain", "Delete"]));
        }
    }
    errors
}

fn update_strategy(strategy: &Value, path: &Path) -> Errors {
    let (rolling, at) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
    match text(strategy, "type") {
        "" => vec![FieldError::required(&path.child("type"), "")],
        "OnDelete" if has(strategy, "rollingUpdate") => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            vec![FieldError::invalid(&at, rolling.clone(), detail)]
        }
        "OnDelete" => Errors::new(),
        "RollingUpdate" => {
            let mut errors: Errors = check::non_negative(rolling, "partition", &at).into_iter().collect();
            let (most, at) = (&rolling["maxUnavailable"], at.child("maxUnavailable"));
            errors.extend(check::int_or_percent(most, &at));
            if *most == 0 || *most == "0%" {
                errors.push(FieldError::invalid(&at, most.clone(), "cannot be 0"));
            }
            errors.extend(check::not_more_than_all(most, &at));
            errors
        }
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            vec![FieldError::invalid(path, strategy.clone(), detail)]
        }
    }
}
