//! ReplicaSets.

use machinery::field::{Errors, Path};
use serde_json::Value;

use super::super::cells::selector;
use super::super::check;
use super::super::plain::Plain;
use super::super::workload::{self, Counts};
use super::UNUSABLE;
use crate::registry::strategy::Generic;

const COUNTS: Counts = Counts {
    all: &[
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "terminatingReplicas",
        "observedGeneration",
    ],
    of_replicas: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    ready: "readyReplicas",
};

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: "spec.replicas = 1",
        complete: |object| object.get_mut("spec").map_or((), workload::default_pods),
        prepare: workload::prepare,
        prepare_update: workload::prepare_update,
        status: r#"{"replicas":0}"#,
        validate,
        validate_update: workload::validate_update,
        validate_status: |object, old| COUNTS.validate(object, old),
        row: Some(|object, now| workload::row(object, now, selector(&object["spec"]["selector"]))),
        warnings: workload::warnings,
        update_warnings: workload::update_warnings,
        ..Plain::new(generic)
    }
}

fn validate(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors: Errors = check::non_negative(spec, "replicas", &path).into_iter().collect();
    errors.extend(check::non_negative(spec, "minReadySeconds", &path));
    let template = |_: &Path| workload::validate(spec, "ReplicaSet", &path);
    errors.extend(workload::controlled(spec, "deployment", UNUSABLE, template, &path));
    errors
}
