//! StatefulSets.

use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::{age, containers};
use super::super::check;
use super::super::plain::Plain;
use super::super::pod_spec;
use super::super::rules::Rules;
use super::super::value::{has, int, list, text};
use super::super::workload::{self, Counts};
use crate::registry::strategy::Generic;

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

const COUNTS: Counts = Counts {
    all: &[
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ],
    of_replicas: &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
    ready: "status.readyReplicas",
};

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: r#"
            spec.replicas = 1
            spec.revisionHistoryLimit = 10
            spec.podManagementPolicy ?= "OrderedReady"
            spec.updateStrategy = {}
            spec.updateStrategy.type ?= "RollingUpdate"
            spec.persistentVolumeClaimRetentionPolicy = {}
            spec.persistentVolumeClaimRetentionPolicy.whenDeleted ?= "Retain"
            spec.persistentVolumeClaimRetentionPolicy.whenScaled ?= "Retain"
            spec.volumeClaimTemplates[].apiVersion ?= "v1"
            spec.volumeClaimTemplates[].kind ?= "PersistentVolumeClaim"
            spec.volumeClaimTemplates[].spec.volumeMode = "Filesystem"
            spec.volumeClaimTemplates[].status = {}
            spec.volumeClaimTemplates[].status.phase ?= "Pending"
        
        "#,
        complete: |object| workload::default(object, "updateStrategy", &ROLLING),
        prepare: workload::prepare,
        status: r#"{"replicas":0,"availableReplicas":0}"#,
        validate,
        validate_create,
        validate_update,
        validate_status: |object, old| COUNTS.validate(object, old),
        row: Some(row),
        warnings,
        update_warnings,
        ..Plain::new(generic)
    }
}

fn validate(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = policies(spec, &path);
    for field in ["replicas", "minReadySeconds"] {
        errors.extend(check::non_negative(spec, field, &path));
    }
    errors.extend(check::non_negative(&spec["ordinals"], "start", &path.child("ordinals")));
    errors.extend(check::selector_and_template(spec, "statefulset", &path));
    // Upstream looks no further into the pods, which may use volumes that stand in the claim templates.
    errors.extend(pod_spec::validate_template_metadata(&spec["template"], &path.child("template")));
    errors.extend(workload::endless(spec, "StatefulSet", &path));
    let service = text(spec, "serviceName");
    if !service.is_empty() {
        errors.extend(check::named(&path.child("serviceName"), service, names::dns1123_subdomain(service)));
    }
    errors
}

/// Pods are hosts that are named after the set.
fn validate_create(object: &Value) -> Errors {
    let name = meta::name(object);
    let path = Path::new("metadata").child("name");
    if name.is_empty() { Errors::new() } else { check::named(&path, name, names::dns1123_label(name)) }
}

fn validate_update(object: &Value, old: &Value) -> Errors {
    let (spec, before) = (&object["spec"], &old["spec"]);
    let fields = |spec: &Value| {
        spec.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let fixed = |field: &String| !MUTABLE.contains(&field.as_str());
    if fields(spec).iter().chain(&fields(before)).filter(|f| fixed(f)).all(|f| spec.get(f) == before.get(f)) {
        return Errors::new();
    }
    let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                  'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    vec![FieldError::forbidden(&Path::new("spec"), detail)]
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    let ready = int(status, "readyReplicas").unwrap_or_default();
    vec![
        json!(meta::name(object)),
        json!(format!("{ready}/{}", int(spec, "replicas").unwrap_or_default())),
        age(object, now),
        names,
        images,
    ]
}

fn warnings(object: &Value) -> Vec<String> {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut warnings = workload::template_warnings(object);
    for (i, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
        let at = path.child("volumeClaimTemplates").index(i);
        warnings.extend(pod_spec::claim_warnings(&claim["spec"], &at));
    }
    if int(spec, "revisionHistoryLimit").is_some_and(|limit| limit < 0) {
        let what = "a negative value retains all historical revisions; a value >= 0 is recommended";
        warnings.push(format!("spec.revisionHistoryLimit: {what}"));
    }
    warnings
}

fn update_warnings(object: &Value, old: &Value) -> Vec<String> {
    if object.get("spec") == old.get("spec") { Vec::new() } else { warnings(object) }
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
            errors.push(FieldError::not_supported(&at.child(field), value, &["Delete", "Retain"]));
        }
    }
    errors
}

fn update_strategy(strategy: &Value, path: &Path) -> Errors {
    let (rolling, at) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
    match text(strategy, "type") {
        "" => vec![FieldError::required(path, "")],
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
