//! StatefulSets.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::{age, containers};
use super::super::check;
use super::super::core::validate_claim_spec;
use super::super::plain::Plain;
use super::super::pod_spec;
use super::super::value::{below, each, fill, has, int, list, put, text};
use super::super::workload::{self, Counts};
use crate::registry::strategy::Generic;

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
            spec.persistentVolumeClaimRetentionPolicy = {}
            spec.persistentVolumeClaimRetentionPolicy.whenDeleted ?= "Retain"
            spec.persistentVolumeClaimRetentionPolicy.whenScaled ?= "Retain"
            spec.volumeClaimTemplates[].spec.volumeMode = "Filesystem"
            spec.volumeClaimTemplates[].status = {}
            spec.volumeClaimTemplates[].status.phase ?= "Pending"
        "#,
        complete,
        prepare: |object| {
            drop_disabled(object, None);
            workload::prepare(object);
        },
        prepare_update: |object, old| {
            drop_disabled(object, Some(old));
            workload::prepare_update(object, old);
        },
        status: r#"{"replicas":0,"availableReplicas":0}"#,
        names: Some(names::dns1123_label),
        validate_create: |object| validate(object, Written::New),
        validate_update,
        validate_status: |object, old| COUNTS.validate(object, old),
        row: Some(row),
        warnings,
        update_warnings,
        ..Plain::new(generic)
    }
}

/// Defaults of the template's pods, and of a rolling update when nothing is said about updates or something about those.
fn complete(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    if let Some(strategy) = spec.get_mut("updateStrategy") {
        if text(strategy, "type").is_empty() {
            put(strategy, "type", "RollingUpdate");
            below(strategy, "rollingUpdate");
        }
        let rolls = text(strategy, "type") == "RollingUpdate";
        if let Some(rolling) =
            strategy.get_mut("rollingUpdate").filter(|rolling| rolls && rolling.is_object())
        {
            fill(rolling, "partition", 0);
        }
    }
    // Whatever they call themselves, claims they are.
    for claim in each(spec, "volumeClaimTemplates") {
        put(claim, "apiVersion", "v1");
        put(claim, "kind", "PersistentVolumeClaim");
    }
    workload::default_pods(spec);
}

/// How many pods an update may replace at once is not switched on; it stays where it was said before.
fn drop_disabled(object: &mut Value, old: Option<&Value>) {
    const ROLLING: &str = "/spec/updateStrategy/rollingUpdate";
    let says = |old: &Value| old.pointer(ROLLING).is_some_and(|rolling| has(rolling, "maxUnavailable"));
    if !old.is_some_and(says)
        && let Some(rolling) = object.pointer_mut(ROLLING).and_then(Value::as_object_mut)
    {
        rolling.remove("maxUnavailable");
    }
}

/// What is looked at: what cannot change is let be in a set that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    New,
    Changed,
    /// What was there before had a template that would be refused.
    ChangedBadly,
}

fn validate(object: &Value, written: Written) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = policies(spec, &path);
    if written == Written::New {
        let at = path.child("volumeClaimTemplates");
        for (i, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
            errors.extend(validate_claim_spec(&claim["spec"], &at.index(i).child("spec")));
        }
    }
    for field in ["replicas", "minReadySeconds"] {
        errors.extend(check::non_negative(spec, field, &path));
    }
    errors.extend(check::non_negative(&spec["ordinals"], "start", &path.child("ordinals")));
    let service = text(spec, "serviceName");
    if written == Written::New && !service.is_empty() {
        errors.extend(check::named(&path.child("serviceName"), service, names::dns1123_label(service)));
    }
    let template = |at: &Path| template(spec, written, at);
    errors.extend(workload::controlled(spec, "statefulset", "", template, &path));
    errors.extend(workload::endless(spec, "StatefulSet", &path));
    errors
}

/// The template with what the controller puts into its pods: their claims, and names in place of those given.
fn template(spec: &Value, written: Written, path: &Path) -> Errors {
    let mut template = spec["template"].clone();
    if let Some(pod) = template.get_mut("spec") {
        ["subdomain", "hostname"]
            .iter()
            .for_each(|field| drop(pod.as_object_mut().map(|pod| pod.remove(*field))));
        let claims: BTreeSet<&str> = list(spec, "volumeClaimTemplates").iter().map(meta::name).collect();
        let own =
            list(pod, "volumes").iter().filter(|volume| !claims.contains(&text(volume, "name"))).cloned();
        let of_claims =
            claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
        let volumes: Vec<Value> = of_claims.chain(own).collect();
        if !claims.is_empty() {
            put(pod, "volumes", volumes);
        }
    }
    let mut errors = Errors::new();
    if written != Written::ChangedBadly {
        errors.extend(pod_spec::validate_template(&template, path));
    }
    errors.extend(pod_spec::validate_template_metadata(&template, path));
    errors
}

fn validate_update(object: &Value, old: &Value) -> Errors {
    let (spec, before) = (&object["spec"], &old["spec"]);
    let bad = !validate(old, Written::Changed).is_empty();
    let mut errors = validate(object, if bad { Written::ChangedBadly } else { Written::Changed });
    let fields = |spec: &Value| {
        spec.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let fixed = |field: &String| !MUTABLE.contains(&field.as_str());
    if fields(spec).iter().chain(&fields(before)).filter(|f| fixed(f)).all(|f| spec.get(f) == before.get(f)) {
        return errors;
    }
    let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                  'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    errors.push(FieldError::forbidden(&Path::new("spec"), detail));
    errors
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
    let mut warnings = workload::template_warnings(object);
    warnings.extend(other_warnings(object, ""));
    warnings
}

fn update_warnings(object: &Value, old: &Value) -> Vec<String> {
    let mut warnings = workload::update_warnings(object, old);
    // Upstream's path has the field's Go name here.
    warnings.extend(other_warnings(object, ".Spec"));
    warnings
}

/// Warnings of what is not in the template.
fn other_warnings(object: &Value, claim: &str) -> Vec<String> {
    let spec = &object["spec"];
    let mut warnings = Vec::new();
    for (i, template) in list(spec, "volumeClaimTemplates").iter().enumerate() {
        let at = Path::new(format!("spec.volumeClaimTemplates[{i}]{claim}"));
        warnings.extend(pod_spec::claim_warnings(&template["spec"], &at));
    }
    if int(spec, "revisionHistoryLimit").is_some_and(|limit| limit < 0) {
        let what = "a negative value retains all historical revisions; a value >= 0 is recommended";
        warnings.push(format!("spec.revisionHistoryLimit: {what}"));
    }
    warnings
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
        "" => vec![FieldError::required(path, "")],
        "OnDelete" if has(strategy, "rollingUpdate") => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            let error = FieldError::invalid(&at, rolling.clone(), detail);
            vec![error.as_struct("RollingUpdateStatefulSetStrategy")]
        }
        "OnDelete" => Errors::new(),
        "RollingUpdate" => {
            let mut errors: Errors = check::non_negative(rolling, "partition", &at).into_iter().collect();
            let (most, at) = (&rolling["maxUnavailable"], at.child("maxUnavailable"));
            errors.extend(check::int_or_percent(most, &at));
            if !most.is_null() && check::number_of(most) == 0 {
                errors.push(FieldError::invalid(&at, most.clone(), "cannot be 0"));
            }
            errors.extend(check::not_more_than_all(most, &at));
            errors
        }
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            let error = FieldError::invalid(path, strategy.clone(), detail);
            vec![error.as_struct("StatefulSetUpdateStrategy")]
        }
    }
}
